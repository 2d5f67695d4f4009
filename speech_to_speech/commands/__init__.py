"""The command `speech-to-speech` and its sub-commands."""

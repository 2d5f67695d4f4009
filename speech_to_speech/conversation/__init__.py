"""One conversation: who speaks when, and the path from speech to speech."""

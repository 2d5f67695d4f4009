"""Sound: sample formats and rates, codecs, and what an echo is."""

"""A turn detector of words and prosody."""

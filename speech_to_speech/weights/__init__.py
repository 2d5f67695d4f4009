"""Checkpoints: where they come from, whether they fit, and what is wrong with them in one line."""

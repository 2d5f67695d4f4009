"""Whisper by transformers, and what both Whispers share."""

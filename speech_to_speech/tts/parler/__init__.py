"""Parler-TTS."""

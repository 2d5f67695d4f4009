"""Kokoro-82M."""

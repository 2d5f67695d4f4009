"""MeloTTS."""

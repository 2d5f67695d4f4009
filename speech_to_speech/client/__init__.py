"""The parts of audio_streaming_client.py. Of the service they import nothing but `frames`."""

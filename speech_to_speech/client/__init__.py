"""The parts of audio_streaming_client.py.

Of the service they import `frames`, `audio`, `text` and `errors`.
"""

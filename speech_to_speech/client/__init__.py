"""The parts of audio_streaming_client.py.

Of the service they import `frames`, `audio`, `text`, `errors` and the codecs in `wire`.
"""

"""What a text to speech backend is."""

from typing import Protocol

from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.jobs import Model


class TextToSpeech(Model[SpeakRequest, AudioChunk], Protocol):
    """Emits the audio of each job in chunks, each as soon as it is made, in the model's own sample rate."""

"""What a text to speech backend is."""

from typing import ClassVar, Protocol

from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.workers.model import Model


class TextToSpeech(Model[SpeakRequest, AudioChunk], Protocol):
    """Emits the audio of each job in chunks, each as soon as it is made, in the model's own sample rate."""

    languages: ClassVar[frozenset[str] | None]
    """The ISO 639 codes of the languages that the backend speaks. None, or no such attribute, means any language."""
    as_written: ClassVar[bool]
    """The backend takes text as it is written, since it normalises by itself. Without this attribute it gets words."""

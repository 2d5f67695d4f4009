"""What a speech to text backend is."""

from typing import ClassVar, Protocol

from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.workers.model import Model


class SpeechToText(Model[SpeechRequest, Transcript], Protocol):
    """Emits one `Transcript` for each job; an empty text where there are no words."""

    partial_interval_ms: ClassVar[float]
    """How often the backend affords to transcribe an unfinished utterance. 0, or no such attribute, means never."""

    languages: ClassVar[frozenset[str] | None]
    """ISO 639 codes of the languages that the backend understands. None, or no such attribute, means any language."""

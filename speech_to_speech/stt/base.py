"""What a speech to text backend is."""

from typing import ClassVar, Protocol

from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.workers.model import Model


class SpeechToText(Model[SpeechRequest, Transcript], Protocol):
    """Emits one `Transcript` for each job; an empty text where there are no words."""

    partial_interval_ms: ClassVar[float]
    """How often it can afford to transcribe an utterance that is still being spoken; 0, or no such attribute: never."""

    languages: ClassVar[frozenset[str] | None]
    """The ISO 639 codes of those that it understands; None, or no such attribute: any."""

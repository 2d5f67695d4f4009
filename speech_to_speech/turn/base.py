"""What a turn detector is: a judgement on an utterance so far, at a short silence."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from speech_to_speech.workers.model import Model


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """An utterance so far.

    pcm: int16 little-endian mono at 16 kHz, the silence that it ends in so far included.
    text: what STT heard in it; empty if there were no words, or the detector needs none.
    language: an ISO 639-1 code.
    """

    pcm: bytes
    text: str
    language: str


class TurnDetector(Model[TurnRequest, float], Protocol):
    """Emits for each job one probability, 0 to 1, that the person has finished."""

    needs_text: ClassVar[bool]
    """Whether the utterance so far has to be transcribed first."""

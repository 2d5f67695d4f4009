"""What a speech to text backend is."""

from typing import Protocol

from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.jobs import Model


class SpeechToText(Model[SpeechRequest, Transcript], Protocol):
    """Emits one `Transcript` for each job; an empty text where there are no words."""

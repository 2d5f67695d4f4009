"""What a text to speech backend is.

Backends in environments of their own import this module too, so it needs the standard library only.
"""

from collections.abc import Collection
from typing import ClassVar, Protocol

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.workers.model import Model

VOICES_NAMED = 12  # voices that an error names
LONGEST_NAME = 40  # characters of a voice's name that an error repeats


class TextToSpeech(Model[SpeakRequest, AudioChunk], Protocol):
    """Emits the audio of each job in chunks, each as soon as it is made, in the model's own sample rate.

    A job that wants a voice which is not there fails with `no_voice`, and the others of the batch go on.
    """

    languages: ClassVar[frozenset[str] | None]
    """The ISO 639 codes of the languages that the backend speaks. None, or no such attribute, means any language."""
    as_written: ClassVar[bool]
    """The backend takes text as it is written, since it normalises by itself. Without this attribute it gets words."""

    def voices(self, language: str) -> Collection[str]:
        """The names that `SpeakRequest.voice` may have in this language, once the model is loaded.

        None, or no such method, means that there is no choice: then a request's voice is ignored.
        """
        return ()


def no_voice(voice: str, there: Collection[str]) -> StageFailed:
    """What a job fails with that wants the voice `voice`, where `there` are those there are."""
    names = [*there]
    shown = ", ".join(names[:VOICES_NAMED]) + (", ..." if names[VOICES_NAMED:] else "")
    return StageFailed("tts", f"there is no voice {voice[:LONGEST_NAME]!r}; there are {shown}")

"""What the two Whispers share: a request as windows of its speech, and the transcript when all of them were heard."""

import logging
from collections.abc import Iterable

from speech_to_speech.audio.samples import Samples, to_float
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import BYTES_PER_SAMPLE, SpeechRequest, Transcript
from speech_to_speech.languages import NAMES
from speech_to_speech.stt.whisper.audio import is_silent, windows
from speech_to_speech.text import join_text
from speech_to_speech.workers.model import Job

logger = logging.getLogger(__name__)

SURE_OF_LANGUAGE = 0.5  # the value of faster-whisper's language_detection_threshold

SttJob = Job[SpeechRequest, Transcript]


def audible_windows(job: SttJob, longest: int) -> list[Samples]:
    """The request's speech in windows of at most `longest` samples, without the silent ones.

    If there is none, the job has its answer: an empty transcript, or an error if the bytes are no int16 audio.
    """
    if len(job.request.pcm) % BYTES_PER_SAMPLE:
        job.fail(StageFailed("stt", f"{len(job.request.pcm)} bytes are no int16 audio"))
        return []
    parts = [part for part in windows(to_float(job.request.pcm), longest) if not is_silent(part)]
    if not parts:
        job.emit(Transcript("", job.request.language))
    return parts


def joined(texts: Iterable[str]) -> str:
    """The windows' texts as one; those without words are empty."""
    whole = ""
    for text in filter(None, texts):
        whole = join_text(whole, text)
    return whole


def not_understood(language: str, *, checkpoint: str, english_only: bool, flag: str) -> StageFailed:
    """What the caller is told; the log tells whoever runs the service what to do."""
    if language not in NAMES:
        return StageFailed("stt", f"there is no language {language!r}")
    logger.warning(
        "%s: %s %s; %s was asked for: choose another, large-v3-turbo say",
        flag,
        checkpoint,
        "understands English only" if english_only else "lacks a language",
        NAMES[language],
    )
    return StageFailed("stt", f"the model that listens does not understand {NAMES[language]}")

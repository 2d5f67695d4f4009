"""What a voice activity detector is: a function over one window and a state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from speech_to_speech.workers.model import Model

WINDOW_SAMPLES = 512
WINDOW_BYTES = WINDOW_SAMPLES * BYTES_PER_SAMPLE
WINDOW_MS = WINDOW_SAMPLES * 1000 / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class VadRequest:
    """The next window of several sessions: `WINDOW_BYTES` of PCM each, and what the model remembers of that session.

    A state is the model's own; None stands for a session that begins.
    """

    windows: Sequence[bytes]
    states: Sequence[Any]


@dataclass(frozen=True, slots=True)
class VadResult:
    """For each window the probability of speech (0..1), and the state to send along with the session's next one."""

    probabilities: Sequence[float]
    states: Sequence[Any]


class VoiceActivityDetector(Model[VadRequest, VadResult], Protocol):
    """A model that judges windows. It keeps nothing of a session: the state travels with the request."""

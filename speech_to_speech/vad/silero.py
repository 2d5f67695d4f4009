"""Silero VAD (https://github.com/snakers4/silero-vad, MIT) through onnxruntime.

The package is located, not imported: importing it would pull in torch and set its threads. The model wants 64
samples of the window before in front of each window, and a recurrent state.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech_to_speech.config.registry import SILERO
from speech_to_speech.errors import BackendMissing
from speech_to_speech.frames import SAMPLE_RATE_HZ
from speech_to_speech.vad.base import WINDOW_BYTES, WINDOW_SAMPLES, VadRequest, VadResult
from speech_to_speech.weights import onnx
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

CONTEXT_SAMPLES = 64
STATE_SIZE = 128


class SileroVad:
    """Batches of any size: batched and single runs give the same probabilities."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        self._session: Any = None

    def load(self) -> None:
        spec = importlib.util.find_spec("silero_vad")
        if spec is None or spec.origin is None:
            raise BackendMissing(f"vad silero needs silero_vad: {SILERO}")
        self._session = onnx.session(Path(spec.origin).parent / "data" / "silero_vad.onnx")

    def warm_up(self) -> None:
        for batch in (1, 2, 8):
            self.run([ListJob(VadRequest([bytes(WINDOW_BYTES)] * batch, [None] * batch))])

    def run(self, jobs: Sequence[Job[VadRequest, VadResult]]) -> None:
        for job in jobs:
            job.emit(self._judge(job.request))

    def _judge(self, request: VadRequest) -> VadResult:
        count = len(request.windows)
        state = np.zeros((2, count, STATE_SIZE), dtype=np.float32)
        audio = np.zeros((count, CONTEXT_SAMPLES + WINDOW_SAMPLES), dtype=np.float32)
        for row, (window, remembered) in enumerate(zip(request.windows, request.states, strict=True)):
            audio[row, CONTEXT_SAMPLES:] = np.frombuffer(window, dtype="<i2")
            if remembered is not None:
                state[:, row], audio[row, :CONTEXT_SAMPLES] = remembered
        audio[:, CONTEXT_SAMPLES:] /= 32768.0
        sample_rate = np.array(SAMPLE_RATE_HZ, dtype=np.int64)
        probabilities, state = self._session.run(None, {"input": audio, "state": state, "sr": sample_rate})
        # The copies keep a session's state from holding the whole batch's arrays alive.
        states = [(state[:, row].copy(), audio[row, -CONTEXT_SAMPLES:].copy()) for row in range(count)]
        return VadResult(probabilities[:, 0].tolist(), states)

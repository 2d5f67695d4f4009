"""A stand-in for TTS: each sentence becomes the tone it names. See `speech_to_speech.loadtest`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from speech_to_speech.frames import SAMPLE_RATE_HZ, AudioChunk, SpeakRequest
from speech_to_speech.jobs import Job, ListJob, WorkerKind
from speech_to_speech.loadtest import occupy, pitch_in, tone


class LoadtestTts:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 64
    as_written: ClassVar[bool] = True  # the pitch is in digits

    @dataclass(frozen=True)
    class Options:
        loadtest_tts_ms: float = field(default=0.0, metadata={"help": "time of a call, in milliseconds"})
        loadtest_tts_batch_ms: float = field(default=0.0, metadata={"help": "further time per request in it"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(SpeakRequest("A tone of 440.0 hertz.", "en"))])

    def run(self, jobs: Sequence[Job[SpeakRequest, AudioChunk]]) -> None:
        occupy(self._options.loadtest_tts_ms, self._options.loadtest_tts_batch_ms, jobs)
        for job in jobs:
            job.emit(AudioChunk(tone(pitch_in(job.request.text)), SAMPLE_RATE_HZ))

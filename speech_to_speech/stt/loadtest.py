"""A stand-in for STT: names the pitch of the tone in the speech. See `speech_to_speech.loadtest`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from speech_to_speech.audio import to_float
from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.jobs import Job, ListJob, WorkerKind
from speech_to_speech.loadtest import occupy, pitch_hz


class LoadtestStt:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 64

    @dataclass(frozen=True)
    class Options:
        loadtest_stt_ms: float = field(default=0.0, metadata={"help": "time of a call, in milliseconds"})
        loadtest_stt_batch_ms: float = field(default=0.0, metadata={"help": "further time per request in it"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(SpeechRequest(bytes(32000), "en"))])

    def run(self, jobs: Sequence[Job[SpeechRequest, Transcript]]) -> None:
        occupy(self._options.loadtest_stt_ms, self._options.loadtest_stt_batch_ms, jobs)
        for job in jobs:
            text = f"A tone of {pitch_hz(to_float(job.request.pcm)):.1f} hertz."
            job.emit(Transcript(text, job.request.language))

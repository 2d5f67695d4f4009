"""A stand-in for a language model: answers with two sentences that name the pitch. See `speech_to_speech.loadtest`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.jobs import Job, ListJob, WorkerKind
from speech_to_speech.loadtest import occupy, pitch_in


class LoadtestLlm:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 64

    @dataclass(frozen=True)
    class Options:
        loadtest_llm_ms: float = field(default=0.0, metadata={"help": "time of a call, in milliseconds"})
        loadtest_llm_batch_ms: float = field(default=0.0, metadata={"help": "further time per request in it"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(ChatRequest((Message("user", "A tone of 440.0 hertz."),), "en"))])

    def run(self, jobs: Sequence[Job[ChatRequest, str]]) -> None:
        occupy(self._options.loadtest_llm_ms, self._options.loadtest_llm_batch_ms, jobs)
        for job in jobs:
            pitch = pitch_in(job.request.messages[-1].content)
            job.emit(f"You sent {pitch:.1f} hertz. ")
            job.emit(f"Again {pitch:.1f} hertz.")

"""Fake models. Those called `scripted` do what the test's `SCRIPT` says, `Steps` does what its request says.

`--models fakes` makes the scripted ones backends of a service, in whose process nobody changes the script: their
options say there how long they take.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech_to_speech.config.registry import register_model
from speech_to_speech.frames import AudioChunk, ChatRequest, SpeakRequest, SpeechRequest, Transcript, pcm_bytes
from speech_to_speech.vad.base import VadRequest, VadResult
from speech_to_speech.workers.model import Job, WorkerKind

LIMIT_S = 20.0  # a fake waits no longer than this for its test
STEP_S = 0.002

Behaviour = Callable[[Job[Any, Any]], None]


class FakeError(Exception):
    """What a fake model raises; no type that the service knows."""


# Behaviours of the scripted models.


def transcribe(text: str) -> Behaviour:
    return lambda job: job.emit(Transcript(text, job.request.language))


def answer(*deltas: str) -> Behaviour:
    def run(job: Job[ChatRequest, str]) -> None:
        for delta in deltas:
            if job.cancelled:
                return
            job.emit(delta)

    return run


def echo(job: Job[ChatRequest, str]) -> None:
    """Answer with all that the model was shown, oldest first."""
    job.emit(" / ".join(f"{message.role}: {message.content}" for message in job.request.messages))


def speak(ms: float, level: int = 5000) -> Behaviour:
    """A chunk of square wave, of a millisecond or an hour."""

    def run(job: Job[SpeakRequest, AudioChunk]) -> None:
        left_ms = ms
        while left_ms > 0 and not job.cancelled:
            chunk_ms = min(left_ms, 100.0)
            job.emit(AudioChunk(square(chunk_ms, level), 16_000))
            left_ms -= chunk_ms

    return run


def nothing(job: Job[Any, Any]) -> None:
    """Give no output."""


def raising(job: Job[Any, Any]) -> None:
    raise FakeError("as scripted")


def hanging(until: threading.Event) -> Behaviour:
    def run(job: Job[Any, Any]) -> None:
        until.wait(LIMIT_S)

    return run


def judge_by_loudness(job: Job[VadRequest, VadResult]) -> None:
    """Sound is speech, digital silence is none."""
    job.emit(VadResult([1.0 if any(window) else 0.0 for window in job.request.windows], list(job.request.states)))


def square(ms: float, level: int = 5000) -> bytes:
    samples = np.arange(pcm_bytes(ms) // 2)
    return np.where(samples // 16 % 2, level, -level).astype("<i2").tobytes()


class Script:
    """The behaviour of each scripted stage, and what it was asked."""

    def __init__(self) -> None:
        self.gates: list[threading.Event] = []
        self.reset()

    def reset(self) -> None:
        self.vad: Behaviour = judge_by_loudness
        self.stt: Behaviour = transcribe("one two")
        self.llm: Behaviour = answer("Hello there. ", "How are you?")
        self.tts: Behaviour | None = None
        self.asked: dict[str, list[Any]] = {"stt": [], "llm": [], "tts": []}

    def gate(self) -> threading.Event:
        """An event for a model to wait for; set at the end of the test in any case."""
        gate = threading.Event()
        self.gates.append(gate)
        return gate

    def release(self) -> None:
        while self.gates:
            self.gates.pop().set()


SCRIPT = Script()


@register_model("vad", "scripted")
class ScriptedVad:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        pass

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[VadRequest, VadResult]]) -> None:
        for job in jobs:
            SCRIPT.vad(job)


@register_model("stt", "scripted")
class ScriptedStt:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        scripted_load_until: str | None = field(default=None, metadata={"help": "load until this file exists"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        if self._options.scripted_load_until:
            wait_for_file(self._options.scripted_load_until)

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[SpeechRequest, Transcript]]) -> None:
        for job in jobs:
            SCRIPT.asked["stt"].append(job.request)
            SCRIPT.stt(job)


@register_model("llm", "scripted")
class ScriptedLlm:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        pass

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[ChatRequest, str]]) -> None:
        for job in jobs:
            SCRIPT.asked["llm"].append(job.request)
            SCRIPT.llm(job)


@register_model("tts", "scripted")
class ScriptedTts:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        scripted_reply_s: float = field(default=0.1, metadata={"help": "how long each piece is spoken"})

    def __init__(self, options: Options) -> None:
        self._speak = speak(options.scripted_reply_s * 1000)

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[SpeakRequest, AudioChunk]]) -> None:
        for job in jobs:
            SCRIPT.asked["tts"].append(job.request)
            (SCRIPT.tts or self._speak)(job)


# A model whose requests say what it does, so that it is the same in a process.


def wait_for_file(path: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(STEP_S)


Step = tuple[str, *tuple[Any, ...]]


class Unreadable:
    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("not a number",)


class Steps:
    """A request is a list of steps; between two of them it looks at the cancel, as a model should."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 4

    @dataclass(frozen=True)
    class Options:
        load_error: str = ""
        die_on_load_if: str = ""

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        if self._options.load_error:
            raise FakeError(self._options.load_error)
        if self._options.die_on_load_if and os.path.exists(self._options.die_on_load_if):
            os._exit(3)

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[list[Step], Any]]) -> None:
        for job in jobs:
            for verb, *arguments in job.request:
                if job.cancelled:
                    break
                getattr(self, f"_{verb}")(job, *arguments)

    def _emit(self, job: Job[Any, Any], output: Any) -> None:
        job.emit(output)

    def _emit_unreadable(self, job: Job[Any, Any]) -> None:
        """An output that a process can send, but its parent can't read; then one more behind it in the pipe."""
        job.emit(Unreadable())
        job.emit("left over")

    def _pid(self, job: Job[Any, Any]) -> None:
        job.emit(os.getpid())

    def _fail(self, job: Job[Any, Any], text: str) -> None:
        job.fail(FakeError(text))

    def _raise(self, job: Job[Any, Any], text: str) -> None:
        raise FakeError(text)

    def _wait(self, job: Job[Any, Any], path: str) -> None:
        wait_for_file(path)

    def _touch(self, job: Job[Any, Any], path: str) -> None:
        Path(path).touch()

    def _until_cancelled(self, job: Job[Any, Any], path: str) -> None:
        """Say that it has begun, and make the file once the cancel is seen."""
        job.emit("begun")
        end = time.monotonic() + LIMIT_S
        while not job.cancelled and time.monotonic() < end:
            time.sleep(STEP_S)
        if job.cancelled:
            Path(path).touch()

    def _die(self, job: Job[Any, Any]) -> None:
        os._exit(3)

    def _hold_the_lock(self, job: Job[Any, Any], seconds: int) -> None:
        """Sleep without letting any other thread of the process run."""
        ctypes.PyDLL(None).sleep(seconds)


class OpenSteps(Steps):
    """The same with an open batch: one step of each request at a time, and between two rounds of them others join."""

    continuous: ClassVar[bool] = True

    def __init__(self, options: Steps.Options) -> None:
        super().__init__(options)
        self._under_way: list[tuple[Job[list[Step], Any], list[Step]]] = []
        self._leaving = False

    def run(self, jobs: Sequence[Job[list[Step], Any]]) -> None:
        self.run_continuously(jobs, lambda: [])

    def run_continuously(
        self, jobs: Sequence[Job[list[Step], Any]], join: Callable[[], Sequence[Job[list[Step], Any]]]
    ) -> None:
        self._under_way = [(job, [*job.request]) for job in jobs]
        self._leaving = False
        while self._under_way and not self._leaving:
            self._under_way = [(job, steps) for job, steps in self._under_way if self._goes_on(job, steps)]
            self._under_way += [(job, [*job.request]) for job in join()]
            time.sleep(STEP_S)

    def _goes_on(self, job: Job[list[Step], Any], steps: list[Step]) -> bool:
        """Do one step of this request."""
        if job.cancelled:
            if steps and steps[0][0] == "hold":
                for path in steps[0][1:]:
                    Path(path).touch()
        elif steps:
            verb, *arguments = steps[0]
            if getattr(self, f"_{verb}")(job, *arguments) is not False:
                steps.pop(0)
            return True
        job.done()
        return False

    def _until(self, job: Job[Any, Any], path: str) -> bool:
        """Wait for a file while the others go on."""
        return os.path.exists(path)

    def _hold(self, job: Job[Any, Any], path: str = "") -> bool:
        """Wait for the cancel, and then make the file, if one is named."""
        return False

    def _count(self, job: Job[Any, Any]) -> None:
        job.emit(len(self._under_way))

    def _done(self, job: Job[Any, Any]) -> None:
        job.done()

    def _leave_all(self, job: Job[Any, Any]) -> None:
        """Have the call return without a word on those under way."""
        self._leaving = True

    def _known(self, job: Any) -> None:
        """How many jobs the process keeps."""
        job.emit(len(job._child._jobs))

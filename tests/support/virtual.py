"""Conversations in virtual time: minutes of them take milliseconds, and the same ones take the same course each time.

The event loop has its own clock, which jumps to the next timer when nobody has anything to do. The workers' threads are
real, but only one at a time runs, the loop's or a worker's: a worker waits at its turnstile until the loop lets it
through, and a model that `takes` some milliseconds waits there until the clock is so far. With an `eager` clock workers
come before what the loop has still to do, otherwise after it.

The models called `virtual` do what the `Script` of their service says.
"""

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import selectors
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar
from unittest import mock

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from speech_to_speech.config.registry import register_model
from speech_to_speech.config.settings import Settings, load_settings
from speech_to_speech.conversation import events
from speech_to_speech.conversation.client import ClientGone, Playback
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.session import Session
from speech_to_speech.errors import SpeechToSpeechError, first_of
from speech_to_speech.frames import (
    AudioChunk,
    ChatRequest,
    SpeakRequest,
    SpeechRequest,
    Transcript,
    WordStart,
    pcm_bytes,
)
from speech_to_speech.service.models import Models, playback, session_options
from speech_to_speech.vad.base import WINDOW_BYTES, WINDOW_MS, VadRequest, VadResult
from speech_to_speech.workers.model import Job, WorkerKind
from speech_to_speech.workers.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")

DONE = "DONE"
BEGIN_S = 1000.0
REAL_LIMIT_S = 20.0  # of real time, that a thread may take for one step
FLAGS = [
    *(f"--{stage}=virtual" for stage in ("vad", "stt", "llm", "tts")),
    *("--turn=none", "--echo_guard=0", "--soft_end_ms=96", "--min_silence_ms=250", "--min_speech_ms=500"),
    *("--barge_in_pause_ms=96", "--barge_in_ms=500", "--lead_ms=120", "--client_buffer_ms=100"),
]


class NobodyWakes(Exception):
    """All wait for each other, or for something that nobody will do."""


class Turnstile:
    """A worker's thread as the clock sees it: it runs only when it is let through."""

    def __init__(self, clock: "Loop", worker: Worker[Any, Any]) -> None:
        self.worker = worker
        self.until: float | None = None
        """When the model will be ready with its step; None while it works on none."""
        self.ended = False
        self._begun = False
        self._clock = clock
        self._main, self._take = worker._main, worker._take
        self._pass, self._back = threading.Lock(), threading.Lock()  # held by the one who is to wait
        self._pass.acquire()
        self._back.acquire()
        worker._thread = threading.Thread(target=self._run, daemon=True)
        worker._take = self._wait_and_take  # type: ignore[method-assign]

    @property
    def has_work(self) -> bool:
        if not self._begun:
            return self.worker._thread.is_alive()
        if self.until is not None:
            return self.until <= self._clock.now
        return not self.ended and (bool(self.worker._line) or self.worker._stopping)

    def let_through(self) -> None:
        """Let the thread work until it waits again."""
        self._begun = True
        self._pass.release()
        assert self._back.acquire(timeout=REAL_LIMIT_S), f"the {self.worker.stage} worker does not come back"

    # The worker's thread.

    def wait(self) -> None:
        self._back.release()
        self._pass.acquire()

    def takes(self, ms: float) -> None:
        self.until = self._clock.now + ms / 1000
        self.wait()
        self.until = None

    def _run(self) -> None:
        _turnstiles.mine = self
        self._pass.acquire()
        try:
            self._main()
        finally:
            self.ended = True
            self._back.release()

    def _wait_and_take(self) -> Any:
        self.wait()
        return self._take()


_turnstiles = threading.local()


class Loop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. `now` is in seconds, as `time.monotonic` tells them."""

    def __init__(self, *, eager: bool = False) -> None:
        self.now = BEGIN_S
        self.eager = eager
        self.turnstiles: list[Turnstile] = []
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now

    @property
    def ms(self) -> float:
        """Since the beginning."""
        return round((self.now - BEGIN_S) * 1000, 3)

    def let_workers_through(self) -> bool:
        """Let all work that can; whether any could."""
        worked = False
        while ready := [turnstile for turnstile in self.turnstiles if turnstile.has_work]:
            for turnstile in ready:
                turnstile.let_through()
            worked = True
        return worked

    def stop_workers(self) -> None:
        """End the workers' threads; a model that hangs goes on at once."""
        for turnstile in self.turnstiles:
            turnstile.worker._stopping = True
            if turnstile.worker._thread.is_alive():
                while not turnstile.ended:
                    turnstile.let_through()
                turnstile.worker._thread.join()


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: Loop) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        clock = self._clock
        if clock.eager or timeout != 0:
            clock.let_workers_through()
        if ready := super().select(0):
            return ready
        if timeout == 0:
            return []
        waits = [turnstile.until for turnstile in clock.turnstiles if turnstile.until is not None]
        if timeout is not None:
            waits.append(clock.now + timeout)
        if not waits:
            raise NobodyWakes(f"at {clock.ms:g} ms")
        clock.now = min(waits)
        return []


def run(main: Callable[..., Awaitable[T]], *arguments: Any, eager: bool = False, **named: Any) -> T:
    """The result of `main`, run in virtual time, which `time.monotonic` tells meanwhile."""
    loop = Loop(eager=eager)
    with (
        mock.patch.object(time, "monotonic", loop.time),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        return runner.run(_awaited(main(*arguments, **named)))


async def _awaited(result: Awaitable[T]) -> T:
    return await result


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a coroutine function a test that runs in virtual time."""

    @functools.wraps(test)
    def in_time(*arguments: P.args, **named: P.kwargs) -> None:
        run(functools.partial(test, *arguments, **named))

    assert inspect.iscoroutinefunction(test)
    return in_time


def clock() -> Loop:
    """The loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop


# What the models do.

Behaviour = Callable[[Job[Any, Any]], None]


class VirtualError(Exception):
    """What a virtual model raises; no type that the service knows."""


def takes(ms: float) -> None:
    """In a model: work on a step so long."""
    turnstile: Turnstile = _turnstiles.mine
    turnstile.takes(ms)


def after(ms: float, behaviour: Behaviour) -> Behaviour:
    def run(job: Job[Any, Any]) -> None:
        takes(ms)
        if not job.cancelled:
            behaviour(job)

    return run


def raising(job: Job[Any, Any]) -> None:
    raise VirtualError("as scripted")


def nothing(job: Job[Any, Any]) -> None:
    """Give no output."""


def failing_once(behaviour: Behaviour, fault: Behaviour = raising) -> Behaviour:
    """The fault at the first call, then `behaviour`."""
    calls = iter([fault])
    return lambda job: next(calls, behaviour)(job)


def judge_by_loudness(job: Job[VadRequest, VadResult]) -> None:
    """Sound is speech, digital silence is none."""
    job.emit(loudness(job.request))


def loudness(request: VadRequest) -> VadResult:
    return VadResult([1.0 if window.strip(b"\0") else 0.0 for window in request.windows], list(request.states))


def transcribe(text: str, ms: float = 0.0) -> Behaviour:
    return after(ms, lambda job: job.emit(Transcript(text, job.request.language)))


def transcribe_levels(words: dict[int, str], ms: float = 0.0) -> Behaviour:
    """The words that each level of the samples stands for, in the order in which they are heard."""

    def run(job: Job[SpeechRequest, Transcript]) -> None:
        heard = [words[level] for level in levels_of(job.request.pcm)]
        job.emit(Transcript(" ".join(word for word in heard if word), job.request.language))

    return after(ms, run)


def answer(*deltas: str, first_ms: float = 0.0, delta_ms: float = 0.0) -> Behaviour:
    def run(job: Job[ChatRequest, str]) -> None:
        for at, delta in enumerate(deltas):
            takes(delta_ms if at else first_ms)
            if job.cancelled:
                return
            job.emit(delta)

    return run


WORD_MS = 100.0


def speak(first_ms: float = 0.0, word_ms: float = 0.0, *, timed: bool = True) -> Behaviour:
    """Each word sounds for `WORD_MS`, and comes in a chunk of its own, which takes `word_ms` to make."""

    def run(job: Job[SpeakRequest, AudioChunk]) -> None:
        at = 0
        for number, word in enumerate(job.request.text.split()):
            takes(word_ms if number else first_ms)
            if job.cancelled:
                return
            at = job.request.text.index(word, at)
            words = (WordStart(at, number * WORD_MS),) if timed else ()
            job.emit(AudioChunk(sound(WORD_MS), 16_000, words))
            at += len(word)

    return run


@functools.cache
def sound(ms: float, level: int = 5000) -> bytes:
    """Samples that all have this level."""
    return level.to_bytes(2, "little", signed=True) * (pcm_bytes(ms) // 2)


def levels_of(pcm: bytes) -> list[int]:
    """The levels that `pcm` consists of, silence left out, each stretch of them once."""
    levels = [int.from_bytes(pcm[at : at + 2], "little", signed=True) for at in range(0, len(pcm), 64)]
    return [level for at, level in enumerate(levels) if level and level not in levels[:at]]


@dataclass
class Asked:
    """A request that a model took in hand."""

    ms: float
    request: Any
    job: Job[Any, Any]
    ended: bool = False

    @property
    def over(self) -> bool:
        """The model is done with it, or knows that it is not wanted any more."""
        return self.ended or self.job.cancelled


class Script:
    """What the models of a service do, and what they were asked."""

    def __init__(self) -> None:
        self.vad: Behaviour = judge_by_loudness
        self.turn: Behaviour = lambda job: job.emit(1.0)
        self.stt = transcribe("one two")
        self.llm = answer("Hello there, my friend. ", "How are you?")
        self.tts = speak()
        self.asked: dict[str, list[Asked]] = {stage: [] for stage in ("vad", "turn", "stt", "llm", "tts")}

    def run(self, stage: str, job: Job[Any, Any]) -> None:
        turnstile: Turnstile = _turnstiles.mine
        asked = Asked(turnstile._clock.ms, job.request, job)
        if stage != "vad":
            self.asked[stage].append(asked)
        try:
            behaviour: Behaviour = getattr(self, stage)
            behaviour(job)
        finally:
            asked.ended = True

    @property
    def questions(self) -> list[list[str]]:
        """What the language model was shown each time, without the system prompt."""
        return [[message.content for message in asked.request.messages[1:]] for asked in self.asked["llm"]]

    def asked_at(self, stage: str) -> list[float]:
        return [asked.ms for asked in self.asked[stage]]


class Virtual:
    """A model that does what the script of its service says."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1
    needs_text: ClassVar[bool] = False
    stage: ClassVar[str]

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        self.script = Script()

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[Any, Any]]) -> None:
        for job in jobs:
            self.script.run(self.stage, job)


@register_model("vad", "virtual")
class VirtualVad(Virtual):
    stage = "vad"


@register_model("turn", "virtual")
class VirtualTurn(Virtual):
    stage = "turn"


@register_model("stt", "virtual")
class VirtualStt(Virtual):
    stage = "stt"


@register_model("llm", "virtual")
class VirtualLlm(Virtual):
    stage = "llm"


@register_model("tts", "virtual")
class VirtualTts(Virtual):
    stage = "tts"


# Who takes part.


class Client:
    """Keeps what it is sent, and when. It takes `send_ms` for each message; None: it does not even let others run."""

    def __init__(self, clock: Loop, send_ms: float | None = None) -> None:
        self.sending_since: float | None = None
        self.log: list[tuple[float, Any]] = []
        self.audio_of: list[str] = []
        """The turn of each block of audio."""
        self.gone = False
        self._clock = clock
        self._send_ms = send_ms
        self._more = anyio.Event()

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        self.audio_of.append(turn_id)
        await self._take(pcm)

    async def send_event(self, event: events.Event) -> None:
        if isinstance(event, events.ReplySent):
            return
        await self._take(event)
        if isinstance(event, events.TurnEnded):
            await self._take(DONE)

    async def close(self, error: SpeechToSpeechError | None) -> None:
        self.gone = True

    async def _take(self, item: Any) -> None:
        if self.gone:
            raise ClientGone
        self.log.append((self._clock.ms, item))
        self._more.set()
        if self._send_ms is not None:
            await anyio.sleep(self._send_ms / 1000)

    async def more(self) -> None:
        """Wait until something is sent."""
        self._more = anyio.Event()
        await self._more.wait()

    def of(self, kind: type[T]) -> list[T]:
        return [item for _, item in self.log if isinstance(item, kind)]

    def at(self, kind: type | str) -> list[float]:
        """When it was sent items of this kind, or DONE."""
        return [ms for ms, item in self.log if item == kind or (isinstance(kind, type) and isinstance(item, kind))]

    @property
    def done(self) -> int:
        return len(self.at(DONE))

    @property
    def told(self) -> list[str]:
        """The names of what came, blocks of audio in a row as one."""
        names = [item if item == DONE else type(item).__name__ for _, item in self.log]
        return [name for at, name in enumerate(names) if name != "bytes" or names[at - 1] != "bytes"]

    @property
    def outcomes(self) -> list[str]:
        return [event.record.outcome for event in self.of(events.TurnEnded)]

    @property
    def transcripts(self) -> list[str]:
        return [event.text for event in self.of(events.SpeechTranscribed) if event.final]

    @property
    def audio_ms(self) -> float:
        return sum(len(block) for block in self.of(bytes)) / 32


class Talk:
    """A session, its client, and the client's microphone, which sends a window as soon as it is full."""

    def __init__(self, service: "Service", session: Session, client: Client) -> None:
        self.service = service
        self.session = session
        self.client = client
        self.over = anyio.Event()
        self._clock = clock()

    @property
    def ms(self) -> float:
        return self._clock.ms

    async def run(self) -> None:
        try:
            await self.session.run()
        finally:
            self.over.set()

    async def say(self, ms: float = 640, level: int = 5000) -> None:
        for _ in range(round(ms / WINDOW_MS)):
            await anyio.sleep(WINDOW_MS / 1000)
            await self.session.hear(sound(WINDOW_MS, level))

    async def pause(self, ms: float) -> None:
        """Send silence."""
        for _ in range(round(ms / WINDOW_MS)):
            await anyio.sleep(WINDOW_MS / 1000)
            await self.session.hear(bytes(WINDOW_BYTES))

    async def until(self, condition: Callable[[Client], Any], limit_s: float = 60.0) -> None:
        """Send nothing until what was sent meets the condition."""
        with anyio.move_on_after(limit_s):
            while not condition(self.client):
                await self.client.more()
            return
        raise AssertionError(f"not within {limit_s:g} s; so far: {self.client.told}")

    async def until_done(self, turns: int = 1) -> None:
        await self.until(lambda client: client.done >= turns)

    async def until_heard(self, ms: float) -> None:
        """Wait until the first reply was begun so long ago."""
        await self.until(lambda client: client.of(bytes))
        await anyio.sleep((self.client.at(bytes)[0] + ms - self.ms) / 1000)

    async def take_turn(self, level: int = 5000) -> None:
        done = self.client.done
        await self.say(level=level)
        await self.pause(320)
        await self.until_done(done + 1)

    async def report(self, turn_id: str, played_ms: float) -> None:
        self.session.report(turn_id, played_ms)


class Metered(Protocol):
    """A counter of the metrics, as far as it is read here."""

    _value: Any


@dataclass
class Service:
    """A pipeline of virtual models, and those who talk with it."""

    settings: Settings
    metrics: Metrics
    models: Models
    script: Script
    tasks: TaskGroup
    talks: list[Talk] = field(default_factory=list)

    def call(
        self, *, full_duplex: bool = True, paced: bool = True, send_ms: float | None = None, rate_hz: int = 16_000
    ) -> Talk:
        """Somebody calls."""
        client = Client(clock(), send_ms)
        playback = self.playback(full_duplex=full_duplex, paced=paced, rate_hz=rate_hz)
        name = f"s{len(self.talks)}"
        session = Session(name, self.models.pipeline, self.metrics, client, playback, session_options(self.settings))
        talk = Talk(self, session, client)
        self.talks.append(talk)
        self.tasks.start_soon(talk.run, name=name)
        return talk

    def playback(self, *, full_duplex: bool, paced: bool, rate_hz: int) -> Playback:
        return dataclasses.replace(
            playback(self.settings),
            rate_hz=rate_hz,
            block_bytes=pcm_bytes(WINDOW_MS, rate_hz),
            paced=paced,
            full_duplex=full_duplex,
            holds=full_duplex,
            reports="never" if not full_duplex else "on a cut" if paced else "always",
        )

    def speculations(self, result: str) -> float:
        return self._count(self.metrics.speculations.labels(result))

    def count(self, metric: str) -> float:
        return self._count(getattr(self.metrics, metric))

    @staticmethod
    def _count(counter: Metered) -> float:
        return float(counter._value.get())


@functools.cache
def _settings(flags: tuple[str, ...]) -> Settings:
    return load_settings([*FLAGS, *flags], {})


@contextlib.asynccontextmanager
async def service(*flags: str) -> AsyncIterator[Service]:
    settings = _settings(flags)
    metrics = Metrics()
    models = Models(settings, metrics)
    script = Script()
    loop = clock()
    for worker in models.workers.values():
        loop.turnstiles.append(Turnstile(loop, worker))
        assert isinstance(worker.model, Virtual)
        worker.model.script = script
    try:
        await models.load()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(models.pipeline.vad.run, name="vad")
            here = Service(settings, metrics, models, script, tasks)
            yield here
            for talk in here.talks:
                talk.session.end()
                await talk.over.wait()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    finally:
        loop.stop_workers()
        with anyio.CancelScope(shield=True):
            await models.close()
        loop.turnstiles.clear()


@contextlib.asynccontextmanager
async def conversation(
    *flags: str,
    full_duplex: bool = True,
    paced: bool = True,
    send_ms: float | None = None,
    rate_hz: int = 16_000,
) -> AsyncIterator[Talk]:
    """One who talks with a service of its own; it begins at 0 ms."""
    async with service(*flags) as here:
        talk = here.call(full_duplex=full_duplex, paced=paced, send_ms=send_ms, rate_hz=rate_hz)
        await anyio.lowlevel.checkpoint()  # the session begins
        yield talk

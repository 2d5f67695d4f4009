"""Voice activity detection: the real model, and the stage that shares it between sessions."""

import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import anyio
import numpy as np
import pytest
from service import eventually
from speech import spoken

from speech_to_speech.audio.samples import Resampler, to_pcm
from speech_to_speech.conversation.endpointing import Endpointer, EndpointOptions
from speech_to_speech.conversation.stages.vad import BACKLOG_BYTES, VadStage, VadStream
from speech_to_speech.frames import (
    SAMPLE_RATE_HZ,
    SpeakRequest,
    VadEvent,
    VadFailed,
    VoiceDiscarded,
    VoiceStarted,
    VoiceStopped,
    pcm_bytes,
)
from speech_to_speech.tts.espeak import ESpeak
from speech_to_speech.vad.base import WINDOW_BYTES, WINDOW_MS, VadRequest, VadResult
from speech_to_speech.vad.silero import SileroVad
from speech_to_speech.workers.model import Job, ListJob, Model, WorkerKind
from speech_to_speech.workers.worker import Worker

OPTIONS = EndpointOptions()
SPEECH, SILENCE = b"\1" * WINDOW_BYTES, bytes(WINDOW_BYTES)  # for the made-up detector


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def silero() -> SileroVad:
    vad = SileroVad(SileroVad.Options())
    vad.load()
    vad.warm_up()
    return vad


def say(text: str, **options: str | int) -> bytes:
    """eSpeak's speech, at the wire's rate."""
    espeak = ESpeak(ESpeak.Options(**options))  # type: ignore[arg-type]
    espeak.load()
    job = ListJob[SpeakRequest, object](SpeakRequest(text, "en"))
    espeak.run([job])  # type: ignore[list-item]
    resampler = Resampler()
    return b"".join(resampler.push(chunk) for chunk in job.outputs) + resampler.finish()  # type: ignore[arg-type]


def silence(ms: float) -> bytes:
    return bytes(pcm_bytes(ms))


def noise(ms: float, level: float, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    return to_pcm(rng.normal(0.0, level, pcm_bytes(ms) // 2).astype(np.float32))


def sine(ms: float, hz: float, level: float = 0.3) -> bytes:
    time_s = np.arange(pcm_bytes(ms) // 2) / SAMPLE_RATE_HZ
    return to_pcm((level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32))


def windows_of(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + WINDOW_BYTES] for at in range(0, len(pcm) - WINDOW_BYTES + 1, WINDOW_BYTES)]


def judge(vad: SileroVad, windows: Sequence[bytes], states: Sequence[object]) -> VadResult:
    job = ListJob[VadRequest, VadResult](VadRequest(windows, states))
    vad.run([job])
    return job.outputs[0]


def probabilities_of(vad: SileroVad, pcm: bytes) -> list[float]:
    """One stream alone, one window at a time."""
    probabilities, states = [], [None]
    for window in windows_of(pcm):
        result = judge(vad, [window], states)
        probabilities.append(result.probabilities[0])
        states = list(result.states)
    return probabilities


def events_of(vad: SileroVad, pcm: bytes) -> list[VadEvent]:
    """What the stage should say of a stream: the model and the state machine, one window at a time."""
    endpointer = Endpointer(OPTIONS)
    heard = zip(windows_of(pcm), probabilities_of(vad, pcm), strict=True)
    return [event for window, probability in heard for event in endpointer.push(window, probability)]


@pytest.fixture(scope="module")
def question() -> bytes:
    pcm = silence(600) + say("Where did I leave my keys?") + silence(700) + say("Not here.") + silence(600)
    return pcm + bytes(-len(pcm) % WINDOW_BYTES)


class Heard:
    """What a stream says, to wait for."""

    def __init__(self) -> None:
        self.events: list[VadEvent] = []
        self._came = anyio.Event()

    def __call__(self, event: VadEvent) -> None:
        self.events.append(event)
        self._came.set()

    async def until(self, count: int) -> list[VadEvent]:
        with anyio.fail_after(10):
            while len(self.events) < count:
                self._came = anyio.Event()
                await self._came.wait()
        return self.events


class ByHand:
    """A detector that takes windows that are not silent for speech, keeps count, and can be made to wait or fail."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.failures: list[Exception] = []
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[VadRequest, VadResult]]) -> None:
        for job in jobs:
            self.batches.append(list(job.request.windows))
            self.entered.set()
            self.go.wait(10)
            if self.failures:
                raise self.failures.pop(0)
            states = [(state or 0) + 1 for state in job.request.states]
            job.emit(VadResult([float(any(window)) for window in job.request.windows], states))

    async def in_a_run(self) -> None:
        await anyio.to_thread.run_sync(self.entered.wait, 10)
        self.entered.clear()


@contextlib.asynccontextmanager
async def listening(model: Model[VadRequest, VadResult]) -> AsyncIterator[VadStage]:
    """A stage at work."""
    worker = Worker("vad", model, timeout_s=10.0)
    await worker.start()
    stage = VadStage(worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.run)
        try:
            yield stage
        finally:
            tasks.cancel_scope.cancel()
    with anyio.CancelScope(shield=True):
        await worker.close()


def assert_same(heard: VadResult, row: int, alone: VadResult) -> None:
    assert heard.probabilities[row] == alone.probabilities[0]
    for mine, theirs in zip(heard.states[row], alone.states[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)


# The model.


def test_a_batch_gives_exactly_what_each_stream_gives_alone(silero: SileroVad, question: bytes) -> None:
    streams = [question, silence(2000), *(noise(2000, 0.05, seed) for seed in range(8)), sine(2000, 440)]
    streams += [question[1000 * number : 64_000 + 1000 * number] for number in range(8)]
    count = 40
    alone = [probabilities_of(silero, pcm)[:count] for pcm in streams]
    cut = [windows_of(pcm) for pcm in streams]
    states: Sequence[object] = [None] * len(streams)
    for number in range(count):
        result = judge(silero, [windows[number] for windows in cut], states)
        assert list(result.probabilities) == [probabilities[number] for probabilities in alone]
        states = result.states


def test_streams_that_join_and_leave_a_batch_change_nothing_for_others(silero: SileroVad, question: bytes) -> None:
    cut = [windows_of(question), *(windows_of(noise(2000, 0.1, seed)) for seed in range(4))]
    states: list[object] = [None] * len(cut)
    places = [0] * len(cut)
    heard: list[list[float]] = [[] for _ in cut]
    rng = np.random.default_rng(1)
    for _ in range(60):
        members = sorted({int(member) for member in rng.integers(0, len(cut), 3)})[:: rng.choice([1, -1])]
        result = judge(silero, [cut[m][places[m]] for m in members], [states[m] for m in members])
        for row, member in enumerate(members):
            heard[member].append(result.probabilities[row])
            states[member] = result.states[row]
            places[member] += 1
    for windows, probabilities in zip(cut, heard, strict=True):
        assert probabilities == probabilities_of(silero, b"".join(windows))[: len(probabilities)]


def test_a_state_is_that_of_its_own_stream(silero: SileroVad, question: bytes) -> None:
    first = judge(silero, [windows_of(question)[20], SILENCE], [None, None])
    alone = judge(silero, [SILENCE], [None])
    assert_same(first, 1, alone)
    swapped = judge(silero, [SILENCE, SILENCE], list(first.states)[::-1])
    straight = judge(silero, [SILENCE, SILENCE], first.states)
    assert list(swapped.probabilities) == list(straight.probabilities)[::-1]
    assert swapped.probabilities[0] != swapped.probabilities[1]


def test_a_state_is_not_changed_by_its_use(silero: SileroVad, question: bytes) -> None:
    window, following = windows_of(question)[20:22]
    state = judge(silero, [window], [None]).states
    assert judge(silero, [following], state).probabilities == judge(silero, [following], state).probabilities


@pytest.mark.parametrize(
    "pcm",
    [
        silence(3000),
        noise(3000, 0.003),
        noise(3000, 0.03),
        noise(3000, 0.3),
        sine(3000, 200),
        sine(3000, 440),
        sine(3000, 1000),
        sine(3000, 3000, level=0.9),
    ],
    ids=["silence", "faint noise", "noise", "loud noise", "200 Hz", "440 Hz", "1 kHz", "loud 3 kHz"],
)
def test_what_is_not_speech_does_not_trigger(silero: SileroVad, pcm: bytes) -> None:
    assert max(probabilities_of(silero, pcm)) < OPTIONS.thresh


def test_speech_triggers(silero: SileroVad, question: bytes) -> None:
    kinds = [type(event) for event in events_of(silero, question)]
    assert kinds == [VoiceStarted, VoiceStopped, VoiceStarted, VoiceStopped]


def test_quiet_speech_triggers(silero: SileroVad) -> None:
    samples = np.frombuffer(say("Where did I leave my keys?"), dtype="<i2") * 0.1
    pcm = silence(500) + samples.astype("<i2").tobytes() + silence(500)
    assert [type(event) for event in events_of(silero, pcm)] == [VoiceStarted, VoiceStopped]


@pytest.mark.parametrize("word", ["yes", "no"])
@pytest.mark.parametrize("voice", ["en-us", "en-gb-scotland", "en-us+f2", "en-us+f4", "en-us+m3", "en-us+klatt"])
@pytest.mark.parametrize("rate", [150, 220])
def test_one_short_word_is_an_utterance(silero: SileroVad, word: str, voice: str, rate: int) -> None:
    pcm = silence(500) + spoken(word, voice, rate) + silence(500)
    started, stopped = events_of(silero, pcm)
    assert isinstance(started, VoiceStarted)
    assert isinstance(stopped, VoiceStopped)
    assert stopped.pcm in pcm


# The stage.


@pytest.mark.anyio
async def test_pushes_of_any_size_give_the_events_of_the_whole(silero: SileroVad, question: bytes) -> None:
    sizes = [2, 34, 640, 1022, 1024, 1026, 2048, 5000, 33_334, len(question)]
    audios = [(noise(40 * number, 0.001, number) + question) for number in range(len(sizes))]
    expected = [events_of(silero, pcm) for pcm in audios]
    all_heard = [Heard() for _ in sizes]

    async def send(stream: VadStream, pcm: bytes, size: int) -> None:
        for start in range(0, len(pcm), size):
            stream.push(pcm[start : start + size])
            await stream.drain()

    async with listening(silero) as stage:
        async with anyio.create_task_group() as senders:
            for pcm, size, heard in zip(audios, sizes, all_heard, strict=True):
                senders.start_soon(send, stage.open(OPTIONS, heard), pcm, size)
        for heard, events in zip(all_heard, expected, strict=True):
            assert await heard.until(4) == events


@pytest.mark.anyio
async def test_audio_short_of_a_window_waits_for_the_rest() -> None:
    model, heard = ByHand(), Heard()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.push(SPEECH[:-2])
        assert not stream.has_window
        stream.push(SPEECH[:4])
        assert await heard.until(1) == [VoiceStarted(0.0)]
    assert model.batches == [[SPEECH]]


@pytest.mark.anyio
async def test_windows_that_wait_are_judged_in_one_call() -> None:
    model = ByHand()
    model.go.clear()
    all_heard = [Heard() for _ in range(20)]
    async with listening(model) as stage:
        for heard in all_heard:
            stage.open(OPTIONS, heard).push(SPEECH)
        model.go.set()
        for heard in all_heard:
            await heard.until(1)
    assert [len(batch) for batch in model.batches] == [20]


@pytest.mark.anyio
async def test_a_state_travels_with_its_stream() -> None:
    heard, late = Heard(), Heard()
    states: list[list[object]] = []

    class Watched(ByHand):
        def run(self, jobs: Sequence[Job[VadRequest, VadResult]]) -> None:
            states.extend(list(job.request.states) for job in jobs)
            super().run(jobs)

    async with listening(Watched()) as stage:
        stage.open(OPTIONS, heard).push(SILENCE * 3 + SPEECH)
        await heard.until(1)
        stage.open(OPTIONS, late).push(SPEECH)
        await late.until(1)
    assert states == [[None], [1], [2], [3], [None]]


@pytest.mark.anyio
async def test_a_stream_that_floods_waits_in_drain() -> None:
    model, heard = ByHand(), Heard()
    model.go.clear()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.push(bytes(BACKLOG_BYTES + 2 * WINDOW_BYTES))
        with anyio.move_on_after(0.02) as waiting:
            await stream.drain()
        assert waiting.cancelled_caught
        model.go.set()
        with anyio.fail_after(10):
            await stream.drain()


@pytest.mark.anyio
async def test_a_stream_within_its_backlog_does_not_wait() -> None:
    model = ByHand()
    model.go.clear()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, Heard())
        stream.push(bytes(BACKLOG_BYTES))
        with anyio.fail_after(0):
            await stream.drain()
        model.go.set()


@pytest.mark.anyio
async def test_a_stream_that_floods_does_not_starve_another() -> None:
    model, heard = ByHand(), Heard()
    model.go.clear()
    async with listening(model) as stage:
        flood = stage.open(OPTIONS, Heard())
        flood.push(SILENCE * 100)
        await model.in_a_run()
        stage.open(OPTIONS, heard).push(SPEECH)
        model.go.set()
        await heard.until(1)
        assert model.batches[:2] == [[SILENCE], [SPEECH, SILENCE]]


@pytest.mark.anyio
async def test_a_stream_that_waits_in_drain_is_let_go_when_closed() -> None:
    model = ByHand()
    model.go.clear()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, Heard())
        stream.push(bytes(2 * BACKLOG_BYTES))
        async with anyio.create_task_group() as reader:
            reader.start_soon(stream.drain)
            await model.in_a_run()
            stage.close(stream)
        model.go.set()


@pytest.mark.anyio
async def test_reset_drops_what_a_running_batch_says() -> None:
    model, heard = ByHand(), Heard()
    model.go.clear()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.push(SPEECH * 5)
        await model.in_a_run()
        stream.reset()
        model.go.set()
        stream.push(SILENCE * 2 + SPEECH)
        assert await heard.until(1) == [VoiceStarted(7 * WINDOW_MS)]
    assert model.batches == [[SPEECH], [SILENCE], [SILENCE], [SPEECH]]


@pytest.mark.anyio
async def test_reset_in_an_event_drops_what_waits() -> None:
    heard = Heard()

    def on_event(event: VadEvent) -> None:
        heard(event)
        if isinstance(event, VoiceStopped):
            stream.reset()

    async with listening(ByHand()) as stage:
        stream = stage.open(OPTIONS, on_event)
        stream.push(SPEECH * 16 + SILENCE * 8 + SPEECH * 30)
        await heard.until(2)
        stream.push(SPEECH)
        started, stopped, again = await heard.until(3)
    assert isinstance(started, VoiceStarted)
    assert isinstance(stopped, VoiceStopped)
    assert again == VoiceStarted(54 * WINDOW_MS)


@pytest.mark.anyio
async def test_positions_count_audio_that_nobody_listened_to() -> None:
    heard = Heard()
    async with listening(ByHand()) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.deafen()
        stream.push(silence(12_345))
        stream.listen()
        stream.push(SPEECH)
        assert await heard.until(1) == [VoiceStarted(12_345.0)]


@pytest.mark.anyio
async def test_a_closed_stream_says_nothing_more() -> None:
    model, closed, open_ = ByHand(), Heard(), Heard()
    model.go.clear()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, closed)
        stream.push(SPEECH * 2)
        await model.in_a_run()
        stage.close(stream)
        model.go.set()
        stream.push(SPEECH)
        stage.open(OPTIONS, open_).push(SPEECH * 2 + SILENCE * 8)
        await open_.until(2)
    assert closed.events == []


@pytest.mark.anyio
async def test_a_paused_stream_goes_on_where_it_was() -> None:
    model, paused, other = ByHand(), Heard(), Heard()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, paused)
        stream.pause()
        stream.push(SPEECH * 4 + SILENCE * 8)
        stage.open(OPTIONS, other).push(SPEECH * 4 + SILENCE * 8)
        await other.until(2)
        assert paused.events == []
        stream.resume()
        assert await paused.until(2) == other.events
    assert isinstance(other.events[1], VoiceDiscarded)


@pytest.mark.anyio
async def test_resume_in_an_event_judges_every_window_once_and_in_order() -> None:
    heard = Heard()

    def on_event(event: VadEvent) -> None:
        heard(event)
        stream.pause()
        stream.resume()

    model = ByHand()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, on_event)
        stream.push(SPEECH * 16 + SILENCE * 8)
        await heard.until(2)
    assert [len(batch) for batch in model.batches] == [1] * 24


@pytest.mark.anyio
async def test_a_vad_that_fails_tells_every_stream_of_the_batch() -> None:
    model, all_heard = ByHand(), [Heard(), Heard()]
    model.failures.append(RuntimeError("broken"))
    async with listening(model) as stage:
        for heard in all_heard:
            stage.open(OPTIONS, heard).push(SPEECH)
        for heard in all_heard:
            (event,) = await heard.until(1)
            assert isinstance(event, VadFailed)


@pytest.mark.anyio
async def test_a_vad_that_failed_goes_on_afresh() -> None:
    model, heard = ByHand(), Heard()
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.push(SPEECH)
        await heard.until(1)
        model.failures.append(RuntimeError("broken"))
        stream.push(SPEECH)
        await heard.until(2)
        stream.push(SPEECH)
        started, failed, again = await heard.until(3)
    assert isinstance(failed, VadFailed)
    assert (started, again) == (VoiceStarted(0.0), VoiceStarted(2 * WINDOW_MS))


@pytest.mark.anyio
async def test_an_outage_is_told_once() -> None:
    model, heard = ByHand(), Heard()
    model.failures += [RuntimeError("broken"), RuntimeError("still broken")]
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.push(SPEECH)
        await heard.until(1)
        stream.push(SPEECH)
        await eventually(lambda: not model.failures and not stream._queued, "the second failure")
        stream.push(SPEECH)
        failed, started = await heard.until(2)
    assert isinstance(failed, VadFailed)
    assert isinstance(started, VoiceStarted)


class OneTooFew(ByHand):
    """Gives no answer to the last window."""

    def run(self, jobs: Sequence[Job[VadRequest, VadResult]]) -> None:
        for job in jobs:
            job.emit(VadResult([1.0] * (len(job.request.windows) - 1), [None] * (len(job.request.windows) - 1)))


@pytest.mark.anyio
async def test_an_answer_too_few_is_a_failure_of_that_batch() -> None:
    heard = Heard()
    async with listening(OneTooFew()) as stage:
        stage.open(OPTIONS, heard).push(SPEECH)
        (event,) = await heard.until(1)
    assert isinstance(event, VadFailed)


@pytest.mark.anyio
async def test_a_failure_does_not_hold_up_what_came_after_a_reset() -> None:
    model, heard = ByHand(), Heard()
    model.go.clear()
    model.failures.append(RuntimeError("broken"))
    async with listening(model) as stage:
        stream = stage.open(OPTIONS, heard)
        stream.push(SPEECH)
        await model.in_a_run()
        stream.reset()
        stream.push(SPEECH)
        model.go.set()
        assert await heard.until(1) == [VoiceStarted(WINDOW_MS)]

"""The windows of all sessions through one VAD, as one batch."""

import logging
from collections import deque
from collections.abc import Callable

import anyio

from speech_to_speech.conversation.endpointing import Endpointer, EndpointOptions
from speech_to_speech.errors import SpeechToSpeechError, StageFailed
from speech_to_speech.frames import VadEvent, VadFailed, pcm_ms
from speech_to_speech.vad.base import WINDOW_BYTES, VadRequest, VadResult
from speech_to_speech.workers.worker import Worker

logger = logging.getLogger(__name__)

BATCH_LIMIT = 256
PAUSE_PER_SESSION_S = 0.00005
LONGEST_PAUSE_S = 0.008
RETRY_S = 0.5

Clean = Callable[[bytes, float], bytes]
BACKLOG_BYTES = 4 * 32_000  # when so much of a session waits to be judged, its reader waits too


def _nobody(event: VadEvent) -> None:
    """Takes the events of a closed stream."""


class VadStream:
    """One session's audio on its way through the VAD.

    `on_event` is called on the event loop and must not block. So is `clean`, if given: with each window before it is
    judged, and the position of its end in milliseconds; what it returns is taken for it.
    """

    def __init__(
        self,
        stage: "VadStage",
        options: EndpointOptions,
        on_event: Callable[[VadEvent], None],
        clean: Clean | None,
    ) -> None:
        self.listening = True
        """False: what comes is counted, and dropped."""
        self._detects = True
        self._stage = stage
        self._on_event = on_event
        self._clean = clean
        self._endpointer = Endpointer(options)
        self._buffer = bytearray()
        self._received_bytes = 0
        self._queued = False
        self._paused = False
        self._closed = False
        self._failing = False
        self.generation = 0
        self._drained = anyio.Event()
        self._judged: anyio.Event | None = None  # `commit` waits for this event
        self._state: object = None

    def configure(self, options: EndpointOptions, *, detects: bool) -> None:
        """Go on by other options. Unless it `detects` speech all that comes is one utterance, up to `commit`."""
        self._detects = detects
        self._endpointer.configure(options)
        self._enqueue()

    @property
    def received_ms(self) -> float:
        """How much audio came in so far, listened to or not."""
        return pcm_ms(self._received_bytes)

    def push(self, pcm: bytes) -> None:
        """Take in audio of any length (an even number of bytes); complete windows get in line for the next batch."""
        self._received_bytes += len(pcm)
        if self.listening:
            self._buffer += pcm
            self._enqueue()

    def deafen(self) -> None:
        """Take notice of nothing more until `listen`; what waits is dropped."""
        self.listening = False
        self.reset()

    def listen(self) -> None:
        if not self.listening:
            self.reset()
            self.listening = True

    @property
    def is_behind(self) -> bool:
        """More audio waits for the VAD than one session may have there."""
        return len(self._buffer) > BACKLOG_BYTES and not self._closed

    async def drain(self) -> None:
        """Wait while that is so."""
        while self.is_behind:
            self._drained = anyio.Event()
            await self._drained.wait()

    def reset(self) -> None:
        """Begin afresh: what waits is dropped, and what a running batch says of it."""
        self.generation += 1
        self._buffer.clear()
        self._state = None
        self._endpointer.reset(self.received_ms)
        self._drained.set()
        self._tell_judged()

    def pause(self) -> None:
        """Judge no more windows until `resume`; they wait, and in the end the reader with them."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._enqueue()

    def end_after(self, silence_ms: float) -> None:
        """End the utterance when the pause that it is in, after a `SoftEnd`, is this long."""
        self._tell(self._endpointer.end_after(silence_ms))

    def end(self) -> None:
        """Nothing more comes for now: end the utterance, if there is one, when all that came was judged."""
        if not self._has_unjudged:
            self._tell(self._endpointer.end())

    async def commit(self, *, wants_answer: bool = True) -> bool:
        """The utterance is complete when all that came was judged; false: there is none."""
        while (self._has_unjudged or self._paused) and not self._closed:
            if self._judged is None or self._judged.is_set():
                self._judged = anyio.Event()
            await self._judged.wait()
        if not self._detects and self._buffer:
            self._buffer += bytes(WINDOW_BYTES - len(self._buffer))
            self._enqueue()
        committed = self._tell(self._endpointer.commit(wants_answer=wants_answer))
        self._endpointer.reset(self.received_ms)
        return committed

    def clear(self) -> bool:
        """Drop the utterance and what waits to be judged; false: there was none."""
        speaking = self._tell(self._endpointer.clear())
        self.reset()
        return speaking

    def _tell(self, events: list[VadEvent]) -> bool:
        for event in events:
            self._on_event(event)
        return bool(events)

    def utterance(self) -> bytes:
        """The last part of the utterance so far."""
        return self._endpointer.utterance

    def close(self) -> None:
        self._closed, self._paused = True, False
        self.reset()
        self._clean = None
        self._on_event = _nobody  # the session must not stay in memory until the garbage collector comes by

    # For the stage.

    def take_window(self) -> tuple[bytes, object, int]:
        window = bytes(self._buffer[:WINDOW_BYTES])
        del self._buffer[:WINDOW_BYTES]
        if len(self._buffer) <= BACKLOG_BYTES:
            self._drained.set()
        if self._clean is not None:
            window = self._clean(window, pcm_ms(self._received_bytes - len(self._buffer)))
        return window, self._state, self.generation

    @property
    def has_window(self) -> bool:
        return len(self._buffer) >= WINDOW_BYTES and not self._closed and not self._paused

    @property
    def _has_unjudged(self) -> bool:
        return self._queued or len(self._buffer) >= WINDOW_BYTES

    def advance(self, generation: int, window: bytes, probability: float, state: object) -> None:
        self._queued = self._failing = False
        if generation == self.generation and not self._closed:
            self._state = state
            self._tell(self._endpointer.push(window, probability))
        self._enqueue()

    def fail(self, generation: int, error: Exception) -> None:
        self._queued = False
        if generation == self.generation and not self._closed:
            self.reset()
            if not self._failing:  # an outage is told once
                self._failing = True
                self._on_event(VadFailed(error))
        self._enqueue()  # audio may have come after the reset

    def dequeue(self) -> None:
        self._queued = False
        self._tell_judged()

    def _enqueue(self) -> None:
        if not self._detects:
            self._take_all()
        if not self._queued and self.has_window:
            self._queued = True
            self._stage.enqueue(self)
        self._tell_judged()

    def _take_all(self) -> None:
        """All that has come belongs to the utterance, unless earlier windows are still being judged."""
        while self.has_window and not self._queued:
            window, *_ = self.take_window()
            self._failing = False
            self._tell(self._endpointer.push(window, 1.0))

    def _tell_judged(self) -> None:
        if self._judged is not None and not self._has_unjudged and not self._paused:
            self._judged.set()


class VadStage:
    """Gathers one window of each session that has one, has them judged in one call, and gives each its answer.

    Between two batches it pauses, the longer the more sessions there are (up to `LONGEST_PAUSE_S`), so that many
    sessions share a call and one alone does not wait.
    """

    def __init__(self, worker: Worker[VadRequest, VadResult]) -> None:
        self.worker = worker
        self._sessions = 0
        self._line: deque[VadStream] = deque()
        self._arrived = anyio.Event()

    def open(
        self,
        options: EndpointOptions,
        on_event: Callable[[VadEvent], None],
        clean: Clean | None = None,
    ) -> VadStream:
        self._sessions += 1
        return VadStream(self, options, on_event, clean)

    def close(self, stream: VadStream) -> None:
        self._sessions -= 1
        stream.close()

    def enqueue(self, stream: VadStream) -> None:
        self._line.append(stream)
        self._arrived.set()

    async def run(self) -> None:
        """Work off the line until cancelled."""
        while True:
            if not self._line:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            await self._judge_batch()
            await anyio.sleep(self._pause_s)

    @property
    def _pause_s(self) -> float:
        """Shorter when many wait already: then the batch is large anyway, and the stage behind."""
        waiting = min(len(self._line) / max(self._sessions, 1), 1.0)
        return min(self._sessions * PAUSE_PER_SESSION_S, LONGEST_PAUSE_S) * (1.0 - waiting)

    async def _judge_batch(self) -> None:
        batch = []
        windows = []
        states = []
        for _ in range(min(len(self._line), BATCH_LIMIT)):
            stream = self._line.popleft()
            if not stream.has_window:  # the stream was reset, paused or closed meanwhile
                stream.dequeue()
                continue
            try:
                window, state, generation = stream.take_window()
            except Exception as error:
                self._fail_alone(stream, error)
                continue
            batch.append((stream, generation))
            windows.append(window)
            states.append(state)
        if not batch:
            return
        try:
            result = await self.worker.call(VadRequest(windows, states))
            if not len(result.probabilities) == len(result.states) == len(batch):
                raise StageFailed(
                    self.worker.stage, f"gave {len(result.probabilities)} answers to {len(batch)} windows"
                )
        except SpeechToSpeechError as error:
            logger.warning("%s", error)
            for stream, generation in batch:
                stream.fail(generation, error)
            await anyio.sleep(RETRY_S)
            return
        for (stream, generation), window, probability, state in zip(
            batch, windows, result.probabilities, result.states, strict=True
        ):
            try:
                stream.advance(generation, window, probability, state)
            except Exception as error:
                self._fail_alone(stream, error)

    def _fail_alone(self, stream: VadStream, error: Exception) -> None:
        """A defect in what is done for one session must not end all others."""
        logger.exception("a session's audio failed by a defect", exc_info=error)
        try:
            stream.fail(stream.generation, error)
        except Exception:
            logger.exception("it can't be told either: it is listened to no more")
            stream.close()

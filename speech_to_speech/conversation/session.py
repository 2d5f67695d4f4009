"""One conversation: the client's way in. Everything in here ends with its connection."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.abc import TaskStatus

from speech_to_speech.audio.echo import EchoGuard
from speech_to_speech.audio.samples import Resampler
from speech_to_speech.conversation import events
from speech_to_speech.conversation.chat import Chat
from speech_to_speech.conversation.client import Client, ClientGone, Playback
from speech_to_speech.conversation.endpointing import EndpointOptions
from speech_to_speech.conversation.floor import Floor
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import SessionOptions, TurnDetection
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.playout import Playouts
from speech_to_speech.conversation.turns import Turns
from speech_to_speech.errors import (
    ClientTooSlow,
    ReplyActive,
    SessionIdle,
    SessionTooLong,
    SpeechToSpeechError,
    first_of,
)
from speech_to_speech.frames import SAMPLE_RATE_HZ, AudioChunk, VadEvent, VoiceContinued, VoiceStopped
from speech_to_speech.vad.base import WINDOW_MS

logger = logging.getLogger(__name__)

VAD_EVENTS = 8  # so many may wait while a part of a long utterance is transcribed; then the VAD waits too
STALLED_S = 1.5  # after so long without audio a client has stopped sending
MORE = 4  # so many events a window at hand, or the client, may make beyond `VAD_EVENTS`


class Session:
    """A conversation with one client: half duplex, where it listens or takes a turn, or full duplex.

    `run` holds it, to its end; meanwhile the other methods take in what comes from the client.
    """

    def __init__(
        self,
        session_id: str,
        pipeline: Pipeline,
        metrics: Metrics,
        client: Client,
        playback: Playback,
        options: SessionOptions,
    ) -> None:
        self.session_id = session_id
        self.options = options
        self.error: SpeechToSpeechError | None = None
        """Why it has ended, or is to end."""
        self.on_quiet: Callable[[], None] | None = None
        """Called when nothing has come for a while, before an utterance is ended for that."""
        self._pipeline = pipeline
        self._metrics = metrics
        self._client = client
        self._resampler = Resampler() if playback.rate_hz != SAMPLE_RATE_HZ else None
        echoes = playback.full_duplex and playback.echoes and playback.paced
        self._echo = EchoGuard() if echoes else None
        clean = self._without_echo if self._echo is not None else None
        self._stream = pipeline.vad.open(EndpointOptions(), self._on_vad_event, clean)
        stream = self._stream
        self._playouts = Playouts(client, playback, self._echo, lambda: stream.received_ms)
        self._tasks = anyio.create_task_group()
        self._turns = Turns(session_id, pipeline, metrics, client, self._stream, self._playouts, options, self._tasks)
        self._floor = Floor(self._turns, pipeline, metrics, client, self._stream, self._tasks)
        self._vad_in, self._vad_out = anyio.create_memory_object_stream[tuple[VadEvent, float]](VAD_EVENTS + MORE)
        self._unhandled = 0  # VAD events on their way to the floor
        self._handled = anyio.Event()
        self._scope = anyio.CancelScope()
        self._end_after_turn: SpeechToSpeechError | None = None
        self._started = self._last_heard_of = self._last_audio = time.monotonic()
        self.configure(options)

    @property
    def playback(self) -> Playback:
        """How the client plays; its block size may change from reply to reply."""
        return self._playouts.playback

    @playback.setter
    def playback(self, playback: Playback) -> None:
        self._playouts.playback = playback

    @property
    def chat(self) -> Chat:
        """What was said so far."""
        return self._turns.dialogue.chat

    @property
    def listening(self) -> bool:
        """What comes now is taken notice of."""
        return self._stream.listening

    def _quiet_s(self, now: float) -> float:
        """For how long it has been listening without any audio."""
        return now - (self._last_audio if self.playback.full_duplex else max(self._last_audio, self._turns.ended_at))

    @property
    def taking_turn(self) -> bool:
        """An utterance is complete and its turn not over."""
        return not self._stream.listening or self._turns.taking_turn or self._floor.undecided

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Converse until the connection or `end` ends it. Started, it takes what the client sends."""
        try:
            with self._scope, self._vad_in, self._vad_out:
                async with self._tasks:
                    task_status.started()
                    await self._client.send_event(events.SessionStarted(self.session_id, self.playback.rate_hz))
                    if self.options.greeting:
                        self._tasks.start_soon(self._greet, self.options.greeting)
                    await self._listen()
        except ExceptionGroup as group:
            # The error is not kept in a variable: with its traceback it would keep the session in memory.
            if not isinstance(first_of(group), ClientGone):
                raise first_of(group) from None
            logger.debug("session=%s the client left", self.session_id)
        finally:
            self.on_quiet = None  # the protocol's part must not keep the session in memory
            self._turns.close()
            self._floor.close()
            self._pipeline.vad.close(self._stream)

    async def _listen(self) -> None:
        async for event, at in self._vad_out:
            self._stream.resume()
            await self._floor.on_speech(event, at)
            self._unhandled -= 1
            self._handled.set()
            self._handled = anyio.Event()

    async def _greet(self, greeting: str) -> None:
        with contextlib.suppress(ReplyActive):  # the client was quicker
            await self.respond(answer=greeting)

    def end(self, error: SpeechToSpeechError | None = None) -> None:
        """End the session, for the reason given; its turn, if it takes one, ends with it."""
        if not self._scope.cancel_called:
            self.error = error
            self._scope.cancel()

    def end_after_turn(self, error: SpeechToSpeechError) -> None:
        """End the session as soon as it takes no turn."""
        if self.taking_turn:
            self._end_after_turn = error
        else:
            self.end(error)

    def check(self, now: float) -> None:
        """End the session if it is over one of its limits; called every now and then."""
        limits, sending_since = self.options.limits, self._client.sending_since
        if sending_since is not None and now - sending_since > limits.send_timeout_s:
            self.end(ClientTooSlow(f"nothing was read for {limits.send_timeout_s:g} s"))
        elif now - self._started > limits.session_timeout_s:
            self.end(SessionTooLong(f"sessions end after {limits.session_timeout_s:g} s"))
        elif self._end_after_turn is not None and not self.taking_turn:
            self.end(self._end_after_turn)
        elif not self.taking_turn and now - max(self._last_heard_of, self._turns.ended_at) > limits.idle_timeout_s:
            self.end(SessionIdle(f"nothing came for {limits.idle_timeout_s:g} s"))
        elif self._quiet_s(now) > STALLED_S:
            self._stalled()
        self._floor.check()

    def _stalled(self) -> None:
        """A client that stops sending after its last word has said all."""
        if self.on_quiet is not None:
            self.on_quiet()
        if self.options.turn_detection is not None:
            self._stream.end()

    # What comes from the client.

    def touch(self) -> None:
        """Something came, whatever it was: the client is there."""
        self._last_heard_of = time.monotonic()

    async def hear(self, pcm: bytes) -> None:
        """Take in audio of any length: int16 mono at the playback's rate. Waits while the VAD is behind."""
        self._last_heard_of = self._last_audio = time.monotonic()
        if self._resampler is not None:
            pcm = self._resampler.push(AudioChunk(pcm, self.playback.rate_hz))
        self._stream.push(pcm)
        if self._stream.is_behind:
            await self._stream.drain()
        elif not self._stream.listening:
            self._metrics.dropped_bytes.inc(len(pcm))

    def report(self, turn_id: str, played_ms: float) -> None:
        """So much of that turn's reply has sounded."""
        self.touch()
        self._turns.report(turn_id, played_ms)

    async def commit(self, *, wants_answer: bool = True) -> bool:
        """The utterance is complete; false: there is none. Without an answer its words only go into the chat."""
        self.touch()
        return await self._stream.commit(wants_answer=wants_answer)

    def clear(self) -> bool:
        """Drop the utterance; false: there is none."""
        self.touch()
        return self._stream.clear()

    async def respond(self, text: str = "", *, answer: str = "", interrupt: bool = False) -> str:
        """Take a turn without speech; its id. An answer to the `text`, or to what was said so far; or this `answer`.

        With `interrupt` it takes the place of a reply that is under way.

        Raises:
            ReplyActive: there is a reply already.
        """
        self.touch()
        await self._until_handled()
        while self._turns.reply is not None:
            if not interrupt:
                raise ReplyActive("a reply is under way")
            await self._floor.cancel()
            await self._until_handled()
        if not self.playback.full_duplex:
            self._stream.clear()
            self._stream.deafen()
        self._floor.make_room()
        return await self._turns.respond(text, answer)

    async def _until_handled(self) -> None:
        """What was said before is a turn by now, if it is to be one."""
        while self._unhandled:
            await self._handled.wait()

    async def cancel(self) -> bool:
        """End the reply that is under way; false: there is none. Nothing of it is sent any more."""
        self.touch()
        return await self._floor.cancel()

    def truncate(self, item_id: str, played_ms: float) -> None:
        """So much was heard of a reply that is over.

        Raises:
            ItemUnknown: the chat has no reply of that id.
        """
        self.touch()
        self.chat.truncate(item_id, played_ms)

    def configure(self, options: SessionOptions) -> None:
        """Go on by other options: at once where an utterance is concerned, else from the next reply on."""
        self.options = options
        detection = options.turn_detection or TurnDetection()
        progress = self.playback.full_duplex or options.partial_interval_ms > 0
        endpointing = dataclasses.replace(detection.endpointing, progress_ms=WINDOW_MS if progress else 0)
        if detection.speculation == "off":
            endpointing = dataclasses.replace(endpointing, soft_end_ms=0)
        self._stream.configure(endpointing, detects=options.turn_detection is not None)
        self._turns.configure(options)
        self._floor.configure(options)

    def beside(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Have a protocol's own work done as long as the session lives."""
        self._tasks.start_soon(work, *arguments)

    async def tell_error(self, error: SpeechToSpeechError) -> None:
        """Tell the client of something that it should not have sent, or that can't be done."""
        await self._turns.tell_error(error)

    # What the VAD says.

    def _on_vad_event(self, event: VadEvent) -> None:
        waiting = self._vad_in.statistics().current_buffer_used
        if isinstance(event, VoiceContinued) and (waiting or not self._floor.wants_progress):
            return
        if isinstance(event, VoiceStopped) and event.wants_answer and not self.playback.full_duplex:
            self._stream.deafen()
        self._vad_in.send_nowait((event, time.monotonic()))
        self._unhandled += 1
        if waiting + 1 >= VAD_EVENTS:
            self._stream.pause()

    def _without_echo(self, window: bytes, end_ms: float) -> bytes:
        assert self._echo is not None
        return self._echo.clean(window, end_ms).pcm

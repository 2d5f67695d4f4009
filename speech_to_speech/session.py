"""One conversation: its chat, its place in the VAD, its current turn. Everything in here ends with its connection."""

import logging
import time
from typing import Protocol

import anyio

from speech_to_speech import events
from speech_to_speech.chat import Chat
from speech_to_speech.errors import (
    BadMessage,
    ClientTooSlow,
    ReplyTooLong,
    SessionIdle,
    SessionTooLong,
    SpeechToSpeechError,
    StageError,
)
from speech_to_speech.frames import SpeechDiscarded, SpeechSplit, SpeechStarted, SpeechStopped, VadEvent, VadFailed
from speech_to_speech.metrics import Metrics
from speech_to_speech.pipeline import Pipeline, Turn
from speech_to_speech.playout import Playout
from speech_to_speech.record import TurnRecord
from speech_to_speech.wire.streaming import SHORTEST_BLOCK, StreamOptions, block_bytes, error_event

logger = logging.getLogger(__name__)

VAD_EVENTS = 8  # that may wait while a part of a long utterance is transcribed; then the VAD waits too


class Client(Protocol):
    """The way back to the person. Its methods raise `ClientGone` when the connection is."""

    sending_since: float | None
    """Since when (`time.monotonic`) a message waits to be taken by the client; None if none does."""

    async def send_audio(self, pcm: bytes) -> None: ...
    async def send_done(self) -> None: ...
    async def send_event(self, event: events.Event) -> None: ...


class ClientGone(Exception):
    """The connection ended while something was being sent."""


class Session:
    """A conversation with one client, half duplex: it listens, or it takes a turn."""

    def __init__(
        self, session_id: str, pipeline: Pipeline, metrics: Metrics, client: Client, options: StreamOptions
    ) -> None:
        self.session_id = session_id
        self.error: SpeechToSpeechError | None = None
        self._settings = pipeline.settings
        self._pipeline = pipeline
        self._metrics = metrics
        self._client = client
        self._options = options
        self._chat = Chat(self._settings.init_chat_prompt, self._settings.chat_size)
        self._stream = pipeline.vad.open(self._settings.endpointing, self._on_vad_event)
        self._vad_in, self._vad_out = anyio.create_memory_object_stream[VadEvent](VAD_EVENTS)
        self._scope = anyio.CancelScope()
        self._turns = 0
        self._turn: Turn | None = None
        self._endpoint = 0.0
        self._listening = True
        self._block = SHORTEST_BLOCK
        self._bad_messages = 0
        self._end_after_turn: SpeechToSpeechError | None = None
        self._started = self._last_message = time.monotonic()

    @property
    def taking_turn(self) -> bool:
        """An utterance is complete and its DONE not yet sent."""
        return not self._listening

    async def run(self) -> None:
        """Converse until the connection or `end` ends it."""
        try:
            with self._scope, self._vad_in, self._vad_out:
                await self._client.send_event(events.SessionStarted(self.session_id))
                async for event in self._vad_out:
                    self._stream.resume()
                    await self._on_speech(event)
        except ClientGone:
            logger.debug("session=%s the client left", self.session_id)
        finally:
            self._pipeline.vad.close(self._stream)

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
        sending_since = self._client.sending_since
        if sending_since is not None and now - sending_since > self._settings.send_timeout_s:
            self.end(ClientTooSlow(f"nothing was read for {self._settings.send_timeout_s:g} s"))
        elif now - self._started > self._settings.session_timeout_s:
            self.end(SessionTooLong(f"sessions end after {self._settings.session_timeout_s:g} s"))
        elif self._listening and now - self._last_message > self._settings.idle_timeout_s:
            self.end(SessionIdle(f"nothing came for {self._settings.idle_timeout_s:g} s"))

    # What comes in.

    async def receive(self, audio: bytes) -> None:
        """Take in one message of audio; waits while the VAD is behind."""
        self._last_message = time.monotonic()
        if not audio:
            return
        self._block = block_bytes(len(audio))
        if self._listening:
            self._stream.push(audio)
            await self._stream.drain()
        else:
            self._stream.skip(audio)
            self._metrics.dropped_bytes.inc(len(audio))

    async def receive_bad(self, error: BadMessage) -> None:
        """Tell the client of a message that is not audio; raises the error when it goes on."""
        self._last_message = time.monotonic()
        self._bad_messages += 1
        if self._bad_messages >= self._settings.bad_message_limit:
            raise error
        await self._tell_error(error)

    def _on_vad_event(self, event: VadEvent) -> None:
        if isinstance(event, SpeechStopped):
            self._endpoint = time.monotonic()
            self._listening = False
            self._stream.reset()
        self._vad_in.send_nowait(event)
        if self._vad_in.statistics().current_buffer_used >= VAD_EVENTS - 1:
            self._stream.pause()

    # What happens with it.

    async def _on_speech(self, event: VadEvent) -> None:
        turn = self._turn or self._new_turn()
        match event:
            case SpeechStarted(audio_ms):
                self._turn = turn
                await self._client.send_event(events.SpeechStarted(turn.turn_id, audio_ms))
            case SpeechDiscarded(audio_ms):
                self._turn = None
                await self._client.send_event(events.SpeechDiscarded(turn.turn_id, audio_ms))
            case SpeechSplit(pcm):
                try:
                    await self._pipeline.hear(turn, pcm, final=False)
                except StageError as error:
                    await self._tell_error(error, turn)
            case SpeechStopped():
                await self._take_turn(turn, event)
                self._turn = None
            case VadFailed(error):
                lost, self._turn = self._turn, None
                await self._tell_error(error, lost)

    def _new_turn(self) -> Turn:
        self._turns += 1
        record = TurnRecord(self.session_id, f"{self.session_id}-{self._turns}")
        return Turn(record, self._chat, self._client.send_event)

    async def _take_turn(self, turn: Turn, speech: SpeechStopped) -> None:
        """Answer an utterance: exactly one DONE, whatever happens, unless the session ends."""
        record = turn.record
        record.endpoint = self._endpoint
        record.speech_end = self._endpoint - speech.silence_ms / 1000
        record.speech_ms = speech.speech_ms
        playout = self._new_playout(record)
        try:
            await self._client.send_event(events.SpeechStopped(turn.turn_id, speech.audio_ms))
            try:
                await self._pipeline.run_turn(turn, speech.pcm, playout)
            except ClientGone:
                raise
            except Exception as error:
                await self._turn_failed(turn, error)
            await playout.wait_played()
            await self._client.send_event(events.TurnEnded(record))
        except BaseException:
            record.outcome = "cancelled"
            raise
        finally:
            self._metrics.observe_turn(record)
        self._stream.reset()
        self._listening = True
        self._last_message = time.monotonic()  # listening to a long reply was not idle
        await self._client.send_done()
        if self._end_after_turn is not None:
            self.end(self._end_after_turn)

    async def _turn_failed(self, turn: Turn, error: Exception) -> None:
        if not isinstance(error, SpeechToSpeechError):
            logger.exception("session=%s turn=%s failed by a defect", self.session_id, turn.turn_id, exc_info=error)
        turn.record.outcome = "cut" if isinstance(error, ReplyTooLong) else "failed"
        turn.record.error = error_event(error).code
        await self._tell_error(error, turn)

    async def _tell_error(self, error: Exception, turn: Turn | None = None) -> None:
        event = error_event(error, turn.turn_id if turn else None)
        logger.info("session=%s error=%s stage=%s turn=%s", self.session_id, event.code, event.stage, event.turn_id)
        self._metrics.errors.labels(event.code).inc()
        await self._client.send_event(event)

    def _new_playout(self, record: TurnRecord) -> Playout:
        return Playout(
            self._client.send_audio,
            record,
            block=self._block,
            paced=self._options.paced,
            lead_ms=self._settings.lead_ms,
            client_buffer_ms=self._settings.client_buffer_ms,
            max_reply_s=self._settings.max_reply_s,
        )

"""One conversation: its place in the VAD, its floor, its limits. Everything in here ends with its connection."""

import dataclasses
import logging
import time

import anyio
import anyio.lowlevel

from speech_to_speech.audio import mp3
from speech_to_speech.audio.echo import EchoGuard
from speech_to_speech.conversation import events
from speech_to_speech.conversation.client import Client, ClientGone
from speech_to_speech.conversation.floor import Floor
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.partials import Partials
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.playout import Playout, PlayoutOptions
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import (
    BadAudio,
    BadMessage,
    ClientTooSlow,
    SessionIdle,
    SessionTooLong,
    SpeechToSpeechError,
    first_of,
)
from speech_to_speech.frames import VadEvent, VoiceContinued, VoiceStopped
from speech_to_speech.vad.base import WINDOW_MS
from speech_to_speech.wire.ws.messages import SHORTEST_BLOCK, PlaybackReport, StreamOptions, block_bytes

logger = logging.getLogger(__name__)

VAD_EVENTS = 8  # that may wait while a part of a long utterance is transcribed; then the VAD waits too
STALLED_S = 1.5  # without audio
MORE = 4  # that the window at hand may make beyond them


class Session:
    """A conversation with one client: half duplex, where it listens or takes a turn, or full duplex."""

    def __init__(
        self, session_id: str, pipeline: Pipeline, metrics: Metrics, client: Client, options: StreamOptions
    ) -> None:
        self.session_id = session_id
        self.options = options
        self.full_duplex = options.full_duplex
        self.error: SpeechToSpeechError | None = None
        self._settings = settings = pipeline.settings
        self._pipeline = pipeline
        self._metrics = metrics
        self._client = client
        self._decoder = mp3.Mp3Decoder() if options.codec == "mp3" else None
        self._playing = PlayoutOptions(
            paced=options.paced,
            holds=options.full_duplex and options.events,
            reports=options.full_duplex and not options.paced,
            lead_ms=settings.lead_ms,
            client_buffer_ms=settings.client_buffer_ms,
            codec_ms=mp3.HELD_MS if self._decoder else 0.0,
            report_timeout_s=settings.report_timeout_s,
            max_reply_s=settings.max_reply_s,
        )
        self._echo = EchoGuard() if options.full_duplex and options.paced and settings.echo_guard else None
        partial_ms = pipeline.partial_interval_ms if options.events else 0
        wants_progress = options.full_duplex or partial_ms > 0
        self._stream = pipeline.vad.open(
            dataclasses.replace(settings.endpointing, progress_ms=WINDOW_MS if wants_progress else 0),
            self._on_vad_event,
            self._without_echo if self._echo else None,
        )
        self._vad_in, self._vad_out = anyio.create_memory_object_stream[tuple[VadEvent, float]](VAD_EVENTS + MORE)
        self._tasks = anyio.create_task_group()
        partials = None
        if partial_ms:
            partials = Partials(pipeline.stt, settings.language, partial_ms, client.send_event, self._tasks)
        self._floor = Floor(session_id, pipeline, metrics, client, self, self._tasks, partials)
        self._scope = anyio.CancelScope()
        self._listening = True
        self._block = mp3.BLOCK_BYTES if self._decoder else SHORTEST_BLOCK
        self._decoding = False  # a message that has come
        self._bad_messages = 0
        self._end_after_turn: SpeechToSpeechError | None = None
        self._started = self._last_message = self._last_audio = time.monotonic()

    @property
    def taking_turn(self) -> bool:
        """An utterance is complete and its DONE not yet sent."""
        return not self._listening or self._floor.taking_turn

    async def run(self) -> None:
        """Converse until the connection or `end` ends it."""
        try:
            with self._scope, self._vad_in, self._vad_out:
                async with self._tasks:
                    await self._client.send_event(events.SessionStarted(self.session_id))
                    async for event, at in self._vad_out:
                        self._stream.resume()
                        await self._floor.on_speech(event, at)
        except ExceptionGroup as group:
            if not isinstance(error := first_of(group), ClientGone):
                raise error from None
            logger.debug("session=%s the client left", self.session_id)
        finally:
            self._floor.close()
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
        elif self._end_after_turn is not None and not self.taking_turn:
            self.end(self._end_after_turn)
        elif not self.taking_turn and now - self._last_message > self._settings.idle_timeout_s:
            self.end(SessionIdle(f"nothing came for {self._settings.idle_timeout_s:g} s"))
        elif now - self._last_audio > STALLED_S:
            self._check_cut_off()
            self._stream.end()  # a client that stops sending after its last word has said all
        self._floor.check()

    def _check_cut_off(self) -> None:
        """Nothing came for a while: the MP3 stream should not have stopped in mid-frame."""
        if self._decoder is None or self._decoding or not self._listening:
            return
        if (cut_off := self._decoder.stop()) is not None:
            self._tasks.start_soon(self._floor.tell_error, cut_off)  # not counted: the network may have stalled

    # What comes in.

    async def receive(self, message: bytes) -> None:
        """Take in one message of audio, coded as was agreed; waits while the VAD is behind."""
        self._last_message = time.monotonic()
        if self._decoder is not None:
            await self._decode(message, self._decoder)
        elif message:
            self._block = block_bytes(len(message))
            await self._hear(message)

    async def _decode(self, message: bytes, decoder: mp3.Mp3Decoder) -> None:
        """Decode a message in small steps: it may hold minutes, and neither they nor the work may come all at once."""
        decoder.push(message)
        self._decoding, steps = True, 0
        while (pcm := await self._pull(decoder)) is not None:
            await self._hear(pcm)
            steps += 1
            if steps > 1:
                await anyio.lowlevel.checkpoint()
        self._decoding = False

    async def _pull(self, decoder: mp3.Mp3Decoder) -> bytes | None:
        while True:
            try:
                return decoder.pull()
            except BadAudio as error:
                await self.receive_bad(error)

    async def _hear(self, audio: bytes) -> None:
        self._last_audio = time.monotonic()
        if self._listening:
            self._stream.push(audio)
            await self._stream.drain()
        else:
            self._stream.skip(audio)
            self._metrics.dropped_bytes.inc(len(audio))

    async def receive_report(self, report: PlaybackReport) -> None:
        """Take in how much of a reply has sounded."""
        self._last_message = time.monotonic()
        self._floor.report(report.turn_id, report.played_ms)

    async def receive_bad(self, error: BadMessage) -> None:
        """Tell the client of a message that it should not have sent; raises the error when it goes on."""
        self._last_message = time.monotonic()
        self._bad_messages += 1
        if self._bad_messages >= self._settings.bad_message_limit:
            raise error
        await self._floor.tell_error(error)

    def _on_vad_event(self, event: VadEvent) -> None:
        waiting = self._vad_in.statistics().current_buffer_used
        if isinstance(event, VoiceContinued) and (waiting or not self._floor.wants_progress):
            return
        if isinstance(event, VoiceStopped) and not self.full_duplex:
            self._listening = False
            self._stream.reset()
        self._vad_in.send_nowait((event, time.monotonic()))
        if waiting + 1 >= VAD_EVENTS:
            self._stream.pause()

    def _without_echo(self, window: bytes, end_ms: float) -> bytes:
        assert self._echo is not None
        return self._echo.clean(window, end_ms).pcm

    # For the floor.

    def new_playout(self, record: TurnRecord) -> Playout:
        on_sent = self._remember_sent if self._echo else None
        encoder = mp3.Mp3Encoder(self.options.bitrate_kbps) if self._decoder else None
        send = self._client.send_audio
        return Playout(send, record, self._playing, block=self._block, on_sent=on_sent, encoder=encoder)

    def _remember_sent(self, block: bytes, in_s: float) -> None:
        assert self._echo is not None
        self._echo.sent(block, self._stream.received_ms + in_s * 1000)

    def end_after(self, silence_ms: float) -> None:
        self._stream.end_after(silence_ms)

    def utterance(self) -> bytes:
        return self._stream.utterance

    def listen(self) -> None:
        """Half duplex: what came in during the turn is dropped."""
        if not self.full_duplex:
            self._stream.reset()
            self._listening = True
            self._last_audio = time.monotonic()
        self._last_message = time.monotonic()  # listening to a long reply was not idle

    def turn_done(self) -> None:
        if self._end_after_turn is not None and not self._floor.taking_turn:
            self.end(self._end_after_turn)

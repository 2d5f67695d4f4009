"""One websocket of `/ws`: its messages to the session, and the session's way back."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping

import anyio
import anyio.lowlevel
import anyio.to_thread
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from speech_to_speech.audio import mp3
from speech_to_speech.config.registry import extra
from speech_to_speech.conversation.client import ClientGone, Playback
from speech_to_speech.conversation.door import Door
from speech_to_speech.conversation.events import Error, Event, ReplyInterrupted, ReplySent, TurnEnded
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.session import Session
from speech_to_speech.errors import BadAudio, BadMessage, BadQuery, MessageTooBig, SessionRefused, SpeechToSpeechError
from speech_to_speech.wire.ws.messages import (
    DONE,
    UNTOLD,
    PlaybackReport,
    StreamOptions,
    block_bytes,
    decode_message,
    encode_event,
)
from speech_to_speech.wire.ws.refusals import close_of

CLOSE_S = 1.0  # a client has so long to take why it is sent away


def require_codec(options: StreamOptions) -> None:
    """Raises `BadQuery`: the codec asked for is not installed."""
    if options.codec == "mp3" and not mp3.available():
        raise BadQuery(f"codec: this service has no MP3; `{extra('mp3')}` on its machine adds it")


async def converse(
    websocket: WebSocket, options: StreamOptions, door: Door, *, max_message_bytes: int, bad_message_limit: int
) -> None:
    """Hold the conversation of one accepted websocket, to its end."""
    if options.codec == "mp3":
        await anyio.to_thread.run_sync(mp3.load)
    client = WebSocketClient(websocket, options)
    playback, session_options = playback_of(options, door.playback), session_options_of(options, door.options)
    try:
        async with door.session(client, playback, session_options) as session:
            await Reader(websocket, session, options, max_message_bytes, bad_message_limit).run()
    except SessionRefused as refused:
        with anyio.move_on_after(CLOSE_S), contextlib.suppress(ClientGone):
            await client.close(refused)


def playback_of(options: StreamOptions, usual: Playback) -> Playback:
    """How a client with these options plays."""
    playback = dataclasses.replace(
        usual,
        rate_hz=options.rate,
        block_bytes=block_bytes(0, options.rate),
        paced=options.paced,
        full_duplex=options.full_duplex,
        holds=options.full_duplex and options.events,
        reports="never" if not options.full_duplex else "on a cut" if options.paced else "always",
    )
    if options.codec != "mp3":
        return playback
    # The last part of what was sent can't be decoded before more comes.
    lead_ms = max(usual.lead_ms, 2 * mp3.BLOCK_MS) + mp3.HELD_MS
    return dataclasses.replace(
        playback, block_bytes=mp3.BLOCK_BYTES, lead_ms=lead_ms, buffer_ms=usual.buffer_ms + mp3.HELD_MS
    )


def session_options_of(options: StreamOptions, usual: SessionOptions) -> SessionOptions:
    """Who takes no events is told no partial transcripts, so there need be none."""
    return usual if options.events else dataclasses.replace(usual, partial_interval_ms=0.0)


class WebSocketClient:
    """A session's way back over a websocket. Without events, only audio is sent, and DONE at the end of each turn."""

    def __init__(self, websocket: WebSocket, options: StreamOptions) -> None:
        self.sending_since: float | None = None
        self._sending = 0  # a block of the reply and an event may be on their way at once
        self._websocket = websocket
        self._options = options
        self._encoder: mp3.Mp3Encoder | None = None  # the encoder of the reply that plays

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        if self._options.codec != "mp3":
            await self._send_bytes(pcm)
            return
        if self._encoder is None:
            self._encoder = mp3.Mp3Encoder(self._options.bitrate_kbps)
        # The encoder would keep the event loop for half a millisecond, and all conversations with it.
        await self._send_coded(await anyio.to_thread.run_sync(self._encoder.push, pcm))

    async def send_event(self, event: Event) -> None:
        if isinstance(event, ReplySent) and self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            await self._send_coded(await anyio.to_thread.run_sync(encoder.finish))
        elif isinstance(event, ReplyInterrupted):
            self._encoder = None
        if self._options.events and not isinstance(event, UNTOLD):
            await self._send({"type": "websocket.send", "text": encode_event(event)})
        if isinstance(event, TurnEnded):
            self._encoder = None
            await self._send_bytes(DONE)

    async def close(self, error: SpeechToSpeechError | None) -> None:
        if error is None or self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        code, reason = close_of(error)
        await self.send_event(Error.of(error))
        try:
            await self._websocket.close(code, reason)
        except (RuntimeError, WebSocketDisconnect) as gone:
            raise ClientGone from gone

    async def _send_coded(self, frames: bytes) -> None:
        await anyio.lowlevel.checkpoint_if_cancelled()  # the reply may have been cut meanwhile
        if frames:
            await self._send_bytes(frames)

    async def _send_bytes(self, content: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": content})

    async def _send(self, message: dict[str, object]) -> None:
        self._sending += 1
        if self.sending_since is None:
            self.sending_since = time.monotonic()
        try:
            await self._websocket.send(message)
        except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError says that a close was sent before
            raise ClientGone from error
        finally:
            self._sending -= 1
            if not self._sending:
                self.sending_since = None


class Reader:
    """Passes what a client sends to its session, and counts what it should not have sent."""

    def __init__(
        self,
        websocket: WebSocket,
        session: Session,
        options: StreamOptions,
        max_message_bytes: int,
        bad_message_limit: int,
    ) -> None:
        self._websocket = websocket
        self._session = session
        self._options = options
        self._max_message_bytes = max_message_bytes
        self._bad_messages_left = bad_message_limit
        self._client_block = 0  # bytes of the client's last message of PCM
        self._decoder = mp3.Mp3Decoder() if options.codec == "mp3" else None
        self._decoding = False  # true while a message is in hand

    async def run(self) -> None:
        """Read to the end of the connection.

        Raises:
            MessageTooBig: a message was.
            BadMessage: there were as many of them as may be.
        """
        if self._decoder is not None:
            self._session.on_quiet = functools.partial(self._stopped, self._decoder)
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            await self._take(message)

    async def _take(self, message: Mapping[str, object]) -> None:
        content = message.get("bytes") or message.get("text") or b""
        if isinstance(content, bytes | str) and len(content) > self._max_message_bytes:
            raise MessageTooBig(f"messages may have {self._max_message_bytes} bytes, this one has {len(content)}")
        self._session.touch()
        try:
            decoded = decode_message(message, self._options)
            if isinstance(decoded, bytes):
                await self._take_audio(decoded)
            elif isinstance(decoded, PlaybackReport):
                self._session.report(decoded.turn_id, decoded.played_ms)
            else:
                await self._session.respond(decoded.text, interrupt=True)
        except BadMessage as error:
            await self._count(error)

    async def _take_audio(self, audio: bytes) -> None:
        """Replies come in blocks of the size that the client sends."""
        if self._decoder is not None:
            await self._decode(audio, self._decoder)
        elif audio:
            if len(audio) != self._client_block:
                self._client_block = len(audio)
                block = block_bytes(len(audio), self._options.rate)
                self._session.playback = dataclasses.replace(self._session.playback, block_bytes=block)
            await self._session.hear(audio)

    async def _count(self, error: BadMessage) -> None:
        self._bad_messages_left -= 1
        if self._bad_messages_left <= 0:
            raise error
        await self._session.tell_error(error)

    # MP3.

    async def _decode(self, message: bytes, decoder: mp3.Mp3Decoder) -> None:
        """Decode a message in small steps: it may hold minutes, and neither they nor the work may come all at once."""
        decoder.push(message)
        self._decoding, steps = True, 0
        while (pcm := await self._pull(decoder)) is not None:
            await self._session.hear(pcm)
            steps += 1
            if steps > 1:
                await anyio.lowlevel.checkpoint()
        self._decoding = False

    async def _pull(self, decoder: mp3.Mp3Decoder) -> bytes | None:
        while True:
            try:
                return decoder.pull()
            except BadAudio as error:
                await self._count(error)

    def _stopped(self, decoder: mp3.Mp3Decoder) -> None:
        """Nothing comes any more: the stream should not have stopped in mid-frame."""
        if self._session.listening and not self._decoding and (cut_off := decoder.stop()) is not None:
            # This is not counted, since the network may have stalled.
            self._session.beside(self._session.tell_error, cut_off)

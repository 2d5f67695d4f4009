"""One reply on its way to the client's ears: cut into blocks, sent in real time with a small lead."""

import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
import anyio.to_thread

from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import PlaybackUnknown, ReplyTooLong
from speech_to_speech.frames import pcm_bytes, pcm_ms

REFILL_BLOCKS = 2  # sent at one waking: half the wake-ups


@dataclass(frozen=True, slots=True)
class PlayoutOptions:
    """How a client plays what it is sent.

    paced: it is sent in real time, `lead_ms` ahead; otherwise as fast as it is made.
    holds: when told of a pause it stops the sound and keeps the rest.
    reports: its position is only what it reports, and it must report at least every `report_timeout_s`.
    client_buffer_ms: how much later than it is sent it sounds.
    codec_ms: of what was sent, so much can't be decoded before more comes.
    """

    paced: bool = True
    holds: bool = False
    reports: bool = False
    lead_ms: float = 120.0
    client_buffer_ms: float = 100.0
    codec_ms: float = 0.0
    report_timeout_s: float = 5.0
    max_reply_s: float = 120.0


class Encoder(Protocol):
    """Audio as the client wants it: int16 PCM in, messages out. Its methods take about a millisecond."""

    def push(self, pcm: bytes) -> bytes:
        """What there is to send when this has come; it may be nothing."""

    def finish(self) -> bytes:
        """What is left to send."""


class Playout:
    """Sends the audio of one reply.

    The client starts to play at the first block, so what it still has to play is what was sent less the time since;
    when that falls below the lead, more is sent. `block` is in bytes of PCM. `on_sent` is told of each block, and in
    how many seconds it begins to sound. Without an `encoder`, of this reply alone, it is sent as it is.
    """

    def __init__(
        self,
        send_audio: Callable[[bytes], Awaitable[None]],
        record: TurnRecord,
        options: PlayoutOptions,
        *,
        block: int,
        on_sent: Callable[[bytes, float], None] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self._send_audio = send_audio
        self._record = record
        self._options = options
        self._block = block
        self._block_s = pcm_ms(block) / 1000
        self._on_sent = on_sent
        self._encoder = encoder
        self._lead_s = max(options.lead_ms / 1000, 2 * self._block_s) + options.codec_ms / 1000
        self._client_buffer_s = (options.client_buffer_ms + options.codec_ms) / 1000 + self._block_s
        self._left_bytes = pcm_bytes(options.max_reply_s * 1000)
        self._played_at = 0.0  # when the client will have played all that was sent
        self._ahead: deque[tuple[bytes, float]] = deque()  # blocks that it may not have played, and when each begins
        self._paused_at: float | None = None
        self._resumed = anyio.Event()
        self._stopped = False
        self._reported_ms: float | None = None
        self._reported_at = 0.0
        self._report = anyio.Event()

    @property
    def paused(self) -> bool:
        return self._paused_at is not None

    @property
    def paused_s(self) -> float:
        """For how long it has been paused."""
        return 0.0 if self._paused_at is None else time.monotonic() - self._paused_at

    @property
    def played_ms(self) -> float:
        """How much of the reply has sounded: as reported, else by the clock."""
        sent_ms = self._record.reply_ms
        if self._options.reports:
            return min(self._reported_ms or 0.0, sent_ms)
        if self._reported_ms is not None:
            since_ms = (self._clock() - self._reported_at) * 1000
            playable_ms = sent_ms - max(0.0, self._played_at - self._clock()) * 1000
            return min(max(self._reported_ms, min(self._reported_ms + since_ms, playable_ms)), sent_ms)
        if not self._options.paced:
            return sent_ms
        left_s = self._played_at + self._client_buffer_s - self._clock()
        return min(max(0.0, sent_ms - left_s * 1000), sent_ms)

    def report(self, played_ms: float) -> None:
        """The client says how much has sounded."""
        self._reported_ms = max(played_ms, self._reported_ms or 0.0)
        self._reported_at = self._clock()
        self._report.set()

    def pause(self) -> None:
        """Send nothing more until `resume`."""
        if self._paused_at is None:
            self._paused_at = time.monotonic()
            self._resumed = anyio.Event()

    def resume(self) -> None:
        if self._paused_at is not None:
            if self._options.holds:
                self._shift(time.monotonic() - self._paused_at)
            self._paused_at = None
            self._resumed.set()

    def _shift(self, pause_s: float) -> None:
        """The client has held the sound for so long: what it had not played comes as much later."""
        self._played_at += pause_s
        self._reported_at += pause_s
        held, self._ahead = self._ahead, deque()
        for block, starts_at in held:
            self._tell_sent(block, starts_at + pause_s)

    def stop(self) -> None:
        """Send nothing more at all."""
        self._stopped = True
        self._on_sent = None  # or the frames of a cancelled reply would keep the session in memory

    async def play(self, audio: AsyncIterable[bytes]) -> None:
        """Send the audio block by block, the last one filled up with silence.

        Raises:
            ReplyTooLong: it reached `max_reply_s`.
        """
        buffer = bytearray()
        async for pcm in audio:
            buffer += pcm
            while len(buffer) >= self._block:
                block = bytes(buffer[: self._block])
                del buffer[: self._block]
                await self._send(block)
        if buffer:
            await self._send(bytes(buffer.ljust(self._block, b"\0")))

    async def wait_played(self) -> None:
        """Wait until the client can have played everything, its own buffer counted: then it opens its microphone.

        Raises:
            PlaybackUnknown: it has to report its position and does not.
        """
        if not self._record.reply_ms:
            return
        await self._send_rest()
        if self._options.reports:
            await self._wait_reported()
        while self._options.paced:
            await self._until_resumed()
            left_s = self._played_at + self._client_buffer_s - time.monotonic()
            if left_s <= 0:
                return
            await anyio.sleep(left_s)

    async def _wait_reported(self) -> None:
        while self.played_ms < self._record.reply_ms - self._block_s * 1000:
            self._report = anyio.Event()
            with anyio.move_on_after(self._options.report_timeout_s):
                await self._report.wait()
                continue
            if self.paused:
                await self._until_resumed()
            else:
                raise PlaybackUnknown(f"no playback position was reported for {self._options.report_timeout_s:g} s")

    def _tell_sent(self, block: bytes, starts_at: float) -> None:
        if self._on_sent is None:
            return
        now = time.monotonic()
        while self._ahead and self._ahead[0][1] + self._block_s + self._client_buffer_s < now:
            self._ahead.popleft()
        self._ahead.append((block, starts_at))
        self._on_sent(block, starts_at - now)

    async def _until_resumed(self) -> None:
        while self._paused_at is not None:
            await self._resumed.wait()

    def _clock(self) -> float:
        return self._paused_at if self._paused_at is not None and self._options.holds else time.monotonic()

    async def _send_rest(self) -> None:
        """Of a reply that ends here, early or not, what its encoder holds."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        message = await anyio.to_thread.run_sync(encoder.finish)
        await self._until_resumed()
        if message and not self._stopped:
            await self._send_audio(message)

    async def _send(self, block: bytes) -> None:
        self._left_bytes -= len(block)
        if self._left_bytes < 0:
            raise ReplyTooLong(f"the reply was cut at {self._record.reply_ms / 1000:g} s")
        message = block
        if self._encoder is not None:
            # In a thread: it would keep the event loop for half a millisecond, and all conversations with it.
            message = await anyio.to_thread.run_sync(self._encoder.push, block)
        await self._until_resumed()
        now = time.monotonic()
        while self._options.paced and self._played_at - now > self._lead_s + (REFILL_BLOCKS - 1) * self._block_s:
            await anyio.sleep(self._played_at - now - self._lead_s)
            await self._until_resumed()
            now = time.monotonic()
        if self._stopped:
            return
        starts_at = max(self._played_at, now)
        self._tell_sent(block, starts_at)
        # Before it is sent: a cancel may come when the client has it already.
        self._played_at = starts_at + self._block_s
        self._record.reply_ms += self._block_s * 1000
        if message:
            await self._send_audio(message)
            self._record.mark("first_audio_sent")
        self._record.last_audio_sent = now

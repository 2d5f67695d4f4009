"""One reply on its way to the client's ears: cut into blocks, sent in real time with a small lead."""

import time
from collections import deque
from collections.abc import AsyncIterable, Callable

import anyio

from speech_to_speech.audio.echo import EchoGuard
from speech_to_speech.audio.samples import Resampler
from speech_to_speech.conversation.client import Client, Playback
from speech_to_speech.conversation.events import ReplySent
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import PlaybackUnknown, ReplyTooLong
from speech_to_speech.frames import AudioChunk, pcm_bytes, pcm_ms

REFILL_BLOCKS = 2  # two blocks are sent at one waking, which halves the wake-ups


class Playout:
    """Sends the audio of one reply.

    The client starts to play at the first block, so what it still has to play is what was sent less the time since;
    when that falls below the lead, more is sent. `on_sent` is told of each block, at 16 kHz, and in how many seconds it
    begins to sound.
    """

    def __init__(
        self,
        client: Client,
        record: TurnRecord,
        playback: Playback,
        *,
        max_reply_s: float = 120.0,
        on_sent: Callable[[bytes, float], None] | None = None,
    ) -> None:
        self._client = client
        self._record = record
        self._playback = playback
        self._block = playback.block_bytes
        self._block_s = pcm_ms(self._block, playback.rate_hz) / 1000
        self._on_sent = on_sent
        self._resampler = Resampler()  # brings what `on_sent` is told of to 16 kHz
        self._lead_s = max(playback.lead_ms / 1000, 2 * self._block_s)
        self._buffer_s = playback.buffer_ms / 1000 + self._block_s
        self._by_clock = playback.paced or playback.reports == "on a cut"
        self._left_bytes = pcm_bytes(max_reply_s * 1000, playback.rate_hz)
        self._played_at = 0.0  # when the client will have played all that was sent, by the clock
        self._ahead: deque[tuple[bytes, float]] = deque()  # blocks that may not have sounded, and when each begins
        self._paused_at: float | None = None
        self._resumed = anyio.Event()
        self._stopped = False
        self._reported_ms: float | None = None
        self._reported_at = 0.0
        self._report = anyio.Event()

    @property
    def rate_hz(self) -> int:
        """The sample rate of the audio that `play` takes."""
        return self._playback.rate_hz

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
        if self._playback.reports == "always":
            return min(self._reported_ms or 0.0, sent_ms)
        if self._reported_ms is not None:
            since_ms = (self._clock() - self._reported_at) * 1000
            playable_ms = sent_ms - max(0.0, self._played_at - self._clock()) * 1000
            return min(max(self._reported_ms, min(self._reported_ms + since_ms, playable_ms)), sent_ms)
        if not self._by_clock:
            return sent_ms
        left_s = self._played_at + self._buffer_s - self._clock()
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
            if self._playback.holds:
                self._shift(time.monotonic() - self._paused_at)
            self._paused_at = None
            self._resumed.set()

    def _shift(self, pause_s: float) -> None:
        """The client has held the sound for so long: what it had not played comes as much later."""
        self._played_at += pause_s
        self._reported_at += pause_s
        held, self._ahead = self._ahead, deque()
        for block, starts_at in held:
            self._tell_of(block, starts_at + pause_s)

    def stop(self) -> None:
        """Send nothing more at all."""
        self._stopped = True
        self._on_sent = None  # the frames of a cancelled reply must not keep the session in memory

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
        await self._until_resumed()
        if not self._stopped:
            await self._client.send_event(ReplySent(self._record.turn_id))
        if self._playback.reports == "always":
            await self._wait_reported()
        while self._by_clock:
            await self._until_resumed()
            left_s = self._played_at + self._buffer_s - time.monotonic()
            if left_s <= 0:
                return
            await anyio.sleep(left_s)

    async def _wait_reported(self) -> None:
        while self.played_ms < self._record.reply_ms - self._block_s * 1000:
            self._report = anyio.Event()
            with anyio.move_on_after(self._playback.report_timeout_s):
                await self._report.wait()
                continue
            if self.paused:
                await self._until_resumed()
            else:
                raise PlaybackUnknown(f"no playback position was reported for {self._playback.report_timeout_s:g} s")

    def _tell_sent(self, block: bytes, starts_at: float) -> None:
        if self._on_sent is not None:
            self._tell_of(self._resampler.push(AudioChunk(block, self.rate_hz)), starts_at)

    def _tell_of(self, block: bytes, starts_at: float) -> None:
        if self._on_sent is None:
            return
        now = time.monotonic()
        while self._ahead and self._ahead[0][1] + self._block_s + self._buffer_s < now:
            self._ahead.popleft()
        self._ahead.append((block, starts_at))
        self._on_sent(block, starts_at - now)

    async def _until_resumed(self) -> None:
        while self._paused_at is not None:
            await self._resumed.wait()

    def _clock(self) -> float:
        return self._paused_at if self._paused_at is not None and self._playback.holds else time.monotonic()

    async def _send(self, block: bytes) -> None:
        self._left_bytes -= len(block)
        if self._left_bytes < 0:
            raise ReplyTooLong(f"the reply was cut at {self._record.reply_ms / 1000:g} s")
        await self._until_resumed()
        now = time.monotonic()
        while self._playback.paced and self._played_at - now > self._lead_s + (REFILL_BLOCKS - 1) * self._block_s:
            await anyio.sleep(self._played_at - now - self._lead_s)
            await self._until_resumed()
            now = time.monotonic()
        if self._stopped:
            return
        starts_at = max(self._played_at, now)
        self._tell_sent(block, starts_at)
        # The block counts before it is sent: a cancel may come when the client has it already.
        self._played_at = starts_at + self._block_s
        self._record.reply_ms += self._block_s * 1000
        await self._client.send_audio(self._record.turn_id, block)
        self._record.mark("first_audio_sent")
        self._record.last_audio_sent = now


class Playouts:
    """Makes the playout of each reply, as the client plays at that time.

    `echo`, if there is one, learns what sounds when; `heard_ms` says how much audio the microphone has delivered.
    """

    def __init__(
        self, client: Client, playback: Playback, echo: EchoGuard | None, heard_ms: Callable[[], float]
    ) -> None:
        self.playback = playback
        self._client = client
        self._echo = echo
        self._heard_ms = heard_ms

    def new(self, record: TurnRecord, max_reply_s: float) -> Playout:
        on_sent = self._remember if self._echo is not None else None
        return Playout(self._client, record, self.playback, max_reply_s=max_reply_s, on_sent=on_sent)

    def _remember(self, block: bytes, in_s: float) -> None:
        assert self._echo is not None
        self._echo.sent(block, self._heard_ms() + in_s * 1000)

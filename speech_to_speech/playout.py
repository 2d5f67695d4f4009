"""One reply on its way to the client's ears: cut into blocks, sent in real time with a small lead."""

import time
from collections.abc import AsyncIterable, Awaitable, Callable

import anyio

from speech_to_speech.errors import ReplyTooLong
from speech_to_speech.frames import pcm_bytes, pcm_ms
from speech_to_speech.record import TurnRecord

REFILL_BLOCKS = 2  # sent at one waking: half the wake-ups


class Playout:
    """Sends the audio of one reply.

    The client starts to play at the first block, so what it still has to play is what was sent less the time since;
    when that falls below the lead, more is sent. `block` is in bytes. With `paced` false there is no clock.
    """

    def __init__(
        self,
        send_audio: Callable[[bytes], Awaitable[None]],
        record: TurnRecord,
        *,
        block: int,
        paced: bool,
        lead_ms: float,
        client_buffer_ms: float,
        max_reply_s: float,
    ) -> None:
        self._send_audio = send_audio
        self._record = record
        self._block = block
        self._block_s = pcm_ms(block) / 1000
        self._paced = paced
        self._lead_s = max(lead_ms / 1000, 2 * self._block_s)
        self._client_buffer_s = client_buffer_ms / 1000 + self._block_s
        self._left_bytes = pcm_bytes(max_reply_s * 1000)
        self._played_at = 0.0  # when the client will have played all that was sent

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
        """Wait until the client can have played everything, its own buffer counted: then it opens its microphone."""
        if self._paced and self._played_at:
            await anyio.sleep(self._played_at + self._client_buffer_s - time.monotonic())

    async def _send(self, block: bytes) -> None:
        self._left_bytes -= len(block)
        if self._left_bytes < 0:
            raise ReplyTooLong(f"the reply was cut at {self._record.reply_ms / 1000:g} s")
        now = time.monotonic()
        if self._paced:
            ahead_s = self._played_at - now
            if ahead_s > self._lead_s + (REFILL_BLOCKS - 1) * self._block_s:
                await anyio.sleep(ahead_s - self._lead_s)
                now = time.monotonic()
        await self._send_audio(block)
        self._played_at = max(self._played_at, now) + self._block_s
        self._record.mark("first_audio_sent")
        self._record.last_audio_sent = now
        self._record.reply_ms += self._block_s * 1000

"""The loudspeaker: a jitter buffer that can stop at once, and knows how much of it has sounded."""

import collections
import threading
import time

from speech_to_speech.audio.samples import Resampler
from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, AudioChunk, pcm_ms

PREBUFFER_MS = 80
SPEAKER_BUFFER_S = 120


class Speaker:
    """A `Sink` that the sound card takes from. It starts with `prebuffer_ms` of sound, or at a reply's end."""

    def __init__(self, rate_hz: int, prebuffer_ms: int = PREBUFFER_MS, limit_s: int = SPEAKER_BUFFER_S) -> None:
        self.latency_s = 0.0  # the time from the buffer to the loudspeaker
        self.tail_s = 0.0  # the time from the buffer through both sound card queues, back into a message
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz)
        self._prebuffer_bytes = BYTES_PER_SAMPLE * rate_hz * prebuffer_ms // 1000
        self._limit_bytes = BYTES_PER_SAMPLE * rate_hz * limit_s
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._running = False
        self._held = False
        self._taken_bytes = 0
        self._taken: collections.deque[tuple[float, int, int]] = collections.deque()  # a piece's time, start and end
        self._sounding_until_s = 0.0

    @property
    def sounding(self) -> bool:
        """True while the microphone may still hear the reply."""
        with self._lock:
            return bool(self._buffer) or time.monotonic() < self._sounding_until_s

    @property
    def queued_ms(self) -> float:
        with self._lock:
            return self._ms(self._taken_bytes + len(self._buffer))

    @property
    def played_ms(self) -> float:
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            if not self._taken:
                return 0.0
            at_s, start, end = self._taken[0]
            return min(self._ms(end), self._ms(start) + max(0.0, now - at_s) * 1000)

    @property
    def silent_s(self) -> float:
        with self._lock:
            if not self._taken:
                return 0.0
            at_s, start, end = self._taken[-1]
            return at_s + self._ms(end - start) / 1000

    def play(self, pcm: bytes) -> None:
        """Add sound. What exceeds two minutes unplayed is dropped (a paced service never sends that)."""
        with self._lock:
            pcm = self._resampler.push(AudioChunk(pcm, SAMPLE_RATE_HZ))
            self._buffer += pcm[: max(0, self._limit_bytes - len(self._buffer))]
            self._running = self._running or len(self._buffer) >= self._prebuffer_bytes

    def end_reply(self) -> None:
        with self._lock:
            self._flush()
            self._running = True

    def hold(self) -> None:
        with self._lock:
            self._held = True

    def go_on(self) -> None:
        with self._lock:
            self._held = False

    def cut(self) -> None:
        with self._lock:
            self._resampler = Resampler(self._rate_hz)
            self._buffer.clear()
            self._running = self._held = False

    def take(self, size: int) -> bytes:
        """The next `size` bytes for the sound card, silence where there is nothing. Called by its thread."""
        return self.pull(size, time.monotonic()).ljust(size, b"\0")

    def pull(self, size: int, now: float) -> bytes:
        """At most `size` bytes, taken at the time `now`."""
        with self._lock:
            if self._held or not self._running:
                return b""
            if len(self._buffer) < size:
                self._flush()  # the reply's last milliseconds would otherwise follow after a gap
            pcm = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._running = len(pcm) == size
            if pcm:
                self._forget(now)
                self._taken.append((now + self.latency_s, self._taken_bytes, self._taken_bytes + len(pcm)))
                self._taken_bytes += len(pcm)
                self._sounding_until_s = now + self.tail_s
        return pcm

    def _flush(self) -> None:
        """Add what the resampler keeps back, as at the end of a stream."""
        self._buffer += self._resampler.finish()
        self._resampler = Resampler(self._rate_hz)

    def _forget(self, now: float) -> None:
        """Drop what has sounded when the one after it began to."""
        while len(self._taken) > 1 and self._taken[1][0] <= now:
            self._taken.popleft()

    def _ms(self, size: int) -> float:
        return pcm_ms(size, self._rate_hz)

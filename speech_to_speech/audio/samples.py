"""Sample formats and rates."""

import numpy as np
import numpy.typing as npt
import soxr

from speech_to_speech.frames import SAMPLE_RATE_HZ, AudioChunk

Samples = npt.NDArray[np.float32]


def to_float(pcm: bytes) -> Samples:
    """int16 little-endian PCM as float32 samples in -1..1, shape [n]."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768.0


def to_pcm(samples: Samples) -> bytes:
    """float samples in -1..1 (what is outside is clipped), shape [n], as int16 little-endian PCM."""
    return (np.clip(samples, -1.0, 32767 / 32768) * 32768.0).round().astype("<i2").tobytes()


class Resampler:
    """A stream of int16 PCM brought to another rate; chunks of any size give the same samples as the whole.

    A chunk in the target rate already passes through untouched. The source rate is that of the first chunk.
    """

    def __init__(self, target_hz: int = SAMPLE_RATE_HZ) -> None:
        self.target_hz = target_hz
        self._source_hz: int | None = None
        self._stream: soxr.ResampleStream | None = None

    def push(self, chunk: AudioChunk) -> bytes:
        """The audio that `chunk` completes; the filter keeps a few milliseconds back.

        Raises:
            ValueError: the chunk's rate is not that of the chunks before it.
        """
        if self._source_hz is None:
            self._source_hz = chunk.sample_rate_hz
            if self._source_hz != self.target_hz:
                # soxr adds dither to int16, which depends on the chunks and is no digital silence.
                self._stream = soxr.ResampleStream(self._source_hz, self.target_hz, 1, dtype="float32")
        if chunk.sample_rate_hz != self._source_hz:
            raise ValueError(f"the stream has {self._source_hz} Hz, not {chunk.sample_rate_hz}")
        return self._resample(chunk.pcm, last=False)

    def finish(self) -> bytes:
        """What the filter still holds, at the end of the stream."""
        return self._resample(b"", last=True)

    def _resample(self, pcm: bytes, *, last: bool) -> bytes:
        if self._stream is None:
            return pcm
        return to_pcm(self._stream.resample_chunk(to_float(pcm), last=last))

"""MP3 as a stream, both ways, in memory. PyAV (the extra `mp3`) is imported when it is first used."""

import functools
import importlib.util
import sys
from typing import TYPE_CHECKING

import numpy as np

from speech_to_speech.audio.mp3_frames import GARBAGE_BYTES, FrameSplitter
from speech_to_speech.audio.samples import Resampler
from speech_to_speech.errors import BadAudio
from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, AudioChunk, pcm_ms

if TYPE_CHECKING:
    import av

FRAME_SAMPLES = 576  # samples at 16 kHz
FRAME_BYTES = BYTES_PER_SAMPLE * FRAME_SAMPLES  # bytes of PCM
PRIMING_SAMPLES = FRAME_SAMPLES  # silence before the sound, in every stream of `Mp3Encoder`
PRIMING_MS = pcm_ms(FRAME_BYTES)
HELD_MS = 3 * pcm_ms(FRAME_BYTES)
"""So much of what the encoder was given, in whole blocks of two frames, can't be decoded before the next block."""
# The encoder and a decoder together are late by 1105 samples (LAME's 576, and 529 that every decoder adds). After so
# many zeros the sound comes exactly two frames late, and the first frame need not be sent.
LEADING_ZEROS = 2 * FRAME_SAMPLES - 1105
BLOCK_BYTES = 2 * FRAME_BYTES  # a reply's block has whole frames, so that the reply is as long as the sound
BLOCK_MS = pcm_ms(BLOCK_BYTES)
PULL_FRAMES = 8  # frames decoded in one step: half a millisecond of work at most


def available() -> bool:
    """PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def load() -> None:
    """Import PyAV, which takes a fifth of a second the first time."""
    import av  # noqa: F401


class Mp3Decoder:
    """An MP3 stream of any rate, mono or stereo, as int16 mono PCM at 16 kHz: `push` what came, `pull` until None.

    `skip_samples` at 16 kHz are left out at its beginning.
    """

    def __init__(self, skip_samples: int = 0) -> None:
        import av

        context = av.CodecContext.create("mp3", "r")  # integers take half the time of floats and their conversion
        assert isinstance(context, av.AudioCodecContext)
        context.options = {"err_detect": "crccheck+explode"}
        self._context = context
        self._splitter = FrameSplitter()
        self._resampler = Resampler()
        self._rate_hz = 0
        self._skip_bytes = BYTES_PER_SAMPLE * skip_samples
        self._lost_bytes = 0  # bytes of the frames that could not be decoded since the last one that could
        self._error: BadAudio | None = None

    def push(self, piece: bytes) -> None:
        """Take in a piece of the stream, of any size."""
        self._splitter.push(piece)

    def pull(self) -> bytes | None:
        """The next part of the sound, `PULL_FRAMES` frames at most; None if more of the stream is needed.

        Raises:
            BadAudio: the stream is damaged here, or no MP3. `pull` goes on behind that.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        parts: list[bytes] = []
        try:
            while len(parts) < PULL_FRAMES and (frame := self._splitter.pull()) is not None:
                parts.append(self._decode(frame))
        except BadAudio as error:
            if not parts:
                raise
            self._error = error
        if not parts:
            return None
        pcm = b"".join(parts)
        skipped = min(self._skip_bytes, len(pcm))
        self._skip_bytes -= skipped
        return pcm[skipped:]

    def stop(self) -> BadAudio | None:
        """Nothing more comes for now: what is wrong with that, if anything.

        What is there of a frame is dropped then, and it goes on with the next frame that comes, be it of this stream
        or another.
        """
        if not self._splitter.in_frame:
            return None
        self._splitter = FrameSplitter(in_step=False)
        return BadAudio("the MP3 stream stopped in the middle of a frame")

    def _decode(self, frame: bytes) -> bytes:
        import av

        try:
            decoded = self._context.decode(av.Packet(frame))
        except av.error.FFmpegError:
            first = not self._lost_bytes
            self._lost_bytes += len(frame)
            if first or self._lost_bytes > GARBAGE_BYTES:
                self._lost_bytes = 1
                raise BadAudio("an MP3 frame can't be decoded") from None
            return b""
        self._lost_bytes = 0
        pcm = b""
        for part in decoded:
            assert isinstance(part, av.AudioFrame)
            if part.sample_rate != self._rate_hz:
                pcm += self._resampler.finish() if self._rate_hz else b""
                self._resampler, self._rate_hz = Resampler(), part.sample_rate
            pcm += self._resampler.push(AudioChunk(_mono(part), part.sample_rate))
        return pcm


def _mono(frame: "av.AudioFrame") -> bytes:
    """A decoded frame, whose samples are planar int16, as PCM."""
    if len(frame.planes) == 1:
        return bytes(frame.planes[0])[: BYTES_PER_SAMPLE * frame.samples]
    mono: bytes = frame.to_ndarray().mean(axis=0).astype("<i2").tobytes()
    return mono


class Mp3Encoder:
    """int16 mono PCM at 16 kHz as an MP3 stream of constant bitrate, of which each `push` gives the next frames.

    A decoder puts `PRIMING_SAMPLES` of silence before the sound, and after it what the last frame lacked.
    """

    def __init__(self, bitrate_kbps: int = 64) -> None:
        self._bitrate_kbps = bitrate_kbps
        self._buffer = bytearray(BYTES_PER_SAMPLE * LEADING_ZEROS)
        self._sound_bytes = 0
        self._frames = 0  # frames that the encoder has given

    @functools.cached_property
    def _context(self) -> "av.AudioCodecContext":
        import av

        context = av.CodecContext.create("libmp3lame", "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate, context.layout, context.format = SAMPLE_RATE_HZ, "mono", "s16p"
        context.bit_rate = 1000 * self._bitrate_kbps
        # Frames that don't lend each other bits come one frame sooner. Quality 7 of 0..9 takes half the time of the
        # default, and reproduces speech no worse (SNR).
        context.options = {"reservoir": "0", "compression_level": "7"}
        return context

    def push(self, pcm: bytes) -> bytes:
        """The frames that `pcm` completes."""
        self._sound_bytes += len(pcm)
        self._buffer += pcm
        frames = b""
        while len(self._buffer) >= FRAME_BYTES:
            frames += self._encode(bytes(self._buffer[:FRAME_BYTES]))
            del self._buffer[:FRAME_BYTES]
        return frames

    def finish(self) -> bytes:
        """The frames that are still to come, at the end of the sound. The encoder is used up then."""
        if not self._sound_bytes:
            return b""
        missing = -len(self._buffer) % FRAME_BYTES
        sound_frames = -(-self._sound_bytes // FRAME_BYTES)
        return self.push(bytes(missing)) + self._encode(None, until=2 + sound_frames)

    def _encode(self, pcm: bytes | None, until: int = sys.maxsize) -> bytes:
        import av

        frame = None
        if pcm is not None:
            frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), "s16p", "mono")
            frame.sample_rate = SAMPLE_RATE_HZ
        encoded = b""
        for packet in self._context.encode(frame):
            if 1 <= self._frames < until:
                encoded += bytes(packet)
            self._frames += 1
        return encoded

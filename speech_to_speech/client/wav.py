"""A WAV file in place of the microphone."""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from speech_to_speech.client.conversation import Conversation
from speech_to_speech.client.errors import UsageError
from speech_to_speech.frames import SAMPLE_RATE_HZ

WAV_MAX_BYTES = 1 << 30
QUIET = 100  # -50 dB, of 32768: a file's end that is no louder need not be sent
TRAILING_SILENCE_S = 2.0
OPEN_UTTERANCE_S = 30.0
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags


def read_wav(path: Path) -> NDArray[np.int16]:
    """A WAV file's sound as 16 kHz mono int16. Raises UsageError for what is not PCM or float WAV."""
    try:
        if path.stat().st_size > WAV_MAX_BYTES:
            raise UsageError(f"{path}: larger than {WAV_MAX_BYTES >> 20} MiB: cut it into parts")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise UsageError(f"{path} is not a WAV file: convert it, for example with `sox {path.name} question.wav`")
    layout, data = _chunks(content)
    if len(layout) < 16 or data is None:
        raise UsageError(f"{path} is a damaged WAV file: it has no format or no data")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack("<HHIIHH", layout[:16])
    tag = int.from_bytes(layout[24:26], "little") if tag == EXTENSIBLE else tag
    if not channels or frame_bytes != channels * bits // 8 or not 1000 <= rate_hz <= 768_000:
        raise UsageError(f"{path} is a damaged WAV file: {channels} channels, {bits} bits, {rate_hz} Hz")
    samples = _samples(data[: len(data) - len(data) % frame_bytes], tag, bits)
    if samples is None:
        raise UsageError(f"{path}: WAV format {tag} with {bits} bits is not supported: convert it to 16-bit PCM")
    if not len(samples):
        raise UsageError(f"{path} holds no sound")
    mono = samples.reshape(-1, channels).mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(np.clip(np.round(mono * 32768), -32768, 32767), np.int16)


def _chunks(content: bytes) -> tuple[bytes, bytes | None]:
    """The format and the data of a RIFF file. (The standard library's reader takes neither float nor streamed ones.)"""
    at, layout = 12, b""
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        body = content[at + 8 : at + 8 + size]  # a streamed file claims more bytes than it has
        if name == b"data":
            return layout, body
        if name == b"fmt ":
            layout = body
        at += 8 + size + size % 2
    return layout, None


def _samples(data: bytes, tag: int, bits: int) -> NDArray[np.floating] | None:
    """Samples between -1 and 1; None if the format is not known."""
    raw = np.frombuffer(data, np.uint8)
    if tag == PCM and bits == 8:
        return (raw.astype(np.float32) - 128) / 128
    if tag == PCM and bits in (16, 24, 32):
        wide = np.zeros((len(raw) * 8 // bits, 4), np.uint8)  # each sample at the top of 32 bits
        wide[:, 4 - bits // 8 :] = raw.reshape(-1, bits // 8)
        return wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    if tag == FLOAT and bits in (32, 64):
        return np.nan_to_num(raw.view(f"<f{bits // 8}").astype(np.float32))
    return None


class FileSource:
    """A file as if it were spoken now; it waits while a reply comes in (not in full duplex), and ends in silence."""

    live = False
    level_db = -120.0
    wake: socket.socket | None = None

    def __init__(self, samples: NDArray[np.int16], chunk_samples: int) -> None:
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET)
        self._samples = samples[: loud[-1] + 1] if len(loud) else samples[:0]  # the source adds silence at the end
        self._chunk_samples = chunk_samples
        self.restart()

    def restart(self) -> None:
        self._at = 0
        self._silence_samples = 0
        self._due_s = time.monotonic()
        self._ended_turns = 0

    def wait_s(self) -> float:
        return max(0.0, self._due_s - time.monotonic())

    def blocks(self, held: bool) -> Iterator[bytes]:
        while self._due_s <= time.monotonic():
            self._due_s += self._chunk_samples / SAMPLE_RATE_HZ
            if held:
                yield b""
                continue
            block = self._samples[self._at : self._at + self._chunk_samples]
            self._at += len(block)
            self._silence_samples += self._chunk_samples - len(block)
            yield np.pad(block, (0, self._chunk_samples - len(block))).tobytes()

    def finished(self, conversation: Conversation) -> bool:
        """True when what was said last is answered, or nothing was heard in it."""
        if self._at < len(self._samples):
            self._ended_turns = conversation.ended_turns
            return False
        answered = conversation.ended_turns > self._ended_turns and not conversation.full_duplex
        if answered and not conversation.in_utterance:
            return True
        limit_s = OPEN_UTTERANCE_S if conversation.in_utterance else TRAILING_SILENCE_S
        return conversation.settled and self._silence_samples >= limit_s * SAMPLE_RATE_HZ

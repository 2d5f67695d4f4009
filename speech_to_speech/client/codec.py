"""How sound travels on one connection: as PCM, or as MP3."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from speech_to_speech.audio import mp3
from speech_to_speech.client.errors import UsageError

FLUSH = bytes(4 * mp3.FRAME_BYTES)  # silence that drives the sound out of the encoder


class Codec(Protocol):
    """One connection's. Sound is int16 PCM at 16 kHz."""

    priming_ms: float
    """Silence that the service hears before the first block."""

    def encode(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        """A block of the microphone, empty while it is shut, as sound and the message that carries it."""

    def decode(self, message: bytes) -> Iterator[bytes]:
        """The sound in a message of the service. Raises BadAudio, after which it may be called with the next one."""

    def end_reply(self) -> None:
        """The next message begins another reply."""


class Pcm:
    """Nothing is done to it."""

    priming_ms = 0.0

    def encode(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield block, block

    def decode(self, message: bytes) -> Iterator[bytes]:
        yield message

    def end_reply(self) -> None:
        pass


@dataclass
class Traffic:
    """What went one way: the sound, and the messages that carried it."""

    sound_bytes: int = 0
    message_bytes: int = 0

    def count(self, sound: bytes, message: bytes) -> None:
        self.sound_bytes += len(sound)
        self.message_bytes += len(message)

    def __str__(self) -> str:
        ratio = f" ({self.sound_bytes / self.message_bytes:.1f}:1)" if self.message_bytes else ""
        return f"{self.message_bytes / 1000:.0f} kB for {self.sound_bytes / 1000:.0f} kB of sound{ratio}"


@dataclass
class Compression:
    """What MP3 has saved so far, on all connections."""

    sent: Traffic = field(default_factory=Traffic)
    received: Traffic = field(default_factory=Traffic)

    def summary(self) -> str:
        return f"mp3 sent        {self.sent}\nmp3 received    {self.received}"


class Mp3:
    """One stream to the service, and one from it for each reply."""

    priming_ms = mp3.PRIMING_MS

    def __init__(self, compression: Compression, bitrate_kbps: int) -> None:
        self._compression = compression
        self._encoder = mp3.Mp3Encoder(bitrate_kbps)
        self._empty = True  # the encoder holds nothing but silence
        self._reply: mp3.Mp3Decoder | None = None

    def encode(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        """While the microphone is shut: what the encoder held when that began, with silence after it, then nothing."""
        if block or not self._empty:
            sound = block or FLUSH
            self._empty = not block
            message = self._encoder.push(sound)
            self._compression.sent.count(sound, message)
            yield sound, message
        if not block:
            yield b"", b""

    def decode(self, message: bytes) -> Iterator[bytes]:
        self._reply = decoder = self._reply or mp3.Mp3Decoder(mp3.PRIMING_SAMPLES)
        self._compression.received.count(b"", message)
        decoder.push(message)
        while (sound := decoder.pull()) is not None:
            self._compression.received.count(sound, b"")
            yield sound

    def end_reply(self) -> None:
        self._reply = None


def require_mp3() -> None:
    """Raises UsageError where it can't be had."""
    try:
        mp3.load()
    except ImportError:
        raise UsageError("--codec mp3 needs PyAV: `make install-mp3` or `pip install 'av>=18'` installs it") from None

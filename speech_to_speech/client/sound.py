"""The sound card. Its own threads only move samples to and from bounded buffers."""

import collections
import contextlib
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from speech_to_speech.audio.samples import Resampler
from speech_to_speech.client.console import Console, printable
from speech_to_speech.client.conversation import Conversation
from speech_to_speech.client.errors import ClientError
from speech_to_speech.client.speaker import Speaker
from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, AudioChunk

MICROPHONE_BUFFER_S = 2
MICROPHONE_SILENT_S = 10.0  # the longest time without a single sample
SERVER_SHARE = 0.25  # a sound server's buffer beside the latency it reports: 60 ms of 400 with PulseAudio


class Microphone:
    """The sound card's input. At most two seconds wait for the network; then the oldest are dropped."""

    live = True

    def __init__(self, rate_hz: int, chunk_samples: int) -> None:
        self.level_db = -120.0
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        self._waker.setblocking(False)
        self._rate_hz = rate_hz
        self._resampler = Resampler()
        self._chunk_bytes = BYTES_PER_SAMPLE * chunk_samples
        chunks_kept = max(2, MICROPHONE_BUFFER_S * SAMPLE_RATE_HZ // chunk_samples)
        self._captured: collections.deque[bytes] = collections.deque(maxlen=chunks_kept)
        self._unsent = bytearray()
        self._heard_s = time.monotonic()

    def captured(self, pcm: bytes) -> None:
        """Called by the sound card's thread."""
        self._captured.append(pcm)
        with contextlib.suppress(BlockingIOError):
            self._waker.send(b".")

    def wait_s(self) -> float:
        return 1.0

    def restart(self) -> None:
        self._captured.clear()
        self._unsent.clear()
        self._heard_s = time.monotonic()

    def blocks(self, held: bool) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            self.wake.recv(4096)
        while self._captured:
            self._heard_s = time.monotonic()
            pcm = self._resampler.push(AudioChunk(self._captured.popleft(), self._rate_hz))
            samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
            self.level_db = 10 * math.log10(float(np.mean(samples**2)) + 1e-12) if len(samples) else self.level_db
            if held:
                self._unsent.clear()
                yield b""
                continue
            self._unsent += pcm
            while len(self._unsent) >= self._chunk_bytes:
                yield bytes(self._unsent[: self._chunk_bytes])
                del self._unsent[: self._chunk_bytes]

    def finished(self, conversation: Conversation) -> bool:
        """Never of itself. Raises ClientError when the sound card has stopped giving samples."""
        if time.monotonic() - self._heard_s > MICROPHONE_SILENT_S:
            raise ClientError("the microphone gives no sound any more: see --list_devices and --input_device")
        return False

    def close(self) -> None:
        self.wake.close()
        self._waker.close()


def sound_library() -> Any:
    """sounddevice, imported only when a sound card is wanted. Raises ClientError."""
    try:
        import sounddevice
    except ImportError:
        raise ClientError("no sounddevice package: `pip install sounddevice`, or use --input and --output") from None
    except OSError:
        raise ClientError("no PortAudio library (Debian, Ubuntu: apt install libportaudio2)") from None
    return sounddevice


@contextlib.contextmanager
def sound_card(
    rate_hz: int,
    chunk_samples: int,
    input_device: int | str | None,
    output_device: int | str | None,
    output_latency_s: float | None,
    console: Console,
) -> Iterator[tuple[Microphone, Speaker]]:
    """Both directions of the sound card, running. `chunk_samples` are at 16 kHz. Raises ClientError.

    Without `output_latency_s`, the sound library chooses: 35 ms with PulseAudio.
    """
    sd = sound_library()
    speaker = Speaker(rate_hz)
    with contextlib.closing(Microphone(rate_hz, chunk_samples)) as microphone, contextlib.ExitStack() as streams:

        def capture(data: Any, *_: Any) -> None:
            microphone.captured(bytes(data))

        def playback(data: Any, *_: Any) -> None:
            data[:] = speaker.take(len(data))

        layout = {"samplerate": rate_hz, "channels": 1, "dtype": "int16"}
        block = chunk_samples * rate_hz // SAMPLE_RATE_HZ
        try:
            outlet = sd.RawOutputStream(device=output_device, latency=output_latency_s, callback=playback, **layout)
            streams.enter_context(outlet)
            inlet = sd.RawInputStream(device=input_device, callback=capture, blocksize=block, **layout)
            streams.enter_context(inlet)
        except (sd.PortAudioError, ValueError) as error:
            hint = "see --list_devices, --input_device, --output_device and --sample_rate"
            raise ClientError(f"cannot open the sound card: {printable(error)}; {hint}") from None
        speaker.latency_s = outlet.latency
        speaker.tail_s = min(1.0, outlet.latency * (1 + SERVER_SHARE) + inlet.latency + block / rate_hz)
        console.debug(f"sound card latency: out {outlet.latency:.3f} s, in {inlet.latency:.3f} s")
        yield microphone, speaker

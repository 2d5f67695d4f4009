"""A WAV file in place of the loudspeaker."""

import os
import time
import wave
from pathlib import Path

from speech_to_speech.client.errors import UsageError
from speech_to_speech.client.speaker import Speaker
from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

LIMIT_S = 3600  # seconds of sound that may wait


class ReplyFile(Speaker):
    """All replies, one after the other, in a 16 kHz mono int16 WAV file; made when the first one comes.

    `real_time`: what is written is what a loudspeaker would have played by now. Otherwise it is all that came.
    """

    def __init__(self, path: Path, real_time: bool = False) -> None:
        super().__init__(SAMPLE_RATE_HZ, prebuffer_ms=0, limit_s=LIMIT_S)
        self._path = path
        self._real_time = real_time
        self._file: wave.Wave_write | None = None
        self._written_s = time.monotonic()
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageError(f"cannot write --output {path}: no such folder, or no permission")

    @property
    def played_ms(self) -> float:
        self._catch_up()
        return super().played_ms

    def play(self, pcm: bytes) -> None:
        self._catch_up()
        super().play(pcm)
        self._catch_up()

    def end_reply(self) -> None:
        self._catch_up()
        super().end_reply()

    def hold(self) -> None:
        self._catch_up()
        super().hold()

    def go_on(self) -> None:
        self._catch_up()
        super().go_on()

    def cut(self) -> None:
        self._catch_up()
        super().cut()

    def close(self) -> None:
        self._catch_up()
        if self._file is not None:
            self._file.close()

    def _catch_up(self) -> None:
        """Write what a loudspeaker would have played since the last time."""
        elapsed_s = time.monotonic() - self._written_s if self._real_time else LIMIT_S
        samples = int(elapsed_s * SAMPLE_RATE_HZ)
        if pcm := self.pull(BYTES_PER_SAMPLE * samples, self._written_s):
            self._write(pcm)
        self._written_s += samples / SAMPLE_RATE_HZ if self._real_time else 0.0

    def _write(self, pcm: bytes) -> None:
        if self._file is None:
            self._file = wave.open(str(self._path), "wb")  # noqa: SIM115 (`close` closes the file)
            self._file.setnchannels(1)
            self._file.setsampwidth(BYTES_PER_SAMPLE)
            self._file.setframerate(SAMPLE_RATE_HZ)
        self._file.writeframes(pcm)

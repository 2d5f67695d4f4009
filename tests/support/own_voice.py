"""A backend of a user's own with an environment of its own: it does what its text says, and imports nothing else."""

import logging
import math
import os
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from speech_to_speech.config.registry import register_model
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import AudioChunk

REQUIREMENTS = Path(os.environ.get("OWN_VOICE_REQUIREMENTS", Path(__file__).with_name("own_voice.txt")))
CHUNK = struct.pack("<1600h", *(int(8000 * math.sin(0.1 * n)) for n in range(1600)))  # 100 ms

logger = logging.getLogger(__name__)


@register_model("tts", "own_voice", requirements=str(REQUIREMENTS))
class OwnVoice:
    worker: ClassVar[str] = "process"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        own_voice_wait_s: float = 0.0
        """Before each chunk."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._kept: list[bytearray] = []

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            for word in job.request.text.split():
                if job.cancelled:
                    break
                time.sleep(self._options.own_voice_wait_s)
                self._do(job, word.strip(".").lower())

    def _do(self, job: Any, word: str) -> None:
        match word:
            case "modules":
                ours = sorted(name for name in sys.modules if name.partition(".")[0] not in sys.stdlib_module_names)
                raise StageFailed("tts", " ".join([sys.prefix, *ours]))
            case "die":
                os.kill(os.getpid(), 9)
            case "hang":
                time.sleep(3600)
            case "flood":
                for number in range(200_000):
                    print("a line of a library that prints too much", number)
                logger.warning("after the flood")
            case "log":
                logger.warning("a warning of %s", "the voice")
                print("printed", file=sys.stderr, flush=True)
            case "grow":
                while True:
                    self._kept.append(bytearray(b"x" * 10_000_000))
                    time.sleep(0.01)
            case "imports":
                import numpy  # noqa: F401
            case _:
                job.emit(AudioChunk(CHUNK, 16_000))

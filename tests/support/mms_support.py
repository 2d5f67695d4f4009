"""Voices of MMS in folders of a test's own, and requests that keep what they were told."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from speech_to_speech.frames import AudioChunk, SpeakRequest, pcm_ms
from speech_to_speech.tts.mms.backend import FacebookMms
from speech_to_speech.weights import checkpoints

TINY = Path(__file__).parents[2] / "tiny_models" / "mms"
LIMIT_S = 30.0

torch.set_num_threads(1)  # where tests run side by side, two threads of a model that wait for each other are far slower


def add_voice(folder: Path, code: str, **config: Any) -> Path:
    """A copy of the tiny voice as `folder/mms-tts-CODE`, with some entries of its configuration changed."""
    voice = folder / f"mms-tts-{code}"
    shutil.copytree(TINY, voice)
    change(voice / "config.json", **config)
    return voice


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def mms(folder: Path, *, load: bool = True, **options: Any) -> FacebookMms:
    """The backend with the voices of a folder."""
    chosen = {"facebook_mms_prefix": f"{folder}/mms-tts-", "facebook_mms_device": "cpu"} | options
    model = FacebookMms(FacebookMms.Options(**chosen))
    if load:
        model.load()
    return model


class Asked:
    """A job that keeps its outputs and how it ended. `on_output` is called for each output."""

    def __init__(
        self,
        text: str,
        language: str = "en",
        on_output: Callable[["Asked"], None] | None = None,
        *,
        voice: str = "",
    ) -> None:
        self.request = SpeakRequest(text, language, voice)
        self.cancelled = False
        self.outputs: list[AudioChunk] = []
        self.ends = 0
        self.error: Exception | None = None
        self._on_output = on_output

    def emit(self, output: AudioChunk) -> None:
        assert not self.ends
        self.outputs.append(output)
        if self._on_output is not None:
            self._on_output(self)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ends += 1

    def done(self) -> None:
        self.ends += 1

    @property
    def pcm(self) -> bytes:
        return b"".join(chunk.pcm for chunk in self.outputs)

    @property
    def chunks_ms(self) -> list[float]:
        return [pcm_ms(len(chunk.pcm), chunk.sample_rate_hz) for chunk in self.outputs]


def speak(model: FacebookMms, *jobs: Asked) -> None:
    model.run(jobs)
    assert [job.ends for job in jobs] == [1] * len(jobs)


def joining(*batches: Sequence[Asked]) -> Callable[[], Sequence[Asked]]:
    """A `join` that gives these, one after the other."""
    waiting: Iterator[Sequence[Asked]] = iter(batches)
    return lambda: next(waiting, ())


class SlowHub:
    """Holds up `checkpoints.fetch` for some voices until it is told to let them through."""

    def __init__(self, monkeypatch: Any, *codes: str) -> None:
        self.asked: list[str] = []
        self.begun = threading.Event()
        self.open = threading.Event()
        fetch = checkpoints.fetch

        def slow_fetch(name: str, *, flag: str) -> Path:
            code = name.rpartition("mms-tts-")[2]
            self.asked.append(code)
            if code in codes:
                self.begun.set()
                assert self.open.wait(LIMIT_S)
            return fetch(name, flag=flag)

        monkeypatch.setattr(checkpoints, "fetch", slow_fetch)

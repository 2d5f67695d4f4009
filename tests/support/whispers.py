"""What the tests of Whisper share: the small trained model, what it has learnt, and jobs that note more than others."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from service import spoken

from speech_to_speech.audio.samples import Samples, to_float, to_pcm
from speech_to_speech.errors import SettingsError
from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.languages import SIX
from speech_to_speech.stt.whisper.backend import Whisper
from speech_to_speech.stt.whisper.decoding import Speech, Window
from speech_to_speech.tts.espeak import VOICES
from speech_to_speech.workers.model import ListJob

TINY = Path(__file__).parents[2] / "tiny_models" / "whisper"
PHRASES = {
    language: [phrase["question"] for phrase in phrases]
    for language, phrases in json.loads((TINY.parent / "phrases.json").read_text()).items()
}
ALL = [(language, phrase) for language in SIX for phrase in PHRASES[language]]
RATES = (150, 165, 180)  # words a minute


def copied(folder: Path, **changes: dict[str, Any]) -> Path:
    """The trained model with some values of its files changed: `config={"vocab_size": 3}`."""
    shutil.copytree(TINY, folder)
    for name, values in changes.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def loaded(folder: Path = TINY, **options: Any) -> Whisper:
    """A Whisper on the CPU, ready to run."""
    torch.set_num_threads(1)  # its matrices are so small that a second thread only waits for the first
    whisper = Whisper(Whisper.Options(stt_model_name=str(folder), stt_device="cpu", **options))
    whisper.load()
    whisper.warm_up()
    return whisper


def load_fails(**options: Any) -> str:
    """The message of a load that is refused: one line."""
    with pytest.raises(SettingsError) as caught:
        Whisper(Whisper.Options(**{"stt_model_name": str(TINY), "stt_device": "cpu"} | options)).load()
    message = str(caught.value)
    assert "\n" not in message
    return message


def said(phrase: str, language: str, rate: int = 165, before_ms: int = 100, after_ms: int = 300) -> bytes:
    """A phrase in a quiet room: int16 PCM at 16 kHz."""
    speech = to_float(spoken(phrase, VOICES[language], rate))
    room = np.random.default_rng(0).normal(0, 0.0005, len(speech) + 16 * (before_ms + after_ms)).astype(np.float32)
    room[16 * before_ms : 16 * before_ms + len(speech)] += speech
    return to_pcm(room)


def job(pcm: bytes, language: str = "en") -> ListJob[SpeechRequest, Transcript]:
    return ListJob(SpeechRequest(pcm, language))


class FailableJob(ListJob[SpeechRequest, Transcript]):
    """Keeps its error."""

    error: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.error = error


class CancelledJob(ListJob[SpeechRequest, Transcript]):
    """Its caller leaves when it has been looked after a given number of times."""

    def __init__(self, request: SpeechRequest, looks: int) -> None:
        self.looks = looks
        super().__init__(request)

    @property
    def cancelled(self) -> bool:  # type: ignore[override]
        self.looks -= 1
        return self.looks < 0


def heard(whisper: Whisper, requests: list[tuple[bytes, str]]) -> list[Transcript]:
    """What is heard in one call."""
    jobs = [job(pcm, language) for pcm, language in requests]
    whisper.run(jobs)
    return [transcript for each in jobs for transcript in each.outputs]


def windows_of(requests: list[tuple[Samples, str | None]]) -> list[Window]:
    return [Window(Speech(language), samples) for samples, language in requests]


def steps_of(whisper: Whisper, calls: list[int]) -> Iterator[None]:
    """Note the rows of each call of the decoder in `calls`, within a `with`."""
    decoder = whisper.decoder.model.model.decoder
    handle = decoder.register_forward_pre_hook(
        lambda module, arguments, named: calls.append(len(named["input_ids"])), with_kwargs=True
    )
    try:
        yield
    finally:
        handle.remove()

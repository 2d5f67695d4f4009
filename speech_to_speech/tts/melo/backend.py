"""MeloTTS (https://github.com/myshell-ai/MeloTTS, MIT): six languages at 44.1 kHz, faster than real time on a CPU.

Its pins go with nothing else here, so it runs in an environment of its own (`environments/melo.txt`); this module
imports nothing of the package that needs more than the standard library.
"""

import importlib
import logging
import re
import sys
import types
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from speech_to_speech.errors import CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.tts.base import no_voice
from speech_to_speech.tts.melo import models as melo_models
from speech_to_speech.weights.devices import check_device
from speech_to_speech.weights.downloads import Download
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

logger = logging.getLogger(__name__)

# The library's code of each language, and the speaker by default.
VOICES = {
    "en": ("EN", "EN-BR"),
    "fr": ("FR", "FR"),
    "es": ("ES", "ES"),
    "zh": ("ZH", "ZH"),
    "ja": ("JP", "JP"),
    "ko": ("KR", "KR"),
}
ENGLISH_SPEAKERS = ("EN-US", "EN-BR", "EN_INDIA", "EN-AU", "EN-Default")
TRIAL = {"zh": "好。", "ja": "はい。", "ko": "네."}  # the text that a voice is warmed up with, where that is not "OK."
CHUNK_MS = 200
PROBLEM_LIMIT = 300  # characters of an error of the library
# scripts/prepare_unidic.py makes this folder.
DICTIONARY = Path(__file__).parents[3] / "fast_unidic" / "dictionary"

SpeakJob = Job[SpeakRequest, AudioChunk]


@dataclass(frozen=True)
class Voice:
    """A language's model, its speakers with their numbers, and the name of the one who speaks by default."""

    model: Any
    speakers: dict[str, int]
    speaker: str


class Melo:
    """A sentence at once, as the library makes it; a cancel is seen between sentences and between chunks."""

    worker: ClassVar[WorkerKind] = "process"
    batch_limit: ClassVar[int] = 1
    languages: ClassVar[frozenset[str]] = frozenset(VOICES)

    @dataclass(frozen=True)
    class Options:
        melo_languages: str = field(
            default=",".join(VOICES), metadata={"help": "those to load, comma-separated, each a model of 200 MB"}
        )
        melo_device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1, mps or auto"})
        melo_speaker_to_id: str = field(
            default="en", metadata={"help": f"the English speaker: {', '.join(ENGLISH_SPEAKERS)}, or en for EN-BR"}
        )
        melo_speed: float = field(default=1.0, metadata={"help": "how fast, 0.5 to 2"})
        melo_dictionary: str | None = field(
            default=None,
            metadata={
                "help": "for MeCab: a folder that scripts/prepare_unidic.py made; by default fast_unidic/dictionary"
            },
        )

        def __post_init__(self) -> None:
            unknown = [code for code in self.codes if code not in VOICES]
            if unknown or not self.codes:
                raise ValueError(f"melo_languages: there are {', '.join(VOICES)}, not {self.melo_languages!r}")
            check_device(self.melo_device, flag="melo_device")
            if self.melo_speaker_to_id not in ("en", *ENGLISH_SPEAKERS):
                raise ValueError(
                    f"melo_speaker_to_id: there are en, {', '.join(ENGLISH_SPEAKERS)}, not {self.melo_speaker_to_id!r}"
                )
            if not 0.5 <= self.melo_speed <= 2:
                raise ValueError(f"melo_speed: 0.5 to 2 is allowed, not {self.melo_speed}")

        @property
        def codes(self) -> tuple[str, ...]:
            return tuple(dict.fromkeys(code.strip() for code in self.melo_languages.split(",") if code.strip()))

    def __init__(self, options: Options, dictionary: Path | None = None) -> None:
        """`dictionary` is a folder for MeCab; None: it takes a package of its environment."""
        self._options = options
        self._dictionary = dictionary
        self._voices: dict[str, Voice] = {}  # by language

    @classmethod
    def languages_with(cls, options: Options) -> frozenset[str]:
        """Those that are loaded: nothing is loaded in the middle of a turn."""
        return frozenset(options.codes)

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]:
        """What the library takes by itself: the list was read in its source, and not tried."""
        return melo_models.downloads(options.codes)

    @staticmethod
    def prepare(options: Options) -> tuple[Options, Path | None]:
        """In the service's own process: what the constructor takes.

        Raises:
            SettingsError: the dictionary's folder has none.
        """
        named = options.melo_dictionary
        folder = Path(named) if named is not None else DICTIONARY
        if named is None and not folder.is_dir():
            return options, None
        for name in ("mecabrc", "sys.dic"):
            if not (folder / name).is_file():
                raise SettingsError(f"melo_dictionary: {folder} has no {name}; make it: scripts/prepare_unidic.py")
        return options, folder

    def load(self) -> None:
        """Load a model for each language.

        Raises:
            CheckpointError: a model can't be had or is broken.
            SettingsError: there is no such speaker, or no dictionary for Japanese.
        """
        options = self._options
        if self._dictionary is not None:
            use_dictionary(self._dictionary)
        try:
            tts_class = importlib.import_module("melo.api").TTS  # the import needs MeCab's dictionary in any case
        except Exception as error:
            raise CheckpointError(f"tts melo: MeloTTS can't be imported: {one_line(error)}") from error
        for code in options.codes:
            language, speaker = VOICES[code]
            if code == "en" and options.melo_speaker_to_id != "en":
                speaker = options.melo_speaker_to_id
            try:
                model = tts_class(language=language, device=options.melo_device)
            except Exception as error:  # the library, the hub and torch may raise anything
                raise CheckpointError(
                    f"melo_languages: the model for {code} can't be loaded: {one_line(error)}"
                ) from error
            speakers = dict(model.hps.data.spk2id)
            if speaker not in speakers:
                raise SettingsError(f"melo_speaker_to_id: the model has {', '.join(speakers)}, not {speaker}")
            self._voices[code] = Voice(model, speakers, speaker)
            logger.info("tts: MeloTTS %s, %s", language, speaker)

    def voices(self, language: str) -> Collection[str]:
        """The speakers of the language's model: several of English, one of each other language."""
        return self._voices[language].speakers if language in self._voices else ()

    def warm_up(self) -> None:
        for code in self._voices:
            self.run([ListJob(SpeakRequest(TRIAL.get(code, "OK."), code))])

    def run(self, jobs: Sequence[SpeakJob]) -> None:
        for job in jobs:
            try:
                self._speak(job)
            except StageFailed as error:
                job.fail(error)

    def _speak(self, job: SpeakJob) -> None:
        language = job.request.language
        if language not in self._voices:
            raise StageFailed("tts", f"this MeloTTS has no voice for {language!r}")
        voice = self._voices[language]
        speaker = job.request.voice or voice.speaker
        if speaker not in voice.speakers:
            raise no_voice(speaker, voice.speakers)
        for sentence in sentences(job.request.text):
            if not job.cancelled:
                self._say(job, sentence, voice.model, voice.speakers[speaker])

    def _say(self, job: SpeakJob, sentence: str, model: Any, speaker: int) -> None:
        sample_rate_hz = int(model.hps.data.sampling_rate)
        audio = model.tts_to_file(sentence, speaker, speed=self._options.melo_speed, quiet=True)
        pcm = (audio.clip(-1, 1) * 32767).astype("<i2").tobytes()
        size = 2 * sample_rate_hz * CHUNK_MS // 1000
        for start in range(0, len(pcm), size):
            if job.cancelled:
                return
            job.emit(AudioChunk(pcm[start : start + size], sample_rate_hz))


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:PROBLEM_LIMIT]


def sentences(text: str) -> list[str]:
    """Sentences, one call of the model each: so the first is heard while the next is being made."""
    return [part.strip() for part in re.split(r"(?<=[.!?…])\s+|(?<=[。！？])", text) if part and part.strip()]


def use_dictionary(folder: Path) -> None:
    """Let MeCab take the dictionary in `folder`.

    mecab-python3 takes what the package `unidic` names, if there is one, else `unidic_lite`: so here is a `unidic`, in
    this process only.
    """
    module = types.ModuleType("unidic")
    module.DICDIR = str(folder)  # type: ignore[attr-defined]  # the new module has no names until now
    sys.modules["unidic"] = module

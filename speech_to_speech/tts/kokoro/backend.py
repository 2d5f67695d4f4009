"""Kokoro-82M (https://huggingface.co/hexgrad/Kokoro-82M, Apache-2.0) through its own library: see docs/decisions/0009.

A sentence is made at once, since the model's layers look at all of it; its sound comes in chunks. For English the
library says when each word begins.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from speech_to_speech.audio.samples import to_pcm
from speech_to_speech.errors import BackendMissing, SettingsError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest, WordStart
from speech_to_speech.tts.base import no_voice
from speech_to_speech.tts.kokoro.languages import LANGUAGES, Phonemes, check, phonemiser
from speech_to_speech.tts.kokoro.model import (
    REPOSITORY,
    SAMPLE_RATE_HZ,
    load_model,
    load_voice,
    load_voices,
    pieces,
    pipeline,
)
from speech_to_speech.weights import checkpoints
from speech_to_speech.weights.downloads import Download
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

logger = logging.getLogger(__name__)

CHUNK_MS = 200
MAX_SKIP = 20  # characters that the library may leave out of the text between two words
VOICE_NAME = re.compile(r"[abefhijpz][fm]_\w+")

# Something to say in each language, for warm-up.
SAMPLES = {
    "en": "I am ready.",
    "es": "Ya puedes hablar.",
    "fr": "Je suis prête.",
    "hi": "मैं तैयार हूँ।",
    "it": "Sono pronta.",
    "ja": "準備ができました。",
    "pt": "Estou pronta.",
    "zh": "我准备好了。",
}


@dataclass(frozen=True)
class Speaker:
    """One language: what makes phonemes of a text, and what speaks them with a voice, by default with `voice`."""

    phonemes: Callable[[str], Phonemes]
    pipeline: Any
    voice: str

    @property
    def voices(self) -> Collection[str]:
        return sorted(self.pipeline.voices)


class Kokoro:
    """A small model with a natural voice in eight languages."""

    worker: ClassVar[WorkerKind] = "thread"
    # The library has no batches, and a batch would end its short sentences with its longest.
    batch_limit: ClassVar[int] = 1
    languages: ClassVar[frozenset[str]] = frozenset(LANGUAGES)

    @dataclass(frozen=True)
    class Options:
        kokoro_model_name: str = field(
            default=REPOSITORY, metadata={"help": "the checkpoint: a hub's name or a folder"}
        )
        kokoro_languages: str = field(
            default="",
            metadata={"help": "languages to load, comma-separated; otherwise all whose packages are installed"},
        )
        kokoro_voice: str | None = field(
            default=None, metadata={"help": "a voice such as bf_emma, for its language (b: British English)"}
        )
        kokoro_speed: float = field(default=1.0, metadata={"help": "0.5 is half as fast, 2 twice"})
        kokoro_device: str = field(default="auto", metadata={"help": "cuda, cuda:1, mps, cpu or auto"})
        kokoro_english_tagger: str = field(
            default="en_core_web_sm", metadata={"help": "spaCy pipeline for English: an installed package or a folder"}
        )

        def __post_init__(self) -> None:
            if not 0.5 <= self.kokoro_speed <= 2.0:
                raise ValueError(f"kokoro_speed: 0.5 to 2 is allowed, not {self.kokoro_speed:g}")
            for language in self.wanted:
                if language not in LANGUAGES:
                    raise ValueError(
                        f"kokoro_languages: Kokoro has no voice for {language!r}; it has {', '.join(LANGUAGES)}"
                    )
            if self.kokoro_voice is not None and not VOICE_NAME.fullmatch(self.kokoro_voice):
                raise ValueError(
                    f"kokoro_voice: {self.kokoro_voice!r} is no name of a voice, such as af_heart: a letter for the "
                    "language (a or b for English, e, f, h, i, j, p, z), f or m, and a name"
                )

        @property
        def wanted(self) -> list[str]:
            """The codes in `kokoro_languages`."""
            return [code.strip() for code in self.kokoro_languages.split(",") if code.strip()]

        @property
        def voices_language(self) -> str | None:
            """The language that `kokoro_voice` speaks."""
            codes = {letter: language for language, known in LANGUAGES.items() for letter in known.letters}
            return codes.get((self.kokoro_voice or "")[:1])

    def __init__(self, options: Options) -> None:
        self._options = options
        self._speakers: dict[str, Speaker] = {}

    def load(self) -> None:
        options = self._options
        languages = self._available()
        if options.kokoro_voice is not None and options.voices_language not in languages:
            raise SettingsError(
                f"kokoro_voice: {options.kokoro_voice} speaks {options.voices_language!r}, but loaded is "
                f"{', '.join(languages)}; see --kokoro_languages"
            )
        device = checkpoints.choose_device(options.kokoro_device, flag="kokoro_device")
        (download,) = self.downloads(options)
        folder = checkpoints.fetch(download.name, flag=download.flag)
        model = load_model(folder, device, name=options.kokoro_model_name, flag="kokoro_model_name")
        for language in languages:
            voice, code = LANGUAGES[language].voice, LANGUAGES[language].code
            flag = "kokoro_model_name"
            if options.kokoro_voice is not None and options.voices_language == language:
                voice, code, flag = options.kokoro_voice, options.kokoro_voice[0], "kokoro_voice"
            speaks = pipeline(code, model)
            speaks.voices[voice] = load_voice(folder, voice, device, flag=flag)
            speaks.voices |= load_voices(folder, LANGUAGES[language].letters, device, flag="kokoro_model_name")
            name, flag = language, "kokoro_languages"
            if language == "en":
                name, flag = options.kokoro_english_tagger, "kokoro_english_tagger"
            with checkpoints.loading(name, "what makes phonemes", flag=flag):
                phonemes = phonemiser(language, code, options.kokoro_english_tagger)
            self._speakers[language] = Speaker(phonemes, speaks, voice)

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]:
        """The weights, and all voices: they are small."""
        return (Download(options.kokoro_model_name, "kokoro_model_name"),)

    @classmethod
    def languages_with(cls, options: Options) -> frozenset[str]:
        """Those that were asked for, or whose packages are installed."""
        installed = set()
        for language in options.wanted or LANGUAGES:
            with contextlib.suppress(BackendMissing):
                check(language, options.kokoro_english_tagger)
                installed.add(language)
        return frozenset(options.wanted or installed)

    def _available(self) -> list[str]:
        """The languages to load.

        Raises:
            BackendMissing: the packages of one that was asked for are not installed.
        """
        available = []
        for language in self._options.wanted or LANGUAGES:
            try:
                check(language, self._options.kokoro_english_tagger)
            except BackendMissing as error:
                if self._options.wanted:
                    raise
                logger.warning("%s", error)
            else:
                available.append(language)
        if not available:
            check("en", self._options.kokoro_english_tagger)
        return available

    def voices(self, language: str) -> Collection[str]:
        """Those of the checkpoint that speak the language.

        English is loaded with one accent, British if `kokoro_voice` is: voices of the other get its phonemes too.
        """
        return self._speakers[language].voices if language in self._speakers else ()

    def warm_up(self) -> None:
        for language, speaker in self._speakers.items():
            speaker.phonemes(SAMPLES[language])  # some languages read their dictionaries now
        for language in list(self._speakers)[:1]:
            self.run([ListJob(SpeakRequest(SAMPLES[language], language))])

    def run(self, jobs: Sequence[Job[SpeakRequest, AudioChunk]]) -> None:
        for job in jobs:
            try:
                self._speak(job)
            except Exception as error:
                job.fail(error)

    def _speak(self, job: Job[SpeakRequest, AudioChunk]) -> None:
        language = job.request.language
        if language not in self._speakers:
            raise StageFailed("tts", f"Kokoro does not speak {language!r} here")
        speaker = self._speakers[language]
        voice = job.request.voice or speaker.voice
        if voice not in speaker.voices:
            raise no_voice(voice, speaker.voices)
        written = 0  # characters of the text whose words were placed
        made_ms = 0.0
        for result in self._results(job, speaker, voice):
            words, written = _words(result.tokens or (), job.request.text, written, made_ms)
            samples = result.audio.numpy()
            size = CHUNK_MS * SAMPLE_RATE_HZ // 1000
            for start in range(0, len(samples), size):
                if job.cancelled:
                    return
                chunk = samples[start : start + size]
                end_ms = made_ms + 1000 * len(chunk) / SAMPLE_RATE_HZ
                begin_here = tuple(word for word in words if made_ms <= word.at_ms < end_ms)
                job.emit(AudioChunk(to_pcm(chunk), SAMPLE_RATE_HZ, begin_here))
                made_ms = end_ms

    def _results(self, job: Job[SpeakRequest, AudioChunk], speaker: Speaker, voice: str) -> Iterator[Any]:
        """What the library makes of a text, part by part; nothing of a text without phonemes that it knows."""
        known = speaker.pipeline.model.vocab
        for piece in pieces(speaker.phonemes(job.request.text)):
            said = piece if isinstance(piece, str) else "".join(token.phonemes or "" for token in piece)
            if not any(phoneme in known and phoneme.isalpha() for phoneme in said):
                continue
            results = speaker.pipeline.generate_from_tokens(piece, voice, self._options.kokoro_speed)
            while not job.cancelled and (result := next(results, None)) is not None:
                yield result


def _words(tokens: Sequence[Any], text: str, written: int, offset_ms: float) -> tuple[list[WordStart], int]:
    """Where the words of tokens with times (in seconds) begin, in the text from the character `written` on."""
    words = []
    for token in tokens:
        at = text.find(token.text, written, written + MAX_SKIP + len(token.text))
        if at < 0:
            continue  # the library wrote the word in another way
        written = at + len(token.text)
        if token.start_ts is not None and any(character.isalnum() for character in token.text):
            words.append(WordStart(at, offset_ms + 1000 * token.start_ts))
    return words, written

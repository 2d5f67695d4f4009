"""The languages that Kokoro-82M speaks, how its library turns them into phonemes, and what that needs.

The library (https://github.com/hexgrad/misaki) has a dictionary and a tagger for English, jieba and pypinyin for
Chinese, cutlet's rules over UniDic for Japanese, and eSpeak NG for the others. It would download what it misses when it
is first used; here that is an error before the service is ready.
"""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech_to_speech.config.registry import extra
from speech_to_speech.errors import BackendMissing
from speech_to_speech.tts.kokoro.tagger import TAGGER

AMERICAN, BRITISH = "a", "b"  # the library has two codes for English
Phonemes = str | list[Any]
"""Phonemes, or misaki's tokens (`MToken`), which know the words that they belong to."""


@dataclass(frozen=True)
class KokoroLanguage:
    """`code` is the library's; `voice` the one its authors rate best."""

    code: str
    voice: str
    espeak: str | None = None
    needs: tuple[str, ...] = ()
    install: str = ""

    @property
    def letters(self) -> str:
        """What the names of its voices begin with."""
        return self.code + BRITISH if self.code == AMERICAN else self.code

    @property
    def missing(self) -> list[str]:
        """The packages it needs that are not installed; none of them is imported to find out."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


# https://huggingface.co/hexgrad/Kokoro-82M/blob/main/VOICES.md
LANGUAGES = {
    "en": KokoroLanguage(AMERICAN, "af_heart"),
    "es": KokoroLanguage("e", "ef_dora", "es"),
    "fr": KokoroLanguage("f", "ff_siwis", "fr-fr"),
    "hi": KokoroLanguage("h", "hf_alpha", "hi"),
    "it": KokoroLanguage("i", "if_sara", "it"),
    "ja": KokoroLanguage(
        "j",
        "jf_alpha",
        needs=("fugashi", "jaconv", "mojimoji", "unidic_lite"),
        install=extra("kokoro-ja"),
    ),
    "pt": KokoroLanguage("p", "pf_dora", "pt-br"),
    "zh": KokoroLanguage(
        "z",
        "zf_xiaobei",
        needs=("cn2an", "jieba", "ordered_set", "pypinyin"),
        install=extra("kokoro"),
    ),
}


def check(language: str, tagger: str) -> None:
    """Raise `BackendMissing`, with the command that installs it, for what the language's phonemes need and is not here.

    `tagger` is the spaCy pipeline for English: an installed package or a folder.
    """
    known = LANGUAGES[language]
    if known.missing:
        raise BackendMissing(f"tts kokoro needs {', '.join(known.missing)} for {language!r}: {known.install}")
    if language == "en" and not Path(tagger).is_dir() and importlib.util.find_spec(tagger) is None:
        install = f"pip install {TAGGER}" if tagger == "en_core_web_sm" else f"python -m spacy download {tagger}"
        raise BackendMissing(f"kokoro_english_tagger: no folder or package {tagger!r}: {install}")


def phonemiser(language: str, code: str, tagger: str) -> Callable[[str], Phonemes]:
    """What turns a text of the language into phonemes; `check` it before."""
    if language == "en":
        return _english(british=code == BRITISH, tagger=tagger)
    if language == "zh":
        import jieba
        from misaki.zh import ZHG2P

        jieba.setLogLevel(logging.WARNING)  # jieba would print that it reads its dictionary
        return _first_of(ZHG2P())
    if language == "ja":
        with quiet_libraries():
            from misaki.cutlet import Cutlet  # misaki.ja takes Cutlet too, but imports pyopenjtalk without need

            return _first_of(Cutlet())
    from misaki.espeak import EspeakG2P

    return _first_of(EspeakG2P(language=LANGUAGES[language].espeak))


def _first_of(g2p: Any) -> Callable[[str], Phonemes]:
    return lambda text: str(g2p(text)[0])


def _english(*, british: bool, tagger: str) -> Callable[[str], Phonemes]:
    import spacy
    from misaki.en import G2P, Lexicon
    from misaki.espeak import EspeakFallback

    class EnglishG2P(G2P):  # type: ignore[misc]  # misaki is not typed
        """The library's, but with a tagger that is at hand: its own constructor downloads one, and ends the process if
        it can't."""

        def __init__(self) -> None:
            self.version = None
            self.british = british
            self.nlp = spacy.load(tagger, enable=["tok2vec", "tagger"])
            self.lexicon = Lexicon(british)
            self.fallback = EspeakFallback(british)  # the fallback speaks words that are not in the dictionary
            self.unk = ""

    with quiet_libraries():
        g2p = EnglishG2P()
    return lambda text: list(g2p(text)[1])


# The libraries, and the plugins that spaCy imports with its first pipeline, call functions that are to be dropped.
DEPRECATED = (r".*torch\.jit\.script.* is deprecated", r"Dictionary\.create\(\) is", r"open_text is deprecated")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the warnings that are for the libraries' own authors."""
    with warnings.catch_warnings():
        for message in DEPRECATED:
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield

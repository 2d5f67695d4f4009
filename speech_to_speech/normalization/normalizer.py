"""The way into text normalisation: pieces of one reply in, what a voice says of them out."""

import functools
import re
from collections.abc import Iterable, Iterator

import regex

from speech_to_speech.normalization import inline
from speech_to_speech.normalization.abbreviations import Abbreviations
from speech_to_speech.normalization.blocks import Blocks
from speech_to_speech.normalization.characters import clean, plain_digits
from speech_to_speech.normalization.languages import language_of
from speech_to_speech.normalization.links import say_links
from speech_to_speech.normalization.maths import say_maths
from speech_to_speech.normalization.quantities import Quantities
from speech_to_speech.normalization.symbols import Signs, tidy
from speech_to_speech.normalization.tracked import Speakable, Tracked

LONGEST = 600  # characters that are looked at together, so that the time is in proportion to the length, whatever comes

# Most sentences need nothing done: letters of usual form, and marks once each.
PLAIN = regex.compile(r"[\p{L}\p{M} ,;:.!?'\"“”‘’«»¿¡—–…，。！？、；：「」『』（）()-]*+")
NOT_PLAIN = regex.compile(
    r"\A[ -]|\s\Z|[ ]{2}|\w\.\w|[!?！？]{2}|(?<!\.)\.\.(?!\.)|\.{4}|…{3}|。{2}|[,;:，、；：]{2}|--|[—–]{3}"
    r"|[:;]['’]?-?[)(A-Za-z]|\(\)"
    r"|\(e?s\)|[Ａ-Ｚａ-ｚ｡-ﾟﬀ-ﬆⅠ-ⅿ㌀-㏿①-⓿]|\p{L}[\u0300-\u036f\u3099\u309a]|[\u1100-\u11ff]|\bxD\b"
)
HAS_WORDS = re.compile(r"[^\W_]")


class Normalizer:
    """Normalises the pieces of one reply, in order: a block of code may go on from one to the next.

    Its first use for a language loads the rules of that language, which `preload` does ahead.
    """

    def __init__(self, language: str) -> None:
        """`language` is an ISO code; of one that is not known here numbers are spelled out if the library can."""
        self._rules = rules_of(language)
        self._blocks = Blocks(self._rules.language.stop, self._rules.language.comma)

    def speak(self, piece: str) -> Speakable:
        """What a voice says of a piece: text with words in it, or none at all."""
        if len(piece) <= LONGEST:
            return self._speak(piece)
        return _joined(piece, map(self._speak, _parts(piece)), " " if self._rules.language.spaced else "")

    def _speak(self, piece: str) -> Speakable:
        rules, blocks = self._rules, self._blocks
        if not blocks.in_code and is_plain(piece) and not rules.abbreviations.occur_in(piece):
            return Speakable.plain(piece)
        tracked = Tracked(piece)
        clean(tracked)
        blocks.flatten(tracked)
        if tracked.text:
            rules.apply(tracked)
        if not HAS_WORDS.search(tracked.text):
            return Speakable(piece, "", (len(piece),))
        return tracked.speakable()


class Rules:
    """What is done to a line of text in one language."""

    def __init__(self, code: str) -> None:
        self.language = language_of(code)
        self.abbreviations = Abbreviations(self.language)
        self._quantities = Quantities(self.language)
        self._signs = Signs(self.language)

    def apply(self, tracked: Tracked) -> None:
        language = self.language
        dot = f" {language.dot} " if language.dot else " "
        if "`" in tracked.text:
            inline.say_code(tracked, dot)
        say_maths(tracked, language)
        if "]" in tracked.text or "】" in tracked.text:
            inline.strip_links(tracked)
        say_links(tracked, language)
        if "<" in tracked.text:
            inline.strip_tags(tracked)
        if "&" in tracked.text:
            inline.read_entities(tracked)
        inline.strip_emphasis(tracked)
        self.abbreviations.spell_out(tracked)
        self._signs.prepare(tracked)
        if language.spells:
            plain_digits(tracked)
            self._quantities.say(tracked)
        self._signs.say(tracked)
        tidy(tracked)


@functools.cache
def rules_of(code: str) -> Rules:
    return Rules(code)


def preload(languages: Iterable[str]) -> None:
    """Load the rules for these languages, so that no reply waits for them: some ten milliseconds each."""
    for code in languages:
        Normalizer(code).speak("1 2.5 3% $4 5 km 6:30 – e.g. **a** [b](c) `d` https://example.com 😀")


def is_plain(piece: str) -> bool:
    """It has words, and is said as it is written, but for abbreviations."""
    return (
        PLAIN.fullmatch(piece) is not None and NOT_PLAIN.search(piece) is None and HAS_WORDS.search(piece) is not None
    )


def _parts(piece: str) -> Iterator[str]:
    """Parts of at most `LONGEST` characters, cut behind a space if there is one."""
    start = 0
    while start < len(piece):
        end = start + LONGEST
        if end < len(piece):
            end = max(piece.rfind(" ", start, end), piece.rfind("\n", start, end)) + 1 or end
        if end <= start:
            end = start + LONGEST
        yield piece[start:end]
        start = end


def _joined(piece: str, parts: Iterable[Speakable], gap: str) -> Speakable:
    text, origins, start = "", [0], 0
    for part in parts:
        if part.text:
            if text:
                text += gap
                origins += [start] * len(gap)
            text += part.text
            origins[-1] = start + part.origins[0]
            origins += [start + origin for origin in part.origins[1:]]
        start += len(part.source)
    origins[-1] = len(piece)
    return Speakable(piece, text, origins)

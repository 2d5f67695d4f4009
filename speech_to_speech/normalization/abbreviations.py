"""Abbreviations, and the Roman numerals of centuries and kings."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language, alternatives
from speech_to_speech.normalization.tracked import Tracked

ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
WELL_FORMED = re.compile(r"(?=[IVXLC])C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\Z")
CLOSED = re.compile(r"[\s\"'”’»)\]」』]*\Z")
INITIAL = re.compile(r"[A-Z]\. ?\Z")
STREET = re.compile(r"[A-Z]\w{1,30} \Z")


class Abbreviations:
    """Spells out the abbreviations of one language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._words = {**language.titles, **language.numbered, **language.abbreviations}
        before = r"(?<![\w.])" if language.spaced and language.code != "ko" else r"(?<![A-Za-z.])"
        after = r"(?!\w)" if language.spaced and language.code != "ko" else r"(?![A-Za-z])"
        kinds = [
            rf"({alternatives(words)}){end}" if words else r"((?!))"
            for words, end in (
                (language.abbreviations, after),
                (language.numbered, r"[ ]?(?=\d)"),
                (language.titles, r"(?= ?[^\W\d_])"),
            )
        ]
        self._pattern = re.compile(f"{before}(?:{'|'.join(kinds)})") if self._words else None

    def occur_in(self, text: str) -> bool:
        roman = self._language.roman
        return (self._pattern is not None and self._pattern.search(text) is not None) or (
            roman is not None and roman.search(text) is not None
        )

    def spell_out(self, tracked: Tracked) -> None:
        if self._pattern is not None:
            tracked.sub(self._pattern, self._spell)
        if self._language.roman is not None and self._language.spells:
            tracked.sub(self._language.roman, self._roman)

    def _spell(self, match: Any) -> str | None:
        text, end = match.string, match.end()
        abbreviation, numbered, title = match.groups()
        if title:
            return self._title(match, title)
        words = self._words[abbreviation or numbered]
        if numbered:
            return f"{words} " if self._language.spaced else words
        if abbreviation.endswith(".") and CLOSED.match(text, end):
            words += self._language.stop.strip()  # the abbreviation's dot was the sentence's end, too
        elif (
            abbreviation.endswith(".")
            and abbreviation[:-1] in ("etc", "p.m", "a.m")
            and text[end + 1 : end + 2].isupper()
        ):
            words += "."
        return words

    def _title(self, match: Any, title: str) -> str | None:
        text, end = match.string, match.end()
        following = text[end:].lstrip()
        if not following[0].isupper() or INITIAL.search(text, max(0, match.start() - 3), match.start()):
            return None
        if title == "St." and STREET.search(text, max(0, match.start() - 32), match.start()):
            return "Street."
        words = self._words[title]
        return words if title[-1] != "-" or text[end] != " " else None

    def _roman(self, match: Any) -> str | None:
        numeral = match[1]
        if not WELL_FORMED.match(numeral):
            return None
        values = [ROMAN[letter] for letter in numeral]
        pairs = zip(values, [*values[1:], 0], strict=True)
        return self._language.say_roman(
            match, sum(-value if value < following else value for value, following in pairs)
        )

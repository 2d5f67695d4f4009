"""What a language has to say about numbers and signs.

This class is every language: the numbers that `unicode-rbnf` can spell out, and signs left to the voice. Those in
`languages` know more.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from speech_to_speech.normalization.numerals import (
    COMMA_LANGUAGES,
    SIGN,
    WITH_COMMA,
    WITH_POINT,
    Number,
    decimal_point,
    default_rules,
    read_number,
    spell,
)
from speech_to_speech.normalization.tracked import Tracked


@dataclass(frozen=True, slots=True)
class Noun:
    """What is counted: `one`, or `many`; with {} the number stands there, else before it."""

    one: str
    many: str
    feminine: bool = False

    @classmethod
    def read(cls, entry: str, plural: str) -> "Noun":
        """From an entry such as `litre`, `foot|feet`, `f:hora` or `at {} degrees`; `plural` is the usual ending."""
        feminine = entry.startswith("f:")
        one, _, many = entry.removeprefix("f:").partition("|")
        return cls(one, many or one + ("" if "{}" in one else plural), feminine)


class Language:
    """Words and grammar of one language; an empty word is one that is not known: then the sign stays."""

    code: ClassVar[str] = ""
    spaced: ClassVar[bool] = True
    """Words are written with spaces between them."""
    stop: ClassVar[str] = ". "
    comma: ClassVar[str] = ", "
    plural: ClassVar[str] = ""
    rules: ClassVar[str] = ""
    counting_rules: ClassVar[tuple[str, str]] = ("", "")
    """The rules for numbers before a noun: masculine or without gender, and feminine."""

    minus: ClassVar[str] = ""
    below_zero: ClassVar[str] = ""  # the word before a temperature, where that is not `minus`
    to: ClassVar[str] = ""  # the word between the ends of a range
    ratio: ClassVar[str] = ""
    by: ClassVar[str] = ""
    over: ClassVar[str] = ""
    per: ClassVar[str] = ""
    about: ClassVar[str] = ""
    number_sign: ClassVar[str] = ""
    dot: ClassVar[str] = ""
    dash: ClassVar[str] = ""
    underscore: ClassVar[str] = ""
    at: ClassVar[str] = ""
    percent: ClassVar[str] = ""
    points: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The word for a decimal mark."""
    day_first: ClassVar[bool] = True
    units: ClassVar[Mapping[str, str]] = MappingProxyType({})
    currencies: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The noun for each sign or code, and after a slash the noun for a hundredth."""
    magnitudes: ClassVar[Mapping[str, str]] = MappingProxyType({})
    signs: ClassVar[Mapping[str, str]] = MappingProxyType({})
    maths: ClassVar[Mapping[str, str]] = MappingProxyType({})
    titles: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Abbreviations before a name."""
    numbered: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Abbreviations before a number."""
    abbreviations: ClassVar[Mapping[str, str]] = MappingProxyType({})
    roman: ClassVar[re.Pattern[str] | None] = None
    """The pattern's first group is a Roman numeral. Other Roman numerals are left alone."""

    def __init__(self, code: str = "") -> None:
        self._code = code or self.code
        self.decimal = "," if self._code in COMMA_LANGUAGES.split() else "."
        unsigned = WITH_COMMA if self.decimal == "," else WITH_POINT
        self.unsigned = rf"(?:{unsigned})"
        # The characters that a number may begin with come first: that makes the search three times as fast.
        self.number = rf"(?=[-−–.\d])(?:{SIGN})?(?<![\d.,]){self.unsigned}"
        self.spells = bool(default_rules(self._code))
        """The language's numbers can be spelled out."""

    # Numbers.

    def read(self, written: str) -> Number:
        return read_number(written, self.decimal)

    def cardinal(self, number: int) -> str:
        return spell(self._code, number, self.rules)

    def counted(self, number: int, feminine: bool = False) -> str:
        """Before a noun."""
        return spell(self._code, number, self.counting_rules[feminine] or self.rules)

    def ordinal(self, number: int, mark: str = "") -> str:
        """`mark` is what the number was written with, such as `nd`."""
        return self.cardinal(number)

    def say_roman(self, match: re.Match[str], number: int) -> str:
        """The match of `roman`, whose numeral is this number."""
        return match[0].replace(match[1], self.cardinal(number), 1)

    def year(self, number: int) -> str:
        return self.cardinal(number)

    def digits(self, digits: str) -> str:
        """One by one."""
        return (" " if self.spaced else "").join(self.cardinal(int(digit)) for digit in digits)

    def phone(self, groups: Sequence[str]) -> str:
        return self.comma.join(map(self.digits, groups))

    def say(self, number: Number, noun: Noun | None = None) -> str:
        """A number of any kind, before a noun or by itself."""
        if not number.is_whole:
            words = self.decimals(number)
        elif number.is_code:
            words = self.digits(number.whole)
        elif noun is None:
            words = self.cardinal(number.value)
        else:
            words = self.counted(number.value, noun.feminine)
        return self.negative(words) if number.negative else words

    def decimals(self, number: Number) -> str:
        gap = " " if self.spaced else ""
        whole = self.digits(number.whole) if number.is_code else self.cardinal(number.value)
        point = self.points.get(number.mark) or decimal_point(self._code)
        return (
            gap.join((whole, point, self.fractional(number.part))) if point else whole + gap + self.digits(number.part)
        )

    def fractional(self, digits: str) -> str:
        """The digits behind the decimal mark."""
        return self.digits(digits)

    def negative(self, words: str) -> str:
        return f"{self.minus or self._minus}{' ' if self.spaced else ''}{words}".strip()

    def is_one(self, number: Number) -> bool:
        """The noun that follows is in the singular."""
        return number.is_whole and number.value == 1

    def measure(self, number: Number, noun: Noun) -> str:
        """So much of it."""
        word = noun.one if self.is_one(number) else noun.many
        words = self.say(number, noun)
        if "{}" in word:
            return word.format(words)
        return f"{words} {word}" if self.spaced else words + word

    def percentage(self, words: str) -> str:
        return f"{words} {self.percent}" if self.spaced else words + self.percent

    def fraction(self, above: int, below: int) -> str:
        """Empty if the language has no word for it."""
        return ""

    def power(self, exponent: str) -> str:
        """What stands behind the base."""
        return f" {self.signs.get('^', '')} {exponent}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        """A whole number and a fraction."""
        return ""

    # Time and money.

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        """A time of the day; `half` is am, pm or empty."""
        times = [hour, minute] if second is None else [hour, minute, second]
        return (" " if self.spaced else "").join(map(self.cardinal, times))

    def date(self, year: int | None, month: int, day: int | None) -> str:
        """Empty if the language can't say it."""
        return ""

    def money(self, number: Number, noun: Noun, hundredth: Noun | None, magnitude: str) -> str:
        """An amount, of which `magnitude` is the word behind the number, such as million."""
        if magnitude:
            gap = " " if self.spaced else ""
            return f"{self.say(number)}{gap}{magnitude}{gap}{self.of(noun)}"
        if hundredth is None:
            part = number.part.rstrip("0")
            return self.measure(Number(number.negative, number.whole, number.mark if part else "", part), noun)
        if len(number.part) != 2:
            return self.measure(number, noun)
        whole, cents = Number(False, number.whole), Number(False, number.part.lstrip("0") or "0")
        if not cents.value:
            words = self.measure(whole, noun)
        elif not whole.value:
            words = self.measure(cents, hundredth)
        else:
            words = self.change(whole, noun, cents, hundredth)
        return self.negative(words) if number.negative else words

    def of(self, noun: Noun) -> str:
        """The noun behind millions."""
        return noun.many

    def change(self, whole: Number, noun: Noun, cents: Number, hundredth: Noun) -> str:
        return f"{self.measure(whole, noun)} {self.measure(cents, hundredth)}"

    # Text.

    def apart(self, match: Any, words: str) -> str:
        """Words in place of a match, with a space from the letters and digits beside it."""
        if not self.spaced:
            return words
        text, start, end = match.string, match.start(), match.end()
        before = " " if start and text[start - 1].isalnum() else ""
        after = " " if text[end : end + 1].isalnum() else ""
        return f"{before}{words}{after}"

    def before_numbers(self, tracked: Tracked) -> None:
        """What only this language does with numbers, before the others are read."""

    @functools.cached_property
    def _minus(self) -> str:
        return spell(self._code, -1, self.rules).removesuffix(self.cardinal(1)).strip()

    @functools.cached_property
    def nouns(self) -> Mapping[str, Noun]:
        return {sign: Noun.read(entry, self.plural) for sign, entry in self.units.items()}


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def table(text: str) -> Mapping[str, str]:
    """What is said for what is written: `written: said`, parted by semicolons or new lines."""
    entries = (entry.partition(": ") for line in text.split("\n") for entry in line.split(";") if entry.strip())
    return MappingProxyType({written.strip(): said.strip() for written, _, said in entries})


def alternatives(words: Sequence[str] | Mapping[str, Any]) -> str:
    """A pattern for any of these words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))

"""Everything with digits: each form is found here and said by the language.

The order matters: what is found first is taken from those behind it. A form that a language has no words for is left to
those behind, down to the number by itself.
"""

import re
from typing import Any

from speech_to_speech.normalization.amounts import Amounts
from speech_to_speech.normalization.language import Language
from speech_to_speech.normalization.numerals import Number
from speech_to_speech.normalization.tracked import Edit, Tracked

VULGAR = {
    **{"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5)},
    **{"⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8), "⅒": (1, 10)},
}
FRACTION = re.compile(rf"(?=[\d{''.join(VULGAR)}])(?<![\d.,/])(?:(\d{{1,3}})\s?)?([{''.join(VULGAR)}])")
MIXED = re.compile(r"(?<![\d.,/])(\d{1,3}) (\d{1,2})/(\d{1,2})(?![\d/])")

YEAR_FIRST = re.compile(r"(?<![\d.,/-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?:T(?=\d)|(?![\d/-]|\.\d))")
YEAR_LAST = re.compile(r"(?<![\d.,/-])(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|(?<=/)\d{2})(?![\d/-]|\.\d)")
MONTH = re.compile(r"(?<![\d.,/-])((?:19|20)\d\d)-(0[1-9]|1[0-2])(?![\d/-]|\.\d)")
HALF = r"(?:[ ]?([AaPp])(?:[Mm]\b|\.[ ]?[Mm]\.))"
TIME = re.compile(
    rf"(?=\d)(?:(?<![\d:.,])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?:{HALF}|[ ]?h(?!\w))?"
    rf"|(?<![\d:.,$€£])(1[0-2]|0?[1-9]){HALF})"
)

NEXT_SENTENCE = re.compile(r"[\"'”’)]*(?:\Z|\s+[A-Z])")

INTERNATIONAL = re.compile(r"(?<![\w+])\+(\d[\d ().-]{6,20}\d)(?!\d)")
PHONE = re.compile(
    r"(?<![\w.,/+-])"
    r"(?:\(\d{2,4}\)[ ]?\d{3,4}[- ]\d{4}|\d{3}([-. ])\d{3}\1\d{4}|0\d([ .])\d{2}(?:\2\d{2}){3}"
    r"|\d{3}-\d{4}|\d{1,4}(?:-\d{1,7}){2,6})"
    r"(?!\w|[.,/-]\d)"
)
SHORTEST_PHONE = 8  # digits, the country's included

RANGE = re.compile(
    r"(?<![\d.,/:-])(\d[\d.,:/]{0,20})(?:[ ]?(?:%|°[CF]?)|[ ]?[A-Za-z]{1,2}(?=[-–—~]))?"
    r"([ ]?[-–—~〜～][ ]?)(?=[$€£¥₩]?(\d[\d.,]{0,20})(?![\d.,]*[-–—]\d))"
)
EQUATION = re.compile(r"[ ]?[\d.]+[ ]?=")
SUM = re.compile(r"(?<=\d)[ ]?−[ ]?(?=\d)")

NUMBER_SIGN = re.compile(r"(?:#|№[ ]?)(?=\d)")
ABOUT = re.compile(r"(?<![\w~])[~≈∼][ ]?(?=[$€£¥]?\d)")
DIVIDED = re.compile(r"(?<![\d.,/])(\d{1,6})/(\d{1,6})(?![\d/]|[.,]\d)")
RATIO = re.compile(r"(?<![\d:.])(\d{1,6}):(\d{1,6})(?![\d:])")
BY = re.compile(r"(?<=\d)[ ]?[xX][ ]?(?=\d)")
VERSION = re.compile(r"(?<![\d.])\d{1,6}(?:\.\d{1,6}){2,10}(?!\d|\.\d)")
AFTER_LETTERS = re.compile(r"(?<=[A-Za-z])[-‑](?=\d)")
DIGITS = re.compile(r"\d+")
NUMERIC = re.compile(rf"[\d{''.join(VULGAR)}]")


class Quantities:
    """Says the quantities in texts of one language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._amounts = Amounts(language)
        self._number = re.compile(language.number)

    def say(self, tracked: Tracked) -> None:
        language = self._language
        if not NUMERIC.search(tracked.text):
            return
        if not tracked.text.isascii():
            tracked.sub(FRACTION, self._fraction)
        tracked.sub(MIXED, lambda match: self._mixed(match, int(match[1]), int(match[2]), int(match[3])))
        self._say_dates(tracked)
        tracked.sub(INTERNATIONAL, self._international)
        tracked.sub(PHONE, self._phone)
        tracked.edit(self._ranges(tracked.text))
        tracked.sub(TIME, self._time)
        gap = " " if language.spaced else ""
        if language.number_sign:
            tracked.sub(NUMBER_SIGN, language.number_sign + gap)
        if language.about:
            tracked.sub(ABOUT, language.about + gap)
        language.before_numbers(tracked)
        self._amounts.say(tracked)
        self._say_relations(tracked)
        tracked.sub(self._number, lambda match: language.apart(match, language.say(language.read(match[0]))))
        tracked.sub(DIGITS, lambda match: language.apart(match, language.say(Number(False, match[0]))))

    def _fraction(self, match: Any) -> str | None:
        return self._mixed(match, int(match[1] or 0), *VULGAR[match[2]])

    def _mixed(self, match: Any, whole: int, above: int, below: int) -> str | None:
        language = self._language
        if not 0 < above < below:
            return None
        words = language.mixed(whole, above, below) if whole else language.fraction(above, below)
        return language.apart(match, words) if words else None

    def _say_dates(self, tracked: Tracked) -> None:
        if tracked.text.count("/") > 1 or tracked.text.count("-") > 1 or tracked.text.count(".") > 1:
            tracked.sub(YEAR_FIRST, lambda match: self._date(match, int(match[1]), int(match[3]), int(match[4])))
            tracked.sub(YEAR_LAST, self._year_last)
        tracked.sub(MONTH, lambda match: self._date(match, int(match[1]), int(match[2]), None))

    def _year_last(self, match: Any) -> str | None:
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        month_first = (not self._language.day_first and match[2] == "/" and first <= 12) or second > 12
        month, day = (first, second) if month_first else (second, first)
        if len(match[4]) == 2:
            year += 2000 if year < 70 else 1900
        return self._date(match, year, month, day)

    def _date(self, match: Any, year: int, month: int, day: int | None) -> str | None:
        if not (1000 <= year <= 2999 and 1 <= month <= 12 and 1 <= (day or 1) <= 31):
            return None
        words = self._language.date(year, month, day)
        return self._language.apart(match, words) if words else None

    def _time(self, match: Any) -> str | None:
        hour, minute, second, half, hour_alone, half_alone = match.groups()
        half = (half or half_alone or "").lower()
        if half and int(hour or hour_alone) > 12:
            half = ""
        words = self._language.clock(int(hour or hour_alone), int(minute or 0), int(second) if second else None, half)
        ends = match[0].endswith(".") and NEXT_SENTENCE.match(match.string, match.end())
        return self._language.apart(match, words) + ("." if ends else "")

    def _international(self, match: Any) -> str | None:
        groups = DIGITS.findall(match[1])
        if sum(map(len, groups)) < SHORTEST_PHONE:
            return None
        plus = self._language.signs.get("+", "")
        return f"{plus} {self._language.phone(groups)}".strip()

    def _phone(self, match: Any) -> str | None:
        groups = DIGITS.findall(match[0])
        if len(match[0]) == 8 and match[0][2] == match[0][-1] == "0":
            return None  # 100-1000 and the like are ranges
        return self._language.phone(groups)

    def _ranges(self, text: str) -> list[Edit]:
        """From one number to another; only what stands between them is said here."""
        language = self._language
        edits: list[Edit] = []
        for match in RANGE.finditer(text):
            words = language.to
            if EQUATION.match(text, match.end(2)):
                words = language.minus
            elif match[2][0] == match[2][-1] == " " and not _grows(match[1], match[3]):
                words = ""
            if words:
                edits.append((*match.span(2), f" {words} " if language.spaced else words))
        return edits

    def _say_relations(self, tracked: Tracked) -> None:
        language = self._language
        gap = " " if language.spaced else ""
        if "/" in tracked.text:
            tracked.sub(DIVIDED, self._divided)
        if ":" in tracked.text and language.ratio:
            tracked.sub(RATIO, lambda match: f"{match[1]}{gap}{language.ratio}{gap}{match[2]}")
        if language.by:
            tracked.sub(BY, f"{gap}{language.by}{gap}")
        if language.minus:
            tracked.sub(SUM, f"{gap}{language.minus}{gap}")
        tracked.sub(VERSION, self._version)
        tracked.sub(AFTER_LETTERS, " ")

    def _divided(self, match: Any) -> str | None:
        above, below = int(match[1]), int(match[2])
        language = self._language
        words = ""
        if 0 < above < below <= 100:
            words = language.fraction(above, below)
        elif (above, below) != (24, 7) and language.over:
            words = (
                f"{match[1]} {language.over} {match[2]}" if language.spaced else f"{match[1]}{language.over}{match[2]}"
            )
        return language.apart(match, words or f"{match[1]} {match[2]}")

    def _version(self, match: Any) -> str | None:
        language = self._language
        parts = match[0].split(".")
        if language.decimal == "," and all(len(part) == 3 for part in parts[1:]):
            return None  # the dots separate the thousands of a number
        point = language.points.get(".") or language.dot
        return (f" {point} " if language.spaced else point).join(language.say(Number(False, part)) for part in parts)


def _grows(first: str, second: str) -> bool:
    numbers = [float(re.sub(r"[^\d]", "", each) or 0) for each in (first, second)]
    return numbers[0] < numbers[1]

"""Numbers of something: money, shares, units of measurement."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language, Noun, alternatives
from speech_to_speech.normalization.tracked import Tracked

COUNTRY = r"(?:US|HK|NT|CA|AU|NZ|SG|MX|A|C|S|R)?"  # the country of a dollar


class Amounts:
    """Says the amounts in texts of one language, as far as it knows their words."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._coins = {sign: _coins(entry, language.plural) for sign, entry in language.currencies.items()}
        number, unsigned = language.number, language.unsigned
        between = re.escape(f" {language.to} " if language.spaced else language.to)
        units = alternatives(language.units)
        signs = alternatives([sign for sign in self._coins if not sign[0].isalpha()])
        codes = alternatives([sign for sign in self._coins if sign[0].isalpha()])
        large = rf"(?:[ ]?({alternatives(language.magnitudes)})(?![A-Za-z]))?"
        per = rf"(?:[ ]?/[ ]?({units})(?![\w²³/]))?"
        sign_first = rf"(?:(?<![A-Za-z]){COUNTRY}(?:{signs})|(?<![A-Za-z])(?:{codes})[ ])[ ]?"
        self._sign_first = re.compile(
            rf"((?<![\w)\]%])[-−–])?({sign_first})({unsigned})(?:{between}({unsigned}))?(?!\d){large}{per}"
        )
        self._sign_last = re.compile(rf"({number}){large}[ ]?((?:{signs})|(?:{codes})(?!\w))(?!\d){per}")
        self._sign = re.compile(rf"{signs}|{codes}")
        self._percent = re.compile(rf"(?=[-−–.\d])(?:({number}){between})?({number})[ ]?%")
        self._unit = re.compile(rf"({number})[ ]?({units})(?:/({units}))?(?![A-Za-z0-9²³/])")

    def say(self, tracked: Tracked) -> None:
        if self._coins and self._sign.search(tracked.text):
            tracked.sub(self._sign_first, self._money_first)
            tracked.sub(self._sign_last, self._money_last)
        if self._language.percent and "%" in tracked.text:
            tracked.sub(self._percent, self._share)
        if self._language.units:
            tracked.sub(self._unit, self._measure)

    def _money_first(self, match: Any) -> str:
        minus, sign, number, second, large, per = match.groups()
        if second:
            return self._money(match, sign, (minus or "") + number, second, large, per)
        return self._money(match, sign, (minus or "") + number, None, large, per)

    def _money_last(self, match: Any) -> str:
        number, large, sign, per = match.groups()
        return self._money(match, sign, number, None, large, per)

    def _money(self, match: Any, sign: str, first: str, second: str | None, large: str | None, per: str | None) -> str:
        language = self._language
        sign = sign.strip()
        noun, hundredth = self._coins.get(sign) or self._coins[sign[-1]]
        rest = match.string[match.end() : match.end() + 20].lstrip()
        number = language.read(second or first)
        if rest.startswith((noun.one, noun.many)):  # for example 5 $ dollars, ￥5元
            words = language.say(number)
        else:
            words = language.money(number, noun, hundredth, language.magnitudes.get(large or "", ""))
        if second:
            gap = " " if language.spaced else ""
            words = f"{language.say(language.read(first))}{gap}{language.to}{gap}{words}"
        return language.apart(match, self._per(words, per))

    def _share(self, match: Any) -> str:
        language = self._language
        words = language.say(language.read(match[2]))
        if match[1]:
            gap = " " if language.spaced else ""
            words = f"{language.say(language.read(match[1]))}{gap}{language.to}{gap}{words}"
        return language.apart(match, language.percentage(words))

    def _measure(self, match: Any) -> str:
        language = self._language
        number = language.read(match[1])
        noun = language.nouns[match[2]]
        words = language.measure(number, noun)
        before = noun.many.partition("{}")[0].strip() if "{}" in noun.many else ""
        if before and match.string[: match.start()].rstrip().endswith(before):  # for example 時速 60 km/h
            words = words.removeprefix(before).strip()
        if number.negative and language.below_zero and match[2] in ("°", "°C", "°F"):
            words = words.replace(language.minus, language.below_zero, 1)
        return language.apart(match, self._per(words, match[3]))

    def _per(self, words: str, unit: str | None) -> str:
        if not unit:
            return words
        noun = self._language.nouns[unit].one.replace("{}", "").strip()
        return f"{words} {self._language.per} {noun}" if self._language.spaced else words + self._language.per + noun


def _coins(entry: str, plural: str) -> tuple[Noun, Noun | None]:
    noun, _, hundredth = entry.partition("/")
    return Noun.read(noun, plural), Noun.read(hundredth, plural) if hundredth else None

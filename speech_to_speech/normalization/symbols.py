"""What is left: signs are said or go, and marks of punctuation come once."""

import re
from typing import Any

import regex

from speech_to_speech.normalization.language import Language, alternatives
from speech_to_speech.normalization.tracked import Tracked

COMPARED = re.compile(r"<=(?![=>])|(?<![=])>=|[!<]=|<>|==+|&&")
COMPARISONS = {"<=": "≤", ">=": "≥", "!=": "≠", "<>": "≠", "&&": "&"}
ARROW = re.compile(r"[ ]?(?:[-=]+>|<[-=]+>?|[←-⇿➔-➾⟵-⟿])[ ]?")
PART = re.compile(r"[ ]?[|•‣◦]+[ ]?")
SUPERSCRIPT = re.compile(r"(?<=[\w)])(?![²³](?![⁰¹²³⁴-⁹⁻ⁿ]))[⁰¹²³⁴-⁹⁻ⁿ]+")
PLAIN_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
PLAIN_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
SUBSCRIPT = re.compile(r"[₀-₉]+")
SLASH = re.compile(r"(?<=\w)[ ]?/[ ]?(?=\w)|[ ]/[ ]")
RELATION = re.compile(r"(?<=[\w)])[ ]?[<>][ ]?(?=[\w(-])")
HASHTAG = re.compile(r"#(?=\w)")
CURRENCY = re.compile(r"\$(?!\s|\Z)")
TRADE = re.compile(r"[ ]?[™®©℠]")
PLURAL = re.compile(r"(?<=\w)\((?=e?s\))|(?<=\(s)\)|(?<=\(es)\)")
SILENT = regex.compile(r"[\p{S}\p{Cf}\p{Cn}\\{}\[\]_*#•·--[·\u200c\u200d]]+", regex.V1)
SILENT_ELSEWHERE = regex.compile(r"[\p{S}\p{Cf}\p{Cn}\\{}\[\]_*•--[$€£¥¢°+=<>₩₽\u200c\u200d]]+", regex.V1)

REPEATED = re.compile(
    r"(?=[!?！？.…。,;:，、；：—–-])"
    r"(?:[!?！？]{2,}|\.{4,}|(?<!\.)\.\.(?!\.)|…{3,}|。{2,}|([,;:，、；：])(?:[ ]*\1)+|-{2,}|[—–]{3,})"
)
EMPTY = re.compile(r"\(\s*\)|（\s*）|「\s*」|『\s*』|【\s*】|《\s*》|“\s*”|«\s*»")
SQUARE = re.compile(r"[【】〔〕〖〗]")
BEFORE_MARK = re.compile(r"(?<! )[ ]++(?=[.,，。！？、；：](?:\s|\Z|[\"'”’»)\]])|[，。！？、；：])")
COMMA_BEFORE = re.compile(r"[,，、;；][ ]*(?=[.!?。！？,，、;；])")
STOPS = re.compile(r"(?<=[.!?。！？…:：])[ ]*[.。](?=[ ]|\Z)(?<!\.\.\.)(?<!\.\.)")
LEADING = re.compile(r"\A[\s,;，、；。]+")
SPACES = re.compile(r"\s{2,}|\s+\Z")


class Signs:
    """Says the signs of one language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._signs = (
            re.compile(alternatives([sign for sign in language.signs if sign not in "<>"])) if language.signs else None
        )

    def prepare(self, tracked: Tracked) -> None:
        """Before numbers are read."""
        tracked.sub(COMPARED, lambda match: COMPARISONS.get(match[0], "="))
        tracked.sub(ARROW, self._language.comma)
        if not tracked.text.isascii():
            tracked.sub(SUPERSCRIPT, lambda match: self._language.power(match[0].translate(PLAIN_SUPERSCRIPT)))
            tracked.sub(SUBSCRIPT, lambda match: match[0].translate(PLAIN_SUBSCRIPT))

    def say(self, tracked: Tracked) -> None:
        """After numbers were read."""
        gap = " " if self._language.spaced else ""
        if not tracked.text.isascii():
            tracked.sub(TRADE, "")
        if "(" in tracked.text:
            tracked.sub(PLURAL, "")
        tracked.sub(PART, self._language.comma)
        if "/" in tracked.text:
            tracked.sub(SLASH, " " if self._language.spaced else "、")
        if self._signs is None:
            tracked.sub(SILENT_ELSEWHERE, " ")
            return
        signs = self._language.signs
        tracked.sub(HASHTAG, "")
        tracked.sub(CURRENCY, "")
        tracked.sub(RELATION, lambda match: f"{gap}{signs[match[0].strip()]}{gap}")
        tracked.sub(self._signs, lambda match: f"{gap}{signs[match[0]]}{gap}")
        tracked.sub(SQUARE, " ")
        tracked.sub(SILENT, " ")


def tidy(tracked: Tracked) -> None:
    """Punctuation and spaces, as what was taken away left them."""
    tracked.sub(REPEATED, _once)
    tracked.sub(EMPTY, "")
    tracked.sub(COMMA_BEFORE, "")
    tracked.sub(BEFORE_MARK, "")
    tracked.sub(LEADING, "")
    tracked.sub(SPACES, lambda match: "" if match.end() == len(match.string) else " ")


def _once(match: Any) -> str:
    marks: str = match[0]
    if marks[0] in "!?！？":
        return next((mark for mark in marks if mark in "?？"), marks[0])
    if marks[0] == "." or marks[0] == "…":
        return "..." if len(marks) > 3 else marks[0] if marks[0] == "." else "……"
    return "—" if marks[0] in "-—–" else marks[0]

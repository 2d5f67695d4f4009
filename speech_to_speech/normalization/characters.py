"""Characters: what can't be seen goes, forms of compatibility become the usual ones, emoji are not said.

Unicode's NFKC as a whole would do harm: it makes x2 of x² and Latin commas of full-width ones.
"""

import re
import unicodedata
from typing import Any

import regex

from speech_to_speech.normalization.tracked import Edit, Tracked

# Full-width letters, digits and signs (not the punctuation of Chinese and Japanese), half-width katakana, letters in
# circles, Roman numerals of one character, squared units, ligatures, mathematical alphabets.
COMPATIBLE = regex.compile(
    r"[＃＄％＆＊＋－／０-９＜＝＞＠Ａ-Ｚ＾＿｀ａ-ｚ｜￠-￦]+|[｡-ﾟ]+|[①-⓿]|[Ⅰ-ⅿ]|[℃℉㈜㈱№℡]|[㌀-㏿]|[ﬀ-ﬆ]|[𝐀-𝟿]+"
)
WIDE_MARK = re.compile(r"(?<=[0-9０-９])[：．，](?=[0-9０-９])")
WIDE_MARKS = {"：": ":", "．": ".", "，": ","}
COMPOSED = regex.compile(r"[\u1100-\u11ff]+|\p{L}\p{Mn}+")  # an accent or a jamo may stand by itself
DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)

INVISIBLE = regex.compile(
    r"[\p{Cc}\p{Cs}\p{Co}\p{Cn}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    r"\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\U000e0000-\U000e0fff--[\n]]+"
    # Joiners belong to the words of some scripts, and to emoji, which go as a whole.
    r"|(?<=[\p{Latin}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Cyrillic}\p{Greek}\s])[\u200c\u200d]+",
    regex.V1,
)
GROUP_SPACE = re.compile(r"(?<=[0-9])[\u00a0\u2007\u2009\u202f](?=[0-9]{3}(?![0-9]))")
SPACE = re.compile(r"[^\S\n ]")
NEW_LINE = re.compile(r"\r\n?|[\x0b\x0c\u0085\u2028\u2029]")

KEYCAP = re.compile(r"(?<=[0-9#*])\ufe0f?\u20e3")
PICTURE = (
    r"(?:\p{RI}{2}|[\p{Extended_Pictographic}--[©®™↔↕‼⁉〰〽㊗㊙ℹ]][\ufe0e\ufe0f\p{EMod}\u20e3\U000e0020-\U000e007f]*)"
)
# Emoticons are asked for by their eyes; a colon before a bracket may also end a clause, so the face stands by itself.
EMOTICON = r"(?<![^\s])(?:[:;=]['’]?-?[)(DPpOo/|\]\[*](?!\S)|<3(?![0-9])|[xX]D(?!\w)|\^_*\^|:[a-z][a-z0-9_+-]{1,30}:)"
ASCII_EMOJI = re.compile(rf"(?<!\s)\s*+(?:{EMOTICON})")
EMOJI = regex.compile(
    rf"(?<!\s)\s*+(?:{PICTURE}(?:\u200d{PICTURE})*+|{EMOTICON}|[\ufe0e\ufe0f\p{{EMod}}\p{{RI}}])", regex.V1
)
SPACED = re.compile(r"\s*\Z|\s*[,.;:!?…，。！？、；：)）»”’]|\s")
ASCII_INVISIBLE = re.compile(r"[\x00-\x09\x0e-\x1f\x7f]+")


def clean(tracked: Tracked) -> None:
    """Make the usual characters of unusual ones."""
    tracked.sub(NEW_LINE, "\n")
    if tracked.text.isascii():
        _drop(tracked, ASCII_EMOJI)
        tracked.sub(ASCII_INVISIBLE, _as_space)
        return
    tracked.sub(GROUP_SPACE, "")
    tracked.sub(KEYCAP, "")
    _drop(tracked, EMOJI)
    tracked.sub(INVISIBLE, _as_space)
    tracked.sub(SPACE, " ")
    if not unicodedata.is_normalized("NFKC", tracked.text):
        tracked.sub(WIDE_MARK, lambda match: WIDE_MARKS[match[0]])
        tracked.sub(COMPATIBLE, _compatible)
        tracked.sub(COMPOSED, lambda match: unicodedata.normalize("NFC", match[0]))


def plain_digits(tracked: Tracked) -> None:
    """Make the digits of other scripts those of ASCII."""
    tracked.sub(DIGIT, _digit)


def _drop(tracked: Tracked, emoji: Any) -> None:
    """An emoji is a gesture: a voice that names it interrupts itself. It leaves a space where it parted words."""
    edits: list[Edit] = []
    for match in emoji.finditer(tracked.text):
        start = match.start()
        if edits and edits[-1][1] == start:  # two emoji, one directly behind the other
            start, *_ = edits.pop()
        gap = "" if start == 0 or SPACED.match(tracked.text, match.end()) else " "
        edits.append((start, match.end(), gap))
    if edits:
        tracked.edit(edits)


def _digit(match: Any) -> str | None:
    value = unicodedata.decimal(match[0], None)  # `regex` may know of newer digits
    return None if value is None else str(value)


def _as_space(match: Any) -> str:
    return " " if "\t" in match[0] else ""


def _compatible(match: Any) -> str:
    return unicodedata.normalize("NFKC", match[0])

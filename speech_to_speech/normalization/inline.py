"""What Markdown and HTML put into a line: links, code, tags, entities, emphasis.

Marks are taken away where they stand and are not asked to come in pairs: a piece may end between them.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from speech_to_speech.normalization.tracked import Edit, Tracked

LINK = re.compile(r"(!?\[)[^\[\]\n]*(\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)?(?:[ ]+[\"'][^\"'\n]*[\"'])?\))")
REFERENCE = re.compile(r"(\[)(?!\d+\])[^\[\]\n]+(\]\[[^\[\]\n]*\])")
LINK_REST = re.compile(r"\]\((?:https?:|mailto:|www\.|[/#.])[^()\s]*\)?")
CITATION = re.compile(
    r"[ ]?\[\^\w{1,20}\]|(?<=[\w.,;:!?”’)\]。，])[ ]?\[\d{1,3}(?:[,–-][ ]?\d{1,3}){0,9}\]|【\d{1,3}[^】\n]{0,40}】"
)

TAGS = (
    "a|abbr|audio|b|big|body|button|center|cite|code|del|details|em|figcaption|figure|font|footer|form|head|header|html|"
    "i|iframe|img|input|ins|kbd|label|main|mark|nav|option|picture|q|rp|rt|ruby|s|samp|select|small|source|span|strike|"
    "strong|style|sub|summary|sup|svg|tbody|td|tfoot|th|thead|time|title|tt|u|var|video|wbr"
)
TAG = re.compile(rf"</?(?:{TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
PLACEHOLDER = re.compile(r"(?<!\S)(<)[A-Za-z][\w-]{0,30}(>)")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

CODE = re.compile(r"(`+)[^`\n]+(`+)")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
CODE_MARK = re.compile(r"(?:(?<!\w)--?(?=[a-z])|[(){}\[\]<>;\"'`\\|$]|(?<=\w)[_/:]+(?=\w)|[_])+")
CODE_DOT = re.compile(r"(?<=[^\W\d])\.(?=\w)|(?<=\w)\.(?=[^\W\d])")

ESCAPE = re.compile(r"(\\)[!-/:-@\[-`{-~]")
STARS = re.compile(r"\*{2,}|(?<![\w)])\*(?![ ])|(?<![ ])\*(?![\w(])|(?<=[^\W\d]{2})\*|\*(?=[^\W\d]{2})")
UNDERLINES = re.compile(r"(?<!\w)_+|_+(?!\w)|_{2,}")
STRUCK = re.compile(r"~{2,}|(?<![^\s\"'(])==(?=[^\s=])|(?<=[^\s=])==(?![^\s.,;:!?\"')])")
WITHIN_WORD = re.compile(r"(?<=\w)_(?=\w)")


def say_code(tracked: Tracked, dot: str) -> None:
    """Code within a line is said as the words that it is made of."""
    tracked.edit(edit for code in CODE.finditer(tracked.text) for edit in _words_of_code(code, dot))


def _words_of_code(code: Any, dot: str) -> Iterator[Edit]:
    start, end = code.end(1), code.start(2)
    yield code.start(), start, ""
    inner = code[0][start - code.start() : end - code.start()]
    if "://" not in inner and "@" not in inner:
        edits = [
            (match.start(), match.end(), " ") for pattern in (CAMEL, CODE_MARK) for match in pattern.finditer(inner)
        ]
        edits += [(match.start(), match.end(), dot) for match in CODE_DOT.finditer(inner)]
        for first, last, words in sorted(edits):
            yield start + first, start + last, words
    yield end, code.end(), ""


def strip_links(tracked: Tracked) -> None:
    """Of a link its text is said, of a picture its description; a citation is not said."""
    tracked.drop_groups(LINK)
    tracked.drop_groups(REFERENCE)
    tracked.sub(LINK_REST, "")
    tracked.sub(CITATION, "")


def strip_tags(tracked: Tracked) -> None:
    tracked.sub(TAG, "")
    tracked.drop_groups(PLACEHOLDER)


def read_entities(tracked: Tracked) -> None:
    tracked.sub(ENTITY, _character)


def _character(entity: Any) -> str:
    read = html.unescape(entity[0])
    return " " if read.isspace() else read


def strip_emphasis(tracked: Tracked) -> None:
    """Asterisks and underlines that are no operators go."""
    if "\\" in tracked.text:
        tracked.drop_groups(ESCAPE)
    if "*" in tracked.text:
        tracked.sub(STARS, "")
    if "_" in tracked.text:
        tracked.sub(UNDERLINES, "")
        tracked.sub(WITHIN_WORD, " ")
    tracked.sub(STRUCK, "")

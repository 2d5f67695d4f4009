"""The blocks of Markdown and HTML, as they come in pieces of a reply: code, headings, lists, quotes, tables, rules.

A piece is no document: it may begin within a list and end within a table. So each line is taken by itself; a block of
code alone is remembered from piece to piece.
"""

import re
from collections.abc import Iterator

from speech_to_speech.normalization.tracked import Edit, Tracked
from speech_to_speech.text import CJK

FENCE = re.compile(r"`{3,}|(?m:^)[ \t>]*~{3,}")
FENCE_END = re.compile(r"(?:`{3,}+|~{3,}+)(?!\w)")

COMMENT = re.compile(r"<!--(?:[^-]|-(?!->))*+(?:-->)?")
BREAKING = "br|p|div|li|ul|ol|tr|table|h[1-6]|hr|blockquote|pre|section|article|dd|dt|dl"
BREAKING_TAG = re.compile(rf"</?(?:{BREAKING})(?:\s[^<>]*)?/?>", re.IGNORECASE)

SAYS = re.compile(r"[^\s|:+=_*~-]")
RULE = re.compile(r"[|=_*~-]")
QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)+")
HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+")
HEADING_END = re.compile(r"(?<![ \t#])[ \t]+#+[ \t]*\Z")
BULLET = re.compile(r"[ \t]*(?:[-*•◦▪‣·–○●■□►][ \t]+|\+[ \t]+(?![\d.]))(?:\[[ xX]\][ \t]+)?")
NUMBER = re.compile(r"[ \t]*\d{1,3}([.)])(?=[ \t]|\Z)")
DEFINITION = re.compile(r"[ \t]*\[[^\]\n]{1,100}\]:[ \t]*(?:https?:|www\.|/|#|<)\S*")
CELL_EDGE = re.compile(r"[ \t]*\|[ \t]*")
ENDED = re.compile(r"[.!?…。！？:;,，、；：—][\"'”’»)\]」』）*_]*\Z")


class Blocks:
    """Takes the blocks out of one reply, piece by piece; what is left is one line.

    `stop` and `comma` part what were lines, with the space that they need.
    """

    def __init__(self, stop: str, comma: str) -> None:
        self._stop = stop
        self._comma = comma
        self._fence = ""

    @property
    def in_code(self) -> bool:
        """A block of code was begun and has not ended."""
        return bool(self._fence)

    def flatten(self, tracked: Tracked) -> None:
        if self._fence or "```" in tracked.text or "~~~" in tracked.text:
            self._drop_code(tracked)
        if "<" in tracked.text:
            tracked.sub(COMMENT, "")
            tracked.sub(BREAKING_TAG, "\n")
        tracked.edit(self._lines(tracked.text))

    def _drop_code(self, tracked: Tracked) -> None:
        """Nobody wants to hear code, so a block of it is left out: mostly the text says what it is."""
        text, at = tracked.text, 0
        edits: list[Edit] = []
        while True:
            start = at
            if not self._fence:
                opening = _opening(text, at)
                if opening is None:
                    break
                start, at = opening.start(), opening.end()
                self._fence = opening[0].strip(" \t>")
            end = _end_of_code(text, at, self._fence)
            edits.append((start, len(text) if end is None else end, "\n"))
            if end is None:
                break
            at, self._fence = end, ""
        tracked.edit(edits)

    def _lines(self, text: str) -> Iterator[Edit]:
        at = done = 0
        said, marked = "", False
        for line in text.split("\n"):
            start, end = _inner(line)
            if start < end:
                is_marked = start > 0 or "|" in line or NUMBER.match(line, start) is not None
                if at + start > done:
                    gap = self._gap(said, line[start:end], marked or is_marked) if said else ""
                    yield done, at + start, gap
                yield from self._within(line, at, start, end)
                done, said, marked = at + end, line[start:end], is_marked
            at += len(line) + 1
        if done < len(text):
            yield done, len(text), ""

    def _within(self, line: str, at: int, start: int, end: int) -> Iterator[Edit]:
        if number := NUMBER.match(line, start, end):
            dot, text = number.start(1), line[number.end(1) : end]
            if self._stop[0] == "." or not text.strip():
                yield at + dot, at + dot + 1, self._stop[0]
            else:
                yield at + dot, at + end - len(text.lstrip()), "、"
        elif line.count("|") > 1:
            for edge in CELL_EDGE.finditer(line, start, end):
                yield at + edge.start(), at + edge.end(), self._comma

    def _gap(self, before: str, after: str, marked: bool) -> str:
        """What is said between two lines."""
        if ENDED.search(before) or (not marked and after[0].islower()):
            return "" if CJK.match(before[-1]) or before[-1] in "，。！？、；：…" else " "
        return self._stop if marked else self._comma


def _opening(text: str, at: int) -> re.Match[str] | None:
    """The next beginning of a block of code; three backticks that end on their line are code within the line."""
    while fence := FENCE.search(text, at):
        line_end = text.find("\n", fence.end())
        end = text.find(fence[0], fence.end(), len(text) if line_end < 0 else line_end)
        if fence[0][0] != "`" or end < 0:
            return fence
        at = end + len(fence[0])
    return None


def _end_of_code(text: str, at: int, fence: str) -> int | None:
    for end in FENCE_END.finditer(text, at):
        if end[0].startswith(fence):
            return end.end()
    return None


def _inner(line: str) -> tuple[int, int]:
    """Where in a line its text begins and ends."""
    if not SAYS.search(line) and RULE.search(line):
        return 0, 0
    start = 0
    for mark in (QUOTE, HEADING, BULLET):
        if match := mark.match(line, start):
            start = match.end()
            if mark is HEADING and (tail := HEADING_END.search(line, start)):
                line = line[: tail.start()]
    if DEFINITION.match(line, start):
        return 0, 0
    edges = " \t|" if line.count("|") > 1 else " \t"
    inner = line[start:].lstrip(edges)
    start = len(line) - len(inner)
    return start, start + len(inner.rstrip(edges))

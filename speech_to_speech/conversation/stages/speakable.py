"""Text deltas become pieces to speak: the first clause as soon as it is there, then whole sentences.

Sentence ends are found by sentence-stream, which was made for token streams and knows the six languages' marks.
"""

import re

from sentence_stream import SentenceBoundaryDetector

from speech_to_speech.text import CJK

LONGEST = 300  # characters; a longer piece without a sentence's end is cut at a space
SHORTEST_CLAUSE = 8  # characters; CJK ones say more and count three

CLAUSE_END = re.compile(r"[,;:—–](?=\s)|[，、；：]")
# sentence-stream splits only before letters, but a sentence may open with a mark, as in "Sí. ¿Por qué?".
OPENING = re.compile(r"(?<=[.!?…])\s+(?=[¿¡«“\"(‘]+\s?\w)")
FENCE = "```"  # the mark of a block of code, whose end is to be told from its beginning
WORD = re.compile(r"\w")
# A delta may be a whole reply: it is looked at word by word, so that how a reply was cut into deltas does not show.
STEP = re.compile(r"\s*[^\s，、；：。！？…]+[，、；：。！？…]?|\s+|.")
ASTERISKS = re.compile(
    r"(?<!\w)\*+|\*+(?!\w)"
)  # marks of emphasis; sentence-stream takes away those around whole sentences


class SpeakableChunks:
    """Cuts one reply's stream of deltas."""

    def __init__(self) -> None:
        self._sentences = SentenceBoundaryDetector()
        self._spoken = False

    def push(self, delta: str) -> list[str]:
        """The pieces that `delta` completes."""
        return [piece for step in STEP.findall(delta) for piece in self._step(step)]

    def finish(self) -> list[str]:
        """What is left at the end of the reply."""
        return self._only_words([self._sentences.finish()])

    def _step(self, text: str) -> list[str]:
        pieces = self._add(text)
        if not pieces and not self._spoken:
            pieces = self._first_clause()
        while len(self._sentences.current_sentence) + len(self._sentences.remaining_text) > LONGEST:
            pieces += self._cut(self._end_of_longest())
        return self._only_words(pieces)

    def _add(self, text: str) -> list[str]:
        # The detector takes a blank line for a boundary.
        self._sentences.remaining_text = OPENING.sub("\n\n", self._sentences.remaining_text + text)
        return list(self._sentences.add_chunk(""))

    def _first_clause(self) -> list[str]:
        text = self._sentences.remaining_text
        for end in CLAUSE_END.finditer(text):
            clause = text[: end.end()]
            if len(clause) + 2 * len(CJK.findall(clause)) >= SHORTEST_CLAUSE:
                return self._cut(end.end())
        return []

    def _end_of_longest(self) -> int:
        head = self._sentences.remaining_text[:LONGEST]
        ends = [end.end() for end in CLAUSE_END.finditer(head)] or [head.rfind(" ") + 1]
        return ends[-1] or LONGEST

    def _cut(self, end: int) -> list[str]:
        text = self._sentences.current_sentence + self._sentences.remaining_text[:end]
        self._sentences.current_sentence = ""
        self._sentences.remaining_text = self._sentences.remaining_text[end:].lstrip()
        return [text.strip()]

    def _only_words(self, pieces: list[str]) -> list[str]:
        pieces = [ASTERISKS.sub("", piece).strip() for piece in pieces if WORD.search(piece) or FENCE in piece]
        self._spoken = self._spoken or bool(pieces)
        return pieces

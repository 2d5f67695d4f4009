"""What of a reply's text has been heard, when so much of its audio has been played."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field

from speech_to_speech.frames import WordStart
from speech_to_speech.text import CJK, join_text

MS_PER_CHARACTER = 60.0  # of a piece that is still being made, at least: 16 characters a second
MS_PER_CJK_CHARACTER = 150.0
ROUNDING_MS = 10.0  # of resampling, and of positions that a client reports


@dataclass
class Piece:
    """A piece of the reply and its audio, which begins at `start_ms` of the reply."""

    text: str
    start_ms: float
    duration_ms: float = 0.0
    complete: bool = False
    words: list[WordStart] = field(default_factory=list)

    def heard(self, played_ms: float) -> str:
        """The words that have been played to their end after `played_ms` of this piece."""
        if played_ms <= 0:
            return ""
        if self.complete and played_ms >= self.duration_ms - ROUNDING_MS:
            return self.text
        if not self.words:
            return self._whole_words(int(len(self.text) * min(1.0, played_ms / self._expected_ms)))
        # A word ends where the next one begins; the last one with the piece.
        begun = bisect.bisect_right(self.words, played_ms, key=lambda word: word.at_ms)
        return self.text[: self.words[begun - 1].character].rstrip() if begun else ""

    @property
    def _expected_ms(self) -> float:
        if self.complete:
            return self.duration_ms
        wide = len(CJK.findall(self.text))
        foreseen_ms = wide * MS_PER_CJK_CHARACTER + (len(self.text) - wide) * MS_PER_CHARACTER
        return max(self.duration_ms, foreseen_ms)

    def _whole_words(self, characters: int) -> str:
        """The text up to there, without a word that has only begun; scripts without spaces are cut anywhere."""
        head, rest = self.text[:characters], self.text[characters:]
        if head and rest and not rest[0].isspace() and not CJK.match(head[-1]):
            head = head[: max(head.rfind(" "), 0)]
        return head.rstrip()


class Spoken:
    """The pieces of one reply in the order in which they are spoken."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def begin(self, text: str) -> None:
        """The piece that follows; the one before is complete."""
        self.finish()
        last = self._pieces[-1] if self._pieces else None
        self._pieces.append(Piece(text, last.start_ms + last.duration_ms if last else 0.0))

    def add(self, duration_ms: float, words: Iterable[WordStart] = ()) -> None:
        """More audio of the piece begun last."""
        self._pieces[-1].duration_ms += duration_ms
        self._pieces[-1].words += words

    def finish(self) -> None:
        """The piece begun last has all its audio."""
        if self._pieces:
            self._pieces[-1].complete = True

    def heard(self, played_ms: float) -> str:
        """The words that have been played to their end after `played_ms` of the reply's audio."""
        text = ""
        for piece in self._pieces:
            if words := piece.heard(played_ms - piece.start_ms):
                text = join_text(text, words)
        return text

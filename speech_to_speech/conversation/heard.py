"""What of a reply's text has been heard, when so much of its audio has been played."""

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from speech_to_speech.frames import WordStart
from speech_to_speech.normalization.tracked import Speakable
from speech_to_speech.text import CJK, join_text

MS_PER_CHARACTER = 60.0  # the least that a piece is taken to last while it is being made: 16 characters a second
MS_PER_CJK_CHARACTER = 150.0
ROUNDING_MS = 10.0  # resampling is no more exact, and neither are the positions that a client reports

OPENING = re.compile(r"\s+[\[({<*_`~“‘«\"'¿¡「『]*\Z")


@dataclass
class Piece:
    """A piece of the reply and its audio, which begins at `start_ms` of the reply.

    `words` and the audio are of the text as it was said; what was heard of it is told as it was written.
    """

    said: Speakable
    start_ms: float
    duration_ms: float = 0.0
    complete: bool = False
    words: list[WordStart] = field(default_factory=list)

    def until(self, played_ms: float) -> str:
        """The words that have been played to their end after `played_ms` of this piece."""
        if played_ms <= 0:
            return ""
        if self.complete and played_ms >= self.duration_ms - ROUNDING_MS:
            return self.said.source
        text = self.said.text
        if not self.words:
            return self._written(self._whole_words(int(len(text) * min(1.0, played_ms / self._expected_ms))))
        # A word ends where the next one begins, and the last one ends with the piece.
        begun = bisect.bisect_right(self.words, played_ms, key=lambda word: word.at_ms)
        return self._written(self.words[begun - 1].character) if begun else ""

    @property
    def _expected_ms(self) -> float:
        if self.complete:
            return self.duration_ms
        text = self.said.text
        wide = len(CJK.findall(text))
        foreseen_ms = wide * MS_PER_CJK_CHARACTER + (len(text) - wide) * MS_PER_CHARACTER
        return max(self.duration_ms, foreseen_ms)

    def _whole_words(self, characters: int) -> int:
        """Not the word that has only begun; scripts without spaces are cut anywhere."""
        head, rest = self.said.text[:characters], self.said.text[characters:]
        if head and rest and not rest[0].isspace() and not CJK.match(head[-1]):
            head = head[: max(head.rfind(" "), 0)]
        return len(head.rstrip())

    def _written(self, characters: int) -> str:
        """What so much of the said text was written as, without the marks that open what follows."""
        return OPENING.sub("", self.said.source[: self.said.origin(characters)])


class Heard:
    """The pieces of one reply in the order in which they are spoken."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def begin(self, said: Speakable) -> None:
        """The piece that follows; the one before is complete. One with nothing to say gets no audio."""
        self.finish()
        last = self._pieces[-1] if self._pieces else None
        self._pieces.append(Piece(said, last.start_ms + last.duration_ms if last else 0.0))

    def add(self, duration_ms: float, words: Iterable[WordStart] = ()) -> None:
        """More audio of the piece begun last."""
        self._pieces[-1].duration_ms += duration_ms
        self._pieces[-1].words += words

    def finish(self) -> None:
        """The piece begun last has all its audio."""
        if self._pieces:
            self._pieces[-1].complete = True

    def until(self, played_ms: float) -> str:
        """The words that have been played to their end after `played_ms` of the reply's audio.

        A piece without a sound, such as code that a client shows, goes with the sound before it, or else behind it: the
        next question may be about it.
        """
        text = ""
        all_silent = not any(piece.said.text for piece in self._pieces)
        for piece in self._pieces:
            if piece.said.text:
                words = piece.until(played_ms - piece.start_ms)
            else:
                is_past = played_ms > 0 and played_ms >= piece.start_ms - ROUNDING_MS
                words = piece.said.source if is_past or all_silent else ""
            if words:
                text = join_text(text, words)
        return text

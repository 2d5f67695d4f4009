"""Text that is changed step by step and knows where in its source each of its characters comes from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Edit = tuple[int, int, str]
"""The text that takes the place of the characters from the one index up to the other."""


@dataclass(frozen=True, slots=True)
class Speakable:
    """`text` is what a voice says of `source`; empty if there is nothing to say."""

    source: str
    text: str
    origins: Sequence[int]
    """An index of `source` for each character of `text`, and for its end. The indices never go back."""

    @classmethod
    def plain(cls, text: str) -> "Speakable":
        """Said as it is written."""
        return cls(text, text, range(len(text) + 1))

    def origin(self, character: int) -> int:
        """How much of `source` is over when `text` is spoken up to `character`.

        What was written as one, such as a price, is over only when all its words are.
        """
        return self.origins[min(max(character, 0), len(self.text))]


class Tracked:
    """A text under change."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.text = source
        self._origins: list[int] = list(range(len(source) + 1))

    def edit(self, edits: Iterable[Edit]) -> None:
        """Make the changes, which are in order and don't overlap."""
        text, origins = self.text, self._origins
        new_text: list[str] = []
        new_origins: list[int] = []
        done = 0
        for start, end, words in edits:
            new_text += (text[done:start], words)
            new_origins += origins[done:start]
            new_origins += [origins[start]] * len(words)
            done = end
        if done or new_text:
            new_text.append(text[done:])
            new_origins += origins[done:]
            self.text, self._origins = "".join(new_text), new_origins

    def sub(self, pattern: Any, words: str | Callable[[Any], str | None]) -> None:
        """Put words in place of each match of a pattern of `re` or `regex`; None leaves it as it is."""
        edits: list[Edit] = []
        for match in pattern.finditer(self.text):
            new = words if isinstance(words, str) else words(match)
            if new is not None and new != match[0]:
                edits.append((match.start(), match.end(), new))
        if edits:
            self.edit(edits)

    def drop_groups(self, pattern: Any) -> None:
        """Of each match take away its groups and leave the rest; nested groups are not meant for it."""
        self.edit(
            (*match.span(group), "")
            for match in pattern.finditer(self.text)
            for group in range(1, pattern.groups + 1)
            if match.end(group) > match.start(group)
        )

    def speakable(self) -> Speakable:
        return Speakable(self.source, self.text, self._origins)

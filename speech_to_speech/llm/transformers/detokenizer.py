"""Tokens become text one by one, without half characters and without the names of special tokens."""

from collections.abc import Sequence
from typing import Protocol

UNREADABLE = "\ufffd"  # bytes that are no character decode to this one
LONGEST_WAIT = 12  # tokens that may be held back for the rest of a character; the longest character has four bytes


class Tokenizer(Protocol):
    """What of a tokenizer of transformers is used here."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...


class Detokenizer:
    """The text of one reply. The pieces that `push` gives make up the text of all tokens.

    A token is decoded behind the ones before it, since its text may depend on them: SentencePiece drops the space of
    the first word, and a character may be spread over several tokens. Those before it are few, whatever the length of
    the reply.
    """

    def __init__(self, tokenizer: Tokenizer, special_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._special_ids = special_ids
        self._before: list[int] = []  # tokens given out, which are decoded again with the next ones
        self._held: list[int] = []  # tokens held back: the last one may end in half a character
        self._before_text = ""

    def push(self, token: int) -> str:
        """The text that `token` completes; may be empty."""
        if token in self._special_ids:
            return ""
        self._held.append(token)
        text = self._decode([*self._before, *self._held])
        waits = text.endswith(UNREADABLE) or len(text) < len(self._before_text)
        if waits and len(self._held) < LONGEST_WAIT:
            return ""
        new = text[len(self._before_text) :]
        self._before, self._held = self._held, []
        self._before_text = self._decode(self._before)
        return new.replace(UNREADABLE, "")

    def finish(self) -> str:
        """What was held back at the end of the reply, without its half character."""
        held, self._held = self._held, []
        if not held:
            return ""
        return self._decode([*self._before, *held])[len(self._before_text) :].replace(UNREADABLE, "")

    def _decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)

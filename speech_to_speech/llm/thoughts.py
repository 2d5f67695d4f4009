"""Reasoning models think aloud between `<think>` and `</think>`; nobody wants to hear that."""

BEGIN = "<think>"
END = "</think>"


class Thoughts:
    """Takes the thoughts, and the space around the answer's beginning, out of a text that comes in pieces.

    What might be the beginning of a tag is held back until the next piece shows whether it is.
    """

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._begun = False
        self.dropped = 0
        """Characters of thoughts so far."""

    def push(self, piece: str) -> str:
        """What of the text so far can be said and was not given before; may be empty."""
        text, self._held = self._held + piece, ""
        said = ""
        while text:
            tag = END if self._thinking else BEGIN
            before, found, after = text.partition(tag)
            if not found:
                keep = _beginning_of(tag, text)
                before, self._held = text[: len(text) - keep], text[len(text) - keep :]
            said += self._pass(before)
            if found:
                self._thinking = not self._thinking
            text = after
        return self._trimmed(said)

    def finish(self) -> str:
        """The rest at the end of the text: what only looked like the beginning of a tag."""
        rest, self._held = self._held, ""
        return self._trimmed(self._pass(rest))

    def _pass(self, text: str) -> str:
        if self._thinking:
            self.dropped += len(text)
            return ""
        return text

    def _trimmed(self, text: str) -> str:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text


def _beginning_of(tag: str, text: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)

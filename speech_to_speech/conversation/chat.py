"""What was said so far in one conversation."""

from collections import deque

from speech_to_speech.frames import Message
from speech_to_speech.languages import NAMES
from speech_to_speech.text import join_text


class Chat:
    """The last `size` exchanges (a user's message and its answer), behind a system prompt that always stays."""

    def __init__(self, system_prompt: str, size: int) -> None:
        self._system_prompt = system_prompt
        self._exchanges: deque[tuple[str, str]] = deque(maxlen=size)

    def asked(self, question: str, language: str | None = None) -> tuple[Message, ...]:
        """The messages for a model that is to answer `question`; the chat itself does not change.

        With a `language` the system prompt says to answer in it.

        Roles alternate, as templates want it: a question whose answer was not heard at all is joined to the next.
        """
        messages = self._system_messages(language)
        open_question = ""
        for earlier, answer in self._exchanges:
            open_question = join_text(open_question, earlier)
            if answer:
                messages += [Message("user", open_question), Message("assistant", answer)]
                open_question = ""
        return (*messages, Message("user", join_text(open_question, question)))

    def _system_messages(self, language: str | None) -> list[Message]:
        prompt = self._system_prompt
        if language is not None:
            prompt = join_text(prompt, f"Answer in {NAMES.get(language, language)}.")
        return [Message("system", prompt)] if prompt else []

    def add(self, question: str, answer: str) -> None:
        """Remember an exchange, and of its answer what was heard; the oldest beyond `size` is forgotten."""
        self._exchanges.append((question, answer))

    def amend(self, answer: str) -> None:
        """So much, and no more, was heard of the last answer."""
        if self._exchanges:
            self._exchanges[-1] = (self._exchanges[-1][0], answer)

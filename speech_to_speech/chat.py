"""What was said so far in one conversation."""

from collections import deque

from speech_to_speech.frames import Message


class Chat:
    """The last `size` exchanges (a user's message and its answer), behind a system prompt that always stays."""

    def __init__(self, system_prompt: str, size: int) -> None:
        self._system = (Message("system", system_prompt),) if system_prompt else ()
        self._exchanges: deque[tuple[Message, Message]] = deque(maxlen=size)

    def asked(self, question: str) -> tuple[Message, ...]:
        """The messages for a model that is to answer `question`; the chat itself does not change."""
        said = [message for exchange in self._exchanges for message in exchange]
        return (*self._system, *said, Message("user", question))

    def add(self, question: str, answer: str) -> None:
        """Remember an exchange; the oldest beyond `size` is forgotten."""
        self._exchanges.append((Message("user", question), Message("assistant", answer)))

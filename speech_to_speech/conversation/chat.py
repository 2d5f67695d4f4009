"""What was said so far in one conversation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from speech_to_speech.conversation.heard import Heard
from speech_to_speech.errors import ItemExists, ItemUnknown
from speech_to_speech.frames import Message
from speech_to_speech.languages import NAMES
from speech_to_speech.text import join_text

SILENCE = "(silence)"  # stands for a user who has said nothing, since models want a last word to answer
ITEMS_EACH = 8  # an exchange has two items, or more where the service speaks several times in a row
GREETED = 'You began the conversation with: "{}"'


@dataclass(slots=True)
class Item:
    """What one side said in one go.

    text: of a reply, so much as was heard of it; it may be empty.
    audio_ms: how much of its sound that was.
    heard: of a spoken reply, what was heard of it by when.
    """

    item_id: str
    role: Literal["user", "assistant"]
    text: str
    audio_ms: float = 0.0
    heard: Heard | None = None


def reply_id(turn_id: str) -> str:
    """The id of a turn's reply as an item; that of its question is the turn's own."""
    return f"{turn_id}.reply"


class Chat:
    """The last `size` exchanges, behind a system prompt that always stays. An exchange begins with a user's item."""

    def __init__(self, system_prompt: str, size: int) -> None:
        self._system_prompt = system_prompt
        self._size = size
        self._items: list[Item] = []

    def configure(self, system_prompt: str, size: int) -> None:
        """From now on another prompt, and as many exchanges."""
        self._system_prompt, self._size = system_prompt, size
        self._forget()

    def __iter__(self) -> Iterator[Item]:
        """All items, oldest first."""
        return iter(self._items)

    def item(self, item_id: str) -> Item:
        """Raises `ItemUnknown`: it was never there, was deleted, or is forgotten."""
        return self._items[self._position(item_id)]

    def add(self, item: Item, after: str | None = None) -> None:
        """Remember an item: as the last, or behind another; `after` an empty id, as the first.

        Raises:
            ItemExists: there is one of its id.
            ItemUnknown: there is none to put it behind.
        """
        if any(other.item_id == item.item_id for other in self._items):
            raise ItemExists(f"there is an item {item.item_id!r} already")
        position = len(self._items) if after is None else self._position(after) + 1 if after else 0
        self._items.insert(position, item)
        self._forget()

    def delete(self, item_id: str) -> None:
        """Raises `ItemUnknown`."""
        del self._items[self._position(item_id)]

    def truncate(self, item_id: str, played_ms: float) -> None:
        """So much was heard of a reply: what counts from now on.

        Raises:
            ItemUnknown: there is no spoken reply of that id.
        """
        item = self.item(item_id)
        if item.heard is None:
            raise ItemUnknown(f"item {item_id!r} is no reply that was spoken")
        item.text, item.audio_ms = item.heard.until(played_ms), played_ms

    def asked(self, question: str, language: str | None = None) -> tuple[Message, ...]:
        """The messages for a model that is to answer `question`; the chat itself does not change.

        With a `language` the system prompt says to answer in it. With no question the model answers what is there.

        Roles alternate and the user begins, as templates want it: a question whose answer was not heard at all is
        joined to the next, and a greeting is told in the system prompt.
        """
        said: list[Message] = []
        for role, text in (*((item.role, item.text) for item in self._items), ("user", question)):
            if text and said and said[-1].role == role:
                said[-1] = Message(role, join_text(said[-1].content, text))
            elif text:
                said.append(Message(role, text))
        greeting = said.pop(0).content if said and said[0].role == "assistant" else ""
        if not said or said[-1].role != "user":
            said.append(Message("user", SILENCE))
        return (*self._system_messages(greeting, language), *said)

    def _system_messages(self, greeting: str, language: str | None) -> list[Message]:
        prompt = self._system_prompt
        if greeting:
            prompt = join_text(prompt, GREETED.format(greeting))
        if language is not None:
            prompt = join_text(prompt, f"Answer in {NAMES.get(language, language)}.")
        return [Message("system", prompt)] if prompt else []

    def _position(self, item_id: str) -> int:
        for position, item in enumerate(self._items):
            if item.item_id == item_id:
                return position
        raise ItemUnknown(f"there is no item {item_id!r}")

    def _forget(self) -> None:
        """What is older than the last `size` exchanges goes."""
        begins = [position for position, item in enumerate(self._items) if item.role == "user"]
        if len(begins) > self._size:
            del self._items[: begins[-self._size] if self._size else None]
        del self._items[: -ITEMS_EACH * (self._size + 1)]

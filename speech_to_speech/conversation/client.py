"""Who a conversation's floor deals with: the client, and the session's ear."""

from typing import Protocol

from speech_to_speech.conversation.events import Event
from speech_to_speech.conversation.playout import Playout
from speech_to_speech.conversation.turn_record import TurnRecord


class Client(Protocol):
    """The way back to the person. Its methods raise `ClientGone` when the connection is."""

    sending_since: float | None
    """Since when (`time.monotonic`) a message waits to be taken by the client; None if none does."""

    async def send_audio(self, pcm: bytes) -> None: ...
    async def send_done(self) -> None: ...
    async def send_event(self, event: Event) -> None: ...


class ClientGone(Exception):
    """The connection ended while something was being sent."""


class Ear(Protocol):
    """The session's microphone, as far as the floor has a say in it."""

    def new_playout(self, record: TurnRecord) -> Playout: ...

    def end_after(self, silence_ms: float) -> None:
        """End the utterance when the pause that it is in is this long."""

    def utterance(self) -> bytes:
        """The utterance so far; of a long one its last part."""

    def listen(self) -> None:
        """A DONE is about to be sent."""

    def turn_done(self) -> None:
        """It was sent."""


class Deaf:
    """The ear of a conversation that is over."""

    def new_playout(self, record: TurnRecord) -> Playout:
        raise RuntimeError("the conversation is over")

    def end_after(self, silence_ms: float) -> None:
        pass

    def utterance(self) -> bytes:
        return b""

    def listen(self) -> None:
        pass

    def turn_done(self) -> None:
        pass

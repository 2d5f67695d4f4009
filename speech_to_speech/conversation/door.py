"""What a protocol sees of the service."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from speech_to_speech.conversation.client import Client, Playback
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.session import Session


class Door(Protocol):
    """Where conversations are opened, by whatever protocol. `service.service.Service` is one."""

    options: SessionOptions
    """What a session begins with, unless the client asks for something else."""
    playback: Playback
    """How a client plays that says nothing of it."""

    def session(
        self, client: Client, playback: Playback, options: SessionOptions
    ) -> AbstractAsyncContextManager[Session]:
        """A conversation, for as long as the body reads what the client sends.

        The body is cancelled when the session ends, and the session ends with the body: with the reason that the body
        raises, if it is one of ours. At last the client is told to close.

        Raises:
            SessionRefused: it can't be held; the client is still to be told.
        """

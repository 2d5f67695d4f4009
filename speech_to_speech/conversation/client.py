"""The conversation's way out: one implementation for each protocol."""

from dataclasses import dataclass
from typing import Literal, Protocol

from speech_to_speech.conversation.events import Event
from speech_to_speech.errors import SpeechToSpeechError
from speech_to_speech.frames import SAMPLE_RATE_HZ


class Client(Protocol):
    """The way to the person. `send_audio` and `send_event` raise `ClientGone` when the connection has ended."""

    sending_since: float | None
    """Since when (`time.monotonic`) a message waits to be taken by the client; None if none does."""

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        """The next block of that turn's reply: int16 mono PCM of the playback's rate and block size."""

    async def send_event(self, event: Event) -> None: ...

    async def close(self, error: SpeechToSpeechError | None) -> None:
        """The session is over, for the reason given. Called once, as the last; it may take a second."""


class ClientGone(Exception):
    """The connection ended while something was being sent."""


@dataclass(frozen=True, slots=True)
class Playback:
    """How a client plays, and what its microphone does meanwhile.

    rate_hz: of all audio, both ways.
    block_bytes: the size of each block that it is sent.
    paced: it is sent in real time, `lead_ms` ahead (two blocks at least); otherwise as fast as it is made.
    full_duplex: its microphone stays open while a reply plays.
    echoes: the microphone may hear the loudspeaker.
    holds: when told of a pause it stops the sound and keeps the rest.
    reports: whether it says what has sounded. `never`: what is known is when it was sent. `always`: nothing counts as
        played but what it reports, at least every `report_timeout_s`. `on a cut`: a reply plays by the clock until the
        client says where it was.
    buffer_ms: how much later than it is sent it sounds, beside one block.
    """

    rate_hz: int = SAMPLE_RATE_HZ
    block_bytes: int = 2048
    paced: bool = True
    full_duplex: bool = False
    echoes: bool = False
    holds: bool = False
    reports: Literal["never", "always", "on a cut"] = "never"
    lead_ms: float = 120.0
    buffer_ms: float = 100.0
    report_timeout_s: float = 5.0

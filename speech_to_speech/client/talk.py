"""The loop that carries sound both ways, over as many connections as it takes."""

import math
import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from speech_to_speech.client.codec import Codec, Pcm
from speech_to_speech.client.console import Console
from speech_to_speech.client.conversation import Conversation
from speech_to_speech.client.errors import ClientError, Dropped
from speech_to_speech.client.link import Backoff, Link, connect
from speech_to_speech.client.playback import REPORT_EVERY_S, Sink
from speech_to_speech.client.turns import Journal

STABLE_S = 5.0  # a connection that held this long had worked


class Source(Protocol):
    """Sound for the service: blocks of int16 PCM at 16 kHz, in real time."""

    level_db: float
    """The RMS of the last block, in dB of full scale."""

    @property
    def live(self) -> bool:
        """A person speaks, who can go on in a new session; False: half of it would be missing there."""

    @property
    def wake(self) -> socket.socket | None:
        """Readable when there is a new block."""

    def wait_s(self) -> float:
        """Until the next block, if nothing wakes."""

    def blocks(self, held: bool) -> Iterator[bytes]:
        """What is there to send now; `held`: empty messages instead of sound, because nobody listens."""

    def finished(self, conversation: Conversation) -> bool: ...
    def restart(self) -> None: ...


def exchange(link: Link, source: Source, conversation: Conversation, console: Console) -> None:
    """Send and receive until the source is finished. Raises Dropped when the connection ends first."""
    source.restart()
    longest_s = REPORT_EVERY_S if conversation.full_duplex else math.inf
    while not source.finished(conversation):
        for message in link.receive(min(source.wait_s(), longest_s), source.wake):
            conversation.received(message)
        for report in conversation.reports():
            link.send(report)
        for block in source.blocks(conversation.held):
            for sound, message in conversation.codec.encode(block):
                if message or not sound:  # nothing is sent while the encoder keeps all of the sound
                    link.send(message)
                conversation.sent(sound)
        conversation.check()
        console.status(conversation.state, source.level_db, conversation.partial)


def talk(
    url: str,
    headers: list[str],
    source: Source,
    sink: Sink,
    journal: Journal,
    console: Console,
    start_timeout_s: float,
    full_duplex: bool = False,
    new_codec: Callable[[], Codec] = Pcm,
) -> None:
    """Connect and exchange; connect again after a drop, which a file only bears before the session has begun."""
    backoff = Backoff(start_timeout_s)
    again = False
    while True:
        link = connect(url, headers, backoff, console, again)
        conversation = Conversation(sink, journal, console, full_duplex, new_codec())
        start_s = time.monotonic()
        console.note("connected" + (": speak; Ctrl-C ends" if source.live else ""))
        try:
            return exchange(link, source, conversation, console)
        except Dropped as drop:
            if not drop.retryable or (conversation.session_started and not source.live):
                raise ClientError(f"the service ended the connection: {drop}") from None
            if conversation.session_started and time.monotonic() - start_s > STABLE_S:
                backoff = Backoff(start_timeout_s)  # the next drop is a new outage
            again = True
            sink.go_on()
            sink.end_reply()
            backoff.wait(f"connection lost, {drop}", console)
        finally:
            link.close()

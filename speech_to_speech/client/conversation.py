"""The client's side of docs/protocol.md: what the service's messages mean, and when the microphone is shut."""

import collections
import json
import time
from typing import Protocol

from speech_to_speech.client.console import Console, printable
from speech_to_speech.client.errors import Dropped
from speech_to_speech.client.turns import Journal, Turn, number
from speech_to_speech.frames import pcm_ms
from speech_to_speech.text import join_text

DONE = b"DONE"
REPLY_TIMEOUT_S = 120.0  # from the last message of an open turn
SENT_RECORD_MS = 60_000.0
REPLY_TEXT_CHARS = 20_000


class Sink(Protocol):
    """Takes the replies: int16 PCM at 16 kHz."""

    @property
    def sounding(self) -> bool:
        """True while the microphone may still hear the reply."""

    def play(self, pcm: bytes) -> None: ...
    def end_reply(self) -> None: ...


class Conversation:
    """What one connection knows: the state of the turn, and when each position of the sound was sent."""

    def __init__(self, sink: Sink, journal: Journal, console: Console) -> None:
        self._sink, self._journal, self._console = sink, journal, console
        self._sent_ms = 0.0
        self._sent: collections.deque[tuple[float, float]] = collections.deque()
        self._changed_s = time.monotonic()
        self.turn: Turn | None = None
        self.in_utterance = False
        self.ended_turns = 0
        self.session_started = False

    @property
    def held(self) -> bool:
        """True while the service does not listen, or our own loudspeaker would be heard."""
        return self.turn is not None or self._sink.sounding

    @property
    def state(self) -> str:
        if self._sink.sounding or (self.turn and self.turn.received_ms):
            return "speaking"
        return "thinking" if self.turn else "hearing you" if self.in_utterance else "listening"

    def sent(self, block: bytes) -> None:
        """Note that a block of 16 kHz int16 went out now. A minute is remembered."""
        if not block:
            return
        self._sent_ms += pcm_ms(len(block))
        self._sent.append((self._sent_ms, time.monotonic()))
        while self._sent[0][0] < self._sent_ms - SENT_RECORD_MS:
            self._sent.popleft()

    def check(self) -> None:
        """Raises Dropped when the service owes a reply for too long."""
        if self.turn is not None and time.monotonic() - self._changed_s > REPLY_TIMEOUT_S:
            raise Dropped(1006, f"no reply within {REPLY_TIMEOUT_S:.0f} s")

    def received(self, message: bytes | str) -> None:
        self._changed_s = time.monotonic()
        if message == DONE:
            self._end_turn()
        elif isinstance(message, bytes):
            self._reply(message)
        else:
            self._event(message)

    def _begin_turn(self, audio_ms: float | None) -> Turn:
        self.in_utterance = False
        self.turn = Turn()
        if audio_ms is not None:
            self.turn.spoken_s = next((at_s for end_ms, at_s in self._sent if end_ms >= audio_ms), None)
        return self.turn

    def _reply(self, pcm: bytes) -> None:
        turn = self.turn or self._begin_turn(None)
        if not turn.received_ms and turn.spoken_s is not None:
            turn.end_to_end_ms = (time.monotonic() - turn.spoken_s) * 1000
        turn.received_ms += pcm_ms(len(pcm))
        self._sink.play(pcm)

    def _end_turn(self) -> None:
        self._sink.end_reply()
        if (turn := self.turn) is None:
            return
        self.turn = None
        self.ended_turns += 1
        self._journal.add(turn)
        figures = " | ".join(f"{name} {value:.0f}" for name, value in turn.figures().items() if value is not None)
        self._console.line(f"latency in ms: {figures or 'unknown'}")

    def _event(self, message: str) -> None:
        try:
            event = json.loads(message)
            kind = event["type"]
        except (ValueError, TypeError, KeyError):
            self._console.debug("ignored a text message that is not an event")
            return
        self._console.debug(f"event: {printable(message)}")
        turn = self.turn
        if kind == "session_started":
            self.session_started = True
        elif kind == "speech_started":
            self.in_utterance = True
        elif kind == "speech_discarded":
            self.in_utterance = False
        elif kind == "speech_stopped":
            self._begin_turn(number(event.get("audio_ms")))
        elif kind == "speech_transcribed" and event.get("final") and turn:
            turn.heard = printable(event.get("text"))
            self._console.line(f"you: {turn.heard}")
        elif kind == "reply_text" and turn:
            self._console.line(f"{'       ' if turn.answered else 'reply: '}{printable(event.get('text'))}")
            turn.answered = join_text(turn.answered, str(event.get("text")))[:REPLY_TEXT_CHARS]
        elif kind == "turn_ended" and turn:
            turn.record = {name: value for name, value in event.items() if name != "type"}
        elif kind == "error":
            self._journal.error = f"{printable(event.get('code'))}: {printable(event.get('message'))}"
            self._console.note(f"error from the service: {self._journal.error}")
            if turn:
                turn.error = {name: value for name, value in event.items() if name != "type"}

"""The client's side of docs/protocol.md: what the service's messages mean, and when the microphone is shut."""

import collections
import json
import math
import time
from collections.abc import Iterator
from typing import Any

from speech_to_speech.client.codec import Codec, Pcm
from speech_to_speech.client.console import Console, printable
from speech_to_speech.client.errors import Dropped
from speech_to_speech.client.playback import ReplyPlayer, Sink
from speech_to_speech.client.turns import Journal, Turn, number
from speech_to_speech.errors import BadAudio
from speech_to_speech.frames import pcm_ms
from speech_to_speech.text import join_text

DONE = b"DONE"
REPLY_TIMEOUT_S = 120.0  # counted from the last message of an open turn
SENT_RECORD_MS = 60_000.0
TEXT_CHARS = 20_000


class Conversation:
    """What one connection knows: the state of its turns, and when each position of the sound was sent."""

    def __init__(
        self, sink: Sink, journal: Journal, console: Console, full_duplex: bool = False, codec: Codec | None = None
    ) -> None:
        self._sink, self._journal, self._console = sink, journal, console
        self.codec = codec or Pcm()
        self._playback = ReplyPlayer(sink)
        self._sent_ms = self.codec.priming_ms
        self._sent: collections.deque[tuple[float, float]] = collections.deque()
        self._changed_s = time.monotonic()
        self._speech: Turn | None = None  # the speech that goes on: no turn of the service yet
        self._paused = False
        self.full_duplex = full_duplex
        self.turn: Turn | None = None
        self.ended_turns = 0
        self.session_started = False

    @property
    def held(self) -> bool:
        """True while the service does not listen, or our own loudspeaker would be heard."""
        return not self.full_duplex and self.busy

    @property
    def busy(self) -> bool:
        """True while a reply is due or sounds."""
        return self.turn is not None or self._sink.sounding

    @property
    def settled(self) -> bool:
        """No reply is due or sounds, and in full duplex the service knows how much of each was heard."""
        return not self.busy and (not self.full_duplex or self._playback.told)

    @property
    def in_utterance(self) -> bool:
        return self._speech is not None

    @property
    def state(self) -> str:
        if self._paused:
            return "paused"
        if self._speech and self.full_duplex:
            return "hearing you"
        if self._sink.sounding or (self.turn and self.turn.received_ms):
            return "speaking"
        return "thinking" if self.turn else "hearing you" if self._speech else "listening"

    @property
    def partial(self) -> str:
        """What was heard so far of an utterance whose transcript is not there yet."""
        turn = self._speech or self.turn
        return turn.partial if turn else ""

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
            self._message(message)
        else:
            self._event(message)

    def reports(self) -> Iterator[str]:
        """What the service should be told now of the playback."""
        if self.full_duplex:
            for turn_id, played_ms in self._playback.reports():
                tenths = math.floor(played_ms * 10 + 1e-6)  # a report never exceeds what was played
                yield json.dumps({"type": "playback", "turn_id": turn_id, "played_ms": tenths / 10})

    def _sent_s(self, event: dict[str, Any]) -> float | None:
        """When the position that an event speaks of was sent."""
        audio_ms = number(event.get("audio_ms"))
        return None if audio_ms is None else next((at_s for end_ms, at_s in self._sent if end_ms >= audio_ms), None)

    def _message(self, message: bytes) -> None:
        try:
            for pcm in self.codec.decode(message):
                if pcm:
                    self._reply(pcm)
        except BadAudio as error:
            self._journal.error = f"{error.code}: {error}"
            self._console.note(f"error in the reply: {self._journal.error}")

    def _reply(self, pcm: bytes) -> None:
        self.turn = turn = self.turn or Turn()
        if not turn.received_ms and turn.spoken_s is not None:
            turn.end_to_end_ms = (time.monotonic() - turn.spoken_s) * 1000
        turn.received_ms += pcm_ms(len(pcm))
        self._playback.play(turn.turn_id, pcm)

    def _end_turn(self) -> None:
        self.codec.end_reply()
        self._playback.end()
        self._paused = False
        if (turn := self.turn) is None:
            return
        self.turn = None
        self.ended_turns += 1
        self._journal.add(turn)
        if turn.interrupted:
            self._console.line(f"interrupted after {turn.heard_ms / 1000:.1f} s")
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
        if kind == "session_started":
            self.session_started = True
        elif kind == "speech_started":
            self._speech = Turn(str(event.get("turn_id", "")), began_s=self._sent_s(event))
        elif kind == "speech_discarded":
            self._speech = None
        elif kind == "speech_stopped":
            self._begin_turn(event)
        elif kind == "error":
            self._error(event)
        elif turn := self._turn_of(event):
            self._turn_event(turn, kind, event)

    def _begin_turn(self, event: dict[str, Any]) -> None:
        turn_id, speech, self._speech = str(event.get("turn_id", "")), self._speech, None
        self.turn = speech if speech and speech.turn_id == turn_id else Turn(turn_id)
        self.turn.spoken_s = self._sent_s(event)

    def _turn_of(self, event: dict[str, Any]) -> Turn | None:
        """The turn that an event names: the open one or, when both listen and speak, that which is being spoken."""
        turn_id = event.get("turn_id")
        if not self.full_duplex or turn_id is None:
            return self.turn
        return next((turn for turn in (self.turn, self._speech) if turn and turn.turn_id == turn_id), None)

    def _turn_event(self, turn: Turn, kind: str, event: dict[str, Any]) -> None:
        if kind == "speech_partial":
            turn.partial = join_text(turn.partial, str(event.get("text")))[:TEXT_CHARS]
        elif kind == "speech_transcribed" and event.get("final"):
            turn.heard, turn.partial = printable(event.get("text")), ""
            self._console.line(f"you: {turn.heard}")
        elif kind == "language_fallback":
            heard, spoken = printable(event.get("heard")), printable(event.get("spoken"))
            self._console.note(f"the service can't speak {heard}, so it answers in {spoken}")
        elif kind == "reply_text":
            self._console.line(f"{'       ' if turn.answered else 'reply: '}{printable(event.get('text'))}")
            turn.answered = join_text(turn.answered, str(event.get("text")))[:TEXT_CHARS]
        elif kind == "turn_ended":
            turn.record = {name: value for name, value in event.items() if name != "type"}
            if event.get("outcome") == "interrupted" and not turn.interrupted:
                self._interrupt(turn)
        elif turn is self.turn and self.full_duplex:
            self._reply_event(turn, kind)

    def _reply_event(self, turn: Turn, kind: str) -> None:
        if kind == "reply_paused":
            self._paused = True
            self._playback.hold(turn.turn_id)
        elif kind == "reply_resumed":
            self._paused = False
            self._playback.go_on()
        elif kind == "reply_interrupted":
            self._interrupt(turn)

    def _interrupt(self, turn: Turn) -> None:
        self._paused = False
        turn.cut_ms = self._playback.cut(turn.turn_id)
        if turn.cut_ms and self._speech and self._speech.began_s is not None:
            turn.stop_ms = max(0.0, (self._sink.silent_s - self._speech.began_s) * 1000)

    def _error(self, event: dict[str, Any]) -> None:
        self._journal.error = f"{printable(event.get('code'))}: {printable(event.get('message'))}"
        self._console.note(f"error from the service: {self._journal.error}")
        if turn := self._turn_of(event):
            turn.error = {name: value for name, value in event.items() if name != "type"}

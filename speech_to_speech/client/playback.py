"""How much of each reply has sounded."""

import collections
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from speech_to_speech.frames import pcm_ms

REPORT_EVERY_S = 0.1
REPLIES_KEPT = 8  # more replies than can wait for the loudspeaker


class Sink(Protocol):
    """Takes the replies: int16 PCM at 16 kHz. Its positions count the sound it was given, without what was cut."""

    @property
    def sounding(self) -> bool:
        """True while the microphone may still hear the reply."""

    @property
    def queued_ms(self) -> float:
        """Where the next sound goes."""

    @property
    def played_ms(self) -> float:
        """What has come out of the loudspeaker."""

    @property
    def silent_s(self) -> float:
        """When what the sound card holds will have sounded, in `time.monotonic` seconds; 0 if nothing ever came."""

    def play(self, pcm: bytes) -> None: ...
    def end_reply(self) -> None: ...

    def hold(self) -> None:
        """Be silent, and keep what has not sounded."""

    def go_on(self) -> None:
        """Sound again, from where `hold` stopped."""

    def cut(self) -> None:
        """Be silent, and drop what has not sounded."""


@dataclass
class Reply:
    """A reply's place in the sink's sound."""

    turn_id: str
    start_ms: float
    end_ms: float
    complete: bool = False
    reported_ms: float = 0.0

    def position_ms(self, played_ms: float) -> float:
        return max(0.0, min(played_ms, self.end_ms) - self.start_ms)


class ReplyPlayer:
    """Plays the replies of one connection, and knows each one's position."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._replies: collections.deque[Reply] = collections.deque(maxlen=REPLIES_KEPT)  # replies that may still sound
        self._open: Reply | None = None
        self._due_s = 0.0
        self._at_once = False

    def play(self, turn_id: str, pcm: bytes) -> None:
        reply = self._reply(turn_id)
        reply.end_ms += pcm_ms(len(pcm))
        self._sink.play(pcm)

    def end(self) -> None:
        """No more of the reply comes; what is there may sound."""
        self._sink.go_on()
        self._sink.end_reply()
        self._close()

    def hold(self, turn_id: str) -> None:
        self._reply(turn_id)
        self._sink.hold()
        self._at_once = True

    def go_on(self) -> None:
        self._sink.go_on()

    def cut(self, turn_id: str) -> float:
        """Drop what has not sounded; returns how much of the reply did, in milliseconds."""
        reply = self._reply(turn_id)
        self._sink.cut()
        self._close()
        self._at_once = True
        return reply.end_ms - reply.start_ms

    @property
    def told(self) -> bool:
        """The last position of every reply was reported."""
        return not self._replies

    def reports(self) -> Iterator[tuple[str, float]]:
        """The turn and the position in its reply of what should be told now.

        Ten times a second while it moves, once at the end, and at once after `hold` and `cut`.
        """
        now, played_ms = time.monotonic(), self._sink.played_ms
        at_once, self._at_once = self._at_once, False
        if now < self._due_s and not at_once:
            return
        for reply in list(self._replies):
            position_ms = reply.position_ms(played_ms)
            ended = reply.complete and played_ms >= reply.end_ms
            if ended:
                self._replies.remove(reply)
            if at_once or ended or position_ms > reply.reported_ms:
                self._due_s = now + REPORT_EVERY_S
                reply.reported_ms = position_ms
                yield reply.turn_id, position_ms

    def _reply(self, turn_id: str) -> Reply:
        if self._open is None:
            at_ms = self._sink.queued_ms
            self._open = Reply(turn_id, at_ms, at_ms)
            self._replies.append(self._open)
        return self._open

    def _close(self) -> None:
        """What the sink did not take, or has dropped, is no part of the replies."""
        queued_ms = self._sink.queued_ms
        for reply in self._replies:
            reply.start_ms, reply.end_ms = min(reply.start_ms, queued_ms), min(reply.end_ms, queued_ms)
            reply.complete = reply.complete or reply is self._open
        self._open = None

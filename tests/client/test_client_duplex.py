"""Full duplex: the client talks and hears at once, and stops its reply when it is told to."""

import json
import time
from typing import Any

import numpy as np
import pytest

from speech_to_speech.client.console import Console
from speech_to_speech.client.conversation import Conversation
from speech_to_speech.client.speaker import Speaker
from speech_to_speech.client.turns import Journal

LATENCY_S = 0.04


def sound(ms: float) -> bytes:
    return np.full(int(ms * 16), 1000, np.int16).tobytes()


class Room:
    """A conversation in a room whose clock the test turns: a message every 10 ms, a callback of the card too."""

    def __init__(self, full_duplex: bool = True) -> None:
        self.now_s = 1000.0
        self.speaker = Speaker(16_000)
        self.speaker.latency_s = LATENCY_S
        self.journal = Journal()
        self.conversation = Conversation(self.speaker, self.journal, Console(), full_duplex)
        self.reports: list[dict[str, Any]] = []
        self.sounded = bytearray()

    def run(self, ms: int) -> None:
        for _ in range(ms // 10):
            self.conversation.sent(bytes(320))
            self.sounded += self.speaker.take(320)
            self.now_s += 0.01
            self.report()

    def report(self) -> None:
        self.reports += [json.loads(report) for report in self.conversation.reports()]

    def tell(self, kind: str, turn_id: str = "t1", **fields: Any) -> None:
        self.conversation.received(json.dumps({"type": kind, "turn_id": turn_id, **fields}))
        self.report()

    def begin_reply(self, ms: float, turn_id: str = "t1") -> None:
        self.tell("speech_started", turn_id, audio_ms=0)
        self.tell("speech_stopped", turn_id, audio_ms=0)
        self.tell("speech_transcribed", turn_id, text="what time is it", language="en", final=True)
        self.tell("reply_text", turn_id, text="It is noon.")
        self.conversation.received(sound(ms))

    def interrupt(self, turn_id: str = "t1") -> None:
        self.tell("reply_interrupted", turn_id, played_ms=0)
        self.tell("turn_ended", turn_id, outcome="interrupted", heard_ms=0)
        self.conversation.received(b"DONE")
        self.report()

    @property
    def sounded_ms(self) -> float:
        return np.count_nonzero(np.frombuffer(self.sounded, np.int16)) / 16


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    room = Room()
    monkeypatch.setattr(time, "monotonic", lambda: room.now_s)
    return room


def test_the_microphone_is_never_held(room: Room) -> None:
    room.begin_reply(1000)
    room.run(100)
    assert room.conversation.busy
    assert not room.conversation.held


def test_a_pause_stops_the_sound_and_is_reported_at_once(room: Room) -> None:
    room.begin_reply(1000)
    room.run(300)
    room.tell("speech_started", "t2", audio_ms=250)
    room.reports.clear()
    room.tell("reply_paused", played_ms=200)
    assert room.reports == [{"type": "playback", "turn_id": "t1", "played_ms": pytest.approx(260, abs=0.2)}]
    sounded_ms = room.sounded_ms
    room.run(500)
    assert room.sounded_ms == sounded_ms
    assert room.conversation.state == "paused"
    assert room.reports[-1]["played_ms"] == pytest.approx(300, abs=0.2)  # the card played on what it already had
    room.tell("speech_discarded", "t2", audio_ms=400)
    room.tell("reply_resumed")
    assert room.conversation.state == "speaking"
    room.run(1000)
    room.conversation.received(b"DONE")
    room.report()
    assert room.sounded_ms == 1000
    assert room.reports[-1]["played_ms"] == 1000
    (turn,) = room.journal.turns
    assert not turn.interrupted
    assert turn.heard_ms == 1000
    assert turn.stop_ms is None


def test_an_interrupted_turn_says_what_was_heard(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    room.begin_reply(5000)
    room.run(1200)
    room.tell("speech_started", "t2", audio_ms=1100)
    room.run(150)
    room.interrupt()
    room.run(500)
    (turn,) = room.journal.turns
    report = turn.summary()
    assert report["interrupted"]
    assert report["heard_ms"] == pytest.approx(room.sounded_ms)
    assert room.sounded_ms == 1350
    # The position 1100 went out at 1.09 s; the card took the last sound up to 1.35 s, and played it until 1.39 s.
    assert report["stop_ms"] == pytest.approx(300)
    assert report["received_ms"] == 5000
    assert [report["played_ms"] for report in room.reports][-2:] == pytest.approx([1310, 1350], abs=0.2)
    assert "\ninterrupted after 1.4 s\nlatency in ms: stop 300\n" in capsys.readouterr().out
    assert "stop " in room.journal.summary()


def test_the_stop_counts_from_the_speech_to_the_pause(room: Room) -> None:
    room.begin_reply(5000)
    room.run(1000)
    room.tell("speech_started", "t2", audio_ms=1000)
    room.run(100)
    room.tell("reply_paused", played_ms=1000)
    room.run(400)
    room.interrupt()
    assert room.journal.turns[0].stop_ms == pytest.approx(150)


def test_no_stop_when_nothing_sounded(room: Room) -> None:
    room.begin_reply(0)
    room.tell("speech_started", "t2", audio_ms=0)
    room.interrupt()
    report = room.journal.turns[0].summary()
    assert (report["interrupted"], report["heard_ms"], report["stop_ms"]) == (True, 0, None)
    assert room.reports[-1]["played_ms"] == 0


def test_an_outcome_alone_ends_the_sound_too(room: Room) -> None:
    room.begin_reply(2000)
    room.run(500)
    room.tell("turn_ended", outcome="interrupted", heard_ms=400)
    room.conversation.received(b"DONE")
    room.run(500)
    assert room.sounded_ms == 500
    assert room.journal.turns[0].interrupted


def test_the_next_turn_may_begin_while_the_reply_sounds(room: Room) -> None:
    room.begin_reply(1000)
    room.run(500)
    room.tell("speech_started", "t2", audio_ms=400)
    assert room.conversation.in_utterance
    assert room.conversation.state == "hearing you"
    room.tell("speech_partial", "t2", text="and in")
    room.conversation.received(sound(500))  # the block is the first reply's
    room.tell("reply_text", "t1", text="Good bye.")
    room.tell("speech_partial", "t2", text="Paris")
    assert room.conversation.partial == "and in Paris"
    room.run(1500)
    room.tell("turn_ended", "t1", outcome="spoken")
    room.conversation.received(b"DONE")
    assert room.conversation.turn is None
    assert room.conversation.in_utterance
    room.tell("speech_stopped", "t2", audio_ms=2000)
    assert room.conversation.state == "thinking"
    assert room.conversation.partial == "and in Paris"
    room.tell("speech_transcribed", "t2", text="and in Paris?", language="en", final=True)
    assert room.conversation.partial == ""
    room.conversation.received(sound(500))
    room.run(1000)
    room.conversation.received(b"DONE")
    first, second = room.journal.turns
    assert (first.heard, first.answered, first.received_ms) == ("what time is it", "It is noon. Good bye.", 1500)
    assert (second.heard, second.answered, second.received_ms) == ("and in Paris?", "", 500)
    assert first.record["outcome"] == "spoken"
    assert {report["turn_id"]: report["played_ms"] for report in room.reports} == {"t1": 1500, "t2": 500}


def test_partial_text_goes_with_what_was_no_utterance(room: Room) -> None:
    room.tell("speech_started", "t1", audio_ms=0)
    room.tell("speech_partial", "t1", text="mm")
    assert room.conversation.partial == "mm"
    room.tell("speech_discarded", "t1", audio_ms=100)
    assert room.conversation.partial == ""
    assert room.conversation.state == "listening"


@pytest.mark.parametrize("kind", ["reply_paused", "reply_interrupted", "reply_resumed", "speech_partial", "turn_ended"])
def test_an_event_of_another_turn_changes_nothing(kind: str, room: Room) -> None:
    room.begin_reply(1000)
    room.tell(kind, "t0", played_ms=0, text="x", outcome="interrupted")
    room.run(1000)
    assert room.sounded_ms == 1000
    assert room.conversation.partial == ""
    room.conversation.received(b"DONE")
    assert not room.journal.turns[0].interrupted


def test_done_releases_a_paused_reply(room: Room) -> None:
    room.begin_reply(1000)
    room.run(500)
    room.tell("reply_paused", played_ms=400)
    room.conversation.received(b"DONE")
    room.run(1000)
    assert room.sounded_ms == 1000
    assert room.conversation.state == "listening"


def test_half_duplex_knows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(full_duplex=False)
    monkeypatch.setattr(time, "monotonic", lambda: room.now_s)
    room.begin_reply(1000)
    assert room.conversation.held
    room.tell("reply_paused", played_ms=0)
    room.tell("reply_interrupted", played_ms=0)
    room.run(1000)
    assert room.sounded_ms == 1000
    assert room.reports == []
    assert room.conversation.held  # the microphone is held until DONE
    room.conversation.received(b"DONE")
    report = room.journal.turns[0].summary()
    assert (report["interrupted"], report["heard_ms"], report["stop_ms"]) == (False, 1000, None)

"""What the client makes of the service's messages, and its figures."""

import json
import time

import pytest

from speech_to_speech.client.console import Console
from speech_to_speech.client.conversation import Conversation
from speech_to_speech.client.sound import Speaker
from speech_to_speech.client.turns import FIGURES, Journal, Turn
from speech_to_speech.text import join_text


def test_figures_of_a_turn() -> None:
    record = {"endpoint_ms": 500, "transcript_ms": 520, "first_text_ms": 600.5, "first_audio_made_ms": 700}
    turn = Turn(record=record | {"first_audio_sent_ms": 705, "error": None}, end_to_end_ms=730)
    expected = {
        "endpoint": 500,
        "stt": 20,
        "llm": 80.5,
        "tts": 99.5,
        "pipeline total": 205,
        "network": 25,
        "end to end": 730,
    }
    assert turn.figures() == expected | {"stop": None}


def test_nobody_waits_for_what_was_there_at_the_endpoint() -> None:
    record = {"endpoint_ms": 500, "transcript_ms": 120, "first_text_ms": 130, "first_audio_made_ms": 530}
    turn = Turn(record=record | {"first_audio_sent_ms": 535})
    expected = {
        "endpoint": 500,
        "stt": 0,
        "llm": 0,
        "tts": 30,
        "pipeline total": 35,
        "network": None,
        "end to end": None,
        "stop": None,
    }
    assert turn.figures() == expected


def test_network_is_never_below_zero_and_unknown_stays_unknown() -> None:
    turn = Turn(record={"first_audio_sent_ms": 705, "endpoint_ms": None}, end_to_end_ms=700)
    unknown = dict.fromkeys(FIGURES)
    assert turn.figures() == unknown | {"network": 0, "end to end": 700}


def test_summary_has_average_min_and_max() -> None:
    journal = Journal()
    for end_to_end_ms in (100, 200, 600, None):
        journal.turns.append(Turn(end_to_end_ms=end_to_end_ms))
    journal.turn_count = 4
    lines = journal.summary().split("\n")
    assert lines[0].startswith("4 turns in 0.")
    assert [line.split() for line in lines[1:]] == [
        ["ms", "average", "min", "max"],
        ["end", "to", "end", "300", "100", "600"],
    ]


def test_end_to_end_counts_from_the_last_speech_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    conversation = Conversation(Speaker(16_000), Journal(), Console())
    sent_at_s = []
    for _ in range(4):
        conversation.sent(bytes(3200))  # 100 ms
        sent_at_s.append(conversation._sent[-1][1])
    conversation.sent(b"")
    conversation.received(json.dumps({"type": "speech_stopped", "turn_id": "t1", "audio_ms": 150}))
    assert conversation.turn is not None
    assert conversation.turn.spoken_s == sent_at_s[1]
    conversation.received(bytes(640))
    assert conversation.turn.end_to_end_ms is not None
    assert conversation.turn.end_to_end_ms % 1000 == 0
    assert conversation.turn.end_to_end_ms > (sent_at_s[3] - sent_at_s[1]) * 1000


def test_record_of_sent_sound_is_bounded() -> None:
    conversation = Conversation(Speaker(16_000), Journal(), Console())
    for _ in range(10_000):
        conversation.sent(bytes(2048))
    assert len(conversation._sent) < 60_000 / 64 + 2


@pytest.mark.parametrize(
    "message", ["", "[]", "null", "{}", '{"type": 5}', '{"type": "new"}', '{"type":"speech_stopped"}']
)
def test_unknown_messages_are_ignored(message: str) -> None:
    conversation = Conversation(Speaker(16_000), Journal(), Console())
    conversation.received(message)
    conversation.received(b"DONE")
    assert conversation.state == "listening"


def test_a_language_that_can_not_be_spoken_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    conversation = Conversation(Speaker(16_000), Journal(), Console())
    conversation.received(json.dumps({"type": "speech_stopped", "turn_id": "t1", "audio_ms": 150}))
    event = {"type": "language_fallback", "turn_id": "t1", "heard": "sv", "spoken": "en"}
    conversation.received(json.dumps(event))
    assert capsys.readouterr().err == "the service can't speak sv, so it answers in en\n"


def test_pieces_of_a_reply() -> None:
    assert join_text("It is noon.", "Good bye.") == "It is noon. Good bye."
    assert join_text("It is ", "noon") == "It is noon"
    assert join_text("你好。", "再见。") == "你好。再见。"

"""How the client stops a reply, and knows how much of it has sounded."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
from client_support import read_pcm, tone

from speech_to_speech.client.playback import ReplyPlayer
from speech_to_speech.client.reply_file import ReplyFile
from speech_to_speech.client.speaker import Speaker
from speech_to_speech.frames import pcm_bytes, pcm_ms

CALLBACK_MS = 10
LATENCY_MS = 40


class Card:
    """A sound card with a clock of its own."""

    def __init__(self, speaker: Speaker, rate_hz: int = 16_000) -> None:
        self.now_s = 1000.0
        self.sounded = bytearray()
        self._speaker, self._size = speaker, pcm_bytes(CALLBACK_MS, rate_hz)
        speaker.latency_s = LATENCY_MS / 1000

    def run(self, ms: float) -> bytes:
        """What is taken in this time."""
        taken = bytearray()
        for _ in range(round(ms / CALLBACK_MS)):
            taken += self._speaker.take(self._size)
            self.now_s += CALLBACK_MS / 1000
        self.sounded += taken
        return bytes(taken)


@pytest.fixture
def speaker() -> Speaker:
    return Speaker(16_000)


@pytest.fixture
def card(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card(speaker)
    monkeypatch.setattr(time, "monotonic", lambda: card.now_s)
    return card


def reply(ms: float) -> bytes:
    """Samples of which each differs from its neighbours."""
    return (1 + np.arange(pcm_bytes(ms) // 2) % 30_000).astype("<i2").tobytes()


def is_silent(pcm: bytes) -> bool:
    return not any(pcm)


def test_a_held_reply_is_silent_at_the_next_callback_and_goes_on_where_it_stopped(speaker: Speaker, card: Card) -> None:
    sound = reply(500)
    speaker.play(sound)
    before = card.run(100)
    speaker.hold()
    assert speaker.sounding
    assert is_silent(card.run(1000))
    speaker.go_on()
    assert before + card.run(400) == sound


def test_what_comes_while_a_reply_is_held_waits(speaker: Speaker, card: Card) -> None:
    sound = reply(300)
    speaker.play(sound[:3200])
    before = card.run(50)
    speaker.hold()
    speaker.play(sound[3200:])
    speaker.end_reply()
    assert is_silent(card.run(100))
    speaker.go_on()
    assert before + card.run(250) == sound


def test_a_cut_reply_is_silent_at_the_next_callback_and_gone(speaker: Speaker, card: Card) -> None:
    speaker.play(reply(500))
    card.run(100)
    speaker.cut()
    assert is_silent(card.run(500))
    speaker.end_reply()
    speaker.play(tone(0.1).tobytes())
    assert card.run(100) == tone(0.1).tobytes()


def test_a_cut_releases_a_held_speaker(speaker: Speaker, card: Card) -> None:
    speaker.play(reply(500))
    speaker.hold()
    speaker.cut()
    speaker.play(reply(100))
    assert card.run(100) == reply(100)


def test_position_is_what_the_card_took_less_its_latency(speaker: Speaker, card: Card) -> None:
    speaker.play(reply(200))
    speaker.end_reply()
    positions = []
    for _ in range(30):
        card.run(10)
        positions.append(speaker.played_ms)
    assert positions == pytest.approx([min(max(0, at - LATENCY_MS), 200) for at in range(10, 310, 10)])
    assert speaker.queued_ms == 200
    assert speaker.silent_s == pytest.approx(1000.0 + 0.2 + LATENCY_MS / 1000)


def test_reports_come_ten_times_a_second_and_once_at_the_end(speaker: Speaker, card: Card) -> None:
    playback = ReplyPlayer(speaker)
    playback.play("t1", reply(500))
    playback.end()
    reports = []
    for at in range(0, 800, 10):
        reports += [(at, *report) for report in playback.reports()]
        card.run(10)
    assert {turn_id for _, turn_id, _ in reports} == {"t1"}
    assert len(reports) in (5, 6)
    assert [played_ms for _, _, played_ms in reports[:-1]] == pytest.approx(
        [at - LATENCY_MS for at, _, _ in reports[:-1]]
    )
    assert [played_ms for _, _, played_ms in reports].index(500) == len(reports) - 1


def test_reports_come_at_once_after_a_pause_and_again_when_the_card_is_empty(speaker: Speaker, card: Card) -> None:
    playback = ReplyPlayer(speaker)
    playback.play("t1", reply(500))
    card.run(60)
    assert list(playback.reports()) == [("t1", pytest.approx(20))]
    card.run(10)
    playback.hold("t1")
    assert list(playback.reports()) == [("t1", pytest.approx(30))]
    assert list(playback.reports()) == []
    card.run(1000)
    assert list(playback.reports()) == [("t1", pytest.approx(70))]  # the card played on what it already had
    card.run(1000)
    assert list(playback.reports()) == []
    playback.go_on()
    card.run(100)
    assert list(playback.reports()) == [("t1", pytest.approx(130))]


def test_reports_come_at_once_after_a_cut_and_once_at_its_end(speaker: Speaker, card: Card) -> None:
    playback = ReplyPlayer(speaker)
    playback.play("t1", reply(500))
    card.run(100)
    assert playback.cut("t1") == pytest.approx(100)
    playback.end()
    assert list(playback.reports()) == [("t1", pytest.approx(60))]
    card.run(200)
    assert list(playback.reports()) == [("t1", pytest.approx(100))]
    playback.play("t2", reply(500))
    card.run(140)
    assert list(playback.reports()) == [("t2", pytest.approx(100))]


@pytest.mark.parametrize("cut", [True, False])
def test_a_reply_that_never_came_is_reported_when_cut_or_paused(cut: bool, speaker: Speaker, card: Card) -> None:
    playback = ReplyPlayer(speaker)
    if cut:
        assert playback.cut("t1") == 0
    else:
        playback.hold("t1")
    assert list(playback.reports()) == [("t1", 0)]


def test_a_reply_that_still_sounds_is_not_taken_for_the_next_one(speaker: Speaker, card: Card) -> None:
    playback = ReplyPlayer(speaker)
    playback.play("t1", reply(200))
    playback.end()
    playback.play("t2", reply(300))
    card.run(150)
    assert list(playback.reports()) == [("t1", pytest.approx(110))]
    card.run(150)
    assert list(playback.reports()) == [("t1", 200), ("t2", pytest.approx(60))]
    playback.cut("t2")
    card.run(100)
    assert list(playback.reports()) == [("t2", pytest.approx(100))]


def test_a_cut_takes_the_rest_of_the_reply_before_too(speaker: Speaker, card: Card) -> None:
    playback = ReplyPlayer(speaker)
    playback.play("t1", reply(200))
    playback.end()
    playback.play("t2", reply(300))
    card.run(100)
    assert playback.cut("t2") == 0
    card.run(100)
    assert list(playback.reports()) == [("t1", pytest.approx(100)), ("t2", 0)]
    playback.play("t3", reply(300))
    card.run(200)
    assert list(playback.reports()) == [("t3", pytest.approx(160))]


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("seed", range(5))
def test_reports_only_rise_and_never_exceed_what_came(rate_hz: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker(rate_hz)
    card, playback, chance = Card(speaker, rate_hz), ReplyPlayer(speaker), random.Random(seed)
    monkeypatch.setattr(time, "monotonic", lambda: card.now_s)
    received: dict[str, float] = {}
    reported: dict[str, float] = {}

    def report() -> None:
        for turn_id, played_ms in playback.reports():
            assert reported.get(turn_id, 0.0) <= played_ms <= received[turn_id] + 1e-6
            reported[turn_id] = played_ms

    for number in range(20):
        turn_id = f"t{number}"
        received[turn_id] = 0.0
        for _ in range(chance.randrange(1, 20)):
            pcm = reply(64)
            received[turn_id] += pcm_ms(len(pcm))
            playback.play(turn_id, pcm)
            step = chance.random()
            if step < 0.1:
                playback.hold(turn_id)
            elif step < 0.3:
                playback.go_on()
            card.run(chance.choice([0, 60, 70, 100]))
            report()
        if chance.random() < 0.5:
            received[turn_id] = playback.cut(turn_id)
        playback.end()
        card.run(chance.choice([0, 2000]))
        report()
    card.run(3000)
    report()
    sounded = np.count_nonzero(np.frombuffer(card.sounded, np.int16)) / rate_hz * 1000
    assert sum(reported.values()) == pytest.approx(sounded, abs=5)  # resampling makes some zeros


def test_a_file_in_real_time_holds_what_would_have_been_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 50.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    file = ReplyFile(tmp_path / "a.wav", real_time=True)
    file.play(tone(1.0).tobytes())
    now_s += 0.25
    assert file.played_ms == pytest.approx(250)
    file.hold()
    now_s += 5.0
    file.go_on()
    assert file.played_ms == pytest.approx(250)
    now_s += 0.25
    file.cut()
    now_s += 5.0
    assert file.played_ms == pytest.approx(500)
    assert not file.sounding
    file.end_reply()
    file.play(tone(0.5).tobytes())
    now_s += 0.125
    file.close()
    assert np.array_equal(read_pcm(tmp_path / "a.wav"), np.concatenate([tone(1.0)[:8000], tone(0.5)[:2000]]))


def test_a_file_not_in_real_time_is_written_at_once(tmp_path: Path) -> None:
    file = ReplyFile(tmp_path / "a.wav")
    file.play(tone(1.0).tobytes())
    assert not file.sounding
    file.play(tone(1.0).tobytes())
    file.end_reply()
    file.close()
    assert len(read_pcm(tmp_path / "a.wav")) == 32_000

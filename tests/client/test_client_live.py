"""The client's live mode with samples instead of a sound card; its microphone and its loudspeaker."""

import threading

import numpy as np
import pytest
from client_support import ScriptedService, scripted, silence, tone

from speech_to_speech.client import link
from speech_to_speech.client.address import websocket_url
from speech_to_speech.client.console import Console
from speech_to_speech.client.conversation import Conversation
from speech_to_speech.client.errors import ClientError
from speech_to_speech.client.sound import Microphone, Speaker
from speech_to_speech.client.talk import talk
from speech_to_speech.client.turns import Journal


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "FIRST_WAIT_S", 0.02)


class SpokenAloud(Microphone):
    """A microphone that hears `says` again and again, faster than real time, until it was answered `until` times."""

    def __init__(self, says: np.ndarray, until: int) -> None:
        super().__init__(16_000, 1024)
        self._says, self._until = says, until
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak)
        self._thread.start()

    def _speak(self) -> None:
        at = 0
        while not self._stop.wait(0.008):
            self.captured(np.take(self._says, range(at, at + 512), mode="wrap").tobytes())
            at += 512

    def finished(self, conversation: Conversation) -> bool:
        return super().finished(conversation) or conversation.ended_turns >= self._until

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        super().close()


def converse(service: ScriptedService, until: int) -> Journal:
    """Run the live loop, with samples instead of a sound card."""
    journal, speaker = Journal(), Speaker(16_000)
    microphone = SpokenAloud(np.concatenate([tone(0.3), silence(0.4)]), until)
    card = threading.Event()

    def play() -> None:
        while not card.wait(0.02):
            speaker.take(640)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        url = websocket_url(service.url, paced=True)
        talk(url, [], microphone, speaker, journal, Console(), start_timeout_s=10)
    finally:
        microphone.close()
        card.set()
        thread.join()
    return journal


def test_microphone_is_shut_while_a_reply_comes_in(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(reply_s=0.6) as service:
        journal = converse(service, until=1)
    connection = service.connections[0]
    assert connection.path == "/ws?events=1&paced=1"
    assert journal.turn_count == 1
    late = [message for at_s, message in connection.in_turn if at_s > 0.1]
    assert len(late) > 5
    assert set(late) == {b""}  # empty messages keep the connection alive
    assert "you: what time is it" in capsys.readouterr().out


def test_live_connects_again(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(closes={1: (1012, "be right back"), 2: (1013, "full")}) as service:
        converse(service, until=1)
    assert len(service.connections) == 3
    error = capsys.readouterr().err
    assert "connection lost, be right back (close code 1012)" in error
    assert "connection lost, full (close code 1013)" in error


def test_live_connects_again_after_the_network_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(closes={1: (1006, "")}, close_when="spoken") as service:
        converse(service, until=1)
    assert len(service.connections) == 2
    assert "connection lost, Connection to remote host was lost. (close code 1006)" in capsys.readouterr().err


@pytest.mark.parametrize("code", [1000, 1008, 1009])
def test_live_ends_with_the_reason_of_a_final_close(code: int) -> None:
    with scripted(closes={1: (code, "not allowed")}) as service:
        with pytest.raises(ClientError, match=f"not allowed .close code {code}."):
            converse(service, until=1)
        assert len(service.connections) == 1


def test_old_microphone_sound_is_dropped_while_nobody_listens() -> None:
    microphone = Microphone(16_000, 1024)
    for _ in range(10_000):
        microphone.captured(tone(0.064).tobytes())
    kept_s = sum(len(block) for block in microphone.blocks(held=False)) / 32_000
    microphone.close()
    assert 1.5 < kept_s <= 2.0
    assert microphone.level_db == pytest.approx(-13.5, abs=0.2)  # the tone's RMS is 0.3 / sqrt 2


def test_microphone_of_another_rate_is_resampled_without_seams() -> None:
    microphone = Microphone(48_000, 1024)
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.int16)
    sent = bytearray()
    for at in range(0, len(wave), 3072):
        microphone.captured(wave[at : at + 3072].tobytes())
        for block in microphone.blocks(held=False):
            assert len(block) == 2048
            sent += block
    microphone.close()
    heard = np.frombuffer(bytes(sent), np.int16)[2000:].astype(float)
    step = 8000 * 2 * np.pi * 440 / 16_000
    assert len(heard) > 10_000
    assert np.abs(np.diff(heard)).max() < step * 1.02  # no click is steeper than the tone


def test_speaker_waits_for_a_prebuffer_then_plays_without_a_gap() -> None:
    speaker = Speaker(16_000, prebuffer_ms=80)
    speaker.play(b"\1\0" * 1000)
    assert speaker.take(640) == bytes(640)
    speaker.play(b"\1\0" * 1000)
    assert speaker.take(4000) == b"\1\0" * 2000
    assert speaker.take(640) == bytes(640)


def test_speaker_plays_a_short_reply_at_its_end_and_is_then_quiet() -> None:
    speaker = Speaker(16_000)
    speaker.play(b"\1\0" * 100)
    speaker.end_reply()
    assert speaker.sounding
    assert speaker.take(640) == b"\1\0" * 100 + bytes(440)
    assert not speaker.sounding


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_end_of_a_reply_does_not_wait_for_its_last_message(rate_hz: int) -> None:
    speaker, block = Speaker(rate_hz), 2 * rate_hz // 100
    speaker.play(tone(1.5).tobytes())
    played = b"".join(speaker.take(block) for _ in range(200))
    assert len(played.rstrip(b"\0")) / 2 / rate_hz == pytest.approx(1.5, abs=0.001)
    speaker.end_reply()
    assert not any(speaker.take(block * 20))


def test_speaker_is_bounded() -> None:
    speaker = Speaker(16_000, limit_s=1)
    for _ in range(100):
        speaker.play(tone(0.064).tobytes())
    assert len(speaker.take(10_000_000).rstrip(b"\0")) <= 32_000

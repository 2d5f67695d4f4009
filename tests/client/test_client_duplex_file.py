"""Full duplex from file to file: a conversation in real time with a service that follows a script."""

import json
from pathlib import Path

import numpy as np
import pytest
from client_support import REPLY_HZ, Dialogue, ask, read_pcm, scripted, silence, tone, tone_rms, write_wav

from speech_to_speech.client import wav


def talked_over(service: Dialogue) -> None:
    """A reply that is paused, resumed and then interrupted; and the reply to what interrupted it."""
    service.tell("speech_started", "t1", audio_ms=service.hear(100))
    service.tell("speech_stopped", "t1", audio_ms=service.hear(100))
    service.tell("speech_transcribed", "t1", text="what time is it", language="en", final=True)
    service.speak(tone(4.0, REPLY_HZ))
    service.report(at_least_ms=200)
    service.tell("speech_started", "t2", audio_ms=service.hear(0))
    service.tell("reply_paused", "t1", played_ms=200)
    service.hear(300)
    service.tell("speech_discarded", "t2", audio_ms=service.hear(0))
    service.tell("reply_resumed", "t1")
    service.report(at_least_ms=600)
    service.tell("speech_started", "t3", audio_ms=service.hear(0))
    service.tell("reply_paused", "t1", played_ms=600)
    service.tell("speech_partial", "t3", text="stop")
    service.hear(200)
    service.tell("reply_interrupted", "t1", played_ms=600)
    service.tell("turn_ended", "t1", outcome="interrupted", heard_ms=600)
    service.done()
    service.tell("speech_stopped", "t3", audio_ms=service.hear(100))
    service.tell("speech_transcribed", "t3", text="stop it", language="en", final=True)
    service.speak(tone(0.512, REPLY_HZ))
    service.report(at_least_ms=512)
    service.tell("turn_ended", "t3", outcome="spoken", heard_ms=512)
    service.done()


@pytest.fixture
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wav, "TRAILING_SILENCE_S", 0.5)


@pytest.mark.usefixtures("_hurry")
def test_a_file_talks_on_and_gets_what_was_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "question.wav", [tone(0.2), silence(0.6), tone(0.2), silence(0.3), tone(0.3)])
    with scripted(script=talked_over) as service:
        assert ask(service, tmp_path, "--full_duplex") == 0
    (seen,) = service.connections
    assert seen.path == "/ws?events=1&paced=1&full_duplex=1"
    assert tone_rms(seen.samples[16_000:], 300) > 0.05  # the file is spoken while the reply sounds

    first, second = json.loads((tmp_path / "report.json").read_text())
    assert (first["interrupted"], second["interrupted"]) == (True, False)
    assert (first["heard"], second["heard"]) == ("what time is it", "stop it")
    assert 600 <= first["heard_ms"] < 2000
    assert first["received_ms"] == 4000
    assert 0 <= first["stop_ms"] < 1000
    assert second["heard_ms"] == 512

    replies = read_pcm(tmp_path / "reply.wav")
    heard = round(first["heard_ms"] * 16)
    assert np.array_equal(replies, np.concatenate([tone(4.0, REPLY_HZ)[:heard], tone(0.512, REPLY_HZ)]))

    positions = [report["played_ms"] for report in seen.reports if report["turn_id"] == "t1"]
    assert positions == sorted(positions)
    assert positions[-1] == pytest.approx(first["heard_ms"], abs=0.1)
    assert [report["turn_id"] for report in seen.reports if report["turn_id"] != "t1"][-1] == "t3"
    out = capsys.readouterr().out
    assert "you: what time is it\ninterrupted after " in out
    assert "you: stop it\n" in out


def plain(service: Dialogue) -> None:
    """A reply whose end comes before it has sounded."""
    service.tell("speech_started", "t1", audio_ms=0)
    service.tell("speech_stopped", "t1", audio_ms=0)
    service.speak(tone(1.5, REPLY_HZ))
    service.tell("turn_ended", "t1", outcome="spoken", heard_ms=0)
    service.done()


@pytest.mark.usefixtures("_hurry")
def test_reports_do_not_wait_for_long_messages(tmp_path: Path) -> None:
    with scripted(script=plain) as service:
        assert ask(service, tmp_path, "--full_duplex", "--chunk_size", "8000") == 0
    positions = [report["played_ms"] for report in service.connections[0].reports]
    assert len(positions) > 10
    assert positions == sorted(positions)
    assert positions[-1] == 1500
    assert np.array_equal(read_pcm(tmp_path / "reply.wav"), tone(1.5, REPLY_HZ))


def unanswered(service: Dialogue) -> None:
    """The last words of the file become speech when the reply to the first has ended."""
    service.tell("speech_started", "t1", audio_ms=0)
    service.tell("speech_stopped", "t1", audio_ms=0)
    service.hear(300)  # the file is over
    service.speak(tone(0.1, REPLY_HZ))
    service.done()
    service.tell("speech_started", "t2", audio_ms=service.hear(64))
    service.tell("speech_stopped", "t2", audio_ms=service.hear(64))
    service.speak(tone(0.1, REPLY_HZ))
    service.done()


@pytest.mark.usefixtures("_hurry")
def test_a_file_waits_for_the_answer_to_its_last_words(tmp_path: Path) -> None:
    with scripted(script=unanswered) as service:
        assert ask(service, tmp_path, "--full_duplex") == 0
    assert len(json.loads((tmp_path / "report.json").read_text())) == 2


def test_without_the_flag_no_text_is_sent(tmp_path: Path) -> None:
    with scripted(reply_s=0.6) as service:
        assert ask(service, tmp_path) == 0
    (seen,) = service.connections
    assert seen.path == "/ws?events=1&paced=0"
    assert seen.turns == 1  # the service takes no text
    assert json.loads((tmp_path / "report.json").read_text())[0]["heard_ms"] == pytest.approx(600, abs=64)

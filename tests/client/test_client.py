"""The console client as a program, against a small service that follows docs/protocol.md."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from client_support import REPLY_HZ, ask, read_pcm, scripted, silence, tone, tone_rms, write_wav

import audio_streaming_client as client
from speech_to_speech.client import wav


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "S2S_API_TOKEN", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://a", "http://", "ws://a:99999", "ws://me:secret@a", "http://[a"]
)
def test_bad_url_is_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main(["--api_url", url]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --api_url ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "--api_url"),
        (["--api_url", "ws://a", "--input", "a.wav"], "--output"),
        (["--api_url", "ws://a", "--chunk_size", "0"], "--chunk_size must be between"),
        (["--api_url", "ws://a", "--output_latency_ms", "0"], "--output_latency_ms must be between"),
        (["--api_url", "ws://a", "--sample_rate", "fast"], "--sample_rate"),
        (["--api_url", "ws://a", "--start_timeout", "nan"], "--start_timeout"),
        (["--api_url", "ws://a", "--no_such"], "--no_such"),
        (["--api_url", "ws://a", "--auth_token", "two words"], "the token for Authorization"),
        (["--api_url", "ws://a", "--input", "a.wav", "--output", "/nowhere/b.wav"], "a.wav"),
    ],
)
def test_bad_option_is_one_line(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main(arguments) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


def test_file_with_two_questions_gets_both_replies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "question.wav", [tone(0.3), silence(0.5), tone(0.3)])
    with scripted(reply_s=0.64) as service:
        assert ask(service, tmp_path) == 0
    connection = service.connections[0]
    assert connection.path == "/ws?events=1&paced=0"
    assert connection.turns == 2
    replies = read_pcm(tmp_path / "reply.wav")
    assert np.array_equal(replies, np.tile(tone(0.64, REPLY_HZ), 2))
    assert tone_rms(connection.samples, 300) > 0.1
    late = [message for at_s, message in connection.in_turn if at_s > 0.08 and message]
    assert late == []  # the file waits: the reply hears no word of it
    turns = json.loads((tmp_path / "report.json").read_text())
    assert len(turns) == 2
    assert turns[0]["heard"] == "what time is it"
    assert turns[0]["answered"] == "It is noon. Good bye."
    assert turns[0]["turn_ended"]["outcome"] == "spoken"
    # 200 ms pass until the end of speech is sure, then 50 ms of thinking, and one block either way.
    assert all(180 < turn["end_to_end_ms"] < 500 for turn in turns)
    out = capsys.readouterr().out
    assert "you: what time is it\nreply: It is noon.\n       Good bye.\nlatency in ms: endpoint 200 | stt 20" in out
    assert re.search(r"\n2 turns in \d\.\d s\n", out)
    assert re.search(r"end to end +\d+ +\d+ +\d+\n", out)


def test_file_is_sent_in_real_time(tmp_path: Path) -> None:
    start_s = time.monotonic()
    with scripted() as service:
        assert ask(service, tmp_path, "--chunk_size", "160") == 0
    assert len(service.connections[0].samples) / 16_000 < time.monotonic() - start_s


def test_silent_file_has_no_reply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wav, "TRAILING_SILENCE_S", 0.5)
    write_wav(tmp_path / "question.wav", [silence(0.1)])
    with scripted() as service:
        assert ask(service, tmp_path) == 1
    assert "heard no speech" in capsys.readouterr().err
    assert 0.5 <= len(service.connections[0].samples) / 16_000 < 0.8
    assert not (tmp_path / "reply.wav").exists()
    assert json.loads((tmp_path / "report.json").read_text()) == []


def test_failed_turn_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(fail=True) as service:
        assert ask(service, tmp_path) == 1
    error = capsys.readouterr().err
    assert (
        f"error: no reply to {tmp_path / 'question.wav'}: llm_failed: the model [31m is ill" in error
    )  # the message has no escape sequence
    turn = json.loads((tmp_path / "report.json").read_text())[0]
    assert turn["error"]["code"] == "llm_failed"
    assert turn["end_to_end_ms"] is None


def test_importing_is_free() -> None:
    code = "import sys, audio_streaming_client; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"sounddevice", "starlette", "pydantic", "onnxruntime", "speech_to_speech.config.settings"} & {
        *out.split()
    }


def test_status_line_on_a_terminal(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", [silence(0.3), tone(0.4)])
    terminal, other_side = os.openpty()
    with scripted(think_s=0.3) as service:
        command = [sys.executable, client.__file__, "--api_url", service.url, "--input", str(path)]
        command += ["--output", str(tmp_path / "reply.wav")]
        subprocess.run(command, stderr=other_side, stdout=subprocess.DEVNULL, check=True)
    os.close(other_side)
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as screen:  # a closed terminal is an error
        shown = b""
        while more := screen.read(4096):
            shown += more
    for state in (b"listening", b"hearing you", b"thinking"):
        assert b"] " + state in shown


def test_interrupt_ends_with_the_summary(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", [silence(30)])
    with scripted() as service:
        command = [sys.executable, client.__file__, "--api_url", service.url, "--input", str(path)]
        command += ["--output", str(tmp_path / "reply.wav")]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **pipes) as program:
            assert program.stderr is not None
            assert program.stderr.readline() == "connected\n"
            program.send_signal(2)
            out, error = program.communicate(timeout=10)
    assert program.returncode == 130
    assert out.startswith("0 turns in ")
    assert error == ""

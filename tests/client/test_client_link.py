"""The client's connection: waiting, refusals, tokens, certificates, closes, bounds."""

import shutil
import socket
import ssl
import struct
import subprocess
from pathlib import Path

import pytest
from client_support import ask, read_pcm, scripted, tone

from speech_to_speech.client import link


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "S2S_API_TOKEN", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "FIRST_WAIT_S", 0.02)


def test_waits_while_the_endpoint_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(refusals=[(503, "the models are loading"), (502, "")]) as service:
        assert ask(service, tmp_path) == 0
        assert service.handshakes == 3
    error = capsys.readouterr().err
    assert "waiting for the service, 0 s so far: the service answered 503: the models are loading" in error


def test_waiting_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(refusals=[(503, "loading")] * 99) as service:
        assert ask(service, tmp_path, "--start_timeout", "0.2") == 1
    assert "gave up after" in capsys.readouterr().err


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_refusal_is_final(status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(refusals=[(status, "because I say so\nmore")]) as service:
        assert ask(service, tmp_path) == 1
        assert service.handshakes == 1
    assert f"error: the service answered {status}: because I say so; check" in capsys.readouterr().err


def test_redirect_is_not_followed(tmp_path: Path) -> None:
    with scripted() as other, scripted(refusals=[(302, f"ws://127.0.0.1:{other.port}/ws")]) as service:
        assert ask(service, tmp_path, "--auth_token", "mine") == 1
        assert (service.handshakes, other.handshakes) == (1, 0)


def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert ask(f"ws://127.0.0.1:{port}", tmp_path, "--start_timeout", "0.3") == 1
    error = capsys.readouterr().err
    assert "error: gave up after" in error
    assert "Connection refused" in error


def test_nobody_answers_the_handshake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert ask(f"ws://127.0.0.1:{mute.getsockname()[1]}", tmp_path, "--start_timeout", "0.2") == 1
    assert "error: gave up after 0 s: cannot connect to 127.0.0.1:" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_unknown_host_is_final(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(f"ws://{host}", tmp_path) == 1
    error = capsys.readouterr().err
    assert f"error: cannot connect to {host}: " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("code", [1008, 1009, 1012])
def test_file_ends_with_the_reason_of_a_close(code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(closes={1: (code, "enough")}, close_when="spoken", endpoint_s=0.05) as service:
        assert ask(service, tmp_path) == 1
    assert f"error: the service ended the connection: enough (close code {code})" in capsys.readouterr().err


def frame(opcode: int, size: int, *, final: bool, there: bool = True) -> bytes:
    """A frame with `size` bytes of payload, or only its announcement."""
    return bytes([final << 7 | opcode, 127]) + struct.pack("!Q", size) + bytes(size if there else 0)


@pytest.mark.parametrize(
    "raw",
    [
        frame(2, 1 << 40, final=True, there=False),
        frame(2, 1 << 20, final=False) + frame(0, 1 << 20, final=False) * 16,
    ],
    ids=["one frame", "many frames"],
)
def test_message_that_is_too_long_is_refused(raw: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(raw=raw) as service:
        assert ask(service, tmp_path) == 1
        assert service.handshakes == 1
    expected = "error: the service ended the connection: a message of more than 16 MiB (close code 1009)"
    assert expected in capsys.readouterr().err


def test_message_of_the_longest_size_is_taken(tmp_path: Path) -> None:
    with scripted(raw=frame(2, 16 << 20, final=True) + b"\x82\x04DONE", reply_s=0) as service:
        assert ask(service, tmp_path) == 0
    assert len(read_pcm(tmp_path / "reply.wav")) == 8 << 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its self-signed certificate for localhost, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def test_untrusted_certificate_is_refused(
    tls: ssl.SSLContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(tls) as service:
        assert ask(service, tmp_path, "--auth_token", "mine") == 1
        assert service.connections == []
    assert "error: the certificate of localhost is not trusted: self-signed" in capsys.readouterr().err


def test_tls_with_an_own_authority(
    tls: ssl.SSLContext, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with scripted(tls) as service:
        assert ask(service, tmp_path) == 0
    assert len(read_pcm(tmp_path / "reply.wav")) >= len(tone(0.2))


def test_service_token_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2S_API_TOKEN", "own")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with scripted(token="own") as service:
        assert ask(service, tmp_path) == 0
    headers = service.connections[0].headers
    assert headers["X-API-Key"] == "own"
    assert "Authorization" not in headers
    assert "Origin" not in headers


def test_wrong_token_is_final_and_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(token="right") as service:
        assert ask(service, tmp_path, "--auth_token", "wr0ng", "--verbose") == 1
        assert service.handshakes == 1
    out, error = capsys.readouterr()
    assert "401" in error
    assert "a wrong or missing token; check --auth_token" in error
    assert "wr0ng" not in out + error
    assert "Traceback" not in error

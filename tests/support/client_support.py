"""A small service that follows docs/protocol.md, for the client's tests: it knows speech by its loudness."""

from __future__ import annotations

import contextlib
import json
import math
import ssl
import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

import audio_streaming_client

RATE_HZ = 16_000
WINDOW = 512
REPLY_HZ = 1000.0  # the reply is a tone, so that a test can find it in what the microphone sent
SPEECH_HZ = 300.0


def tone(seconds: float, hz: float = SPEECH_HZ, amplitude: float = 0.3) -> NDArray[np.int16]:
    """A sine, int16 mono at 16 kHz."""
    at_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return np.asarray(amplitude * 32767 * np.sin(2 * np.pi * hz * at_s), np.int16)


def silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(int(seconds * RATE_HZ), np.int16)


def tone_rms(samples: NDArray[np.int16], hz: float, width_hz: float = 10.0) -> float:
    """Loudest half second's RMS (full scale is 1.0) of what `samples` hold within `width_hz` of a frequency."""
    size = min(len(samples), RATE_HZ // 2)
    loudest = 0.0
    for at in range(0, len(samples) - size + 1, max(1, size // 2)):
        part = samples[at : at + size].astype(np.float64) / 32768 * np.hanning(size)
        spectrum = np.abs(np.fft.rfft(part)) ** 2
        near = np.abs(np.fft.rfftfreq(size, 1 / RATE_HZ) - hz) <= width_hz
        loudest = max(loudest, float(np.sqrt(2 * spectrum[near].sum() / (size * np.sum(np.hanning(size) ** 2)))))
    return loudest


@dataclass
class Behaviour:
    """What the service does, each with a harmless default."""

    refusals: list[tuple[int, str]] = field(default_factory=list)  # the first handshakes: status, body (302: address)
    token: str = ""
    raw: bytes = b""  # sent first, as it is: frames of the test's own making
    closes: dict[int, tuple[int, str]] = field(default_factory=dict)  # connection number -> close code, reason
    close_when: str = "started"  # or "spoken": when the utterance is complete
    fail: bool = False  # every turn ends in an error without audio
    endpoint_s: float = 0.2
    think_s: float = 0.05
    reply_s: float = 0.2
    script: Callable[[Dialogue], None] | None = None  # instead of all that begins with speech


@dataclass
class Connection:
    """One connection as the service saw it."""

    path: str
    headers: Headers
    audio: bytearray = field(default_factory=bytearray)  # all of it, also what came while the service did not listen
    in_turn: list[tuple[float, bytes]] = field(default_factory=list)  # seconds since speech_stopped, message
    reports: list[dict[str, Any]] = field(default_factory=list)  # the text messages
    turns: int = 0
    done_at: int = 0  # bytes of audio when the last DONE went out

    @property
    def samples(self) -> NDArray[np.int16]:
        return np.frombuffer(bytes(self.audio), np.int16)


class Dialogue:
    """The service's part in full duplex, as a test writes it."""

    def __init__(self, socket: ServerConnection, seen: Connection) -> None:
        self._socket, self._seen = socket, seen

    def tell(self, kind: str, turn_id: str, **fields: Any) -> None:
        event(self._socket, kind, turn_id=turn_id, **fields)

    def speak(self, samples: NDArray[np.int16]) -> None:
        """Audio of the reply, all at once."""
        for at in range(0, len(samples), 1024):
            self._socket.send(samples[at : at + 1024].tobytes())

    def done(self) -> None:
        self._socket.send(b"DONE")

    def hear(self, ms: float) -> float:
        """Wait until so much more audio has come; returns the position reached."""
        until = len(self._seen.audio) + ms * RATE_HZ / 1000 * 2
        while len(self._seen.audio) < until:
            self._receive()
        return len(self._seen.audio) / 2 / RATE_HZ * 1000

    def report(self, at_least_ms: float = 0.0) -> dict[str, Any]:
        """Wait for a report of that position."""
        while not (report := self._receive()) or report["played_ms"] < at_least_ms:
            pass
        return report

    def _receive(self) -> dict[str, Any] | None:
        message = self._socket.recv(timeout=10)
        if isinstance(message, bytes):
            self._seen.audio += message
            return None
        self._seen.reports.append(json.loads(message))
        return self._seen.reports[-1]


class ScriptedService:
    """Runs in a thread on a free loopback port."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self.connections: list[Connection] = []
        self.handshakes = 0
        self.changed = threading.Condition()
        self._server = serve(self._talk, "127.0.0.1", 0, process_request=self._handshake, compression=None, ssl=tls)
        self.port: int = self._server.socket.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="scripted service")
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()

    @property
    def turns(self) -> int:
        return sum(connection.turns for connection in self.connections)

    def _handshake(self, _: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        refusal = self.behaviour.refusals.pop(0) if self.behaviour.refusals else None
        tokens = (request.headers.get("X-API-Key"), request.headers.get("Authorization", "")[len("Bearer ") :])
        if refusal is None and self.behaviour.token and self.behaviour.token not in tokens:
            refusal = (401, "a wrong or missing token")
        if refusal is None:
            return None
        body = refusal[1].encode()
        headers = Headers({"Content-Length": str(len(body)), "Retry-After": "0", "Connection": "close"})
        if refusal[0] == 302:
            headers["Location"] = refusal[1]
        return Response(refusal[0], "refused", headers, body)

    def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        seen = Connection(socket.request.path, socket.request.headers)
        self.connections.append(seen)
        close = self.behaviour.closes.get(len(self.connections))
        with contextlib.suppress(ConnectionClosed):
            event(socket, "session_started", session_id="s1", sample_rate_hz=RATE_HZ)
            if self.behaviour.raw:
                socket.socket.sendall(self.behaviour.raw)
            if close and self.behaviour.close_when == "started":
                hang_up(socket, *close)
                return
            if not self.behaviour.script:
                return self._listen(socket, seen, close)
            self.behaviour.script(dialogue := Dialogue(socket, seen))
            dialogue.hear(math.inf)

    def _listen(self, socket: ServerConnection, seen: Connection, close: tuple[int, str] | None) -> None:
        heard_windows, quiet_windows, at, speaking = 0, 0, 0, False
        while True:
            message = socket.recv()
            assert isinstance(message, bytes)
            assert len(message) % 2 == 0
            seen.audio += message
            while len(seen.audio) - at >= 2 * WINDOW:
                window = np.frombuffer(bytes(seen.audio[at : at + 2 * WINDOW]), np.int16)
                at += 2 * WINDOW
                loud = float(np.sqrt(np.mean(window.astype(np.float64) ** 2))) > 300
                heard_windows += loud
                quiet_windows = 0 if loud else quiet_windows + 1
                position_ms = at / 2 / RATE_HZ * 1000
                if loud and not speaking:
                    speaking = True
                    event(socket, "speech_started", turn_id=f"t{seen.turns + 1}", audio_ms=position_ms)
                if not speaking or quiet_windows * WINDOW < self.behaviour.endpoint_s * RATE_HZ:
                    continue
                speaking, end_ms = False, position_ms - quiet_windows * WINDOW / RATE_HZ * 1000
                long_enough, heard_windows = heard_windows >= 4, 0
                if not long_enough:
                    event(socket, "speech_discarded", turn_id=f"t{seen.turns + 1}", audio_ms=end_ms)
                    continue
                if close and self.behaviour.close_when == "spoken":
                    hang_up(socket, *close)
                    return
                self._reply(socket, seen, end_ms)
                at = len(seen.audio)

    def _reply(self, socket: ServerConnection, seen: Connection, end_ms: float) -> None:
        do, start_s = self.behaviour, time.monotonic()
        turn_id = f"t{seen.turns + 1}"
        event(socket, "speech_stopped", turn_id=turn_id, audio_ms=end_ms)
        self._drop_until(socket, seen, start_s, start_s + do.think_s)
        event(socket, "speech_transcribed", turn_id=turn_id, text="what time is it", language="en", final=True)
        end = do.endpoint_s * 1000
        times = {"endpoint_ms": end, "transcript_ms": end + 20, "first_token_ms": end + 30, "first_text_ms": end + 50}
        times |= dict.fromkeys(("first_audio_made_ms", "first_audio_sent_ms", "last_audio_sent_ms"), None)
        if do.fail:
            error = {"code": "llm_failed", "message": "the model\x1b[31m is ill", "stage": "llm", "retryable": True}
            event(socket, "error", turn_id=turn_id, **error)
        else:
            event(socket, "reply_text", turn_id=turn_id, text="It is noon.")
            event(socket, "reply_text", turn_id=turn_id, text="Good bye.")
            made_ms = end + do.think_s * 1000
            times |= {"first_audio_made_ms": made_ms, "first_audio_sent_ms": made_ms + 10, "last_audio_sent_ms": 999.0}
            self._speak(socket, seen, start_s)
        outcome = {"outcome": "failed", "error": "llm_failed"} if do.fail else {"outcome": "spoken", "error": None}
        event(socket, "turn_ended", turn_id=turn_id, speech_ms=500.0, reply_ms=do.reply_s * 1000, **outcome, **times)
        seen.done_at = len(seen.audio)
        socket.send(b"DONE")
        seen.turns += 1
        with self.changed:
            self.changed.notify_all()

    def _speak(self, socket: ServerConnection, seen: Connection, start_s: float) -> None:
        pcm = tone(self.behaviour.reply_s, REPLY_HZ).tobytes()
        due_s = time.monotonic()
        for at in range(0, len(pcm), 2048):
            socket.send(pcm[at : at + 2048].ljust(2048, b"\0"))
            due_s += 0.064
            if "paced=1" in seen.path:
                self._drop_until(socket, seen, start_s, due_s - 0.128)
        if "paced=1" in seen.path:
            self._drop_until(socket, seen, start_s, due_s)

    def _drop_until(self, socket: ServerConnection, seen: Connection, start_s: float, until_s: float) -> None:
        while (left_s := until_s - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                message = socket.recv(timeout=left_s)
                assert isinstance(message, bytes)
                seen.in_turn.append((time.monotonic() - start_s, message))
                seen.audio += message


def hang_up(socket: ServerConnection, code: int, reason: str) -> None:
    """Close with a code; 1006 stands for a network that fails, which sends no close frame."""
    if code == 1006:
        socket.socket.shutdown(SHUT_RDWR)
    else:
        socket.close(code, reason)


def event(socket: ServerConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


@contextlib.contextmanager
def scripted(tls: ssl.SSLContext | None = None, **behaviour: Any) -> Iterator[ScriptedService]:
    service = ScriptedService(Behaviour(**behaviour), tls)
    try:
        yield service
    finally:
        service.close()


def write_wav(path: Path, parts: Sequence[NDArray[np.int16]]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.concatenate(parts).tobytes())
    return path


def read_pcm(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def ask(service: ScriptedService | str, folder: Path, *more: str) -> int:
    """Run the client over `folder`'s question.wav (a short tone, if there is none), for a reply.wav and report.json."""
    question = folder / "question.wav"
    if not question.exists():
        write_wav(question, [tone(0.2)])
    url = service if isinstance(service, str) else service.url
    files = ("--input", str(question), "--output", str(folder / "reply.wav"), "--json", str(folder / "report.json"))
    return audio_streaming_client.main(["--api_url", url, *files, *more])

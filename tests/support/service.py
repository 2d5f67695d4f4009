"""The real service in a process of its own, and a way to talk to it."""

import contextlib
import functools
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import anyio
import numpy as np
from speech import spoken
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from speech_to_speech.audio.samples import Samples, to_float, to_pcm
from speech_to_speech.frames import SAMPLE_RATE_HZ, pcm_bytes

LIMIT_S = 30.0
LOAD_LIMIT_S = 90.0  # PyTorch alone is imported for seconds
POLL_S = 0.01
HERE = Path(__file__).parent


def wait_until(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """The condition's value as soon as it is true."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit_s:g} s: {what}"
        time.sleep(POLL_S)
    return value


async def eventually(condition: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """The same without blocking the event loop."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit_s:g} s: {what}"
        await anyio.sleep(POLL_S)
    return value


def process_gone(pid: int) -> bool:
    """No process has this id, or only a dead one, all its threads too, that its parent did not yet ask about."""
    try:
        dead = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        return dead and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return True


def children_of(pid: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                children.append(int(stat.parent.name))
    return children


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


class Address:
    """Where a service listens on the loopback address."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (ConnectionError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def health(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/health")
        return status, json.loads(body) if body else {}

    def sessions(self) -> int:
        return int(self.health()[1]["sessions"])

    def metric(self, name: str) -> float:
        """The value of the line that begins with `name`, 0 if there is none."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def url(self, **query: object) -> str:
        return f"ws://127.0.0.1:{self.port}/ws?" + "&".join(f"{name}={value}" for name, value in query.items())

    @contextlib.asynccontextmanager
    async def talk(self, *, events: int = 1, paced: int = 0, **options: Any) -> AsyncIterator["Talk"]:
        """One conversation."""
        async with connect(self.url(events=events, paced=paced), **CLIENT, **options) as websocket:
            yield Talk(websocket)


class Service(Address):
    """`webservice_starlette.py` on a free port of the loopback address; stopped by its process id."""

    def __init__(
        self,
        *flags: str,
        profile: str = "loadtest",
        token: str | None = None,
        ready: bool = True,
        own_group: bool = False,
    ) -> None:
        self._command = [sys.executable, "-m", "webservice_starlette", "--profile", profile, "--port", "0", *flags]
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("S2S_") and name not in ("PORT", "HOST", "PROFILE")
        }
        if token is not None:
            self._environment["S2S_API_TOKEN"] = token
        self._ready = ready
        self._own_group = own_group

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
            cwd=HERE,
            start_new_session=self._own_group,
        )
        try:
            found = wait_until(
                lambda: self._alive() and re.search(r"listening on http://\S+:(\d+)", self.log()), "start"
            )
            self.port = int(found[1])
            if self._ready:
                wait_until(lambda: self._alive() and self.health()[0] == 200, "health 200", LOAD_LIMIT_S)
            else:
                wait_until(lambda: self._alive() and self.health()[0], "health")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGINT)  # in a hurry
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def _alive(self) -> bool:
        assert self.process.poll() is None, f"the service ended with {self.process.returncode}:\n{self.log()}"
        return True

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        self._log.flush()
        return os.pread(self._log.fileno(), 1 << 22, 0).decode(errors="replace")


CLIENT: dict[str, Any] = {"proxy": None, "max_size": None, "compression": None, "close_timeout": 2}


@dataclass
class Reply:
    """What came back for one turn."""

    audio: bytearray = field(default_factory=bytearray)
    blocks: list[bytes] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def transcript(self) -> str:
        return " ".join(event["text"] for event in self.of("speech_transcribed") if event["final"])


class Talk:
    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(self, pcm: bytes, *, speed: float = 0.0, block: int = 2048) -> None:
        """Send audio in blocks, `speed` times as fast as it was spoken; 0: at once."""
        begun = time.monotonic()
        for start in range(0, len(pcm), block):
            if speed:
                due = begun + start / 32_000 / speed
                await anyio.sleep(max(0.0, due - time.monotonic()))
            await self.websocket.send(pcm[start : start + block])

    async def reply(self, limit_s: float = LIMIT_S) -> Reply:
        """All that comes up to the next DONE."""
        reply = Reply()
        with anyio.fail_after(limit_s):
            while (message := await self.websocket.recv()) != b"DONE":
                if isinstance(message, str):
                    reply.events.append(json.loads(message))
                else:
                    reply.blocks.append(message)
                    reply.audio += message
        return reply

    async def turn(self, pcm: bytes, *, speed: float = 0.0, block: int = 2048) -> Reply:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(functools.partial(self.send, pcm, speed=speed, block=block))
            return await self.reply()

    async def closed(self, limit_s: float = LIMIT_S) -> tuple[int | None, str | None, list[dict[str, Any]]]:
        """Wait for the close: its code and reason, and the events that came before."""
        events = []
        with anyio.fail_after(limit_s), contextlib.suppress(ConnectionClosed):
            while True:
                message = await self.websocket.recv()
                if isinstance(message, str):
                    events.append(json.loads(message))
        return self.websocket.close_code, self.websocket.close_reason, events


# What is said.


def noise(ms: float, level: float = 0.001, seed: int = 0) -> bytes:
    """A microphone in a quiet room."""
    return to_pcm(np.random.default_rng(seed).normal(0, level, pcm_bytes(ms) // 2).astype(np.float32))


def tone(hz: float, samples: int, amplitude: float) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(samples) / SAMPLE_RATE_HZ)).astype(np.float32)


def utterance(hz: float, text: str = "I would really love a long holiday near the sea", after_ms: float = 700) -> bytes:
    """Speech with a quiet tone in it, which the loadtest profile finds and answers with; a quiet room around it."""
    samples = to_float(spoken(text))
    samples = samples + tone(hz, len(samples), 0.04)
    whole = to_float(noise(100)), samples, to_float(noise(after_ms, seed=1))
    return to_pcm(np.concatenate(whole).astype(np.float32))


def main_hz(pcm: bytes, sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """The strongest frequency in some audio."""
    samples = to_float(pcm)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return float(spectrum.argmax()) * sample_rate_hz / (1 << 18)


def rms(pcm: bytes) -> float:
    return float(np.sqrt(np.mean(np.square(to_float(pcm)))))

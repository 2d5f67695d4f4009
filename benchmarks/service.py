"""Start the installed service on a free loopback port, wait until it is healthy, and stop it again."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEALTH_LIMIT_S = 120.0
STOP_LIMIT_S = 15.0


class NotStarted(Exception):
    """The service ended, or was not healthy in time; the text carries the end of what it printed."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Ours, without what would set up the service behind the measurement's back."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("S2S_") and not name.endswith("_NUM_THREADS") and name not in ("PORT", "PROFILE", "HOST")
    }


def health(port: int) -> int:
    """The status of `GET /health`, or 0 while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def counters(port: int) -> dict[str, float]:
    """What `GET /metrics` shows: `name{labels}` and value. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return {name: float(value) for line in lines if line[:1] != "#" for name, _, value in [line.rpartition(" ")]}


class Service:
    """A context manager around one server process. `started_s` is the time from starting the process to health 200."""

    def __init__(self, command: list[str], port: int, poll_s: float = 0.02) -> None:
        self.port = port
        self._command, self._poll_s = command, poll_s
        self.started_s = float("nan")

    @classmethod
    def of_profile(cls, profile: str, *options: str) -> "Service":
        """`speech-to-speech serve` of the running virtual environment."""
        program = Path(sys.executable).parent / "speech-to-speech"
        if not program.exists():
            raise NotStarted(f"{program} is missing: install the project first (make install)")
        port = free_port()
        return cls([str(program), "serve", "--profile", profile, "--port", str(port), *options], port)

    def __enter__(self) -> "Service":
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        start = time.monotonic()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, env=_environment()
        )
        try:
            while health(self.port) != 200:
                if self._process.poll() is not None:
                    raise NotStarted(f"the service ended with {self._process.returncode}\n{self.output()}")
                if time.monotonic() - start > HEALTH_LIMIT_S:
                    raise NotStarted(f"not healthy after {HEALTH_LIMIT_S:.0f} s\n{self.output()}")
                time.sleep(self._poll_s)
        except BaseException:
            self.__exit__()
            raise
        self.started_s = time.monotonic() - start
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._log.close()

    @property
    def pid(self) -> int:
        """Of the server process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """The process still runs."""
        return self._process.poll() is None

    def output(self, lines: int = 20) -> str:
        """The last lines the service printed."""
        self._log.seek(0)
        return "".join(self._log.readlines()[-lines:])

"""One level of the load measurement: N conversations against a server, with what that costs the server's process."""

import dataclasses
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from benchmarks import procfs
from benchmarks.units import percentile

MEMORY_EVERY_S = 1.0


class GeneratorFailed(Exception):
    """The load generator ended without a result; the text is what it said."""


@dataclass(frozen=True)
class Cost:
    """What a server process used in the steady part of a level."""

    seconds: float
    cpu_s: float
    threads: list[float]
    """Cores used by each thread, the busiest first."""
    rss_bytes: int
    """The highest figure seen."""
    pss_bytes: int | None
    """The figure at the end of the steady part."""
    others_share: float
    """CPU that neither the server nor the generator used, in cores: what else this machine was doing."""
    steal_share: float
    """CPU that the host gave away, in cores."""


@dataclass(frozen=True)
class Level:
    """The figures of one level."""

    found: dict[str, Any]
    """What the generator printed last; see `generator.Run.result`."""
    cost: Cost | None
    """None if the server's process is not known."""

    @property
    def conversations(self) -> int:
        """How many at once."""
        return int(self.found["conversations"])

    def voice_to_voice_ms(self, percent: float) -> float:
        """A percentile over the timed turns."""
        return percentile(self.found["voice_to_voice_ms"], percent)

    def endpoint_to_audio_ms(self, percent: float) -> float:
        """A percentile over the turns of the conversation that gets events."""
        return percentile(self.found["endpoint_to_audio_ms"], percent)

    @property
    def cpu_s_per_minute(self) -> float:
        """CPU seconds per minute of one conversation."""
        if self.cost is None:
            return float("nan")
        return self.cost.cpu_s / self.conversations / (self.cost.seconds / 60)


class _Meter:
    """Watches a server from the moment it is made until `end`: its CPU time, its threads, its memory once a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._highest = 0
        self._stop = threading.Event()
        self._began_s = time.monotonic()
        self._usage, self._machine = procfs.usage(pid), procfs.machine()
        self._threads = procfs.thread_cpu_s(pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(MEMORY_EVERY_S):
            try:
                self._highest = max(self._highest, procfs.rss_bytes(self._pid))
            except ProcessLookupError:
                return

    def end(self) -> Cost:
        """What was used since the start; `others_share` still includes the generator."""
        self._stop.set()
        self._thread.join()
        seconds = time.monotonic() - self._began_s
        usage, machine = procfs.usage(self._pid), procfs.machine()
        cpu_s = usage.cpu_s - self._usage.cpu_s
        threads = [now - self._threads.get(name, 0.0) for name, now in procfs.thread_cpu_s(self._pid).items()]
        return Cost(
            seconds=seconds,
            cpu_s=cpu_s,
            threads=[used_s / seconds for used_s in sorted(threads, reverse=True)],
            rss_bytes=max(self._highest, usage.rss_bytes),
            pss_bytes=usage.pss_bytes,
            others_share=(machine.busy_s - self._machine.busy_s - cpu_s) / seconds,
            steal_share=(machine.steal_s - self._machine.steal_s) / seconds,
        )


def run_level(url: str, conversations: int, options: list[str], pid: int | None) -> Level:
    """Run the generator, in a process of its own, and read the server's use while all conversations are in full swing.

    Raises GeneratorFailed.
    """
    command = [sys.executable, "-m", "benchmarks.generator", url, "--conversations", str(conversations), *options]
    found: dict[str, Any] | None = None
    meter: _Meter | None = None
    cost: Cost | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                message = json.loads(line)
                if message["phase"] == "steady" and pid is not None:
                    meter = _Meter(pid)
                elif message["phase"] == "ending" and meter is not None:
                    cost = meter.end()
                elif message["phase"] == "result":
                    found = message
            errors = process.stderr.read()
        finally:
            if process.poll() is None and found is None:
                process.terminate()
    if found is None:
        raise GeneratorFailed(errors.strip() or f"the load generator ended with {process.returncode} and no result")
    if cost is not None:
        others = cost.others_share - float(found["generator_cpu_share"])
        cost = dataclasses.replace(cost, others_share=max(0.0, others))
    return Level(found, cost)

"""What Linux knows about a process and its children, and about the machine: CPU time and memory, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """A process with all its descendants at one moment."""

    cpu_s: float
    """User and system time, with that of children that have ended and been waited for."""
    rss_bytes: int
    pss_bytes: int | None
    """Shared pages counted once; None where the kernel does not tell."""
    processes: int


@dataclass(frozen=True)
class Machine:
    """CPU time of the whole machine since it started, in seconds."""

    busy_s: float
    steal_s: float
    """Time the host gave to others while this machine wanted to run."""


def _fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may hold spaces; None if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def family(pid: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _fields(int(entry))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def _pss(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def usage(pid: int) -> Usage:
    """Read a process and its descendants. Raises ProcessLookupError if it is gone."""
    if _fields(pid) is None:
        raise ProcessLookupError(f"process {pid} is gone")
    cpu_s, rss, pss, count = 0.0, 0, 0, 0
    known = True
    for member in family(pid):
        fields = _fields(member)
        if fields is None:
            continue
        count += 1
        cpu_s += sum(int(value) for value in fields[11:15]) * _TICK_S
        rss += int(fields[21]) * _PAGE_BYTES
        share = _pss(member)
        known = known and share is not None
        pss += share or 0
    return Usage(cpu_s, rss, pss if known else None, count)


def machine() -> Machine:
    """Read /proc/stat."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = values[:8]
    return Machine((user + nice + system + irq + softirq) * _TICK_S, steal * _TICK_S)


def rss_bytes(pid: int) -> int:
    """Only the resident memory of a process and its descendants: cheap. Raises ProcessLookupError if it is gone."""
    pages = [int(fields[21]) for member in family(pid) if (fields := _fields(member)) is not None]
    if not pages:
        raise ProcessLookupError(f"process {pid} is gone")
    return sum(pages) * _PAGE_BYTES


def cpu_s(pid: int) -> float:
    """Only the CPU time of a process and its descendants. Raises ProcessLookupError if it is gone."""
    if _fields(pid) is None:
        raise ProcessLookupError(f"process {pid} is gone")
    ticks = [sum(map(int, fields[11:15])) for member in family(pid) if (fields := _fields(member)) is not None]
    return sum(ticks) * _TICK_S


def thread_cpu_s(pid: int) -> dict[str, float]:
    """CPU time of each living thread of a process and its descendants, by the thread's path in /proc."""
    found = {}
    for member in family(pid):
        for stat in Path(f"/proc/{member}/task").glob("*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # the thread has ended
            found[str(stat)] = (int(fields[11]) + int(fields[12])) * _TICK_S
    return found

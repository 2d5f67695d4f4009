"""Ends a worker's process that takes more memory than it may.

Not by the kernel's limits: those count addresses, and a GPU's libraries may reserve more of them than they use.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

EVERY_S = 0.25


class MemoryGuard:
    """Looks at the resident memory of `pid` until `close`, on a thread of its own, and calls `end` when it is above
    `most_bytes`. Linux only; elsewhere, and with 0, nothing is looked at."""

    def __init__(self, pid: int, most_bytes: int, end: Callable[[], None], who: str) -> None:
        self._statm = Path(f"/proc/{pid}/statm")
        self._most_bytes = most_bytes
        self._end = end
        self._who = who
        self._closed = threading.Event()
        if most_bytes and self._statm.exists():
            threading.Thread(target=self._watch, name=f"{who}-memory", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(EVERY_S):
            taken = self._resident_bytes()
            if taken > self._most_bytes:
                logger.error(
                    "%s took %.1f GB of memory, its bound is %.1f (worker_memory_gb): it is ended",
                    self._who,
                    taken / 1e9,
                    self._most_bytes / 1e9,
                )
                self._end()
                return

    def _resident_bytes(self) -> int:
        try:
            return int(self._statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):  # the process has ended
            return 0

"""What a worker's process prints, in the service's log: its log records with the requests they belong to, and any other
line, such as a library's or a traceback.

Both its outputs are one pipe, read on a thread of its own, so that nobody waits for a process that prints and nothing
printed is in the way of what it has to say.
"""

import contextlib
import logging
import os
import re
import threading
import time

logger = logging.getLogger(__name__)

READ_BYTES = 65_536
LINE_LIMIT = 2000  # characters of a line that are kept
LINES_PER_S = 50
BURST = 500  # lines at once; further lines are counted

RECORD = re.compile(r"\x1e(\d+) (\S+) \[([^\]]*)\] (.*)", re.DOTALL)


def record_format() -> str:
    """How the process's own records are marked, for `logging.Formatter`."""
    return "\x1e%(levelno)d %(name)s [%(requests)s] %(message)s"


class ChildOutput:
    """Forwards the lines of the file descriptor `read_end`, which it closes at the end; they begin with `who`."""

    def __init__(self, read_end: int, who: str) -> None:
        self._read_end = read_end
        self._who = who
        self._level = logging.INFO
        self._may = float(BURST)
        self._counted_s = time.monotonic()
        self._left_out = 0
        threading.Thread(target=self._read, name=f"{who}-output", daemon=True).start()

    def _read(self) -> None:
        waiting = b""
        with contextlib.suppress(OSError):
            while data := os.read(self._read_end, READ_BYTES):
                *lines, waiting = (waiting + data).split(b"\n")
                waiting = waiting[: 4 * LINE_LIMIT]
                for line in lines[: self._refill()]:
                    self._forward(line)
                self._leave_out(len(lines))
        if waiting:
            self._forward(waiting)
        self._tell_left_out()
        os.close(self._read_end)

    def _refill(self) -> int:
        """How many lines may be forwarded now."""
        now_s = time.monotonic()
        self._may = min(BURST, self._may + (now_s - self._counted_s) * LINES_PER_S)
        self._counted_s = now_s
        if self._may >= 1:
            self._tell_left_out()
        return int(self._may)

    def _leave_out(self, came: int) -> None:
        forwarded = min(came, int(self._may))
        self._may -= forwarded
        self._left_out += came - forwarded

    def _tell_left_out(self) -> None:
        if self._left_out:
            logger.warning("%s: %d lines of its output were left out", self._who, self._left_out)
            self._left_out = 0

    def _forward(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()[:LINE_LIMIT]
        if match := RECORD.fullmatch(text):
            level, name, requests, message = match.groups()
            self._level = int(level)
            logger.log(self._level, "%s%s %s: %s", self._who, f" {requests}" if requests else "", name, message)
        elif text:  # the rest of a record, or a library's print
            logger.log(self._level, "%s: %s", self._who, text)

"""What the user sees."""

import sys
import time


def printable(text: object, limit: int = 2000) -> str:
    """Text from the network, made safe for a terminal: one line, no control characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:limit]).strip()


class Console:
    """Conversation on stdout; progress, errors and the status line (only on a terminal) on stderr."""

    def __init__(self, verbose: bool = False) -> None:
        self.verbose = verbose
        self._tty = sys.stderr.isatty()
        self._shown = ""
        self._next_s = 0.0

    def line(self, text: str) -> None:
        self._clear()
        print(text, flush=True)

    def note(self, text: str) -> None:
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def debug(self, text: str) -> None:
        if self.verbose:
            self.note(text)

    def status(self, state: str, level_db: float) -> None:
        """Refresh the state and the microphone's level (RMS in dB of full scale), at most ten times a second."""
        now = time.monotonic()
        if not self._tty or now < self._next_s:
            return
        self._next_s = now + 0.1
        bars = max(0, min(20, round((level_db + 60) / 3)))
        self._clear()
        self._shown = f"[{'#' * bars:<20}] {state}"
        sys.stderr.write(self._shown)
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

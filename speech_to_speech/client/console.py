"""What the user sees."""

import shutil
import sys
import time
import unicodedata

STATUS_CHARS = 200


def printable(text: object, limit: int = 2000) -> str:
    """Text from the network, made safe for a terminal: one line, no control characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:limit]).strip()


def columns(text: str) -> int:
    """How wide a terminal shows it: East Asian characters take two columns, combining ones none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(bool(unicodedata.combining(c)) for c in text)


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

    def status(self, state: str, level_db: float, text: str = "") -> None:
        """Refresh the state, the microphone's level (RMS in dB of full scale) and the end of what is being said.

        At most ten times a second.
        """
        now = time.monotonic()
        if not self._tty or now < self._next_s:
            return
        self._next_s = now + 0.1
        bars = max(0, min(20, round((level_db + 60) / 3)))
        self._clear()
        self._shown = f"[{'#' * bars:<20}] {state}"
        if text := printable(text[-STATUS_CHARS:]):
            room = shutil.get_terminal_size().columns - len(self._shown) - 3  # the last column stays free
            while text and columns(text) > room:
                text = text[1:]
            self._shown += f": {text}"
        sys.stderr.write(self._shown)
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * columns(self._shown) + "\r")
            self._shown = ""

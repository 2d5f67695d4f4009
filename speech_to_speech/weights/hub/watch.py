"""A step that may take long on a thread of its own, watched for signs of life."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

POLL_S = 0.2

Result = TypeVar("Result")


class Silent(Exception):
    """Nothing came for too long."""


def watched(step: Callable[[], Result], name: str, limit_s: float, progress: Callable[[], object]) -> Result:
    """The result of `step`. As long as what `progress` returns changes, it may go on.

    Its thread is one that the end of the process does not wait for. It is left alone when it is silent, for there is
    no way to stop it.

    Raises:
        Silent: `progress` was the same for `limit_s`.
        Exception: what `step` raises.
    """
    outcome: list[tuple[Result | None, BaseException | None]] = []
    done = threading.Event()

    def work() -> None:
        try:
            outcome.append((step(), None))
        except BaseException as error:
            outcome.append((None, error))
        done.set()

    threading.Thread(target=work, name=name, daemon=True).start()
    moved, seen = time.monotonic(), progress()
    while not done.wait(POLL_S):
        now, state = time.monotonic(), progress()
        if state != seen:
            moved, seen = now, state
        elif now - moved > limit_s:
            raise Silent
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result


def quiet_bar(on_bytes: Callable[[], None]) -> type:
    """What `huggingface_hub` takes for a class of progress bars: it shows nothing, and calls when bytes have come."""

    class QuietBar:
        def __init__(self, *args: object, **options: object) -> None: ...

        def __enter__(self) -> "QuietBar":
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, count: float | None = 1) -> None:
            on_bytes()

        def update_transfer(self, count: float | None = 1) -> None:
            on_bytes()

        def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

        def set_transfer_postfix_str(self, text: str, refresh: bool = True) -> None: ...

        def close(self) -> None: ...

    return QuietBar


def folder_bytes(folder: Path) -> int:
    """What has been written to a folder, also by another process that downloads the same."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):  # the file was renamed or removed meanwhile
                total += os.stat(os.path.join(parent, file)).st_size
    return total


class Progress:
    """How far a download is: looked at often, told every `interval_s`."""

    def __init__(self, written: Callable[[], int], tell: Callable[[int], Any], interval_s: float) -> None:
        self._written = written
        self._tell = tell
        self._interval_s = interval_s
        self._told_s = time.monotonic()
        self._signs = 0

    def sign(self) -> None:
        """Bytes came that may not be in a file yet."""
        self._signs += 1

    def __call__(self) -> tuple[int, int]:
        count = self._written()
        if time.monotonic() - self._told_s >= self._interval_s:
            self._told_s = time.monotonic()
            self._tell(count)
        return count, self._signs

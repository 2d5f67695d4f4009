"""When to leave a failing server alone: a circuit breaker (Nygard, Release It!, 2007).

After some failures in a row the circuit opens: requests fail at once, without being sent. Once it has been open for a
while, one request goes through as a probe. An answer closes the circuit; a failure opens it for longer.
"""

import random
import time
from collections.abc import Callable

FAILURES_TO_OPEN = 5
FIRST_OPEN_S = 1.0
LONGEST_OPEN_S = 30.0


class CircuitOpen(Exception):
    """The request must not be sent: `wait_s` to go until the next probe."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"{wait_s:.1f} s to go")
        self.wait_s = wait_s


class Breaker:
    """What is known of one server. A request asks `admit`, and says how it went by exactly one of the others.

    `clock` gives seconds, `chance` a number from 0 to 1: many services must not come back to a server at once.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._failures = 0  # failures in a row
        self._openings = 0  # openings without a whole answer in between
        self._open_until_s: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._open_until_s is not None

    def admit(self) -> bool:
        """Whether the request that may now be sent is a probe.

        Raises:
            CircuitOpen: it may not be sent.
        """
        if self._open_until_s is None:
            return False
        wait_s = self._open_until_s - self._clock()
        if wait_s > 0 or self._probing:
            raise CircuitOpen(max(wait_s, 0.0))
        self._probing = True
        return True

    def answering(self) -> None:
        """An answer has begun: others may ask too. One more failure before a whole answer opens the circuit again."""
        if self._open_until_s is not None:
            self._open_until_s = None
            self._probing = False
            self._failures = FAILURES_TO_OPEN - 1

    def succeeded(self) -> None:
        """An answer is complete: what was before is forgotten."""
        self._open_until_s = None
        self._probing = False
        self._failures = self._openings = 0

    def failed(self, probe: bool, at_least_s: float = 0.0) -> float | None:
        """The server failed a request; gives how long the circuit is open for, if this opened it.

        `at_least_s` is for how long the server itself wants to be left alone.
        """
        if self._open_until_s is not None and not probe:
            return None  # the request was sent before the circuit opened, and tells nothing new
        self._failures += 1
        if not probe and self._failures < FAILURES_TO_OPEN:
            return None
        longest_s = min(LONGEST_OPEN_S, FIRST_OPEN_S * 2.0 ** min(self._openings, 16))
        open_s = max(longest_s * (0.5 + 0.5 * self._chance()), min(at_least_s, LONGEST_OPEN_S))
        self._openings += 1
        self._open_until_s = self._clock() + open_s
        self._probing = False
        return open_s

    def left(self, probe: bool) -> None:
        """The request ended and tells nothing about the server: it was cancelled, or itself at fault."""
        if probe:
            self._probing = False

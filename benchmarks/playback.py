"""A player that starts 60 ms after the first block and then never waits: the judge of late chunks."""

PREBUFFER_S = 0.060


class ReplySpeaker:
    """The speaker of one reply."""

    def __init__(self) -> None:
        self.late = 0
        self._runs_out: float | None = None

    @property
    def ends(self) -> float | None:
        """When all that has come is played, on the clock of `block`."""
        return self._runs_out

    def block(self, now: float, duration_s: float) -> None:
        """A block of the reply arrived. It is late if all before it was played out; playback goes on from there."""
        if self._runs_out is None:
            self._runs_out = now + PREBUFFER_S
        elif now > self._runs_out:
            self.late += 1
            self._runs_out = now
        self._runs_out += duration_s

"""Callers in full duplex who speak over every other reply, and judge what they get of it."""

from benchmarks import clips
from benchmarks.callers import Caller, Turn
from benchmarks.replies import REPLY_SAMPLES, fault_so_far
from benchmarks.units import FRAME_MS, SAMPLE_RATE_HZ

INTERRUPTS_S = (0.3, 0.8)
"""The shortest and the longest time from a reply's first block to the first sample of the speech over it."""
LEAD_S = clips.LEAD_FRAMES * FRAME_MS / 1000
ROUNDING_MS = 1.0


class Interrupter(Caller):
    """Says a sentence, says another one over its reply, and hears the reply to that to its end; and so on."""

    def __init__(self, conversation: int, conversations: int, speeches: list[clips.Speech]) -> None:
        super().__init__(conversation, conversations, speeches)
        self._interrupts_at = float("inf")

    def _may_speak(self, now: float) -> bool:
        return super()._may_speak(now) or (now >= self._interrupts_at and not self.stopping)

    def _begin_turn(self) -> None:
        super()._begin_turn()
        self._interrupts_at = float("inf")

    def _next_of_clip(self, now: float) -> bytes:
        if self._clip_at == clips.LEAD_FRAMES and self._answered is not None:
            self._answered.interruption = now
        return super()._next_of_clip(now)

    def _await_answer(self, turn: Turn, now: float) -> None:
        if (old := self._answered) is not None:
            self._fail("unended: no DONE while it was spoken over", old)
            self._end_turn(old, now)
        super()._await_answer(turn, now)

    def _take_block(self, turn: Turn, payload: bytes, now: float) -> None:
        is_first = turn.first_block is None
        super()._take_block(turn, payload, now)
        if is_first and len(self.turns) % 2:
            self._interrupts_at = now + self._random.uniform(*INTERRUPTS_S) - LEAD_S

    def _judge(self, turn: Turn, now: float) -> None:
        if turn.interruption is None:
            super()._judge(turn, now)
            wanted = "spoken"
        else:
            turn.done = now
            fault = self._fault_of_interrupted(turn)
            if fault is not None:
                self._fail(fault, turn)
            wanted = "interrupted"
        if turn.record.get("outcome") != wanted:
            self._fail(f"outcome: {turn.record.get('outcome')} for {wanted}", turn)

    def _end_turn(self, turn: Turn, now: float) -> None:
        super()._end_turn(turn, now)
        self._interrupts_at = float("inf")

    def _fault_of_interrupted(self, turn: Turn) -> str | None:
        """`deaf`: it came to its end. `untold`: no event said so. `position`: more counts as heard than came."""
        samples = sum(map(len, self._blocks)) // 2
        if samples >= REPLY_SAMPLES:
            return "deaf: the whole reply came"
        if turn.interrupted is None:
            return "untold: no reply_interrupted before DONE"
        heard_ms = float(str(turn.record.get("heard_ms")))
        if not 0 <= heard_ms <= 1000 * samples / SAMPLE_RATE_HZ + ROUNDING_MS:
            return f"position: {heard_ms:.0f} ms heard of {1000 * samples / SAMPLE_RATE_HZ:.0f} ms received"
        return fault_so_far(self._blocks, turn.pitch_hz)

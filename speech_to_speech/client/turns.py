"""Turns, and what they took."""

import collections
import math
import time
from dataclasses import dataclass, field
from typing import Any

FIGURES = ("endpoint", "stt", "llm", "tts", "pipeline total", "network", "end to end", "stop")
TURNS_KEPT = 1000


@dataclass
class Turn:
    """A question and its reply.

    `end_to_end_ms`: from sending the last speech sample to the first reply block. `stop_ms`: from sending the first
    sample of the speech that ended the reply to the loudspeaker's silence.
    """

    turn_id: str = ""
    began_s: float | None = None
    spoken_s: float | None = None
    partial: str = ""
    heard: str = ""
    answered: str = ""
    end_to_end_ms: float | None = None
    received_ms: float = 0.0
    cut_ms: float | None = None  # the part of the reply that had sounded before the cut
    stop_ms: float | None = None
    record: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    @property
    def interrupted(self) -> bool:
        return self.cut_ms is not None

    @property
    def heard_ms(self) -> float:
        """How much of the reply the user can hear."""
        return self.received_ms if self.cut_ms is None else self.cut_ms

    def figures(self) -> dict[str, float | None]:
        """Each part of the waiting in milliseconds; None where it is not known.

        First the endpoint: until it was certain that the speaker had finished. The service may have begun before:
        nobody waits for what was there by then.
        """
        at = {name: number(value) for name, value in self.record.items()}.get
        endpoint_ms = at("endpoint_ms")
        transcript_ms, text_ms, made_ms = (
            latest(at(name), endpoint_ms) for name in ("transcript_ms", "first_text_ms", "first_audio_made_ms")
        )
        network = difference(self.end_to_end_ms, at("first_audio_sent_ms"))
        values = (
            endpoint_ms,
            difference(transcript_ms, endpoint_ms),
            difference(text_ms, transcript_ms),
            difference(made_ms, text_ms),
            difference(at("first_audio_sent_ms"), endpoint_ms),
            None if network is None else max(0.0, network),
            self.end_to_end_ms,
            self.stop_ms,
        )
        return dict(zip(FIGURES, values, strict=True))

    def summary(self) -> dict[str, Any]:
        """What --json writes of it."""
        times = {name.replace(" ", "_") + "_ms": value for name, value in self.figures().items()}
        keep = {"heard": self.heard, "answered": self.answered, "turn_ended": self.record or None, "error": self.error}
        sound = {"received_ms": self.received_ms, "interrupted": self.interrupted, "heard_ms": self.heard_ms}
        return keep | times | sound


@dataclass
class Journal:
    """All turns (the last thousand in full), the last error, and how much reply sound came."""

    start_s: float = field(default_factory=time.monotonic)
    turns: collections.deque[Turn] = field(default_factory=lambda: collections.deque(maxlen=TURNS_KEPT))
    turn_count: int = 0
    received_ms: float = 0.0
    error: str = ""

    def add(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.turn_count += 1
        self.received_ms += turn.received_ms

    def summary(self) -> str:
        lines = [f"{self.turn_count} turn{'s' * (self.turn_count != 1)} in {time.monotonic() - self.start_s:.1f} s"]
        for name in FIGURES:
            values = [v for turn in self.turns if (v := turn.figures()[name]) is not None]
            if values:
                cells = "".join(f"{v:>9.0f}" for v in (sum(values) / len(values), min(values), max(values)))
                lines += [f"{'ms':<16}{'average':>9}{'min':>9}{'max':>9}"] if len(lines) == 1 else []
                lines.append(f"{name:<16}{cells}")
        return "\n".join(lines)


def number(value: object) -> float | None:
    """A finite number of an event; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def latest(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier

"""What a turn took: its record, and the service's Prometheus metrics.

A record holds ids, times and sizes, never words or audio.
"""

import logging
import time
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

logger = logging.getLogger(__name__)

Outcome = Literal["spoken", "empty", "cut", "failed", "cancelled"]

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

STEPS = (
    "endpoint",
    "transcript",
    "first_token",
    "first_text",
    "first_audio_made",
    "first_audio_sent",
    "last_audio_sent",
)


@dataclass(slots=True)
class TurnRecord:
    """When each step of a turn happened, in seconds of `time.monotonic`; None for what did not happen."""

    session_id: str
    turn_id: str
    speech_end: float = 0.0
    speech_ms: float = 0.0
    endpoint: float | None = None
    transcript: float | None = None
    first_token: float | None = None
    first_text: float | None = None
    first_audio_made: float | None = None
    first_audio_sent: float | None = None
    last_audio_sent: float | None = None
    reply_ms: float = 0.0
    stt_s: float = 0.0
    tts_s: float = 0.0
    tts_audio_ms: float = 0.0
    outcome: Outcome = "spoken"
    error: str | None = None

    def mark(self, step: str) -> None:
        """Note that `step` happens now, if it did not before."""
        if getattr(self, step) is None:
            setattr(self, step, time.monotonic())

    def since_speech_ms(self, step: str) -> float | None:
        """Milliseconds from the end of speech to `step`."""
        at: float | None = getattr(self, step)
        return None if at is None else round((at - self.speech_end) * 1000, 1)

    @property
    def stt_rtf(self) -> float | None:
        return round(self.stt_s * 1000 / self.speech_ms, 4) if self.transcript and self.speech_ms else None

    @property
    def tts_rtf(self) -> float | None:
        return round(self.tts_s * 1000 / self.tts_audio_ms, 4) if self.tts_audio_ms else None

    def fields(self) -> dict[str, str | float | None]:
        """The record as `turn_ended` and the log show it."""
        return {
            "turn_id": self.turn_id,
            "outcome": self.outcome,
            "error": self.error,
            "speech_ms": round(self.speech_ms, 1),
            "reply_ms": round(self.reply_ms, 1),
            "stt_rtf": self.stt_rtf,
            "tts_rtf": self.tts_rtf,
            **{f"{step}_ms": self.since_speech_ms(step) for step in STEPS},
        }


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("s2s_sessions", "Open conversations", registry=self.registry)
        self.sessions_ended = Counter(
            "s2s_sessions_ended", "Ended conversations by reason", ["reason"], registry=self.registry
        )
        self.turns = Counter("s2s_turns", "Turns by how they ended", ["outcome"], registry=self.registry)
        self.errors = Counter("s2s_errors", "Errors that clients were told of", ["code"], registry=self.registry)
        self.steps = {
            step: Histogram(
                f"s2s_turn_{step}_seconds",
                f"From the end of speech to: {step.replace('_', ' ')}",
                buckets=SECONDS,
                registry=self.registry,
            )
            for step in STEPS
        }
        self.stt_rtf = Histogram(
            "s2s_stt_rtf", "Seconds of STT per second of speech", buckets=RATIOS, registry=self.registry
        )
        self.tts_rtf = Histogram(
            "s2s_tts_rtf", "Seconds of TTS per second of audio", buckets=RATIOS, registry=self.registry
        )
        self.batches = Histogram(
            "s2s_worker_batch_size", "Requests run in one call", ["stage"], buckets=BATCHES, registry=self.registry
        )
        self.dropped_bytes = Counter(
            "s2s_dropped_audio_bytes", "Microphone audio dropped while a reply was under way", registry=self.registry
        )

    def observe_batch(self, stage: str, size: int) -> None:
        self.batches.labels(stage).observe(size)

    def observe_turn(self, record: TurnRecord) -> None:
        """Log a finished turn and count it."""
        fields = record.fields()
        logger.info("session=%s %s", record.session_id, " ".join(f"{name}={value}" for name, value in fields.items()))
        self.turns.labels(record.outcome).inc()
        for step, histogram in self.steps.items():
            value_ms = fields[f"{step}_ms"]
            if isinstance(value_ms, float):
                histogram.observe(value_ms / 1000)
        if record.stt_rtf is not None:
            self.stt_rtf.observe(record.stt_rtf)
        if record.tts_rtf is not None:
            self.tts_rtf.observe(record.tts_rtf)

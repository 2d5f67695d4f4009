"""What a turn took. A record holds ids, times and sizes, never words or audio."""

import time
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["spoken", "empty", "cut", "interrupted", "failed", "cancelled"]

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
    """When each step of a turn happened, in seconds of `time.monotonic`; None for what did not happen.

    `reply_ms` of the reply were sent, `heard_ms` of it heard. `speculative`: work for it had begun before the endpoint.
    The times in seconds are of the models' own calls: `llm_first_s` up to the first text to speak, `tts_first_s` up to
    its first sound, the others of all that was asked.
    """

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
    heard_ms: float = 0.0
    speculative: bool = False
    stt_s: float = 0.0
    llm_first_s: float = 0.0
    tts_first_s: float = 0.0
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

    @property
    def models_ms(self) -> float | None:
        """Of the way to the first sound, what the models' own calls took: without lines, threads and the event loop."""
        made = self.first_audio_made is not None
        return round((self.stt_s + self.llm_first_s + self.tts_first_s) * 1000, 1) if made else None

    def fields(self) -> dict[str, str | float | None]:
        """The record as `turn_ended` and the log show it."""
        return {
            "turn_id": self.turn_id,
            "outcome": self.outcome,
            "error": self.error,
            "speech_ms": round(self.speech_ms, 1),
            "reply_ms": round(self.reply_ms, 1),
            "heard_ms": round(self.heard_ms, 1),
            "speculative": self.speculative,
            "stt_rtf": self.stt_rtf,
            "tts_rtf": self.tts_rtf,
            "models_ms": self.models_ms,
            **{f"{step}_ms": self.since_speech_ms(step) for step in STEPS},
        }

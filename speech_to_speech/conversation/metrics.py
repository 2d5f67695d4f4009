"""The service's Prometheus metrics, and the log line of a turn."""

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from speech_to_speech.conversation.turn_record import STEPS, TurnRecord

logger = logging.getLogger(__name__)

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
        self.waiting = Gauge("s2s_worker_waiting", "Requests in the line", ["stage"], registry=self.registry)
        self.speculations = Counter(
            "s2s_speculations",
            "Replies begun before the endpoint: started, used, wasted; or shed, because of the load",
            ["result"],
            registry=self.registry,
        )
        self.interruptions = Counter("s2s_interruptions", "Replies that were spoken over", registry=self.registry)
        self.backchannels = Counter(
            "s2s_backchannels", "Sounds and words over a reply that did not interrupt it", registry=self.registry
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

"""Where the service is put together from settings: workers, stages, the pipeline, and what a session begins with."""

import functools
import logging
from collections.abc import Collection
from typing import Any

import anyio

from speech_to_speech.config.registry import TURN, find
from speech_to_speech.config.settings import Settings, languages_of
from speech_to_speech.conversation.client import Playback
from speech_to_speech.conversation.endpointing import EndpointOptions
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import Limits, SessionOptions, TurnDetection
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.stages.llm import LlmStage
from speech_to_speech.conversation.stages.stt import SttStage
from speech_to_speech.conversation.stages.tts import TtsStage
from speech_to_speech.conversation.stages.turn import TurnStage
from speech_to_speech.conversation.stages.vad import VadStage
from speech_to_speech.errors import first_of
from speech_to_speech.languages import AUTO, SIX, in_common
from speech_to_speech.service.workers import make_worker
from speech_to_speech.workers.worker import Worker

logger = logging.getLogger(__name__)


class Models:
    """The models of a service, each behind a worker, and the pipeline that they make."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self.workers: dict[str, Worker[Any, Any]] = {
            stage: make_worker(stage, settings, metrics.observe_batch) for stage in settings.stages
        }
        for stage, worker in self.workers.items():
            metrics.waiting.labels(stage).set_function(functools.partial(getattr, worker, "waiting"))
        self.loading = set(settings.stages)
        self.pipeline = Pipeline(
            vad=VadStage(self.workers["vad"]),
            turn=self._turn_stage(),
            stt=SttStage(self.workers["stt"]),
            llm=LlmStage(self.workers["llm"]),
            tts=TtsStage(self.workers["tts"], as_written=getattr(self._class_of("tts"), "as_written", False)),
            speakable=in_common(
                languages_of(self._class_of(stage), settings.options[stage]) for stage in ("llm", "tts")
            ),
        )

    def _class_of(self, stage: str) -> Any:
        return find(stage, getattr(self._settings, stage)).model_class()

    def _turn_stage(self) -> TurnStage | None:
        if TURN not in self.workers:
            return None
        return TurnStage(self.workers[TURN], needs_text=self._class_of(TURN).needs_text)

    async def load(self) -> None:
        """Load and warm up all models side by side; `loading` shrinks as they get ready. Raises the first error."""
        self.pipeline.tts.preload(self._languages())
        try:
            async with anyio.create_task_group() as loads:
                for stage, worker in self.workers.items():
                    loads.start_soon(self._load_one, stage, worker)
        except ExceptionGroup as group:
            raise first_of(group) from None

    async def _load_one(self, stage: str, worker: Worker[Any, Any]) -> None:
        await worker.start()
        self.loading.discard(stage)
        logger.info("%s %s is ready", stage, getattr(self._settings, stage))

    def _languages(self) -> Collection[str]:
        """The languages that will be spoken."""
        asked = SIX if self._settings.language == AUTO else (self._settings.language,)
        speakable = self.pipeline.speakable
        return [code for code in asked if speakable is None or code in speakable]

    async def close(self) -> None:
        """End the workers and their processes."""
        async with anyio.create_task_group() as stops:
            for worker in self.workers.values():
                stops.start_soon(worker.close)


def session_options(settings: Settings) -> SessionOptions:
    """What a session begins with."""
    partial_interval_ms = settings.partial_interval_ms
    if partial_interval_ms is None:
        partial_interval_ms = getattr(find("stt", settings.stt).model_class(), "partial_interval_ms", 0.0)
    return SessionOptions(
        prompt=settings.init_chat_prompt,
        chat_size=settings.chat_size,
        greeting=settings.greeting,
        language=settings.language,
        turn_detection=TurnDetection(
            endpointing=EndpointOptions(
                thresh=settings.thresh,
                min_silence_ms=settings.min_silence_ms,
                soft_end_ms=settings.soft_end_ms,
                min_speech_ms=settings.min_speech_ms,
                max_speech_ms=settings.max_speech_ms,
                max_utterance_s=settings.max_utterance_s,
                speech_pad_ms=settings.speech_pad_ms,
            ),
            endpoint_min_ms=settings.endpoint_min_ms,
            endpoint_max_ms=settings.endpoint_max_ms,
            speculation=settings.speculation,
            barge_in_pause_ms=settings.barge_in_pause_ms,
            barge_in_ms=settings.barge_in_ms,
            barge_in_max_ms=settings.barge_in_max_ms,
        ),
        partial_interval_ms=partial_interval_ms,
        limits=Limits(
            idle_timeout_s=settings.idle_timeout_s,
            session_timeout_s=settings.session_timeout_s,
            send_timeout_s=settings.send_timeout_s,
            max_reply_s=settings.max_reply_s,
        ),
    )


def playback(settings: Settings) -> Playback:
    """How a client plays that says nothing of it."""
    return Playback(
        lead_ms=settings.lead_ms,
        buffer_ms=settings.client_buffer_ms,
        report_timeout_s=settings.report_timeout_s,
        echoes=settings.echo_guard,
    )

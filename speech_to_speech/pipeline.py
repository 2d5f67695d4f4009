"""The path of the data.

    microphone -> VAD -> STT -> LLM -> TTS -> playout -> speaker

One `Pipeline` serves all conversations: its models are loaded once, each behind a worker's line. The VAD listens all
the time and says where utterances begin and end; `run_turn` is what happens with one of them.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from speech_to_speech.chat import Chat
from speech_to_speech.child import ChildModel
from speech_to_speech.events import Event, ReplyText, SpeechTranscribed
from speech_to_speech.frames import ChatRequest, Transcript
from speech_to_speech.jobs import Model
from speech_to_speech.llm.stage import LlmStage
from speech_to_speech.metrics import Metrics
from speech_to_speech.playout import Playout
from speech_to_speech.record import TurnRecord
from speech_to_speech.registry import STAGES, find
from speech_to_speech.settings import Settings
from speech_to_speech.stt.stage import SttStage
from speech_to_speech.text import join_text
from speech_to_speech.tts.stage import TtsStage
from speech_to_speech.vad.stage import VadStage
from speech_to_speech.workers import Worker

logger = logging.getLogger(__name__)

PIECES_AHEAD = 4  # of text, that may wait for TTS
CHUNKS_AHEAD = 64  # of audio, that may wait for playout


@dataclass
class Turn:
    """One utterance and its reply: what the steps of a turn share."""

    record: TurnRecord
    chat: Chat
    tell: Callable[[Event], Awaitable[None]]
    heard: list[Transcript] = field(default_factory=list)
    said: str = ""

    @property
    def turn_id(self) -> str:
        return self.record.turn_id

    @property
    def question(self) -> str:
        return " ".join(part.text for part in self.heard if part.text)


class Pipeline:
    """The models of a service, and the way through them."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.workers = {stage: make_worker(stage, settings, metrics) for stage in STAGES}
        self.vad = VadStage(self.workers["vad"])
        self.stt = SttStage(self.workers["stt"])
        self.llm = LlmStage(self.workers["llm"])
        self.tts = TtsStage(self.workers["tts"])
        self.loading = set(STAGES)

    async def hear(self, turn: Turn, pcm: bytes, *, final: bool) -> None:
        """STT: put the words of an utterance, or of a part of a long one, into the turn."""
        part = await self.stt.transcribe(pcm, self.settings.language, turn.record)
        turn.heard.append(part)
        if final:
            turn.record.mark("transcript")
        await turn.tell(
            SpeechTranscribed(turn.turn_id, turn.question if final else part.text, part.language, final=final)
        )

    async def run_turn(self, turn: Turn, pcm: bytes, playout: Playout) -> None:
        """STT -> LLM -> TTS -> playout, each working on what the one before has made so far.

        Raises:
            SpeechToSpeechError: a step failed; what others of this turn were doing is cancelled.
        """
        await self.hear(turn, pcm, final=True)
        if not turn.question:
            turn.record.outcome = "empty"
            return

        language = turn.heard[-1].language
        request = ChatRequest(turn.chat.asked(turn.question), language)
        pieces_in, pieces_out = anyio.create_memory_object_stream[str](PIECES_AHEAD)
        audio_in, audio_out = anyio.create_memory_object_stream[bytes](CHUNKS_AHEAD)

        async def on_piece(piece: str) -> None:
            await turn.tell(ReplyText(turn.turn_id, piece))

        def on_spoken(piece: str) -> None:
            turn.said = join_text(turn.said, piece)

        try:
            async with anyio.create_task_group() as steps:
                steps.start_soon(self.llm.answer, request, turn.record, pieces_in, on_piece)
                steps.start_soon(self.tts.speak, pieces_out, language, turn.record, audio_in, on_spoken)
                with audio_out:
                    await playout.play(audio_out)
        except ExceptionGroup as group:
            raise first_of(group) from None
        finally:
            if turn.said:
                turn.chat.add(turn.question, turn.said)

    async def load(self) -> None:
        """Load and warm up all models side by side; `loading` shrinks as they get ready. Raises the first error."""

        async def load_one(stage: str) -> None:
            await self.workers[stage].start()
            self.loading.discard(stage)
            logger.info("%s %s is ready", stage, getattr(self.settings, stage))

        try:
            async with anyio.create_task_group() as loads:
                for stage in STAGES:
                    loads.start_soon(load_one, stage)
        except ExceptionGroup as group:
            raise first_of(group) from None

    async def close(self) -> None:
        """End the workers and their processes."""
        async with anyio.create_task_group() as stops:
            for worker in self.workers.values():
                stops.start_soon(worker.stop)


def make_worker(stage: str, settings: Settings, metrics: Metrics) -> Worker[Any, Any]:
    """The worker for a stage's chosen backend: of the kind and batch limit that the backend or the settings say."""
    backend = find(stage, getattr(settings, stage))
    model_class = backend.model_class()
    options = settings.options[stage]
    batch_limit = (stage != "vad" and getattr(settings, f"{stage}_batch_limit")) or model_class.batch_limit
    kind = getattr(settings, f"{stage}_worker") or model_class.worker
    model: Model[Any, Any] = (
        ChildModel(stage, backend.target, options, batch_limit) if kind == "process" else model_class(options)
    )
    return Worker(
        stage,
        model,
        batch_limit=batch_limit,
        timeout_s=getattr(settings, f"{stage}_timeout_s"),
        on_batch=metrics.observe_batch,
    )


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a task group: its first leaf."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

"""The path of the data.

    microphone -> VAD -> STT -> LLM -> TTS -> playout -> speaker

One `Pipeline` serves all conversations: its models are loaded once, each behind a worker's line. The VAD listens all
the time and says where utterances begin and end, `floor.Floor` whose turn it is; `answer` is what happens with an
utterance.
"""

import importlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from speech_to_speech.config.registry import TURN, Backend, find
from speech_to_speech.config.settings import Settings, languages_of
from speech_to_speech.conversation.events import SpeechTranscribed
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.stages.llm import LlmStage
from speech_to_speech.conversation.stages.stt import SttStage
from speech_to_speech.conversation.stages.tts import TtsStage
from speech_to_speech.conversation.stages.turn import TurnStage
from speech_to_speech.conversation.stages.vad import VadStage
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import SettingsError, first_of
from speech_to_speech.frames import ChatRequest, Transcript
from speech_to_speech.languages import AUTO, SIX, in_common
from speech_to_speech.workers.environments import bootstrap
from speech_to_speech.workers.model import Model
from speech_to_speech.workers.process import COMMAND, ProcessModel, unprepared
from speech_to_speech.workers.worker import CONFIRMED, Claim, Worker

logger = logging.getLogger(__name__)

PIECES_AHEAD = 4  # of text, that may wait for TTS
CHUNKS_AHEAD = 64  # of audio, that may wait for playout
EVICTING = ("llm", "tts")  # many steps a call, and a cancel is seen after each


class Pipeline:
    """The models of a service, and the way through them."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.workers = {stage: make_worker(stage, settings, metrics) for stage in settings.stages}
        self.vad = VadStage(self.workers["vad"])
        self.turn = make_turn_stage(self.workers.get(TURN), settings)
        self.stt = SttStage(self.workers["stt"])
        self.llm = LlmStage(self.workers["llm"])
        as_written = getattr(find("tts", settings.tts).model_class(), "as_written", False)
        self.tts = TtsStage(self.workers["tts"], as_written=as_written)
        self.loading = set(settings.stages)

    @property
    def partial_interval_ms(self) -> float:
        """How often an utterance is to be transcribed while it is spoken; 0: never."""
        if self.settings.partial_interval_ms is not None:
            return self.settings.partial_interval_ms
        return float(getattr(find("stt", self.settings.stt).model_class(), "partial_interval_ms", 0.0))

    @property
    def speakable_languages(self) -> frozenset[str] | None:
        """Those that an answer can be in; None: any."""
        return in_common(
            languages_of(find(stage, getattr(self.settings, stage)).model_class(), self.settings.options[stage])
            for stage in ("llm", "tts")
        )

    @property
    def affords_speculation(self) -> bool:
        """Under load speculation is shed first: it begins only if the next call of STT could take it.

        Where a call takes one request only, not while one runs: a confirmed request would wait for both.
        """
        worker = self.stt.worker
        return self.settings.speculation != "off" and (worker.idle if worker.batch_limit == 1 else worker.has_room)

    async def hear_part(self, pcm: bytes, record: TurnRecord, claim: Claim = CONFIRMED) -> Transcript:
        """STT: the words of a part of a long utterance."""
        return await self.stt.transcribe(pcm, self.settings.language, record, claim)

    async def answer(self, reply: Reply, ask: Callable[[Reply], Awaitable[ChatRequest]]) -> None:
        """STT -> LLM -> TTS -> playout, each working on what the one before has made so far.

        A speculative reply goes as far as the settings and the load allow and waits there until it is certain. `ask`
        gives the request for the LLM when the words are there.

        Raises:
            SpeechToSpeechError: a step failed; what others of this turn were doing is cancelled.
            Evicted: the reply was speculative and gave way.
        """
        await self._hear(reply)
        request = await ask(reply)
        if self.settings.speculation != "full" or not self.llm.worker.has_room:
            await reply.until_certain()
        if not reply.question:
            await reply.until_certain()
            reply.record.outcome = "empty"
            return

        pieces_in, pieces_out = anyio.create_memory_object_stream[str](PIECES_AHEAD)
        audio_in, audio_out = anyio.create_memory_object_stream[bytes](CHUNKS_AHEAD)
        try:
            async with anyio.create_task_group() as steps:
                steps.start_soon(self.llm.answer, reply, request, pieces_in)
                steps.start_soon(self.tts.speak, reply, pieces_out, audio_in)
                with audio_out:
                    await reply.until_certain()
                    await reply.playout.play(audio_out)
        except ExceptionGroup as group:
            raise first_of(group) from None

    async def _hear(self, reply: Reply) -> None:
        """STT: put the words of the utterance, or of the last part of a long one, into the reply."""
        if not reply.transcribed:
            part = await self.stt.transcribe(reply.pcm, self.settings.language, reply.record, reply.claim)
            reply.transcripts.append(part)
            reply.transcribed = True
        reply.record.mark("transcript")
        await reply.tell(SpeechTranscribed(reply.turn_id, reply.question, reply.language_heard, final=True))

    def make_way(self) -> None:
        """A reply has become certain: speculative ones give way to it."""
        for worker in self.workers.values():
            worker.make_way()

    async def load(self) -> None:
        """Load and warm up all models side by side; `loading` shrinks as they get ready. Raises the first error."""

        async def load_one(stage: str) -> None:
            await self.workers[stage].start()
            self.loading.discard(stage)
            logger.info("%s %s is ready", stage, getattr(self.settings, stage))

        languages = SIX if self.settings.language == AUTO else (self.settings.language,)
        speakable = self.speakable_languages
        self.tts.preload(code for code in languages if speakable is None or code in speakable)
        try:
            async with anyio.create_task_group() as loads:
                for stage in self.settings.stages:
                    loads.start_soon(load_one, stage)
        except ExceptionGroup as group:
            raise first_of(group) from None

    async def close(self) -> None:
        """End the workers and their processes."""
        async with anyio.create_task_group() as stops:
            for worker in self.workers.values():
                stops.start_soon(worker.close)


def make_worker(stage: str, settings: Settings, metrics: Metrics) -> Worker[Any, Any]:
    """The worker for a stage's chosen backend: of the kind and batch limit that the backend or the settings say."""
    backend = find(stage, getattr(settings, stage))
    model_class = backend.model_class()
    options = settings.options[stage]
    batch_limit = (stage != "vad" and getattr(settings, f"{stage}_batch_limit")) or model_class.batch_limit
    kind = getattr(settings, f"{stage}_worker") or model_class.worker
    if backend.environment is not None and kind == "thread":
        raise SettingsError(f"{stage}_worker: {stage} {backend.name} has an environment of its own, so it is a process")
    model: Model[Any, Any] = (
        ProcessModel(
            stage,
            backend.target,
            options,
            batch_limit,
            prepare=getattr(model_class, "prepare", unprepared),
            continuous=getattr(model_class, "continuous", False),
            command=worker_command(backend),
            memory_bytes=worker_memory_bytes(settings),
        )
        if kind == "process"
        else model_class(options)
    )
    if kind == "thread":
        model.batch_limit = batch_limit  # type: ignore[misc]  # for a model that prepares for so many
    return Worker(
        stage,
        model,
        batch_limit=batch_limit,
        timeout_s=getattr(settings, f"{stage}_timeout_s"),
        evicts=stage in EVICTING,
        on_batch=metrics.observe_batch,
    )


def worker_command(backend: Backend) -> tuple[str, ...]:
    """What starts the backend's process, in its own environment if it has one."""
    if backend.environment is None:
        return COMMAND
    ours = [package_of("speech_to_speech"), package_of(backend.target.partition(":")[0].partition(".")[0])]
    named = dict.fromkeys(f"{name}={path}" for name, path in ours)
    return (str(backend.environment.python), "-I", bootstrap.__file__, *named, "--")


def package_of(name: str) -> tuple[str, Path]:
    """A top-level module's name, and its file or folder."""
    module = importlib.import_module(name)
    paths = getattr(module, "__path__", None)
    return name, Path(paths[0] if paths else str(module.__file__))


def worker_memory_bytes(settings: Settings) -> int:
    if settings.worker_memory_gb is not None:
        return int(settings.worker_memory_gb * 1e9)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def make_turn_stage(worker: Worker[Any, Any] | None, settings: Settings) -> TurnStage | None:
    if worker is None:
        return None
    return TurnStage(worker, settings, needs_text=find(TURN, settings.turn).model_class().needs_text)

"""The torch path inside one process: what is left after cancelled turns, and after many."""

import gc
import json
import os
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from service import eventually, resident_mib, spoken

from speech_to_speech.config.settings import load_settings
from speech_to_speech.conversation.client import Playback
from speech_to_speech.conversation.events import Event
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.playout import Playout
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.languages import SIX
from speech_to_speech.service.models import Models
from speech_to_speech.tts.espeak import VOICES

pytest.importorskip("transformers")

PHRASES = json.loads((Path(__file__).parents[2] / "tiny_models" / "phrases.json").read_text())
ALL = [(language, phrase) for language in SIX for phrase in PHRASES[language]]
PLAYBACK = Playback(paced=False)
OPTIONS = SessionOptions(language="auto")
AT_ONCE = 8
GROWTH_MIB = 20
SETTLED, TURNS = 100, 500  # turns until every buffer has its size, and those in which memory may grow
FEW_SETTLED, FEW = 40, 32  # fewer are enough to count objects


@asynccontextmanager
async def tiny_pipeline() -> AsyncIterator[Pipeline]:
    models = Models(load_settings(["--profile", "tiny", "--language", "auto"], {}), Metrics())
    try:
        await models.load()
        yield models.pipeline
    finally:
        await models.close()


def question(number: int) -> tuple[str, dict[str, str], bytes]:
    language, phrase = ALL[number % len(ALL)]
    return language, phrase, bytes(16_000) + spoken(phrase["question"], VOICES[language]) + bytes(4_000)


class Turn:
    """One turn without a session: its reply, what it told and how much audio it made."""

    def __init__(self, number: int) -> None:
        self.language, self.phrase, pcm = question(number)
        self.events: list[Event] = []
        self.audio_bytes = 0
        record = TurnRecord("session", f"turn-{number}")
        self.reply = Reply(record, OPTIONS, Playout(self, record, PLAYBACK), self.send_event, transcripts=[], pcm=pcm)

    sending_since: float | None = None

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        self.audio_bytes += len(pcm)

    async def send_event(self, event: Event) -> None:
        self.events.append(event)

    async def close(self, error: Exception | None) -> None:
        pass

    async def _ask(self, reply: Reply) -> ChatRequest:
        reply.language = reply.language_heard
        return ChatRequest((Message("user", reply.question),), reply.language)

    async def take(self, pipeline: Pipeline) -> None:
        await self.reply.make_certain()
        with self.reply.scope:
            await pipeline.answer(self.reply, self._ask)

    def check(self) -> None:
        assert (self.reply.question, self.reply.language) == (self.phrase["question"], self.language)
        assert self.audio_bytes > 16_000


def pages_taken(pipeline: Pipeline) -> int:
    """Of the language model's cache, by requests."""
    taken: int = pipeline.llm.worker.model._model.engine.pages_taken  # type: ignore[attr-defined]
    return taken


def at_rest(pipeline: Pipeline) -> bool:
    return all(stage.worker.idle for stage in (pipeline.stt, pipeline.llm, pipeline.tts))


async def take_many(pipeline: Pipeline, first: int, count: int) -> None:
    """Turns one after another in each of some conversations at once."""
    numbers = iter(range(first, first + count))

    async def converse() -> None:
        for number in numbers:
            turn = Turn(number)
            await turn.take(pipeline)
            turn.check()

    async with anyio.create_task_group() as conversations:
        for _ in range(AT_ONCE):
            conversations.start_soon(converse)


@pytest.mark.anyio
@pytest.mark.parametrize("cancels", [40, pytest.param(200, marks=pytest.mark.long)])
async def test_turns_cancelled_at_random_points_leave_nothing(cancels: int) -> None:
    chance = random.Random(0)
    async with tiny_pipeline() as pipeline:
        await take_many(pipeline, 0, AT_ONCE)
        await eventually(lambda: at_rest(pipeline), "the models are at rest")
        threads = threading.active_count()

        async def cancel_soon(number: int) -> None:
            turn = Turn(number)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(turn.take, pipeline)
                await anyio.sleep(chance.uniform(0, 0.6))
                turn.reply.cancel()

        limit = anyio.CapacityLimiter(AT_ONCE)

        async def in_turn(number: int) -> None:
            async with limit:
                await cancel_soon(number)

        async with anyio.create_task_group() as tasks:
            for number in range(cancels):
                tasks.start_soon(in_turn, number)
        await eventually(lambda: at_rest(pipeline), "the models are at rest")
        assert threading.active_count() == threads
        assert pages_taken(pipeline) == 0
        await take_many(pipeline, 0, len(ALL))


@pytest.mark.anyio
async def test_turns_leave_no_object_behind() -> None:
    async with tiny_pipeline() as pipeline:

        async def objects_after(first: int, count: int) -> int:
            await take_many(pipeline, first, count)
            await eventually(lambda: at_rest(pipeline), "the models are at rest")
            gc.collect()
            return len(gc.get_objects())

        before = await objects_after(0, FEW_SETTLED)
        grown = await objects_after(FEW_SETTLED, FEW) - before
        print(f"{grown} objects more after {FEW} turns")
        assert grown < FEW


@pytest.mark.long
@pytest.mark.anyio
@pytest.mark.timeout(400)
async def test_memory_is_flat_over_many_turns() -> None:
    async with tiny_pipeline() as pipeline:
        await take_many(pipeline, 0, SETTLED)
        gc.collect()
        before_mib = resident_mib(os.getpid())
        await take_many(pipeline, SETTLED, TURNS)
        gc.collect()
        grown_mib = resident_mib(os.getpid()) - before_mib
        print(f"{grown_mib:.1f} MiB more after {TURNS} turns")
        assert grown_mib < GROWTH_MIB

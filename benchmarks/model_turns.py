"""Turns straight through the models' workers, with no audio line around them: soft end, words, answer, first sound."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import numpy as np

from benchmarks.units import SAMPLE_RATE_HZ, percentile
from speech_to_speech.frames import AudioChunk, ChatRequest, Message, SpeakRequest, SpeechRequest, Transcript
from speech_to_speech.workers.worker import Worker

SENTENCE = "This is the first clause of an answer,"
SYSTEM_TOKENS = 64
"""The tokens of the prompt's beginning, which all requests share."""
FEWEST_TURNS = 12


@dataclass(frozen=True)
class Counts:
    """How much there is to do in a turn, always the same."""

    speech_s: float
    stt_tokens: int
    prompt_tokens: int
    first_tokens: int
    """The answer's tokens after which the first piece goes to TTS."""
    answer_tokens: int


@dataclass(frozen=True)
class Models:
    """The workers of the three stages."""

    stt: Worker[SpeechRequest, Transcript]
    llm: Worker[ChatRequest, str]
    tts: Worker[SpeakRequest, AudioChunk]


@dataclass
class Turn:
    """When its steps happened, in seconds of the monotonic clock."""

    soft_end: float
    words: float = 0.0
    first_text: float = 0.0
    first_audio: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class Answering:
    """The language model by itself, with so many requests at once."""

    requests: int
    first_token_ms: float
    step_ms: float
    """The time between two tokens of a request: the median over the requests."""
    tokens_per_s: float


class Asking:
    """Makes requests of fixed sizes, no two of which have more than the system prompt in common."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._number = 0
        samples = np.random.default_rng(0).normal(0, 0.1, round(counts.speech_s * SAMPLE_RATE_HZ))
        self._pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()

    def speech(self) -> SpeechRequest:
        """Noise, which takes as long as speech."""
        return SpeechRequest(self._pcm, "en")

    def chat(self) -> ChatRequest:
        """A prompt in which every character is a token."""
        self._number += 1
        asked = f"{self._number:08d}".ljust(max(8, self.counts.prompt_tokens - SYSTEM_TOKENS), "x")
        return ChatRequest((Message("system", "s" * SYSTEM_TOKENS), Message("user", asked)), "en")


async def take_turn(models: Models, asking: Asking) -> Turn:
    """One turn: the first sound is made while the rest of the answer comes."""
    turn = Turn(time.monotonic())

    async def speak() -> None:
        async with models.tts.open(SpeakRequest(SENTENCE, "en")) as chunks:
            async for _ in chunks:
                turn.first_audio = turn.first_audio or time.monotonic()

    await models.stt.call(asking.speech())
    turn.words = time.monotonic()
    tokens = 0
    async with anyio.create_task_group() as tasks, models.llm.open(asking.chat()) as deltas:
        async for _ in deltas:
            tokens += 1
            if tokens == asking.counts.first_tokens:
                turn.first_text = time.monotonic()
                tasks.start_soon(speak)
    turn.end = time.monotonic()
    return turn


async def at_once(models: Models, asking: Asking, conversations: int, seconds: float) -> tuple[list[Turn], float]:
    """Each conversation begins its next turn when the last one is complete. The turns, and how many there were a
    second."""
    turns: list[Turn] = []
    begun = time.monotonic()
    ends = begun + seconds

    async def converse() -> None:
        while time.monotonic() < ends or len(turns) + conversations <= FEWEST_TURNS:
            turns.append(await take_turn(models, asking))

    async with anyio.create_task_group() as tasks:
        for _ in range(conversations):
            tasks.start_soon(converse)
    return turns, len(turns) / (time.monotonic() - begun)


async def now_and_then(
    models: Models, asking: Asking, conversations: int, seconds: float, period_s: float
) -> list[Turn]:
    """Each conversation begins a turn every `period_s` or so, as people do."""
    turns: list[Turn] = []
    ends = time.monotonic() + seconds
    chance = random.Random(conversations)

    async def converse() -> None:
        due = time.monotonic() + chance.uniform(0, period_s)
        while due < ends:
            await anyio.sleep(due - time.monotonic())
            turns.append(await take_turn(models, asking))
            due = max(due + chance.uniform(0.5, 1.5) * period_s, time.monotonic())

    async with anyio.create_task_group() as tasks:
        for _ in range(conversations):
            tasks.start_soon(converse)
    return turns


async def answering(llm: Worker[ChatRequest, str], asking: Asking, requests: int, rounds: int = 3) -> Answering:
    """How fast tokens come when so many answers are generated at once. The first round only warms up."""
    firsts: list[float] = []
    steps: list[float] = []
    rates: list[float] = []

    async def ask() -> None:
        begun, times = time.monotonic(), []
        async with llm.open(asking.chat()) as deltas:
            async for _ in deltas:
                times.append(time.monotonic())
        firsts.append(times[0] - begun)
        # Tokens that come while others' prompts are computed are no plain steps: the first half is left out.
        half = times[len(times) // 2 :]
        steps.append((half[-1] - half[0]) / (len(half) - 1))

    for number in range(rounds + 1):
        begun = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(requests):
                tasks.start_soon(ask)
        rates.append(requests * asking.counts.answer_tokens / (time.monotonic() - begun))
        if number == 0:
            for figures in (firsts, steps, rates):
                figures.clear()
    return Answering(requests, 1000 * percentile(firsts, 50), 1000 * percentile(steps, 50), percentile(rates, 50))


def since_soft_end_ms(turns: Sequence[Turn], step: str, percent: float) -> float:
    """A percentile of the time from the soft end to a step."""
    return percentile([1000 * (getattr(turn, step) - turn.soft_end) for turn in turns], percent)


def copy_bytes_per_s(device: Any, size_bytes: int, times: int = 10) -> float:
    """What memory can do: bytes read and written in a second by a plain copy."""
    import torch

    source = torch.zeros(size_bytes, dtype=torch.uint8, device=device)
    sink = torch.empty_like(source)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    best = float("inf")
    for _ in range(times):
        wait()
        begun = time.perf_counter()
        sink.copy_(source)
        wait()
        best = min(best, time.perf_counter() - begun)
    return 2 * size_bytes / best

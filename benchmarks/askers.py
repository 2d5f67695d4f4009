"""Conversations that ask real models questions over `/ws`, and judge the answers."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import clips
from benchmarks.questions import Question
from benchmarks.units import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES

DONE = b"DONE"
TURN_LIMIT_S = 60.0
BLOCK_BYTES = 3200
"""An utterance that is sent at once has 100 ms a message. The reply's blocks are as long as the last message."""
ROOM = [clips.to_int16(clips.noise(FRAME_SAMPLES, seed=seed)).tobytes() for seed in range(50)]
CLIENT: dict[str, Any] = {"proxy": None, "compression": None, "max_size": None, "close_timeout": 2}


@dataclass
class Answer:
    """What came back for one question."""

    question: Question
    ended_s: float = 0.0
    """Seconds of the monotonic clock."""
    audio_bytes: int = 0
    heard: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    """The service's `turn_ended`."""

    @property
    def fault(self) -> str | None:
        """What is wrong with it."""
        if self.errors or self.record.get("outcome") != "spoken":
            return f"failed: {self.record.get('outcome', 'no turn_ended')} {' '.join(self.errors)}".strip()
        if " ".join(self.heard) != self.question.text:
            return f"misheard: {' '.join(self.heard)!r} for {self.question.text!r}"
        if " ".join(self.said) != self.question.answer:
            return f"another answer: {' '.join(self.said)!r}"
        return None if self.audio_bytes else "silent: no audio"

    def take(self, event: dict[str, Any]) -> None:
        """Note an event of the service."""
        match event["type"]:
            case "speech_transcribed" if event["final"]:
                self.heard.append(event["text"])
            case "reply_text":
                self.said.append(event["text"])
            case "error":
                self.errors.append(f"{event['code']} of {event['stage']}")
            case "turn_ended":
                self.record = event


class Asker:
    """One conversation that asks and listens in turn."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._microphone: list[bytes] = []

    async def ask_at_once(self, question: Question) -> Answer:
        """Send a whole utterance as fast as it goes."""
        pcm = question.with_pause
        for start in range(0, len(pcm) - BLOCK_BYTES + 1, BLOCK_BYTES):
            await self._websocket.send(pcm[start : start + BLOCK_BYTES])
        return await self._listen(question)

    async def ask(self, question: Question) -> Answer:
        """Speak into the microphone, which has to be on."""
        pcm = question.speech.tobytes()
        self._microphone += [pcm[start : start + FRAME_BYTES] for start in range(0, len(pcm), FRAME_BYTES)]
        return await self._listen(question)

    async def keep_microphone_on(self) -> None:
        """Send 20 ms every 20 ms: what is to be said, else the room."""
        begun = time.monotonic()
        number = 0
        while True:
            frame = self._microphone.pop(0) if self._microphone else ROOM[number % len(ROOM)]
            await self._websocket.send(frame)
            number += 1
            await anyio.sleep(max(0.0, begun + number * FRAME_MS / 1000 - time.monotonic()))

    async def _listen(self, question: Question) -> Answer:
        answer = Answer(question)
        with anyio.fail_after(TURN_LIMIT_S):
            while (message := await self._websocket.recv()) != DONE:
                if isinstance(message, str):
                    answer.take(json.loads(message))
                else:
                    answer.audio_bytes += len(message)
        answer.ended_s = time.monotonic()
        return answer


@asynccontextmanager
async def asker(port: int) -> AsyncIterator[Asker]:
    """A conversation with a service on the loopback address, which sends replies as fast as they are made."""
    async with connect(f"ws://127.0.0.1:{port}/ws?events=1&paced=0", **CLIENT) as websocket:
        yield Asker(websocket)


async def one_after_the_other(port: int, questions: list[Question], turns: int, spread_s: float) -> list[Answer]:
    """One conversation in real time, with so long at most between a reply and the next question."""
    random = np.random.default_rng(turns)
    answers = []
    async with asker(port) as caller, anyio.create_task_group() as tasks:
        tasks.start_soon(caller.keep_microphone_on)
        for number in range(turns):
            await anyio.sleep(random.uniform(0, spread_s))
            answers.append(await caller.ask(questions[number % len(questions)]))
        tasks.cancel_scope.cancel()
    return answers


async def all_at_once(port: int, questions: list[Question], conversations: int, ends_s: float) -> list[Answer]:
    """Many conversations, each asking the next question as soon as it has its answer, until `ends_s` (monotonic)."""
    answers: list[Answer] = []

    async def converse(first: int) -> None:
        number = first
        async with asker(port) as caller:
            while time.monotonic() < ends_s:
                answers.append(await caller.ask_at_once(questions[number % len(questions)]))
                number += 1

    async with anyio.create_task_group() as tasks:
        for conversation in range(conversations):
            tasks.start_soon(converse, conversation)
    return answers

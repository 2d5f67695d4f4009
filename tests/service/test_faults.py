"""What clients and models must not be able to break: strange sound, garbage, and a model's process that is killed."""

import contextlib
import json
import math
import os
import random
import signal
import socket
from collections.abc import Iterator

import anyio
import numpy as np
import pytest
from service import (
    CLIENT,
    Reply,
    Service,
    Talk,
    children_of,
    eventually,
    main_hz,
    noise,
    resident_mib,
    spoken,
    utterance,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from speech_to_speech.audio.samples import to_pcm

pytestmark = [pytest.mark.anyio, pytest.mark.alone]
GROWTH_MIB = 25.0
SENTENCES = (
    "I would really love a long holiday near the sea",
    "my brother will marry a lawyer in early summer",
    "where are you now and when will you arrive home",
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--max_speech_ms=5000", "--min_silence_ms=400") as running:
        yield running


async def answers(talk: Talk, hz: float) -> Reply:
    """The reply to an utterance; those to what was heard before it are passed over."""
    for _ in range(5):
        reply = await talk.turn(utterance(hz, after_ms=1000))
        if reply.audio and abs(main_hz(bytes(reply.audio)) - hz) < 5:
            return reply
    raise AssertionError(f"no reply to {hz:g} Hz")


def chords(seconds: float) -> bytes:
    """Three notes at a time, four chords over and over, each struck and fading."""
    at_s = np.arange(round(seconds * 16_000)) / 16_000
    sound = np.zeros_like(at_s)
    for number, notes in enumerate([(262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294)]):
        struck = (at_s % 2 >= number / 2) & (at_s % 2 < (number + 1) / 2)
        for hz in notes:
            wave = np.sin(2 * np.pi * hz * at_s) + 0.5 * np.sin(4 * np.pi * hz * at_s)
            sound += struck * np.exp(-4 * (at_s % 0.5)) * wave
    return to_pcm((0.15 * sound).astype(np.float32))


def monologue(seconds: float) -> bytes:
    """Sentences with hardly a breath between them."""
    sentences = [spoken(text, rate=190) + noise(80) for text in SENTENCES]
    whole = b"".join(sentences) * math.ceil(seconds * 32_000 / len(b"".join(sentences)))
    return whole[: round(seconds * 32_000)]


SOUNDS = {
    "silence": lambda: bytes(60 * 32_000),
    "noise": lambda: noise(60_000, level=0.1),
    "chords": lambda: chords(60),
}


@pytest.mark.parametrize("sound", SOUNDS)
async def test_a_minute_of_strange_sound_leaves_the_session_alive_and_memory_bounded(
    service: Service, sound: str
) -> None:
    async with service.talk() as talk:
        await answers(talk, 500)
        before = resident_mib(service.pid)
        async with anyio.create_task_group() as tasks:
            replies: list[Reply] = []

            async def read() -> None:
                while True:
                    replies.append(await talk.reply())

            tasks.start_soon(read)
            await talk.send(SOUNDS[sound]())
            await talk.send(bytes(32_000))
            pong = await talk.websocket.ping()
            await pong
            tasks.cancel_scope.cancel()
        if sound == "silence":
            assert replies == []
        assert (await answers(talk, 900)).of("error") == []
        assert resident_mib(service.pid) - before < GROWTH_MIB


async def test_a_monologue_faster_than_real_time_is_split_and_nothing_is_lost(service: Service) -> None:
    speech = monologue(60)
    async with service.talk() as talk:
        await answers(talk, 500)
        before = resident_mib(service.pid)
        reply = await talk.turn(speech + noise(1000))
        *parts, whole = reply.of("speech_transcribed")
        assert len(parts) >= 11
        assert not any(part["final"] for part in parts)
        assert whole["final"]
        assert whole["text"].startswith(" ".join(part["text"] for part in parts))
        assert {event["turn_id"] for event in parts} == {whole["turn_id"]}
        assert len(reply.of("speech_started")) == 1
        assert reply.of("turn_ended")[0]["speech_ms"] == pytest.approx(60_000 + 400, abs=500)
        assert reply.of("error") == []
        assert resident_mib(service.pid) - before < GROWTH_MIB
        await answers(talk, 900)


async def send_garbage(service: Service, seed: int) -> None:
    """A connection's worth of messages of random kinds and sizes, to whatever end."""
    chance = random.Random(seed)

    async def any_message(websocket: ClientConnection) -> None:
        match chance.choice(["audio", "audio", "audio", "odd", "empty", "text", "ping", "parts", "big", "raw", "drop"]):
            case "audio":
                await websocket.send(chance.randbytes(2 * chance.randrange(4000)))
            case "odd":
                await websocket.send(chance.randbytes(2 * chance.randrange(100) + 1))
            case "empty":
                await websocket.send(b"")
            case "text":
                await websocket.send("\N{SNOWMAN}" * chance.randrange(100))
            case "ping":
                await websocket.ping(chance.randbytes(10))
            case "parts":
                await websocket.send([chance.randbytes(101), b"", chance.randbytes(99)])
            case "big" if chance.random() < 0.2:
                await websocket.send(bytes(300_000))
            case "raw" if chance.random() < 0.2:
                websocket.transport.write(chance.randbytes(chance.randrange(1, 50)))
            case "drop" if chance.random() < 0.2:
                websocket.transport.abort()

    with contextlib.suppress(ConnectionClosed, OSError):
        async with connect(service.url(events=chance.randrange(2), paced=chance.randrange(2)), **CLIENT) as websocket:
            for _ in range(60):
                await any_message(websocket)


async def test_garbage_hurts_neither_the_service_nor_other_sessions(service: Service) -> None:
    async with service.talk() as talk:
        async with anyio.create_task_group() as tasks:
            for seed in range(24):
                tasks.start_soon(send_garbage, service, seed)
            for hz in (500, 700, 900):
                await answers(talk, hz)
        await answers(talk, 1100)
        await eventually(lambda: service.sessions() == 1, "their places are free")
    assert service.health()[0] == 200
    assert "Traceback" not in service.log()
    assert "by a defect" not in service.log()


async def test_garbage_before_the_handshake_hurts_nobody(service: Service) -> None:
    chance = random.Random(0)
    for size in (1, 50, 5000, 100_000):
        with socket.create_connection(("127.0.0.1", service.port), 5) as raw, contextlib.suppress(OSError):
            raw.sendall(chance.randbytes(size))
    with socket.create_connection(("127.0.0.1", service.port), 5) as raw:
        raw.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 4")
    async with service.talk() as talk:
        await answers(talk, 500)


async def test_a_killed_transcriber_costs_one_turn() -> None:
    with Service("--speculation=off", profile="embedded") as running:
        async with running.talk() as talk:
            await talk.send(spoken(SENTENCES[0]) + noise(700, level=0.003))
            while json.loads(await talk.websocket.recv())["type"] != "speech_stopped":
                pass
            [transcriber] = children_of(running.pid)
            os.kill(transcriber, signal.SIGKILL)
            reply = await talk.reply()
            [error] = reply.of("error")
            assert (error["code"], error["stage"], error["retryable"]) == ("worker_died", "stt", True)
            assert reply.of("turn_ended")[0]["outcome"] == "failed"

            reply = await talk.turn(spoken(SENTENCES[0]) + noise(700, level=0.003))
            assert reply.of("turn_ended")[0]["outcome"] == "spoken"
            assert "holiday" in reply.transcript
            assert reply.audio
            assert children_of(running.pid) != [transcriber]
            assert running.health()[0] == 200
    await eventually(lambda: not children_of(running.pid), "no process is left")

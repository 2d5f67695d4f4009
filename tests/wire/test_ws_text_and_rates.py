"""`/ws` for real: sample rates, typed text and a greeting."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import anyio
import numpy as np
import pytest
import soxr
from service import CLIENT, Service, Talk, main_hz, utterance
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from speech_to_speech.audio.samples import to_float, to_pcm
from speech_to_speech.frames import pcm_bytes, pcm_ms
from speech_to_speech.wire.ws.messages import LONGEST_TEXT, RATES_HZ

pytestmark = pytest.mark.anyio
HZ = 900.0


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture
async def typing(service: Service) -> AsyncIterator[Talk]:
    async with service.talk(paced=1) as talk:
        yield talk


@contextlib.asynccontextmanager
async def talking(service: Service, **query: object) -> AsyncIterator[Talk]:
    async with connect(service.url(events=1, **query), **CLIENT) as websocket:
        yield Talk(websocket)


async def say(talk: Talk, text: object) -> None:
    await talk.websocket.send(json.dumps({"type": "say", "text": text}))


# Rates.


@pytest.mark.parametrize("rate_hz", RATES_HZ)
async def test_each_rate_is_understood_and_answered_in(service: Service, rate_hz: int) -> None:
    block = pcm_bytes(64, rate_hz)
    said = to_pcm(soxr.resample(to_float(utterance(HZ)), 16_000, rate_hz).astype(np.float32))
    said += bytes(-len(said) % block)
    async with talking(service, paced=0, rate=rate_hz) as talk:
        reply = await talk.turn(said, block=block)
    assert reply.of("session_started")[0]["sample_rate_hz"] == rate_hz
    assert {len(block) for block in reply.blocks} == {block}
    assert main_hz(reply.audio, rate_hz) == pytest.approx(HZ, abs=5)
    assert pcm_ms(len(reply.audio), rate_hz) == pytest.approx(reply.of("turn_ended")[0]["reply_ms"], abs=0.1)
    assert reply.of("speech_stopped")[0]["audio_ms"] < pcm_ms(len(said), rate_hz)


async def test_an_odd_rate_is_refused(service: Service) -> None:
    for query in ({"rate": 11025}, {"rate": 24000, "codec": "mp3"}):
        with pytest.raises(InvalidStatus) as refused:
            async with talking(service, **query):
                pass
        assert refused.value.response.status_code == 400
        assert "rate: " in refused.value.response.body.decode()


# Typed text.


async def test_typed_text_is_answered(typing: Talk) -> None:
    await say(typing, "A tone of 700.0 hertz, please.")
    reply = await typing.reply()
    assert [event["type"] for event in reply.events][:2] == ["session_started", "turn_requested"]
    assert reply.of("turn_requested")[0]["text"] == "A tone of 700.0 hertz, please."
    assert main_hz(reply.audio) == pytest.approx(700, abs=5)
    assert reply.of("turn_ended")[0]["outcome"] == "spoken"


async def test_typed_text_over_a_reply_takes_its_place(typing: Talk) -> None:
    await say(typing, "A tone of 700.0 hertz, please.")
    while not isinstance(await typing.websocket.recv(), bytes):
        pass
    await anyio.sleep(1)  # the first sentence is heard, so that the question is answered
    await say(typing, "No, 500.0 hertz.")
    first, second = await typing.reply(), await typing.reply()
    assert first.of("turn_ended")[0]["outcome"] == "interrupted"
    assert main_hz(second.audio) == pytest.approx(500, abs=5)


async def test_speech_and_text_take_turns(typing: Talk) -> None:
    spoken = await typing.turn(utterance(HZ))
    await say(typing, "And 500.0 hertz.")
    typed = await typing.reply()
    again = await typing.turn(utterance(600))
    for reply, hz in ((spoken, HZ), (typed, 500), (again, 600)):
        assert main_hz(reply.audio) == pytest.approx(hz, abs=5)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "{}",
        '{"type": "say"}',
        '{"type": "say", "text": ""}',
        '{"type": "say", "text": 7}',
        json.dumps({"type": "say", "text": "x" * (LONGEST_TEXT + 1)}),
        '{"type": "playback", "turn_id": "t", "played_ms": 1.0}',
    ],
    ids=lambda text: text[:30],
)
async def test_what_is_no_text_to_answer_is_an_error_and_the_next_is_answered(typing: Talk, text: str) -> None:
    await typing.websocket.send(text)
    await say(typing, "500.0 hertz.")
    reply = await typing.reply()
    assert [event["code"] for event in reply.of("error")] == ["text_not_audio"]
    assert main_hz(reply.audio) == pytest.approx(500, abs=5)


async def test_who_takes_no_events_can_not_type(service: Service) -> None:
    async with service.talk(events=0) as talk:
        for _ in range(3):
            await say(talk, "500.0 hertz.")
        code, reason, _ = await talk.closed()
    assert code == 1003
    assert (reason or "").startswith("text_not_audio")


# A greeting.


async def test_a_greeting_is_heard_before_anything_is_said() -> None:
    with Service("--greeting", "Welcome to 800.0 hertz.") as service:
        async with service.talk(paced=1) as talk:
            greeting = await talk.reply()
            answer = await talk.turn(utterance(HZ))
        async with service.talk(events=0) as plain:
            unseen = await plain.reply()
    assert greeting.of("turn_requested")[0]["text"] == ""
    assert [event["text"] for event in greeting.of("reply_text")] == ["Welcome to 800.0 hertz."]
    assert main_hz(greeting.audio) == pytest.approx(800, abs=5)
    assert main_hz(answer.audio) == pytest.approx(HZ, abs=5)
    assert unseen.events == []
    assert main_hz(unseen.audio) == pytest.approx(800, abs=5)

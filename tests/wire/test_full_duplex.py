"""Full duplex over real websockets: who interrupts, is heard at once and answered next; what clients get wrong."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from service import CLIENT, LIMIT_S, Service, Talk, main_hz, noise, utterance
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from speech_to_speech.frames import pcm_bytes
from speech_to_speech.loadtest import pitch_in

pytestmark = pytest.mark.anyio

STOP_LIMIT_S = 0.6  # from the first sample of speech to the last block: loose, for a machine that others use too
QUIET_MS = 100  # before the first word
BLOCK = 1024
SOUNDING_MS = 400  # were sent; then so much of the reply has sounded that it counts as an answer
SHORT = "I would really love a holiday"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--report_timeout_s=1") as running:
        yield running


@contextlib.asynccontextmanager
async def talking(service: Service, *, paced: int = 1, events: int = 1, full_duplex: int = 1) -> AsyncIterator[Talk]:
    async with connect(service.url(events=events, paced=paced, full_duplex=full_duplex), **CLIENT) as websocket:
        yield Talk(websocket)


async def event_of(talk: Talk, kind: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """The next event of a kind; what comes before is dropped."""
    with anyio.fail_after(limit_s):
        while True:
            message = await talk.websocket.recv()
            if isinstance(message, str) and (event := json.loads(message))["type"] == kind:
                return dict(event)


async def audio_of(talk: Talk) -> bytes:
    """The next block of a reply."""
    with anyio.fail_after(LIMIT_S):
        while isinstance(message := await talk.websocket.recv(), str) or message == b"DONE":
            pass
        return message


# Interruptions.


@dataclass
class Interruption:
    """Two turns, the first of which is interrupted; times are of `time.monotonic`."""

    spoken_at: float = 0.0
    log: list[tuple[float, Any]] = field(default_factory=list)

    @property
    def cut(self) -> int:
        """Where in the log the interrupted turn's DONE is."""
        return next(at for at, (_, item) in enumerate(self.log) if item == b"DONE")

    def audio(self, items: list[tuple[float, Any]]) -> list[tuple[float, bytes]]:
        return [(when, item) for when, item in items if isinstance(item, bytes) and item != b"DONE"]

    def sound(self, items: list[tuple[float, Any]]) -> bytes:
        return b"".join(block for _, block in self.audio(items))

    def events(self, items: list[tuple[float, Any]]) -> list[dict[str, Any]]:
        return [item for _, item in items if isinstance(item, dict)]


async def interrupt(service: Service, first_hz: float, second_hz: float) -> Interruption:
    """Ask, speak over the reply in real time, and hear the answer to that."""
    seen = Interruption()
    async with talking(service) as talk, anyio.create_task_group() as tasks:
        sounding = anyio.Event()

        async def speak() -> None:
            await talk.send(utterance(first_hz, after_ms=500), block=BLOCK)
            await sounding.wait()
            seen.spoken_at = time.monotonic() + QUIET_MS / 1000
            await talk.send(utterance(second_hz, SHORT, after_ms=500), speed=1.0, block=BLOCK)

        tasks.start_soon(speak)
        with anyio.fail_after(LIMIT_S):
            while sum(item == b"DONE" for _, item in seen.log) < 2:
                message = await talk.websocket.recv()
                seen.log.append((time.monotonic(), json.loads(message) if isinstance(message, str) else message))
                if len(seen.sound(seen.log)) >= pcm_bytes(SOUNDING_MS):
                    sounding.set()
    return seen


def check(seen: Interruption, first_hz: float, second_hz: float) -> None:
    before, after = seen.log[: seen.cut], seen.log[seen.cut + 1 :]
    assert seen.audio(before)[-1][0] - seen.spoken_at < STOP_LIMIT_S
    told = [event["type"] for event in seen.events(before)]
    assert told[told.index("speech_started", 2) :] == [
        "speech_started",
        "reply_paused",
        "reply_interrupted",
        "turn_ended",
    ]
    paused, interrupted, ended = seen.events(before)[-3:]
    assert ended["outcome"] == "interrupted"
    assert ended["heard_ms"] == interrupted["played_ms"]
    assert 0 < paused["played_ms"] <= interrupted["played_ms"] <= ended["reply_ms"] < 1400
    assert {event["turn_id"] for event in (paused, interrupted, ended)} == {seen.events(before)[1]["turn_id"]}
    assert main_hz(seen.sound(before)) == pytest.approx(first_hz, abs=8)
    assert seen.events(after[:1])[0]["type"] == "speech_stopped"
    assert seen.events(after)[-1]["outcome"] == "spoken"
    assert main_hz(seen.sound(after)) == pytest.approx(second_hz, abs=5)


async def test_who_speaks_over_a_reply_stops_it_and_is_answered(service: Service) -> None:
    interruptions = service.metric("s2s_interruptions_total")
    check(await interrupt(service, 500, 900), 500, 900)
    assert service.metric("s2s_interruptions_total") == interruptions + 1


async def test_four_who_interrupt_at_the_same_time_hear_their_own_replies_only(service: Service) -> None:
    pitches = [(600.0, 1000.0), (700.0, 1100.0), (800.0, 1200.0), (900.0, 1300.0)]
    seen: dict[tuple[float, float], Interruption] = {}

    async def call(first_hz: float, second_hz: float) -> None:
        seen[first_hz, second_hz] = await interrupt(service, first_hz, second_hz)

    async with anyio.create_task_group() as tasks:
        for pair in pitches:
            tasks.start_soon(call, *pair)
    for pair in pitches:
        check(seen[pair], *pair)


# Reports.


async def test_garbage_is_a_bad_report_and_the_third_one_closes(service: Service) -> None:
    async with talking(service) as talk:
        await talk.websocket.send("hello")
        await talk.websocket.send('{"type": "playback", "turn_id": "t"}')
        reply = await talk.turn(utterance(500))
        assert [event["code"] for event in reply.of("error")] == ["bad_report"] * 2
        assert [event["outcome"] for event in reply.of("turn_ended")] == ["spoken"]
        assert main_hz(bytes(reply.audio)) == pytest.approx(500, abs=5)
        await talk.websocket.send("[]")
        code, reason, _ = await talk.closed()
        assert code == 1003
        assert (reason or "").startswith("bad_report: ")


async def test_a_report_of_an_unknown_turn_is_harmless(service: Service) -> None:
    async with talking(service) as talk:
        report = {"type": "playback", "turn_id": "nobody's", "played_ms": 1e9}
        await talk.websocket.send(json.dumps(report))
        await talk.send(utterance(500))
        await audio_of(talk)
        await talk.websocket.send(json.dumps(report))
        reply = await talk.reply()
        assert [event["outcome"] for event in reply.of("turn_ended")] == ["spoken"]
        assert reply.of("error") == []


async def test_unpaced_without_events_is_refused(service: Service) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with talking(service, paced=0, events=0):
            pass
    assert refused.value.response.status_code == 400
    assert "events=1" in refused.value.response.body.decode()


@pytest.mark.parametrize("reports", [True, False], ids=["reported", "not reported"])
async def test_an_unpaced_turn_ends_when_it_is_reported(service: Service, reports: bool) -> None:
    async with talking(service, paced=0) as talk:
        await talk.send(utterance(500))
        turn_id = (await event_of(talk, "speech_stopped"))["turn_id"]
        if reports:
            for played_ms in (0, 700, 1400):
                await anyio.sleep(0.3)
                await talk.websocket.send(json.dumps({"type": "playback", "turn_id": turn_id, "played_ms": played_ms}))
            reported = time.monotonic()
        reply = await talk.reply()
        [ended] = reply.of("turn_ended")
        if reports:
            assert (ended["outcome"], ended["error"]) == ("spoken", None)
            assert time.monotonic() - reported < 0.5
        else:
            assert (ended["outcome"], ended["error"]) == ("failed", "playback_unknown")
            assert [event["code"] for event in reply.of("error")] == ["playback_unknown"]
            assert ended["heard_ms"] == 0
        assert main_hz(bytes(reply.audio)) == pytest.approx(500, abs=5)


# Half duplex, and both.


async def test_half_duplex_takes_no_reports(service: Service) -> None:
    async with talking(service, full_duplex=0) as talk:
        await talk.websocket.send(json.dumps({"type": "playback", "turn_id": "t", "played_ms": 1}))
        assert (await event_of(talk, "error"))["code"] == "text_not_audio"


async def test_what_is_said_over_a_half_duplex_reply_is_never_answered(service: Service) -> None:
    async with talking(service, full_duplex=0) as talk:
        await talk.send(utterance(500))
        await audio_of(talk)
        await talk.send(utterance(900))
        first = await talk.reply()
        assert [event["outcome"] for event in first.of("turn_ended")] == ["spoken"]
        assert main_hz(bytes(first.audio)) == pytest.approx(500, abs=5)
        assert first.of("reply_paused") == []
        await talk.send(utterance(1300))
        heard = await event_of(talk, "speech_transcribed")
        assert pitch_in(heard["text"]) == pytest.approx(1300, abs=5)


async def test_who_stops_sending_after_the_last_word_is_answered(service: Service) -> None:
    async def call(full_duplex: int, hz: float) -> None:
        async with talking(service, full_duplex=full_duplex) as talk:
            await talk.send(noise(100) + utterance(hz, after_ms=0))
            reply = await talk.reply(limit_s=8.0)
            assert [event["outcome"] for event in reply.of("turn_ended")] == ["spoken"]
            assert main_hz(bytes(reply.audio)) == pytest.approx(hz, abs=5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, 0, 500)
        tasks.start_soon(call, 1, 900)

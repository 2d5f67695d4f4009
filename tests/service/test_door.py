"""A second wire, in a few lines: raw sound over a pair of streams, push to talk, text, cancel and truncate.

It knows nothing of `/ws`, and `/ws` nothing of it: both talk to the door.
"""

import contextlib
import dataclasses
import gc
import math
import weakref
from collections.abc import AsyncIterator
from typing import Any

import anyio
import fakes
import pytest
from anyio.streams.stapled import StapledObjectStream
from fakes import Script
from service import eventually

from speech_to_speech.config.settings import load_settings
from speech_to_speech.conversation import events
from speech_to_speech.conversation.chat import reply_id
from speech_to_speech.conversation.door import Door
from speech_to_speech.errors import ItemUnknown, ReplyActive, ServiceFull, ServiceStopping, SpeechToSpeechError
from speech_to_speech.frames import pcm_bytes
from speech_to_speech.service.service import Service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("script")]
LIMIT_S = 10.0
RATE_HZ = 24_000

Wire = StapledObjectStream[Any]


class StreamClient:
    """The way back: sound as bytes, the end of a turn, and what is heard and said as text."""

    sending_since: float | None = None

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        await self._wire.send(pcm)

    async def send_event(self, event: events.Event) -> None:
        await self._wire.send(event)

    async def close(self, error: SpeechToSpeechError | None) -> None:
        await self._wire.send(error)


async def converse(wire: Wire, door: Door) -> None:
    """Bytes are sound, and tuples what the client wants. What can't be done ends the wire."""
    playback = dataclasses.replace(door.playback, rate_hz=RATE_HZ, block_bytes=pcm_bytes(20, RATE_HZ), full_duplex=True)
    options = dataclasses.replace(door.options, turn_detection=None)
    async with door.session(StreamClient(wire), playback, options) as session:
        async for message in wire:
            match message:
                case bytes():
                    await session.hear(message)
                case ("released",):
                    await session.commit()
                case ("typed", text):
                    await session.respond(text)
                case ("stop",):
                    await session.cancel()
                case ("heard", turn_id, played_ms):
                    session.truncate(reply_id(turn_id), played_ms)
                case ("defect",):
                    raise RuntimeError("a secret")


class Talk:
    """The other end of the wire."""

    def __init__(self, wire: Wire, service: Service) -> None:
        self.wire = wire
        self.service = service
        self.got: list[Any] = []

    async def until(self, kind: type) -> Any:
        """The next of that kind; what comes before it is kept."""
        with anyio.fail_after(LIMIT_S):
            while not isinstance(item := await self.wire.receive(), kind):
                self.got.append(item)
        self.got.append(item)
        return item

    async def hold(self, ms: float, level: int = 5000) -> None:
        """Hold the button, say something, and release it."""
        await self.wire.send(fakes.square(ms * RATE_HZ / 16_000, level))
        await self.wire.send(("released",))

    @property
    def sound(self) -> bytes:
        return b"".join(item for item in self.got if isinstance(item, bytes))

    def of(self, kind: type) -> list[Any]:
        return [item for item in self.got if isinstance(item, kind)]


@contextlib.asynccontextmanager
async def service_running(*flags: str) -> AsyncIterator[Service]:
    scripted = [f"--{stage}=scripted" for stage in ("vad", "stt", "llm", "tts")]
    service = Service(load_settings([*scripted, "--turn=none", *flags], {}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        await eventually(lambda: service.state == "ready", "the models are loaded", LIMIT_S)
        yield service
        fakes.SCRIPT.release()
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def talk(service: Service) -> AsyncIterator[Talk]:
    to_service, at_service = anyio.create_memory_object_stream[Any](math.inf)
    to_client, at_client = anyio.create_memory_object_stream[Any](math.inf)
    theirs: Wire = StapledObjectStream(to_client, at_service)
    mine: Wire = StapledObjectStream(to_service, at_client)
    async with theirs, mine, anyio.create_task_group() as tasks:
        tasks.start_soon(converse, theirs, service)
        yield Talk(mine, service)
        await mine.send_eof()


@contextlib.asynccontextmanager
async def conversation(*flags: str) -> AsyncIterator[Talk]:
    async with service_running(*flags) as service, talk(service) as one:
        yield one


async def test_push_to_talk_is_heard_and_answered_at_the_clients_rate(script: Script) -> None:
    async with conversation() as one:
        await one.hold(700)
        ended = await one.until(events.TurnEnded)
        assert ended.record.outcome == "spoken"
        assert [event.text for event in one.of(events.SpeechTranscribed)] == ["one two"]
        assert len(one.sound) == pcm_bytes(ended.record.reply_ms, RATE_HZ)
        assert len({len(item) for item in one.of(bytes)}) == 1
        assert script.asked["stt"][0].pcm
        assert abs(len(script.asked["stt"][0].pcm) - pcm_bytes(700)) <= pcm_bytes(40)


async def test_silence_ends_nothing_while_the_button_is_held(script: Script) -> None:
    async with conversation() as one:
        await one.wire.send(fakes.square(600 * RATE_HZ / 16_000) + bytes(pcm_bytes(2000, RATE_HZ)))
        await anyio.sleep(0.3)
        assert script.asked["stt"] == []
        await one.wire.send(("released",))
        await one.until(events.TurnEnded)
        assert len(script.asked["stt"]) == 1


async def test_typed_text_is_answered(script: Script) -> None:
    async with conversation() as one:
        await one.wire.send(("typed", "What time is it?"))
        ended = await one.until(events.TurnEnded)
        assert ended.record.outcome == "spoken"
        assert one.of(events.TurnRequested) == [events.TurnRequested(ended.record.turn_id, "What time is it?")]
        assert one.of(events.SpeechTranscribed) == []
        assert script.asked["stt"] == []
        assert script.asked["llm"][0].messages[-1].content == "What time is it?"
        assert one.sound


async def test_a_cancelled_reply_is_silent_and_the_next_one_knows_what_was_heard(script: Script) -> None:
    script.tts = fakes.speak(3000)
    async with conversation() as one:
        await one.wire.send(("typed", "Tell me a story."))
        await one.until(bytes)
        await one.wire.send(("stop",))
        ended = await one.until(events.TurnEnded)
        assert ended.record.outcome == "interrupted"
        assert ended.record.reply_ms < 2000
        blocks = len(one.of(bytes))
        await one.wire.send(("heard", ended.record.turn_id, 2500.0))
        script.tts = fakes.speak(100)
        await one.wire.send(("typed", "And then?"))
        requested = await one.until(events.TurnRequested)
        assert len(one.of(bytes)) == blocks
        assert requested.text == "And then?"
        await one.until(events.TurnEnded)
        shown = [message.content for message in script.asked["llm"][-1].messages]
        assert shown[1] == "Tell me a story."
        assert "Hello there.".startswith(shown[2])
        assert shown[2]


async def test_what_can_not_be_done_ends_the_wire_with_its_reason() -> None:
    async with conversation() as one:
        await one.wire.send(("heard", "nobody", 1.0))
        assert isinstance(await one.until(SpeechToSpeechError), ItemUnknown)


async def test_two_replies_at_once_are_not_to_be_had(script: Script) -> None:
    script.tts = fakes.speak(3000)
    async with conversation() as one:
        await one.wire.send(("typed", "Tell me a story."))
        await one.until(bytes)
        await one.wire.send(("typed", "Another one."))
        assert isinstance(await one.until(SpeechToSpeechError), ReplyActive)


async def test_a_defect_of_a_wire_is_told_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async with conversation() as one:
        await one.wire.send(("defect",))
        error = await one.until(SpeechToSpeechError)
        assert (error.code, "secret" in str(error)) == ("internal", False)
    assert "failed by a defect" in caplog.text
    assert "a secret" in caplog.text


async def test_the_door_counts_and_refuses() -> None:
    async with service_running("--max_sessions=1") as service:
        async with talk(service) as one:
            await one.until(events.SessionStarted)
            assert len(service.sessions) == 1
            with pytest.raises(ServiceFull):
                async with service.session(StreamClient(one.wire), service.playback, service.options):
                    raise AssertionError("it was let in")
        assert service.sessions == set()
        service.state = "stopping"
        with pytest.raises(ServiceStopping):
            async with service.session(StreamClient(one.wire), service.playback, service.options):
                raise AssertionError("it was let in")


async def test_a_drain_waits_for_a_turn_and_tells_the_client_why(script: Script) -> None:
    script.tts = fakes.speak(600)
    async with conversation() as one:
        await one.wire.send(("typed", "Good bye."))
        await one.until(bytes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.service.drain)
            ended = await one.until(events.TurnEnded)
            assert ended.record.outcome == "spoken"
            assert isinstance(await one.until(SpeechToSpeechError), ServiceStopping)
        assert one.service.sessions == set()


@pytest.mark.parametrize("how", ["refused", "gone"])
async def test_a_session_leaves_memory_without_the_garbage_collector(how: str, script: Script) -> None:
    gc.collect()
    gc.disable()
    try:
        async with service_running() as service:
            async with talk(service) as one:
                await one.until(events.SessionStarted)
                session = weakref.ref(next(iter(service.sessions)))
                if how == "refused":
                    await one.wire.send(("heard", "nobody", 1.0))
                    assert isinstance(await one.until(SpeechToSpeechError), ItemUnknown)
            await eventually(lambda: session() is None, "the session is gone from memory", LIMIT_S)
    finally:
        gc.enable()


async def test_a_defect_in_the_watch_ends_one_session_and_not_the_service(caplog: pytest.LogCaptureFixture) -> None:
    def break_down() -> None:
        raise RuntimeError("a secret")

    async with service_running() as service, talk(service) as one:
        await one.until(events.SessionStarted)
        [broken] = service.sessions
        async with talk(service) as other:
            await other.until(events.SessionStarted)
            broken.check = lambda now: break_down()  # type: ignore[method-assign]
            assert (await one.until(SpeechToSpeechError)).code == "internal"
            assert (service.state, len(service.sessions)) == ("ready", 1)
    assert "a secret" in caplog.text

"""A conversation with scripted models: one DONE per turn whatever happens, and nothing shared between sessions."""

import contextlib
import dataclasses
import gc
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import fakes
import numpy as np
import pytest
from fakes import Script
from service import eventually

from speech_to_speech.config.settings import Settings, load_settings
from speech_to_speech.conversation import events
from speech_to_speech.conversation.client import ClientGone
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.session import Session
from speech_to_speech.errors import ClientTooSlow, SessionIdle, SessionTooLong, SpeechToSpeechError
from speech_to_speech.frames import Transcript, pcm_bytes, pcm_ms
from speech_to_speech.service.models import Models, playback, session_options
from speech_to_speech.wire.ws.connection import playback_of
from speech_to_speech.wire.ws.messages import StreamOptions
from speech_to_speech.workers.model import Job

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("script")]

DONE = "DONE"
LIMIT_S = 10.0
SCRIPTED = [*(f"--{stage}=scripted" for stage in ("vad", "stt", "llm", "tts")), "--turn=none"]


class Client:
    """Keeps what it is sent, in order: audio as bytes, events, and DONE."""

    def __init__(self) -> None:
        self.sending_since: float | None = None
        self.sent: list[Any] = []
        self.gone = False

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        self._take(pcm)

    async def send_event(self, event: events.Event) -> None:
        if isinstance(event, events.ReplySent):
            return
        self._take(event)
        if isinstance(event, events.TurnEnded):
            self._take(DONE)

    async def close(self, error: SpeechToSpeechError | None) -> None:
        self.gone = True

    def _take(self, item: Any) -> None:
        if self.gone:
            raise ClientGone
        self.sent.append(item)

    def of(self, kind: type) -> list[Any]:
        return [item for item in self.sent if isinstance(item, kind)]

    @property
    def done(self) -> int:
        return self.sent.count(DONE)

    @property
    def audio(self) -> bytes:
        return b"".join(self.of(bytes))

    @property
    def told(self) -> list[str]:
        """The names of what came, blocks of audio in a row as one."""
        names = [item if item == DONE else type(item).__name__ for item in self.sent]
        return [name for at, name in enumerate(names) if name != "bytes" or names[at - 1] != "bytes"]

    @property
    def outcomes(self) -> list[str]:
        return [event.record.outcome for event in self.of(events.TurnEnded)]

    def forget(self) -> None:
        self.sent.clear()


class Talk:
    """A session and its client."""

    def __init__(
        self, settings: Settings, models: Models, metrics: Metrics, number: int, options: StreamOptions
    ) -> None:
        self.models = models
        self.metrics = metrics
        self.client = Client()
        playing = dataclasses.replace(playback_of(options, playback(settings)), block_bytes=2048)
        self.session = Session(f"s{number}", models.pipeline, metrics, self.client, playing, session_options(settings))
        self.over = threading.Event()

    async def run(self) -> None:
        await self.session.run()
        self.over.set()

    async def say(self, ms: float = 640, level: int = 5000, silence_ms: float = 320) -> None:
        pcm = fakes.square(ms, level) + bytes(pcm_bytes(silence_ms))
        for start in range(0, len(pcm), 2048):
            await self.session.hear(pcm[start : start + 2048])

    async def until(self, condition: Callable[[Client], Any], what: str) -> None:
        await eventually(lambda: condition(self.client), what, LIMIT_S)

    async def until_done(self, turns: int = 1) -> None:
        await self.until(lambda client: client.done >= turns, f"{turns} DONE")

    async def take_turn(self, level: int = 5000) -> None:
        done = self.client.done
        await self.say(level=level)
        await self.until_done(done + 1)

    async def expect_silence(self) -> None:
        """What was pushed has been judged, and nothing came of it."""
        sent = len(self.client.sent)
        stream = self.session._stream
        await eventually(lambda: not stream.has_window and not stream._queued, "all is judged")
        await anyio.sleep(0.05)
        assert len(self.client.sent) == sent


@contextlib.asynccontextmanager
async def conversations(
    count: int, *flags: str, paced: bool = False, full_duplex: bool = False
) -> AsyncIterator[list[Talk]]:
    settings = load_settings([*SCRIPTED, *flags], {})
    metrics = Metrics()
    models = Models(settings, metrics)
    options = StreamOptions(events=True, paced=paced, full_duplex=full_duplex)
    try:
        await models.load()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(models.pipeline.vad.run)
            talks = [Talk(settings, models, metrics, number, options) for number in range(count)]
            for talk in talks:
                tasks.start_soon(talk.run)
            yield talks
            for talk in talks:
                talk.session.end()
            await eventually(lambda: all(talk.over.is_set() for talk in talks), "the sessions have ended")
            tasks.cancel_scope.cancel()
    finally:
        fakes.SCRIPT.release()
        with anyio.CancelScope(shield=True):
            await models.close()


@contextlib.asynccontextmanager
async def conversation(*flags: str, paced: bool = False) -> AsyncIterator[Talk]:
    async with conversations(1, *flags, paced=paced) as [talk]:
        yield talk


def say_the_level(job: Job[Any, Any]) -> None:
    """A transcript that tells the sessions apart."""
    level = int(np.abs(np.frombuffer(job.request.pcm, dtype="<i2")).max())
    job.emit(Transcript(f"level {level}", "en"))


async def test_a_turn_in_order() -> None:
    async with conversation() as talk:
        await talk.take_turn()
        assert [name for name in talk.client.told if name not in ("ReplyText", "bytes")] == [
            "SessionStarted",
            "SpeechStarted",
            "SpeechStopped",
            "SpeechTranscribed",
            "TurnEnded",
            DONE,
        ]
        assert talk.client.told.index("ReplyText") < talk.client.told.index("bytes")
        assert [event.text for event in talk.client.of(events.ReplyText)] == ["Hello there.", "How are you?"]
        assert talk.client.outcomes == ["spoken"]
        assert pcm_ms(len(talk.client.audio)) >= 200


async def test_the_record_of_a_turn_has_every_step_in_order() -> None:
    async with conversation("--speculation=off") as talk:
        await talk.take_turn()
        [ended] = talk.client.of(events.TurnEnded)
        fields = ended.record.fields()
        steps = ["endpoint_ms", "transcript_ms", "first_token_ms", "first_text_ms", "first_audio_made_ms"]
        values = [fields[step] for step in [*steps, "first_audio_sent_ms", "last_audio_sent_ms"]]
        assert values == sorted(values)
        assert fields["endpoint_ms"] >= 250
        assert fields["reply_ms"] == pcm_ms(len(talk.client.audio))
        assert fields["error"] is None


async def test_every_event_of_a_turn_names_it_and_the_next_turn_has_another_name() -> None:
    async with conversation() as talk:
        await talk.take_turn()
        first = {item.turn_id for item in talk.client.sent if hasattr(item, "turn_id")}
        talk.client.forget()
        await talk.take_turn()
        second = {item.turn_id for item in talk.client.sent if hasattr(item, "turn_id")}
        assert len(first) == len(second) == 1
        assert first != second


async def test_no_words_make_an_empty_turn_with_a_done(script: Script) -> None:
    script.stt = fakes.transcribe("")
    async with conversation() as talk:
        await talk.take_turn()
        assert talk.client.outcomes == ["empty"]
        assert talk.client.audio == b""
        assert talk.client.told[-2:] == ["TurnEnded", DONE]
        assert not talk.client.of(events.Error)
        assert script.asked["llm"] == []


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [("raises", "stage_failed", False), ("gives nothing", "stage_failed", False), ("hangs", "stage_timeout", True)],
)
async def test_a_failing_stage_ends_the_turn_with_its_error_and_one_done(
    script: Script, stage: str, fault: str, code: str, retryable: bool
) -> None:
    behaviours = {"raises": fakes.raising, "gives nothing": fakes.nothing, "hangs": fakes.hanging(script.gate())}
    setattr(script, stage, behaviours[fault])
    async with conversation(f"--{stage}_timeout_s=0.2") as talk:
        await talk.take_turn()
        [error] = talk.client.of(events.Error)
        [ended] = talk.client.of(events.TurnEnded)
        assert (error.code, error.stage, error.retryable) == (code, stage, retryable)
        assert error.turn_id == ended.record.turn_id
        assert (ended.record.outcome, ended.record.error) == ("failed", code)
        assert talk.client.told[-2:] == ["TurnEnded", DONE]

        script.release()
        script.reset()
        await eventually(lambda: talk.models.workers[stage].healthy, "recovered")
        await talk.take_turn()
        assert talk.client.outcomes == ["failed", "spoken"]
        assert talk.client.done == 2


async def test_a_language_model_that_fails_after_its_first_sentence(script: Script) -> None:
    spoken = script.gate()

    def fail_late(job: Job[Any, Any]) -> None:
        job.emit("The first sentence. And")
        spoken.wait(LIMIT_S)
        raise fakes.FakeError

    script.llm = fail_late
    async with conversation() as talk:
        await talk.say()
        await talk.until(lambda client: client.audio, "its sound")
        spoken.set()
        await talk.until_done()
        [error] = talk.client.of(events.Error)
        assert (error.code, error.stage) == ("stage_failed", "llm")
        assert [event.text for event in talk.client.of(events.ReplyText)] == ["The first sentence."]
        assert talk.client.outcomes == ["failed"]
        assert talk.client.done == 1
        script.llm = fakes.answer("Good.")
        await talk.take_turn()
        assert talk.client.outcomes == ["failed", "spoken"]
        assert "The first sentence." in [message.content for message in script.asked["llm"][-1].messages]


async def test_a_speech_model_that_fails_on_the_second_piece(script: Script) -> None:
    def fail_second(job: Job[Any, Any]) -> None:
        if len(script.asked["tts"]) > 1:
            raise fakes.FakeError
        fakes.speak(100)(job)

    script.tts = fail_second
    async with conversation() as talk:
        await talk.take_turn()
        assert [error.stage for error in talk.client.of(events.Error)] == ["tts"]
        assert talk.client.told[-2:] == ["TurnEnded", DONE]


async def test_a_reply_is_cut_at_max_reply_s(script: Script) -> None:
    script.tts = fakes.speak(3000)
    async with conversation("--max_reply_s=1") as talk:
        await talk.take_turn()
        [error] = talk.client.of(events.Error)
        [ended] = talk.client.of(events.TurnEnded)
        assert (error.code, error.stage, error.retryable) == ("reply_too_long", None, False)
        assert (ended.record.outcome, ended.record.error) == ("cut", "reply_too_long")
        assert 800 <= pcm_ms(len(talk.client.audio)) <= 1000
        assert talk.client.told[-2:] == ["TurnEnded", DONE]
        script.tts = None
        await talk.take_turn()
        assert talk.client.outcomes == ["cut", "spoken"]


async def test_done_waits_until_a_paced_reply_can_have_been_played(script: Script) -> None:
    script.llm = fakes.answer("Hello there.")
    script.tts = fakes.speak(800)
    async with conversation(paced=True) as talk:
        await talk.say()
        await talk.until(lambda client: client.audio, "audio")
        begun = time.monotonic()
        await talk.until_done()
        assert 0.8 <= time.monotonic() - begun <= 1.5


async def test_audio_during_a_turn_is_dropped_but_counted(script: Script) -> None:
    gate = script.gate()

    def wait_and_answer(job: Job[Any, Any]) -> None:
        fakes.hanging(gate)(job)
        job.emit("Good.")

    script.llm = wait_and_answer
    async with conversation() as talk:
        await talk.say()
        await talk.until(lambda client: client.of(events.SpeechTranscribed), "transcribed")
        assert talk.session.taking_turn
        dropped = talk.metrics.dropped_bytes._value.get()
        await talk.say(ms=3200)
        assert talk.metrics.dropped_bytes._value.get() - dropped == pcm_bytes(3520)
        gate.set()
        await talk.until_done()
        await talk.expect_silence()
        assert len(talk.client.of(events.SpeechStarted)) == 1
        await talk.take_turn()
        assert talk.client.of(events.SpeechStarted)[-1].audio_ms == pytest.approx(960 + 3520, abs=64)


async def test_empty_messages_are_harmless() -> None:
    async with conversation() as talk:
        await talk.session.hear(b"")
        await talk.say(ms=320, silence_ms=0)
        await talk.session.hear(b"")
        await talk.say(ms=320)
        await talk.session.hear(b"")
        await talk.until_done()
        assert {len(block) for block in talk.client.of(bytes)} == {2048}
        assert talk.client.outcomes == ["spoken"]


async def test_a_short_sound_makes_no_turn() -> None:
    async with conversation() as talk:
        await talk.say(ms=64)
        await talk.until(lambda client: client.of(events.SpeechDiscarded), "discarded")
        await talk.expect_silence()
        assert talk.client.done == 0
        await talk.take_turn()
        assert talk.client.outcomes == ["spoken"]


async def test_sessions_never_see_each_others_chat_and_a_chat_is_bounded(script: Script) -> None:
    script.stt = say_the_level
    script.llm = fakes.echo

    async def talk_for_a_while(talk: Talk, level: int) -> None:
        for _ in range(4):
            await talk.take_turn(level)

    async with conversations(3, "--chat_size=2") as talks:
        async with anyio.create_task_group() as tasks:
            for talk, level in zip(talks, (1000, 2000, 3000), strict=True):
                tasks.start_soon(talk_for_a_while, talk, level)
        for talk, level in zip(talks, (1000, 2000, 3000), strict=True):
            assert talk.client.outcomes == ["spoken"] * 4
            heard = {event.text for event in talk.client.of(events.SpeechTranscribed)}
            replies = " ".join(event.text for event in talk.client.of(events.ReplyText))
            assert heard == {f"level {level}"}
            assert not [other for other in (1000, 2000, 3000) if other != level and f"level {other}" in replies]
    assert {len(request.messages) for request in script.asked["llm"]} == {2, 4, 6}
    assert {request.messages[0].role for request in script.asked["llm"]} == {"system"}


async def test_a_new_session_begins_with_an_empty_chat(script: Script) -> None:
    async with conversations(2) as [first, second]:
        await first.take_turn()
        await first.take_turn()
        first.session.end()
        await second.take_turn()
        assert [message.role for message in script.asked["llm"][-1].messages] == ["system", "user"]


async def test_a_long_utterance_is_split_into_parts_of_one_turn(script: Script) -> None:
    def count(job: Job[Any, Any]) -> None:
        job.emit(Transcript(f"part {len(script.asked['stt'])}", "en"))

    script.stt = count
    async with conversation("--max_speech_ms=1000", "--speech_pad_ms=0", "--speculation=off") as talk:
        await talk.say(ms=2560)
        await talk.until_done()
        heard = [(event.text, event.final) for event in talk.client.of(events.SpeechTranscribed)]
        assert heard == [("part 1", False), ("part 2", False), ("part 1 part 2 part 3", True)]
        assert sum(len(request.pcm) for request in script.asked["stt"]) == pcm_bytes(2560 + 256)
        assert talk.client.done == 1
        assert [message.content for message in script.asked["llm"][0].messages][1:] == ["part 1 part 2 part 3"]


async def test_a_part_that_fails_costs_its_words_only(script: Script) -> None:
    def fail_second(job: Job[Any, Any]) -> None:
        if len(script.asked["stt"]) == 2:
            raise fakes.FakeError
        job.emit(Transcript(f"part {len(script.asked['stt'])}", "en"))

    script.stt = fail_second
    async with conversation("--max_speech_ms=1000") as talk:
        await talk.say(ms=2400)
        await talk.until_done()
        assert [(error.stage, error.code) for error in talk.client.of(events.Error)] == [("stt", "stage_failed")]
        assert talk.client.of(events.SpeechTranscribed)[-1].text == "part 1 part 3"
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.done == 1


async def test_a_slow_transcriber_holds_the_vad_back_and_loses_nothing(script: Script) -> None:
    gate = script.gate()

    def wait(job: Job[Any, Any]) -> None:
        fakes.hanging(gate)(job)
        job.emit(Transcript("x", "en"))

    script.stt = wait
    async with (
        conversation("--max_speech_ms=1000", "--speech_pad_ms=0", "--speculation=off") as talk,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(talk.say, 19_200)
        await talk.until(lambda client: script.asked["stt"], "the first part")
        stream = talk.session._stream
        await eventually(lambda: stream._paused, "the VAD waits")
        assert len(stream._buffer) < 8 * 32_000
        gate.set()
        await talk.until_done()
        assert sum(len(request.pcm) for request in script.asked["stt"]) == pcm_bytes(19_200 + 256)
        assert talk.client.outcomes == ["spoken"]


async def test_a_failing_vad_is_told_and_the_session_goes_on(script: Script) -> None:
    async with conversation() as talk:
        script.vad = fakes.raising
        await talk.session.hear(fakes.square(32))
        await talk.until(lambda client: client.of(events.Error), "the error")
        [error] = talk.client.of(events.Error)
        assert (error.code, error.stage, error.turn_id) == ("stage_failed", "vad", None)
        assert talk.client.done == 0
        script.vad = fakes.judge_by_loudness
        await talk.take_turn()
        assert talk.client.outcomes == ["spoken"]


async def test_the_end_of_a_session_cancels_its_jobs_and_frees_its_place(script: Script) -> None:
    seen = script.gate()

    def until_cancelled(job: Job[Any, Any]) -> None:
        end = time.monotonic() + LIMIT_S
        while not job.cancelled and time.monotonic() < end:
            time.sleep(0.002)
        seen.set()

    script.llm = until_cancelled
    async with conversations(2) as [talk, other]:
        await talk.say()
        await eventually(lambda: script.asked["llm"], "the model works")
        await other.say()
        await eventually(lambda: talk.models.workers["llm"].waiting == 1, "the other waits")
        await other.until(lambda client: client.of(events.SpeechStopped), "it is a turn")
        other.session.end()
        await eventually(other.over.is_set, "the other has ended")
        assert talk.models.workers["llm"].waiting == 0
        talk.session.end()
        await eventually(talk.over.is_set, "the session has ended")
        await eventually(seen.is_set, "the model sees the cancel", 2.0)
        assert talk.models.pipeline.vad._sessions == 0
        assert talk.client.done == other.client.done == 0
        assert talk.metrics.turns.labels("cancelled")._value.get() == 2
        gc.collect()  # a stream left open warns


async def test_an_ended_session_leaves_memory_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with conversations(2) as [talk, other]:
            await talk.take_turn()
            await talk.say(silence_ms=0)
            session = weakref.ref(talk.session)
            talk.session.end()
            await eventually(talk.over.is_set, "the session has ended")
            talk.session = other.session
            await eventually(lambda: session() is None, "the session is gone from memory")
    finally:
        gc.enable()


async def test_so_does_one_in_full_duplex_whose_last_reply_was_interrupted(script: Script) -> None:
    script.tts = fakes.speak(3000)  # a reply of 0.2 s may be over before it is spoken over
    # Both sound alike here, so the speech would be taken for an echo of the reply.
    flags = ("--barge_in_pause_ms=96", "--barge_in_ms=96", "--barge_in_max_ms=96", "--echo_guard=0")
    gc.collect()
    gc.disable()
    try:
        async with conversations(2, *flags, paced=True, full_duplex=True) as [talk, other]:
            await talk.say()
            await talk.until(lambda client: client.of(bytes), "a reply sounds")
            await talk.say(silence_ms=0)
            await talk.until_done()
            assert talk.client.outcomes == ["interrupted"]
            session = weakref.ref(talk.session)
            talk.session.end()
            await eventually(talk.over.is_set, "the session has ended")
            talk.session = other.session
            await eventually(lambda: session() is None, "the session is gone from memory")
    finally:
        gc.enable()


async def test_no_words_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with conversation() as talk:
            await talk.take_turn()
    assert "outcome=spoken" in caplog.text
    assert not any(words in caplog.text for words in ("one two", "Hello", "How are"))


async def test_the_chat_keeps_only_what_was_spoken(script: Script) -> None:
    async with conversation() as talk:
        script.llm = fakes.answer("One sentence. ", "Another one.")
        script.tts = fakes.raising
        await talk.take_turn()
        script.tts = None
        await talk.take_turn()
        request = script.asked["llm"][-1]
        assert [message.role for message in request.messages] == ["system", "user"]


async def test_a_client_that_is_gone_ends_the_session_quietly(script: Script) -> None:
    async with conversation() as talk:
        gate = script.gate()
        script.llm = fakes.hanging(gate)
        await talk.say()
        await eventually(lambda: script.asked["llm"], "the model works")
        talk.client.gone = True
        gate.set()
        await eventually(talk.over.is_set, "the session has ended")
        assert talk.session.error is None
        assert talk.models.pipeline.vad._sessions == 0


@pytest.mark.parametrize(
    ("flag", "kind"), [("--idle_timeout_s=5", SessionIdle), ("--session_timeout_s=5", SessionTooLong)]
)
async def test_a_session_over_a_limit_is_ended(flag: str, kind: type[SpeechToSpeechError]) -> None:
    async with conversation(flag) as talk:
        talk.session.check(time.monotonic() + 4.5)
        assert not talk.over.is_set()
        talk.session.check(time.monotonic() + 5.5)
        await eventually(talk.over.is_set, "the session has ended")
        assert type(talk.session.error) is kind


async def test_a_client_that_takes_nothing_is_ended() -> None:
    async with conversation("--send_timeout_s=5") as talk:
        talk.client.sending_since = time.monotonic() - 4
        talk.session.check(time.monotonic())
        assert not talk.over.is_set()
        talk.client.sending_since = time.monotonic() - 6
        talk.session.check(time.monotonic())
        await eventually(talk.over.is_set, "the session has ended")
        assert isinstance(talk.session.error, ClientTooSlow)


async def test_a_client_is_not_idle_while_it_listens(script: Script) -> None:
    gate = script.gate()

    def wait_and_answer(job: Job[Any, Any]) -> None:
        fakes.hanging(gate)(job)
        job.emit("Good.")

    script.llm = wait_and_answer
    async with conversation("--idle_timeout_s=0.5") as talk:
        await talk.say()
        said = time.monotonic()
        await eventually(lambda: time.monotonic() > said + 0.6, "a long time")
        talk.session.check(time.monotonic())
        gate.set()
        await talk.until_done()
        talk.session.check(time.monotonic())  # it may well answer now
        assert not talk.session._scope.cancel_called

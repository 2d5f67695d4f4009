"""Taking turns where something comes late, fails or never comes, in virtual time."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import virtual
from test_floor import COUGH, FIRST, SECOND, SOFT_END, YEAH, hear, play_long
from virtual import Loop, Talk, clock, conversation, in_virtual_time
from working import KINDS, Gate, model_of, running, working

from speech_to_speech.config.settings import load_settings
from speech_to_speech.conversation import events
from speech_to_speech.conversation.client import Playback
from speech_to_speech.conversation.playout import Playout
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import ServiceStopping, SessionIdle, SettingsError, SpeechToSpeechError
from speech_to_speech.frames import pcm_bytes, pcm_ms
from speech_to_speech.workers.worker import Claim, Evicted

CHECK_S = 0.25  # between two looks at a session's limits
VERY_LONG = " ".join(["word"] * 50) + "."  # 5 s
BLOCK_MS = 32.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def look_after(talk: Talk) -> None:
    """As the service does with all sessions."""
    while not talk.over.is_set():
        await anyio.sleep(CHECK_S)
        talk.session.check(clock().now)


# Words that come late, or never.


@in_virtual_time
async def test_a_turn_cut_before_its_transcript_begins_the_utterance_that_cut_it() -> None:
    async with conversation() as talk:
        hear(talk, 3000)
        await talk.say(level=FIRST)
        await talk.pause(320)
        await talk.say(1024, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.outcomes == ["interrupted", "spoken"]
        assert talk.client.transcripts == ["first second"]
        assert virtual.levels_of(talk.service.script.asked["stt"][-1].request.pcm) == [FIRST, SECOND]
        assert talk.service.script.questions == [["first second"]]


@in_virtual_time
async def test_three_utterances_none_of_which_was_transcribed_are_one() -> None:
    async with conversation() as talk:
        hear(talk, 3000)
        for level in (FIRST, SECOND, YEAH):
            await talk.say(1024, level)
            await talk.pause(320)
        await talk.until_done(3)
        assert talk.client.outcomes == ["interrupted", "interrupted", "spoken"]
        assert talk.service.script.questions == [["first second yeah"]]


@pytest.mark.parametrize("level", [SECOND, YEAH, COUGH], ids=["words", "yeah", "no words"])
@in_virtual_time
async def test_a_reply_goes_on_after_2_s_without_words_and_is_decided_on_when_they_come(level: int) -> None:
    async with conversation() as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(look_after, talk)
        hear(talk)
        talk.service.script.llm = virtual.answer(VERY_LONG)
        await talk.say(level=FIRST)
        await talk.pause(256)
        await talk.until_heard(500)
        hear(talk, 3000)
        begun = talk.ms
        await talk.say(320, level)
        await talk.pause(320)
        await talk.until(lambda client: client.of(events.ReplyResumed))
        assert 2000 < talk.ms - talk.client.at(events.ReplyPaused)[0] <= 2000 + CHECK_S * 1000
        played_ms = talk.client.of(events.ReplyPaused)[0].played_ms
        await talk.until_done()
        if level == SECOND:
            assert talk.client.at(events.ReplyInterrupted) == [begun + 320 + 96 + 3000]
            assert talk.client.of(events.ReplyInterrupted)[0].played_ms > played_ms + 500
            await talk.until_done(2)
            assert talk.client.outcomes == ["interrupted", "spoken"]
        else:
            assert talk.client.at(events.SpeechDiscarded) == [begun + 320 + 96 + 3000]
            assert talk.client.outcomes == ["spoken"]
        talk.session.end()


@in_virtual_time
async def test_the_words_so_far_are_asked_for_in_vain_when_the_utterance_ends_first() -> None:
    async with conversation() as talk:
        await play_long(talk)
        hear(talk, 2000)
        await talk.say(640, SECOND)
        [_, so_far] = talk.service.script.asked["stt"]
        assert virtual.levels_of(so_far.request.pcm) == [SECOND]
        assert talk.service.script.asked_at("stt")[-1] == talk.ms - 640 + 512
        assert so_far.job.claim.speculative  # type: ignore[attr-defined]
        await talk.pause(224)
        assert not so_far.job.cancelled
        await talk.pause(64)
        assert so_far.job.cancelled
        assert talk.client.of(events.ReplyInterrupted) == []
        await talk.until_done(2)
        assert talk.client.outcomes == ["interrupted", "spoken"]
        assert talk.client.transcripts == ["first", "second"]


@pytest.mark.parametrize("failing", ["llm", "tts"])
@in_virtual_time
async def test_a_speculation_that_fails_after_its_words_does_not_shorten_the_wait(failing: str) -> None:
    async with conversation("--turn=virtual") as talk:
        script = talk.service.script
        script.turn = lambda job: job.emit(0.0)
        setattr(script, failing, virtual.after(50, virtual.failing_once(getattr(script, failing))))
        await talk.say()
        await talk.pause(1200)
        await talk.until_done()
        assert script.asked_at(failing)[0] == SOFT_END
        assert talk.client.at(events.SpeechStopped) == [640 + 1024]
        assert talk.client.outcomes == ["spoken"]


# The limits of a session.


@in_virtual_time
async def test_a_full_duplex_client_that_listens_is_not_idle() -> None:
    async with conversation("--idle_timeout_s=1") as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(look_after, talk)
        talk.service.script.llm = virtual.answer(VERY_LONG)
        await talk.say()
        await talk.pause(320)
        await talk.until_done()
        done = talk.ms
        await talk.over.wait()
        assert talk.client.outcomes == ["spoken"]
        assert isinstance(talk.session.error, SessionIdle)
        assert 1000 < talk.ms - done <= 1000 + CHECK_S * 1000


@in_virtual_time
async def test_a_pause_may_be_longer_than_the_time_between_reports() -> None:
    async with conversation("--report_timeout_s=2", paced=False) as talk:
        hear(talk)
        await talk.say(level=FIRST)
        await talk.pause(320)
        await talk.report("s0-1", 100)
        hear(talk, 5000)
        await talk.say(320, YEAH)
        await talk.pause(320)
        await talk.until(lambda client: client.of(events.ReplyResumed))
        assert talk.ms - talk.client.at(events.ReplyPaused)[0] > 5000
        await anyio.sleep(1.5)
        await talk.report("s0-1", 1e6)
        await talk.until_done()
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.of(events.Error) == []


@in_virtual_time
async def test_a_service_that_stops_waits_for_an_utterance_that_is_undecided() -> None:
    async with conversation() as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(look_after, talk)
        await play_long(talk)
        hear(talk, 5000)
        await talk.say(320, SECOND)
        await talk.pause(320)
        talk.session.end_after_turn(ServiceStopping("stops"))
        await talk.until_done()
        assert talk.client.transcripts == ["first"]
        await talk.over.wait()
        assert talk.client.outcomes == ["spoken", "spoken"]
        assert talk.client.transcripts == ["first", "second"]
        assert isinstance(talk.session.error, ServiceStopping)


@pytest.mark.parametrize("full_duplex", [False, True], ids=["half duplex", "full duplex"])
@pytest.mark.parametrize("silence_ms", [0, 128], ids=["mid-word", "after the soft end"])
@in_virtual_time
async def test_a_client_that_stops_sending_has_said_all(full_duplex: bool, silence_ms: float) -> None:
    async with conversation(full_duplex=full_duplex) as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(look_after, talk)
        await talk.say()
        await talk.pause(silence_ms)
        stopped = talk.ms
        await talk.until_done()
        assert 1500 < talk.client.at(events.SpeechStopped)[0] - stopped <= 1500 + CHECK_S * 1000
        assert talk.client.outcomes == ["spoken"]
        [heard] = talk.service.script.asked["stt"]
        assert pcm_ms(len(heard.request.pcm.rstrip(b"\0"))) == 640
        talk.session.end()


@in_virtual_time
async def test_what_it_sent_is_judged_first() -> None:
    async with conversation() as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(look_after, talk)
        talk.service.script.vad = virtual.after(200, virtual.judge_by_loudness)
        await talk.say()
        await talk.until_done()
        assert talk.client.at(events.SpeechStopped)[0] >= 20 * 200
        assert pcm_ms(len(talk.service.script.asked["stt"][-1].request.pcm)) == 640
        talk.session.end()


@in_virtual_time
async def test_who_says_nothing_makes_no_turn_by_stopping() -> None:
    async with conversation() as talk:
        await talk.pause(320)
        talk.session.check(clock().now + 2)
        await talk.say(96)
        await anyio.sleep(0.01)
        talk.session.check(clock().now + 2)
        await anyio.sleep(0.01)
        assert talk.client.told == ["SessionStarted", "SpeechStarted", "SpeechDiscarded"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--barge_in_pause_ms=600"], "barge_in_pause_ms, barge_in_ms, barge_in_max_ms"),
        (["--barge_in_ms=1001"], "barge_in_pause_ms, barge_in_ms, barge_in_max_ms"),
        (["--barge_in_max_ms=100"], "barge_in_pause_ms, barge_in_ms, barge_in_max_ms"),
        (["--endpoint_min_ms=1200"], "endpoint_min_ms, endpoint_max_ms"),
        (["--endpoint_max_ms=100"], "endpoint_min_ms, endpoint_max_ms"),
    ],
)
def test_settings_out_of_order_are_refused(flags: list[str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"^{named}: none may be above the next"):
        load_settings(flags, {})


def test_settings_that_are_equal_are_in_order() -> None:
    lengths = ("barge_in_pause_ms", "barge_in_ms", "barge_in_max_ms")
    settings = load_settings([f"--{name}=100" for name in lengths], {})
    assert [getattr(settings, name) for name in lengths] == [100] * 3


# What was told of the sound.


class Listener:
    """Who is told of the blocks of a reply, and at which ms each begins to sound."""

    def __init__(self) -> None:
        self.told: list[tuple[float, bytes, float]] = []
        self._clock: Loop = clock()

    def __call__(self, block: bytes, in_s: float) -> None:
        self.told.append((self._clock.ms, block, self._clock.ms + in_s * 1000))


class Nowhere:
    """A client that keeps nothing."""

    sending_since: float | None = None

    async def send_audio(self, turn_id: str, pcm: bytes) -> None:
        pass

    async def send_event(self, event: events.Event) -> None:
        pass

    async def close(self, error: SpeechToSpeechError | None) -> None:
        pass


def playing(listener: Listener, *, holds: bool = False) -> Playout:
    playback = Playback(block_bytes=pcm_bytes(BLOCK_MS), holds=holds)
    return Playout(Nowhere(), TurnRecord("s", "t"), playback, on_sent=listener)


async def numbered(blocks: int, stalls_s: dict[int, float] | None = None) -> AsyncIterator[bytes]:
    """Blocks that differ; before some of them it takes a while."""
    for number in range(blocks):
        await anyio.sleep((stalls_s or {}).get(number, 0.0))
        yield number.to_bytes(2, "little") * (pcm_bytes(BLOCK_MS) // 2)


@in_virtual_time
async def test_after_a_hold_the_blocks_that_may_not_have_sounded_are_told_again() -> None:
    listener = Listener()
    playout = playing(listener, holds=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(playout.play, numbered(40))
        await anyio.sleep(0.6)
        playout.pause()
        await anyio.sleep(1.5)
        held = listener.told.copy()
        playout.resume()
    assert held[-1][0] <= 600
    later = listener.told[len(held) :]
    again = later[: 1 + [block for _, block, _ in later].index(held[-1][1])]
    assert {ms for ms, _, _ in again} == {2100}
    assert [block for _, block, _ in again] == [block for _, block, _ in held[-len(again) :]]
    assert [at for _, _, at in again] == pytest.approx([at + 1500 for _, _, at in held[-len(again) :]])
    sounds_until_ms = [at + BLOCK_MS + Playback().buffer_ms + BLOCK_MS for _, _, at in held]
    unplayed = [block for (_, block, _), until_ms in zip(held, sounds_until_ms, strict=True) if until_ms > 600]
    assert {block for _, block, _ in again} >= set(unplayed)
    assert len(again) <= len(unplayed) + 3
    new = later[len(again) :]
    assert [block for _, block, _ in held + new] == [block async for block in numbered(40)]
    assert new[0][2] == pytest.approx(again[-1][2] + BLOCK_MS)


@in_virtual_time
async def test_a_client_that_does_not_hold_is_told_of_no_block_twice() -> None:
    listener = Listener()
    playout = playing(listener)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(playout.play, numbered(40))
        await anyio.sleep(0.6)
        playout.pause()
        await anyio.sleep(1.5)
        playout.resume()
    assert [block for _, block, _ in listener.told] == [block async for block in numbered(40)]


@in_virtual_time
async def test_after_a_stale_report_no_more_is_played_than_can_have_been() -> None:
    listener = Listener()
    playout = playing(listener)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(playout.play, numbered(30, {10: 5.0}))
        await anyio.sleep(0.4)
        playout.report(300)
        await anyio.sleep(1.0)
        assert playout.played_ms == 10 * BLOCK_MS
        await anyio.sleep(3.85)
        assert len(listener.told) > 12
        assert playout.played_ms == pytest.approx(10 * BLOCK_MS + clock().ms - listener.told[10][2])
        tasks.cancel_scope.cancel()


# Priorities.


@pytest.mark.anyio
@KINDS
async def test_when_the_confirmed_one_leaves_a_mixed_call_the_rest_gives_way(
    kind: str, gate: Gate, tmp_path: Path
) -> None:
    async with working(model_of(kind), evicts=True, batch_limit=2) as worker:
        claim = Claim(speculative=True)
        async with worker.open([gate.wait]):
            await running(worker)
            confirmed, rest = worker.open([("until_cancelled", str(tmp_path / "seen"))]), worker.open([], claim)
            gate.open()
            async with rest:
                async with confirmed:
                    assert await anext(confirmed) == "begun"
                    async with worker.open([("emit", "next")]) as following:
                        assert worker.waiting == 1
                        assert not claim.evicted
                        await confirmed.__aexit__(None, None, None)
                        assert claim.evicted
                        assert await anext(following) == "next"
                with pytest.raises(Evicted):
                    await anext(rest)

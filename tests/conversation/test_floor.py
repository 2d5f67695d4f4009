"""Taking turns, in virtual time: who has the floor, and when.

A window has 32 ms. What `talk.take_turn` says lasts until 640 ms; its soft end is at 736 ms, its endpoint at 896 ms.
"""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
import virtual
from virtual import DONE, Talk, conversation, in_virtual_time, service

from speech_to_speech.conversation import events
from speech_to_speech.frames import pcm_ms
from speech_to_speech.workers.model import Job

SOFT_END, ENDPOINT = 736.0, 896.0
LONG = "One two three four five six seven eight nine ten eleven twelve."  # 1200 ms
REST_MS = 100 + 32  # that the client is thought to have in its buffer
AT_ONCE = ("--max_utterance_s=2", "--min_silence_ms=1000")  # an utterance of 2 s ends without a silence

FIRST, SECOND, YEAH, COUGH = 1000, 2000, 3000, 4000
WORDS = {FIRST: "first", SECOND: "second", YEAH: "yeah", COUGH: ""}


def hear(talk: Talk, ms: float = 0.0) -> None:
    talk.service.script.stt = virtual.transcribe_levels(WORDS, ms)


async def play_long(talk: Talk, heard_ms: float = 500) -> None:
    """The first turn, whose reply is long, up to where so much of it was sent."""
    hear(talk)
    talk.service.script.llm = virtual.answer(LONG)
    await talk.say(level=FIRST)
    await talk.pause(256)
    await talk.until_heard(heard_ms)


def without_audio(talk: Talk) -> list[str]:
    return [name for name in talk.client.told if name != "bytes"]


def last_question(talk: Talk) -> list[str]:
    return talk.service.script.questions[-1]


# Speculation.


@in_virtual_time
async def test_the_transcript_is_asked_for_at_the_soft_end() -> None:
    async with conversation() as talk:
        await talk.take_turn()
        assert talk.service.script.asked_at("stt") == [SOFT_END]
        assert talk.client.at(events.SpeechStopped) == [ENDPOINT]
        assert talk.service.speculations("used") == 1


@in_virtual_time
async def test_a_reply_that_is_ready_before_the_endpoint_sounds_at_the_endpoint() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.transcribe("one", 50)
        talk.service.script.llm = virtual.answer("Good.", first_ms=50)
        talk.service.script.tts = virtual.speak(first_ms=50)
        await talk.take_turn()
        assert talk.client.at(bytes)[0] == ENDPOINT
        assert talk.service.script.asked_at("llm") == [SOFT_END + 50]
        assert talk.service.script.asked_at("tts") == [SOFT_END + 100]


@in_virtual_time
async def test_a_slower_one_sounds_as_soon_as_it_is_made() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.transcribe("one", 200)
        talk.service.script.llm = virtual.answer("Good.", first_ms=200)
        talk.service.script.tts = virtual.speak(first_ms=100)
        await talk.take_turn()
        assert talk.client.at(bytes)[0] == SOFT_END + 500


@in_virtual_time
async def test_nothing_of_a_speculation_is_told_before_the_endpoint() -> None:
    async with conversation() as talk:
        await talk.take_turn()
        told_before = [type(item).__name__ for ms, item in talk.client.log if ms < ENDPOINT]
        assert told_before == ["SessionStarted", "SpeechStarted"]
        assert without_audio(talk)[2:5] == ["SpeechStopped", "SpeechTranscribed", "ReplyText"]


@in_virtual_time
async def test_without_speculation_all_work_begins_at_the_endpoint() -> None:
    async with conversation("--speculation=off") as talk:
        talk.service.script.stt = virtual.transcribe("one", 50)
        await talk.take_turn()
        assert talk.service.script.asked_at("stt") == [ENDPOINT]
        assert talk.client.at(bytes)[0] == ENDPOINT + 50
        assert talk.service.speculations("started") == 0


@in_virtual_time
async def test_speculation_of_the_transcript_only() -> None:
    async with conversation("--speculation=stt") as talk:
        await talk.take_turn()
        assert talk.service.script.asked_at("stt") == [SOFT_END]
        assert talk.service.script.asked_at("llm") == [ENDPOINT]


@in_virtual_time
async def test_of_a_speculative_reply_only_the_first_piece_is_spoken() -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.answer("Here is one. ", "There is two. ", "That was three.")
        await talk.take_turn()
        assert talk.service.script.asked_at("tts") == [SOFT_END, ENDPOINT, ENDPOINT]


@in_virtual_time
async def test_speech_that_goes_on_cancels_the_speculation_and_is_transcribed_whole() -> None:
    async with conversation() as talk:
        hear(talk)
        talk.service.script.llm = virtual.answer("Well, ", "what can I say?", first_ms=100, delta_ms=100)
        await talk.say(level=FIRST)
        await talk.pause(160)
        await talk.take_turn(SECOND)
        assert talk.client.transcripts == ["first second"]
        assert [virtual.levels_of(asked.request.pcm) for asked in talk.service.script.asked["stt"]] == [
            [FIRST],
            [FIRST, SECOND],
        ]
        assert talk.service.script.questions == [["first"], ["first second"]]
        assert talk.service.script.asked["llm"][0].job.cancelled
        assert talk.client.done == 1
        assert [talk.service.speculations(result) for result in ("started", "used", "wasted")] == [2, 1, 1]


@in_virtual_time
async def test_a_pause_below_the_soft_end_changes_nothing() -> None:
    async with conversation() as talk:
        hear(talk)
        await talk.say(level=FIRST)
        await talk.pause(64)
        await talk.take_turn(SECOND)
        assert len(talk.service.script.asked["stt"]) == 1
        assert talk.client.transcripts == ["first second"]


@in_virtual_time
async def test_a_failed_speculation_is_begun_anew_at_the_endpoint_and_nobody_is_told() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.failing_once(virtual.transcribe("one"))
        await talk.take_turn()
        assert talk.service.script.asked_at("stt") == [SOFT_END, ENDPOINT]
        assert talk.client.of(events.Error) == []
        assert talk.client.outcomes == ["spoken"]
        assert [talk.service.speculations(result) for result in ("used", "wasted")] == [0, 1]


@in_virtual_time
async def test_begun_anew_it_keeps_the_transcript() -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.failing_once(virtual.answer("Good."))
        await talk.take_turn()
        assert talk.service.script.asked_at("stt") == [SOFT_END]
        assert talk.service.script.asked_at("llm") == [SOFT_END, ENDPOINT]
        assert talk.client.transcripts == ["one two"]
        assert talk.client.outcomes == ["spoken"]


@in_virtual_time
async def test_what_fails_again_at_the_endpoint_is_told_once() -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.raising
        await talk.take_turn()
        assert [error.stage for error in talk.client.of(events.Error)] == ["llm"]
        assert talk.client.outcomes == ["failed"]
        assert talk.client.done == 1


@in_virtual_time
async def test_a_failed_speculation_of_speech_that_goes_on_costs_nothing() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.failing_once(virtual.transcribe_levels(WORDS))
        await talk.say(level=FIRST)
        await talk.pause(160)
        await talk.take_turn(SECOND)
        assert talk.client.transcripts == ["first second"]
        assert talk.client.of(events.Error) == []


@pytest.mark.parametrize(("complete", "silence_ms"), [(1.0, 224), (0.5, 608), (0.0, 1024)])
@in_virtual_time
async def test_the_turn_detector_sets_the_endpoint_wait(complete: float, silence_ms: float) -> None:
    async with conversation("--turn=virtual") as talk:
        talk.service.script.turn = lambda job: job.emit(complete)
        await talk.say()
        await talk.pause(1200)
        await talk.until_done()
        assert talk.client.at(events.SpeechStopped) == [640 + silence_ms]


# Under load.


async def say_from(talk: Talk, ms: float, level: int, speech_ms: float = 640) -> None:
    await anyio.sleep(ms / 1000)
    await talk.say(speech_ms, level)
    await talk.pause(1200)


@in_virtual_time
async def test_speculation_is_shed_while_a_model_of_single_requests_works() -> None:
    async with service("--speculation=full") as here, anyio.create_task_group() as talking:
        here.script.stt = virtual.transcribe_levels(WORDS, 1000)
        runs, sheds, shed = here.call(), here.call(), here.call()
        for talk, ms, level in ((runs, 0, FIRST), (sheds, 32, SECOND), (shed, 64, YEAH)):
            talking.start_soon(say_from, talk, ms, level)
        await shed.until_done()
        assert [here.speculations(result) for result in ("started", "shed")] == [1, 2]
        turns = [talk.client.of(events.TurnEnded)[0] for talk in (runs, sheds, shed)]
        assert [turn.record.speculative for turn in turns] == [True, False, False]
        assert shed.client.transcripts == ["yeah"]


@in_virtual_time
async def test_the_confirmed_come_before_the_speculative() -> None:
    async with service(*AT_ONCE) as here, anyio.create_task_group() as talking:
        here.script.stt = virtual.transcribe_levels(WORDS, 600)
        first, speculative, confirmed = here.call(), here.call(), here.call()
        talking.start_soon(say_from, first, 1000, FIRST)
        talking.start_soon(say_from, speculative, 1064, SECOND)
        talking.start_soon(say_from, confirmed, 0, YEAH, 2016)
        for talk in here.talks:
            await talk.until_done()
        heard = [virtual.levels_of(asked.request.pcm) for asked in here.script.asked["stt"]]
        assert heard[:3] == [[FIRST], [YEAH], [SECOND]]


@in_virtual_time
async def test_a_speculative_answer_gives_way_and_is_given_in_full_later() -> None:
    async with service(*AT_ONCE) as here, anyio.create_task_group() as talking:
        here.script.stt = virtual.transcribe_levels(WORDS)
        here.script.llm = virtual.answer("Good, ", "good, ", "very ", "good.", first_ms=400, delta_ms=400)
        speculative, confirmed = here.call(), here.call()
        talking.start_soon(say_from, speculative, 800, FIRST)
        talking.start_soon(say_from, confirmed, 0, SECOND, 2016)
        for talk in here.talks:
            await talk.until_done()
        assert here.script.asked_at("stt") == [800 + SOFT_END, 2016]
        assert here.script.questions == [["first"], ["second"], ["first"]]
        assert here.script.asked["llm"][0].job.cancelled
        assert speculative.client.at(events.SpeechStopped) == [800 + 640 + 1024]
        for talk in here.talks:
            assert talk.client.outcomes == ["spoken"]
            assert talk.client.of(events.Error) == []
            assert " ".join(text.text for text in talk.client.of(events.ReplyText)) == "Good, good, very good."


# Barge-in.


@in_virtual_time
async def test_speech_over_a_reply_pauses_it() -> None:
    async with conversation() as talk:
        await play_long(talk)
        begun = talk.ms
        await talk.say(128, SECOND)
        assert talk.client.at(events.ReplyPaused) == [begun + 96]
        await talk.pause(64)
        assert talk.client.at(bytes)[-1] <= begun + 96


@pytest.mark.parametrize("level", [YEAH, COUGH], ids=["yeah", "no words"])
@in_virtual_time
async def test_what_asks_for_nothing_lets_the_reply_go_on(level: int) -> None:
    async with conversation() as talk:
        await play_long(talk)
        begun = talk.ms
        await talk.say(320, level)
        await talk.pause(320)
        assert talk.client.at(events.ReplyResumed) == [begun + 320 + 96]
        assert talk.client.at(events.SpeechDiscarded) == [begun + 320 + 256]
        await talk.until_done()
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.audio_ms >= 1200
        assert talk.client.at(DONE)[0] == pytest.approx(ENDPOINT + 1216 + REST_MS + 320, abs=1)
        assert talk.service.count("backchannels") == 1
        assert talk.service.script.questions == [["first"]]


@in_virtual_time
async def test_too_short_a_sound_does_not_even_pause_it() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.say(64, SECOND)
        await talk.pause(320)
        await talk.until_done()
        assert talk.client.at(events.ReplyPaused) == []
        assert len(talk.client.of(events.SpeechDiscarded)) == 1
        assert len(talk.service.script.asked["stt"]) == 1


@in_virtual_time
async def test_a_short_sound_that_paused_it_lets_it_go_on() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.say(128, COUGH)
        await talk.pause(320)
        await talk.until_done()
        assert without_audio(talk)[6:] == [
            "ReplyPaused",
            "ReplyResumed",
            "SpeechDiscarded",
            "TurnEnded",
            DONE,
        ]


@in_virtual_time
async def test_words_interrupt_at_the_soft_end() -> None:
    async with conversation() as talk:
        await play_long(talk)
        begun = talk.ms
        await talk.say(320, SECOND)
        await talk.pause(320)
        assert talk.client.at(events.ReplyInterrupted) == [begun + 320 + 96]
        assert talk.client.at(DONE) == [begun + 320 + 96]
        assert talk.client.at(events.SpeechStopped)[1] == begun + 320 + 256
        assert talk.client.at(bytes)[-1] >= begun + 320 + 256
        await talk.until_done(2)
        assert talk.client.outcomes == ["interrupted", "spoken"]
        assert talk.service.count("interruptions") == 1


@in_virtual_time
async def test_words_interrupt_as_soon_as_they_are_there() -> None:
    async with conversation() as talk:
        await play_long(talk)
        hear(talk, 300)
        begun = talk.ms
        await talk.say(320, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.at(events.ReplyInterrupted) == [begun + 320 + 96 + 300]
        assert talk.client.at(events.SpeechStopped)[1] == begun + 320 + 96 + 300
        assert talk.client.outcomes == ["interrupted", "spoken"]


@in_virtual_time
async def test_length_interrupts_in_mid_speech() -> None:
    async with conversation("--barge_in_ms=500") as talk:
        await play_long(talk)
        begun = talk.ms
        await talk.say(800, SECOND)
        assert talk.client.at(events.ReplyInterrupted) == [begun + 512]
        assert talk.client.at(DONE) == [begun + 512]
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.transcripts == ["first", "second"]


@in_virtual_time
async def test_a_turn_that_does_not_sound_yet_is_interrupted_too() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.until_done()
        talk.service.script.llm = virtual.answer(LONG, first_ms=3000)
        await talk.say(level=FIRST)
        await talk.pause(320)
        await talk.say(320, SECOND)
        await talk.pause(320)
        await talk.until_done(3)
        assert talk.client.outcomes == ["spoken", "interrupted", "spoken"]
        assert talk.client.of(events.ReplyInterrupted)[0].played_ms == 0


@in_virtual_time
async def test_no_sound_of_an_interrupted_reply_comes_later() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.say(800, SECOND)
        await anyio.sleep(1)
        assert talk.client.told[-3:] == ["ReplyInterrupted", "TurnEnded", DONE]


@in_virtual_time
async def test_an_interruption_tells_how_much_was_played() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.say(320, SECOND)
        await talk.pause(160)
        [paused_at] = talk.client.at(events.ReplyPaused)
        [paused] = talk.client.of(events.ReplyPaused)
        [interrupted] = talk.client.of(events.ReplyInterrupted)
        assert paused.played_ms == pytest.approx(paused_at - ENDPOINT - REST_MS)
        assert interrupted.played_ms == pytest.approx(paused.played_ms)


@in_virtual_time
async def test_a_failing_vad_does_not_leave_the_reply_paused() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.say(128, SECOND)
        await anyio.sleep(0.001)
        talk.service.script.vad = virtual.failing_once(virtual.judge_by_loudness)
        await talk.say(32, SECOND)
        await talk.until_done()
        assert without_audio(talk)[6:] == [
            "ReplyPaused",
            "ReplyResumed",
            "Error",
            "TurnEnded",
            DONE,
        ]


@in_virtual_time
async def test_words_that_can_not_be_had_interrupt_nothing() -> None:
    async with conversation() as talk:
        await play_long(talk)
        talk.service.script.stt = virtual.raising
        await talk.say(320, SECOND)
        await talk.pause(320)
        await talk.until_done()
        assert [error.stage for error in talk.client.of(events.Error)] == ["stt"]
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.told.count("SpeechDiscarded") == 1


# Who says "yes", and to what.


@in_virtual_time
async def test_an_assent_after_the_reply_is_a_turn() -> None:
    async with conversation() as talk:
        await play_long(talk)
        await talk.until_done()
        await talk.say(320, YEAH)
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.outcomes == ["spoken", "spoken"]
        assert last_question(talk) == ["first", LONG, "yeah"]


@in_virtual_time
async def test_an_assent_whose_endpoint_comes_after_the_reply_is_a_turn() -> None:
    async with conversation() as talk:
        await play_long(talk, 1200)
        await talk.say(320, YEAH)
        await talk.pause(1200)
        await talk.until_done(2)
        assert talk.client.transcripts == ["first", "yeah"]


@in_virtual_time
async def test_a_turn_without_words_is_empty() -> None:
    async with conversation() as talk:
        hear(talk)
        await talk.take_turn(COUGH)
        assert talk.client.outcomes == ["empty"]
        assert talk.client.done == 1
        assert talk.service.script.questions == []


# What was heard.


@in_virtual_time
async def test_the_chat_keeps_the_words_that_were_heard() -> None:
    async with conversation() as talk:
        await play_long(talk, 500)
        await talk.say(800, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        [interrupted] = talk.client.of(events.ReplyInterrupted)
        assert 400 <= interrupted.played_ms < 500
        assert last_question(talk) == ["first", "One two three four", "second"]


@in_virtual_time
async def test_without_times_of_words_the_share_of_the_audio_tells_what_was_heard() -> None:
    async with conversation() as talk:
        talk.service.script.tts = virtual.speak(timed=False)
        await play_long(talk, 500)
        await talk.say(800, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        assert last_question(talk) == ["first", "One two three four five", "second"]


@in_virtual_time
async def test_a_report_of_the_client_counts_more_than_the_clock() -> None:
    async with conversation() as talk:
        await play_long(talk, 500)
        await talk.report("s0-1", 210)
        await talk.say(800, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        [interrupted] = talk.client.of(events.ReplyInterrupted)
        assert interrupted.played_ms == pytest.approx(210 + 96)  # until it was paused
        assert last_question(talk) == ["first", "One two three", "second"]


@pytest.mark.parametrize(("played_ms", "heard"), [(210, "One two"), (640, "One two three four five six")])
@in_virtual_time
async def test_a_late_report_corrects_the_chat(played_ms: float, heard: str) -> None:
    async with conversation() as talk:
        await play_long(talk, 500)
        await talk.say(544, SECOND)
        assert talk.client.outcomes == ["interrupted"]
        await talk.report("s0-1", played_ms)
        await talk.pause(320)
        await talk.until_done(2)
        assert last_question(talk) == ["first", heard, "second"]


@in_virtual_time
async def test_a_report_of_another_turn_changes_nothing() -> None:
    async with conversation() as talk:
        await play_long(talk, 500)
        await talk.report("s0-9", 100)
        await talk.report("nonsense", 100)
        await talk.until_done()
        await talk.report("s0-1", 100)
        await talk.take_turn(SECOND)
        assert last_question(talk) == ["first", LONG, "second"]


@in_virtual_time
async def test_an_answer_nobody_heard_joins_its_question_to_the_next() -> None:
    async with conversation() as talk:
        await play_long(talk, 50)
        await talk.say(320, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.of(events.ReplyInterrupted)[0].played_ms < 100
        assert last_question(talk) == ["first second"]


# Other clients.


@in_virtual_time
async def test_a_client_that_is_sent_all_at_once_has_to_report() -> None:
    async with conversation("--report_timeout_s=2", paced=False) as talk:
        await talk.take_turn()
        assert [error.code for error in talk.client.of(events.Error)] == ["playback_unknown"]
        assert talk.client.outcomes == ["failed"]
        assert talk.client.at(DONE) == [ENDPOINT + 2000]


@in_virtual_time
async def test_a_client_that_reports_ends_its_turn_with_the_last_report() -> None:
    async with conversation("--report_timeout_s=2", paced=False) as talk:
        await talk.say()
        await talk.pause(320)
        for played_ms in (0, 300, 700):
            await anyio.sleep(1.5)
            assert talk.client.done == 0
            await talk.report("s0-1", played_ms)
        await talk.until_done()
        assert talk.client.outcomes == ["spoken"]


@in_virtual_time
async def test_half_duplex_drops_what_is_said_during_a_turn() -> None:
    async with conversation(full_duplex=False) as talk:
        await play_long(talk)
        await talk.say(640, SECOND)
        await talk.until_done()
        await talk.take_turn(YEAH)
        assert talk.client.transcripts == ["first", "yeah"]
        assert talk.client.of(events.ReplyPaused) == []
        assert pcm_ms(int(talk.service.count("dropped_bytes"))) == 640 + 64


@pytest.mark.parametrize("full_duplex", [False, True], ids=["half duplex", "full duplex"])
@in_virtual_time
async def test_done_comes_when_all_can_have_been_played(full_duplex: bool) -> None:
    async with conversation(full_duplex=full_duplex) as talk:
        await play_long(talk)
        await talk.until_done()
        assert talk.client.at(DONE) == [pytest.approx(ENDPOINT + 1216 + REST_MS, abs=1)]


def end(talk: Talk) -> None:
    talk.session.end()


def leave(talk: Talk) -> None:
    talk.client.gone = True


@pytest.mark.parametrize("go", [end, leave])
@in_virtual_time
async def test_a_reply_ends_with_its_session(go: Callable[[Talk], None]) -> None:
    async with conversation() as talk:
        await play_long(talk)
        go(talk)
        with anyio.fail_after(1):
            await talk.over.wait()
        assert talk.client.done == 0
        assert talk.service.metrics.turns.labels("cancelled")._value.get() == 1


@in_virtual_time
async def test_a_model_that_works_for_nobody_learns_of_it() -> None:
    seen: list[float] = []

    def until_cancelled(job: Job[Any, Any]) -> None:
        while not job.cancelled:
            virtual.takes(10)
        seen.append(virtual._turnstiles.mine._clock.ms)

    async with conversation() as talk:
        talk.service.script.llm = until_cancelled
        await talk.say()
        await talk.pause(128)
        await talk.say(32)
        await anyio.sleep(0.01)
        assert seen == [pytest.approx(640 + 128 + 32, abs=10)]

"""What a client asks of a session without speech, or instead of turn detection; in virtual time."""

import dataclasses
from typing import Any

import anyio
import pytest
import virtual
from test_floor import ENDPOINT
from virtual import DONE, Talk, conversation, in_virtual_time

from speech_to_speech.conversation import events
from speech_to_speech.conversation.chat import SILENCE, reply_id
from speech_to_speech.conversation.options import TurnDetection
from speech_to_speech.errors import ItemUnknown, ReplyActive
from speech_to_speech.frames import AudioChunk, Sampling, ToolCall, pcm_bytes
from speech_to_speech.workers.model import Job

END = ["TurnEnded", DONE]
LONG = virtual.answer("A very long story follows now, and it goes on and on and on for ever. ", "The end.")


def configure(talk: Talk, **changes: Any) -> None:
    talk.session.configure(dataclasses.replace(talk.session.options, **changes))


def told_once(talk: Talk) -> list[str]:
    return list(dict.fromkeys(talk.client.told))


def items(talk: Talk) -> list[tuple[str, str]]:
    return [(item.role, item.text) for item in talk.session.chat]


# Typed text.


@pytest.mark.parametrize("full_duplex", [True, False])
@in_virtual_time
async def test_typed_text_is_a_turn(full_duplex: bool) -> None:
    async with conversation(full_duplex=full_duplex) as talk:
        turn_id = await talk.session.respond("What time is it?")
        await talk.until_done()
        assert told_once(talk) == ["SessionStarted", "TurnRequested", "ReplyText", "bytes", *END]
        assert set(talk.client.audio_of) == {turn_id}
        assert talk.service.script.questions == [["What time is it?"]]
        assert items(talk) == [("user", "What time is it?"), ("assistant", "Hello there, my friend. How are you?")]
        [ended] = talk.client.of(events.TurnEnded)
        assert (ended.record.outcome, ended.record.speech_ms) == ("spoken", 0.0)
        assert ended.record.since_speech_ms("first_audio_sent") == 0.0
        await talk.take_turn()
        assert talk.service.script.questions[1][-1] == "one two"


@in_virtual_time
async def test_a_second_reply_is_refused_and_the_first_goes_on() -> None:
    async with conversation() as talk:
        await talk.session.respond("one")
        with pytest.raises(ReplyActive):
            await talk.session.respond("two")
        await talk.until_done()
        assert talk.client.outcomes == ["spoken"]


@in_virtual_time
async def test_typed_text_may_take_the_place_of_a_reply() -> None:
    async with conversation() as talk:
        talk.service.script.llm = LONG
        await talk.session.respond("one")
        await talk.until_heard(700)
        talk.service.script.llm = virtual.answer("Yes.")
        await talk.session.respond("two", interrupt=True)
        await talk.until_done(2)
        assert talk.client.outcomes == ["interrupted", "spoken"]
        assert talk.service.script.questions[1][0] == "one"
        assert talk.service.script.questions[1][1].startswith("A very long")
        assert "for ever" not in talk.service.script.questions[1][1]


@in_virtual_time
async def test_what_is_being_said_in_half_duplex_is_discarded_for_typed_text() -> None:
    async with conversation(full_duplex=False) as talk:
        await talk.say(320)
        await talk.session.respond("never mind")
        await talk.until_done()
        assert talk.client.told.count("SpeechDiscarded") == 1
        assert talk.service.script.questions == [["never mind"]]
        assert talk.service.script.asked["stt"] == []


@in_virtual_time
async def test_half_duplex_does_not_listen_while_typed_text_is_answered() -> None:
    async with conversation(full_duplex=False) as talk:
        talk.service.script.llm = LONG
        await talk.session.respond("one")
        await talk.say(640)
        await talk.pause(320)
        await talk.until_done()
        assert talk.client.told.count("SpeechStarted") == 0
        await talk.take_turn()
        assert talk.client.done == 2


@in_virtual_time
async def test_without_words_the_model_answers_what_there_is() -> None:
    async with conversation() as talk:
        await talk.session.respond()
        await talk.until_done()
        assert talk.service.script.questions == [[SILENCE]]
        assert items(talk) == [("assistant", "Hello there, my friend. How are you?")]


# A greeting.


@pytest.mark.parametrize("full_duplex", [True, False])
@in_virtual_time
async def test_a_greeting_is_said_first_and_the_model_is_not_asked_for_it(full_duplex: bool) -> None:
    async with conversation("--greeting=Good morning. How can I help?", full_duplex=full_duplex) as talk:
        await talk.until_done()
        assert told_once(talk) == ["SessionStarted", "TurnRequested", "ReplyText", "bytes", *END]
        assert talk.service.script.asked["llm"] == []
        assert items(talk) == [("assistant", "Good morning. How can I help?")]
        await talk.take_turn()
        [asked] = talk.service.script.asked["llm"]
        assert [message.role for message in asked.request.messages] == ["system", "user"]
        assert "Good morning. How can I help?" in asked.request.messages[0].content


# Ending an utterance, and taking it back.


@in_virtual_time
async def test_a_committed_utterance_need_not_wait_for_silence_nor_be_long() -> None:
    async with conversation() as talk:
        await talk.say(96)
        assert await talk.session.commit()
        await talk.until_done()
        assert talk.client.at(events.SpeechStopped) == [96.0]
        assert talk.client.outcomes == ["spoken"]


@in_virtual_time
async def test_there_is_nothing_to_commit_clear_or_cancel_in_silence() -> None:
    async with conversation() as talk:
        await talk.pause(320)
        assert not await talk.session.commit()
        assert not talk.session.clear()
        assert not await talk.session.cancel()
        assert talk.client.told == ["SessionStarted"]


@in_virtual_time
async def test_what_is_cleared_was_never_said() -> None:
    async with conversation() as talk:
        await talk.say(640)
        assert talk.session.clear()
        await talk.pause(640)
        assert talk.client.told == ["SessionStarted", "SpeechStarted", "SpeechDiscarded"]
        await talk.take_turn()
        assert len(talk.service.script.asked["llm"]) == 1


@in_virtual_time
async def test_an_utterance_that_wants_no_answer_is_part_of_the_next_question() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.transcribe("I am Ann.", 50)
        await talk.say(640)
        assert await talk.session.commit(wants_answer=False)
        await talk.session.respond("Who am I?")
        await talk.until_done()
        assert talk.service.script.questions == [["I am Ann. Who am I?"]]
        assert talk.client.told.count("SpeechStopped") == 0
        assert talk.client.transcripts == ["I am Ann."]
        assert [role for role, _ in items(talk)] == ["user", "user", "assistant"]


@in_virtual_time
async def test_an_utterance_that_wants_no_answer_and_has_no_words_is_told_of() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.raising
        await talk.say(640)
        assert await talk.session.commit(wants_answer=False)
        await talk.until(lambda client: client.of(events.SpeechDiscarded))
        assert [event.stage for event in talk.client.of(events.Error)] == ["stt"]
        talk.service.script.stt = virtual.transcribe("hello")
        await talk.take_turn()
        assert talk.service.script.questions == [["hello"]]


# Push to talk.


@pytest.mark.parametrize("full_duplex", [True, False])
@in_virtual_time
async def test_without_turn_detection_nothing_but_a_commit_ends_an_utterance(full_duplex: bool) -> None:
    async with conversation(full_duplex=full_duplex) as talk:
        configure(talk, turn_detection=None)
        await talk.say(320)
        await talk.pause(2000)
        talk.session.check(virtual.clock().now + 60)
        await talk.say(320)
        assert talk.service.script.asked["stt"] == []
        assert await talk.session.commit()
        await talk.until_done()
        [asked] = talk.service.script.asked["stt"]
        assert len(asked.request.pcm) == pcm_bytes(320 + 62 * 32 + 320)
        assert talk.client.outcomes == ["spoken"]


@in_virtual_time
async def test_in_push_to_talk_the_vad_is_not_asked_and_a_last_bit_of_sound_counts() -> None:
    async with conversation() as talk:
        configure(talk, turn_detection=None)
        judged: list[object] = []
        talk.service.script.vad = judged.append
        await talk.session.hear(virtual.sound(500))
        assert await talk.session.commit()
        await talk.until_done()
        [asked] = talk.service.script.asked["stt"]
        assert judged == []
        assert asked.request.pcm.rstrip(b"\0") == virtual.sound(500).rstrip(b"\0")


@in_virtual_time
async def test_in_push_to_talk_speech_over_a_reply_does_not_stop_it_but_its_end_does() -> None:
    async with conversation() as talk:
        talk.service.script.llm = LONG
        configure(talk, turn_detection=None)
        await talk.session.respond("one")
        await talk.until_heard(300)
        await talk.say(960)
        assert talk.client.told.count("ReplyPaused") == talk.client.told.count("ReplyInterrupted") == 0
        assert await talk.session.commit()
        await talk.until_done(2)
        assert talk.client.outcomes == ["interrupted", "spoken"]


@in_virtual_time
async def test_turn_detection_goes_on_where_push_to_talk_has_left() -> None:
    async with conversation() as talk:
        configured = talk.session.options.turn_detection
        configure(talk, turn_detection=None)
        await talk.say(320)
        configure(talk, turn_detection=configured)
        await talk.say(320)
        await talk.pause(320)
        await talk.until_done()
        [asked] = talk.service.script.asked["stt"]
        assert asked.request.pcm.startswith(virtual.sound(640))


# Cancelling.


@in_virtual_time
async def test_a_cancelled_reply_is_heard_as_far_as_it_was() -> None:
    async with conversation() as talk:
        talk.service.script.llm = LONG
        await talk.session.respond("one")
        await talk.until_heard(700)
        assert await talk.session.cancel()
        blocks = len(talk.client.of(bytes))
        assert talk.client.told[-3:] == ["ReplyInterrupted", *END]
        await anyio.sleep(1)
        assert len(talk.client.of(bytes)) == blocks
        assert "A very long".startswith(items(talk)[1][1][:11])
        assert not await talk.session.cancel()


@in_virtual_time
async def test_words_of_a_turn_that_was_cancelled_before_they_were_heard_are_the_beginning_of_the_next() -> None:
    words = {1000: "first", 2000: "second"}
    async with conversation("--speculation=off") as talk:
        talk.service.script.stt = virtual.transcribe_levels(words, 500)
        await talk.say(640, level=1000)
        await talk.pause(320)
        await talk.until(lambda client: client.of(events.SpeechStopped))
        assert await talk.session.cancel()
        await talk.say(640, level=2000)
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.transcripts == ["first second"]
        assert talk.service.script.questions == [["first second"]]


# Truncating, and the chat.


@in_virtual_time
async def test_a_reply_that_is_over_is_cut_where_the_client_says() -> None:
    async with conversation() as talk:
        first = await talk.session.respond("one")
        await talk.until_done()
        await talk.session.respond("two")
        await talk.until_done(2)
        talk.session.truncate(reply_id(first), 200)
        assert items(talk)[1] == ("assistant", "Hello there,")
        assert items(talk)[3] == ("assistant", "Hello there, my friend. How are you?")
        with pytest.raises(ItemUnknown):
            talk.session.truncate(reply_id("nobody"), 200)


@in_virtual_time
async def test_a_client_that_plays_at_its_own_pace_is_taken_by_the_clock_until_it_says_more() -> None:
    async with conversation() as talk:
        talk.session.playback = dataclasses.replace(talk.session.playback, paced=False, reports="on a cut")
        turn = await talk.session.respond("one")
        await talk.until(lambda client: client.audio_ms >= 700)
        sent = talk.client.at(bytes)
        assert sent[-1] == sent[0]
        await anyio.sleep(0.45)
        assert await talk.session.cancel()
        [cut] = talk.client.of(events.ReplyInterrupted)
        assert cut.played_ms == pytest.approx(450 - 132, abs=1)
        talk.session.truncate(reply_id(turn), 440)
        assert items(talk)[1] == ("assistant", "Hello there, my friend.")


@in_virtual_time
async def test_the_end_of_an_unpaced_reply_waits_for_the_clock_of_who_reports_on_a_cut() -> None:
    async with conversation() as talk:
        talk.session.playback = dataclasses.replace(talk.session.playback, paced=False, reports="on a cut")
        await talk.session.respond("one")
        await talk.until_done()
        assert talk.client.at(DONE)[0] == pytest.approx(talk.client.audio_ms + 132, abs=1)


# Options.


@in_virtual_time
async def test_other_options_count_from_the_next_reply_on() -> None:
    async with conversation() as talk:
        await talk.session.respond("one")
        configure(talk, prompt="Be brief.", voice="ann", sampling=Sampling(0.5, 20), language="fr")
        await talk.until_done()
        await talk.session.respond("two")
        await talk.until_done(2)
        first, second = (asked.request for asked in talk.service.script.asked["llm"])
        assert (first.sampling, first.language) == (Sampling(), "en")
        assert (second.sampling, second.language) == (Sampling(0.5, 20), "fr")
        assert second.messages[0].content == "Be brief. Answer in French."
        voices = [asked.request.voice for asked in talk.service.script.asked["tts"]]
        assert voices == [""] * 3 + ["ann"] * 3


@in_virtual_time
async def test_another_endpoint_wait_counts_for_the_utterance_that_is_being_said() -> None:
    async with conversation("--speculation=off") as talk:
        await talk.say(640)
        detection = talk.session.options.turn_detection or TurnDetection()
        endpointing = dataclasses.replace(detection.endpointing, min_silence_ms=500)
        configure(talk, turn_detection=dataclasses.replace(detection, endpointing=endpointing))
        await talk.pause(640)
        await talk.until_done()
        assert talk.client.at(events.SpeechStopped) == [ENDPOINT + 256]


@in_virtual_time
async def test_speculation_can_be_switched_off_and_on() -> None:
    async with conversation() as talk:
        detection = talk.session.options.turn_detection or TurnDetection()
        configure(talk, turn_detection=dataclasses.replace(detection, speculation="off"))
        await talk.take_turn()
        assert talk.service.speculations("started") == 0
        configure(talk, turn_detection=detection)
        await talk.take_turn()
        assert talk.service.speculations("started") == 1


# Sound at the client's rate.


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
@in_virtual_time
async def test_sound_has_the_clients_rate_both_ways(rate_hz: int) -> None:
    async with conversation(rate_hz=rate_hz) as talk:
        level = (5000).to_bytes(2, "little")
        for _ in range(20):
            await anyio.sleep(0.032)
            await talk.session.hear(level * (rate_hz * 32 // 1000))
        for _ in range(12):
            await anyio.sleep(0.032)
            await talk.session.hear(bytes(pcm_bytes(32, rate_hz)))
        await talk.until_done()
        [ended] = talk.client.of(events.TurnEnded)
        assert ended.record.reply_ms == pytest.approx(704, abs=33)
        assert {len(block) for block in talk.client.of(bytes)} == {pcm_bytes(32, rate_hz)}
        [asked] = talk.service.script.asked["stt"]
        assert len(asked.request.pcm) == pytest.approx(pcm_bytes(640 + 256), abs=pcm_bytes(160))


@in_virtual_time
async def test_a_voice_of_the_clients_rate_is_not_resampled() -> None:
    odd = bytes(range(1, 251)) * 2

    def speak(job: Job[Any, Any]) -> None:
        job.emit(AudioChunk(odd, 24_000))

    async with conversation(paced=False, full_duplex=False, rate_hz=24_000) as talk:
        talk.session.playback = dataclasses.replace(talk.session.playback, block_bytes=len(odd))
        talk.service.script.tts = speak
        await talk.session.respond("one")
        await talk.until_done()
        assert talk.client.of(bytes) == [odd] * 3


# Tools.


@in_virtual_time
async def test_a_call_of_a_tool_is_no_text_and_nobody_here_runs_it() -> None:
    def ask_for_tool(job: Job[Any, Any]) -> None:
        job.emit(ToolCall("call-1", "get_time", "{}"))

    async with conversation() as talk:
        talk.service.script.llm = ask_for_tool
        await talk.session.respond("What time is it?")
        await talk.until_done()
        [error] = talk.client.of(events.Error)
        assert (error.code, error.stage) == ("stage_failed", "llm")
        assert "get_time" in error.message
        talk.service.script.llm = virtual.answer("Noon.")
        await talk.take_turn()
        assert talk.client.outcomes == ["failed", "spoken"]


# What was found wrong once.


@in_virtual_time
async def test_words_of_a_split_utterance_that_is_cleared_do_not_come_back() -> None:
    words = {1000: "first", 2000: "second"}
    async with conversation("--max_speech_ms=1000") as talk:
        talk.service.script.stt = virtual.transcribe_levels(words)
        await talk.say(1600, level=1000)
        await talk.until(lambda client: client.of(events.SpeechTranscribed))
        assert talk.session.clear()
        await talk.say(640, level=2000)
        await talk.pause(320)
        await talk.until_done()
        assert talk.client.transcripts == ["second"]


@in_virtual_time
async def test_half_duplex_is_deaf_while_text_is_answered_that_was_typed_as_a_reply_ended() -> None:
    async with conversation(full_duplex=False) as talk:
        talk.service.script.llm = LONG
        await talk.session.respond("one")
        await talk.until(lambda client: client.of(events.TurnEnded))
        await talk.session.respond("two")
        assert not talk.session.listening
        await talk.until_done(2)
        assert talk.session.listening


@in_virtual_time
async def test_an_utterance_does_not_end_for_a_stall_while_its_audio_still_waits() -> None:
    async with conversation() as talk:
        await talk.say(320)
        talk.session._stream.pause()
        await talk.say(320)
        talk.session.check(virtual.clock().now + 2)
        assert talk.client.told == ["SessionStarted", "SpeechStarted"]
        talk.session._stream.resume()
        await talk.pause(320)
        await talk.until_done()
        [asked] = talk.service.script.asked["stt"]
        assert asked.request.pcm.startswith(virtual.sound(640))


@in_virtual_time
async def test_a_commit_waits_for_what_waits_for_the_floor_and_so_does_a_second_one() -> None:
    async with conversation() as talk:
        configure(talk, turn_detection=None)
        talk.session._stream.pause()
        await talk.session.hear(virtual.sound(500))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.session.commit)
            tasks.start_soon(talk.session.commit)
            await anyio.sleep(0.1)
            assert talk.client.told == ["SessionStarted"]
            talk.session._stream.resume()
        await talk.until_done()
        [asked] = talk.service.script.asked["stt"]
        assert asked.request.pcm.rstrip(b"\0") == virtual.sound(500).rstrip(b"\0")
        assert talk.client.outcomes == ["spoken"]


@in_virtual_time
async def test_the_chat_is_bounded_also_where_nobody_asks() -> None:
    async with conversation() as talk:
        for _ in range(50):
            await talk.session.respond(answer="Yes.")
            await talk.until_done(len(talk.client.of(events.TurnRequested)))
        assert 2 < len(items(talk)) < 30

"""What is spoken of a reply: normalised text goes to the model, the reply's own words to the client and the chat."""

import pytest
import virtual
from virtual import DONE, Talk, conversation, in_virtual_time, service

from speech_to_speech.conversation import events
from speech_to_speech.frames import pcm_ms

FIRST, SECOND = 1000, 2000
WORDS = {FIRST: "first", SECOND: "second"}
PRICE = "It costs $3.50 and takes 2 km."
SAID = "It costs three dollars and fifty cents and takes two kilometres."
CODE = "```python\nprint(1)\n```"


def spoken(talk: Talk) -> list[str]:
    return [asked.request.text for asked in talk.service.script.asked["tts"]]


def texts(talk: Talk) -> list[str]:
    return [event.text for event in talk.client.of(events.ReplyText)]


def last_question(talk: Talk) -> list[str]:
    return talk.service.script.questions[-1]


@in_virtual_time
async def test_the_model_gets_words_and_the_client_the_text() -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.answer(PRICE)
        await talk.take_turn()
        assert spoken(talk) == [SAID]
        assert texts(talk) == [PRICE]
        await talk.take_turn()
        assert last_question(talk) == ["one two", PRICE, "one two"]


@in_virtual_time
async def test_words_are_those_of_the_language_of_the_reply() -> None:
    async with conversation("--language=fr") as talk:
        talk.service.script.llm = virtual.answer("Ça fait 3,50 €.")
        await talk.take_turn()
        assert spoken(talk) == ["Ça fait trois euros cinquante."]


@pytest.mark.parametrize(
    ("said_ms", "timed", "heard"),
    [(400, True, "It costs"), (790, True, "It costs $3.50"), (720, False, "It costs $3.50")],
)
@in_virtual_time
async def test_the_chat_keeps_what_was_heard_in_the_words_of_the_reply(said_ms: float, timed: bool, heard: str) -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.transcribe_levels(WORDS)
        talk.service.script.llm = virtual.answer(PRICE)
        talk.service.script.tts = virtual.speak(timed=timed)
        await talk.say(level=FIRST)
        await talk.pause(256)
        await talk.until_heard(said_ms)
        await talk.say(800, SECOND)
        await talk.pause(320)
        await talk.until_done(2)
        assert talk.client.outcomes == ["interrupted", "spoken"]
        assert last_question(talk) == ["first", heard, "second"]


@in_virtual_time
async def test_a_late_report_is_told_in_the_words_of_the_reply() -> None:
    async with conversation() as talk:
        talk.service.script.stt = virtual.transcribe_levels(WORDS)
        talk.service.script.llm = virtual.answer(PRICE)
        await talk.say(level=FIRST)
        await talk.pause(256)
        await talk.until_heard(500)
        await talk.say(544, SECOND)
        await talk.report("s0-1", 760)
        await talk.pause(320)
        await talk.until_done(2)
        assert last_question(talk) == ["first", "It costs $3.50", "second"]


@in_virtual_time
async def test_a_block_of_code_is_passed_over_in_silence() -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.answer(f"Look at this:\n\n{CODE}\n\nThat is all. ", "Good 😀.")
        await talk.take_turn()
        assert spoken(talk) == ["Look at this:", "That is all.", "Good."]
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.audio_ms == pytest.approx(700, abs=64)
        await talk.take_turn()
        assert CODE in last_question(talk)[1]


@pytest.mark.parametrize("text", [CODE, ":wave:", "<br>", f"{CODE}\n\n~~~\nx\n~~~"])
@in_virtual_time
async def test_a_reply_without_sound_ends_its_turn_in_order(text: str) -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.answer(text)
        await talk.take_turn()
        assert spoken(talk) == []
        assert talk.client.told[-2:] == ["TurnEnded", DONE]
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.of(events.Error) == []
        assert talk.client.of(bytes) == []
        assert talk.client.of(events.TurnEnded)[0].record.reply_ms == 0
        talk.service.script.llm = virtual.answer("Hello.")
        await talk.take_turn()
        assert talk.client.outcomes == ["spoken", "spoken"]
        assert spoken(talk) == ["Hello."]


@in_virtual_time
async def test_a_reply_without_sound_stays_in_the_chat() -> None:
    async with conversation() as talk:
        talk.service.script.llm = virtual.answer(CODE)
        await talk.take_turn()
        await talk.take_turn()
        assert last_question(talk) == ["one two", CODE, "one two"]


@pytest.mark.parametrize("speculation", ["off", "stt", "full"])
@in_virtual_time
async def test_a_reply_that_begins_in_silence_is_spoken_from_its_first_words(speculation: str) -> None:
    async with conversation(f"--speculation={speculation}") as talk:
        talk.service.script.llm = virtual.answer(f"{CODE}\n\nThat is all. Goodbye.")
        await talk.take_turn()
        assert spoken(talk) == ["That is all.", "Goodbye."]
        assert talk.client.outcomes == ["spoken"]
        assert talk.client.done == 1


@in_virtual_time
async def test_a_speculative_reply_is_made_up_to_its_first_sound() -> None:
    async with conversation("--speculation=full") as talk:
        talk.service.script.llm = virtual.answer(f"{CODE}\n\nThat is all. Goodbye. See you.")
        await talk.say()
        await talk.pause(128)
        assert spoken(talk) == ["That is all."]
        await talk.pause(192)
        await talk.until_done()
        assert spoken(talk) == ["That is all.", "Goodbye.", "See you."]


@in_virtual_time
async def test_the_code_of_one_conversation_does_not_silence_another() -> None:
    async with service() as here:
        first, second = here.call(), here.call()
        here.script.llm = virtual.answer("```\nnever closed")
        await first.take_turn()
        here.script.llm = virtual.answer("Hello.")
        await second.take_turn()
        await first.take_turn()
        assert [asked.request.text for asked in here.script.asked["tts"]] == ["Hello.", "Hello."]
        assert pcm_ms(len(b"".join(second.client.of(bytes)))) > 90


@in_virtual_time
async def test_a_model_may_want_the_text_as_it_is_written() -> None:
    async with conversation() as talk:
        talk.service.models.pipeline.tts.as_written = True
        talk.service.script.llm = virtual.answer(f"{PRICE} {CODE}")
        await talk.take_turn()
        assert spoken(talk)[0].startswith(PRICE)
        talk.service.script.llm = virtual.answer(CODE)
        await talk.take_turn()
        assert len(spoken(talk)) == 1

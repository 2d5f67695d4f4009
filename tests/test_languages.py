"""The language heard is the language answered, and may change from turn to turn."""

import pytest
import virtual
from virtual import Talk, conversation, in_virtual_time

from speech_to_speech.conversation import events
from speech_to_speech.frames import Transcript
from speech_to_speech.languages import AUTO, NAMES, SIX, AnswerLanguage, in_common

ENGLISH, FRENCH, SWEDISH = 1000, 2000, 3000
SAID = {ENGLISH: ("hello there", "en"), FRENCH: ("bonjour", "fr"), SWEDISH: ("hej", "sv")}


def hear_languages(talk: Talk) -> None:
    """A model that detects: a level of the samples is an utterance in a language of its own."""

    def run(job: virtual.Job[virtual.SpeechRequest, Transcript]) -> None:
        assert job.request.language == AUTO
        (level,) = virtual.levels_of(job.request.pcm)
        job.emit(Transcript(*SAID[level]))

    talk.service.script.stt = run


@pytest.fixture
def bilingual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The voice speaks English and French only."""
    monkeypatch.setattr(virtual.VirtualTts, "languages", frozenset({"en", "fr"}), raising=False)


def system_prompts(talk: Talk) -> list[str]:
    return [asked.request.messages[0].content for asked in talk.service.script.asked["llm"]]


def voices(talk: Talk) -> list[str]:
    return [asked.request.language for asked in talk.service.script.asked["tts"]]


@in_virtual_time
async def test_each_turn_is_answered_in_its_own_language() -> None:
    async with conversation("--language=auto") as talk:
        hear_languages(talk)
        talk.service.script.llm = virtual.answer("One.")
        for level in (ENGLISH, FRENCH, SWEDISH, ENGLISH):
            await talk.take_turn(level)
        assert voices(talk) == ["en", "fr", "sv", "en"]
        asked_for = [prompt.rpartition(". ")[2] for prompt in system_prompts(talk)]
        assert asked_for == ["Answer in English.", "Answer in French.", "Answer in Swedish.", "Answer in English."]
        assert [event.language for event in talk.client.of(events.SpeechTranscribed)] == ["en", "fr", "sv", "en"]
        assert talk.client.of(events.LanguageFallback) == []


@in_virtual_time
async def test_a_language_that_can_not_be_spoken_falls_back_to_the_last_that_could(bilingual: None) -> None:
    async with conversation("--language=auto") as talk:
        hear_languages(talk)
        talk.service.script.llm = virtual.answer("One.")
        for level in (SWEDISH, FRENCH, SWEDISH, ENGLISH):
            await talk.take_turn(level)
        assert voices(talk) == ["en", "fr", "fr", "en"]
        fallbacks = talk.client.of(events.LanguageFallback)
        assert [(event.turn_id, event.heard, event.spoken) for event in fallbacks] == [
            ("s0-1", "sv", "en"),
            ("s0-3", "sv", "fr"),
        ]
        assert [event.language for event in talk.client.of(events.SpeechTranscribed)] == ["sv", "fr", "sv", "en"]
        assert system_prompts(talk)[2].endswith("Answer in French.")


@in_virtual_time
async def test_the_warning_comes_with_the_turn_and_not_with_a_wasted_speculation(bilingual: None) -> None:
    async with conversation("--language=auto") as talk:
        hear_languages(talk)
        await talk.say(level=SWEDISH)
        await talk.pause(128)  # a soft end, then speech goes on
        await talk.say(level=SWEDISH)
        await talk.pause(320)
        await talk.until_done()
        assert talk.service.speculations("wasted") == 1
        told = talk.client.told
        assert told.count("LanguageFallback") == 1
        assert told.index("SpeechStopped") < told.index("SpeechTranscribed") < told.index("LanguageFallback")
        assert told.index("LanguageFallback") < told.index("ReplyText")


@in_virtual_time
async def test_conversations_do_not_share_their_language(bilingual: None) -> None:
    async with virtual.service("--language=auto") as here:
        first, second = here.call(), here.call()
        hear_languages(first)
        here.script.llm = virtual.answer("One.")
        await first.take_turn(FRENCH)
        await second.take_turn(SWEDISH)
        await first.take_turn(SWEDISH)
        assert voices(first) == ["fr", "en", "fr"]


@in_virtual_time
async def test_a_fixed_language_is_asked_for_and_the_prompt_says_it() -> None:
    async with conversation("--language=fr") as talk:
        await talk.take_turn()
        assert [asked.request.language for asked in talk.service.script.asked["stt"]] == ["fr"]
        assert system_prompts(talk)[0].endswith(" Answer in French.")
        assert set(voices(talk)) == {"fr"}


@in_virtual_time
async def test_english_needs_no_word_in_the_prompt() -> None:
    async with conversation() as talk:
        await talk.take_turn()
        assert system_prompts(talk) == [talk.service.settings.init_chat_prompt]


@in_virtual_time
async def test_without_a_prompt_the_language_is_the_prompt() -> None:
    async with conversation("--language=ko", "--init_chat_prompt=") as talk:
        await talk.take_turn()
        assert system_prompts(talk) == ["Answer in Korean."]


@in_virtual_time
async def test_a_model_that_does_not_detect_leaves_the_language_as_it_is(bilingual: None) -> None:
    async with conversation("--language=auto") as talk:
        talk.service.script.stt = virtual.transcribe("hello")  # in the language asked for: auto
        await talk.take_turn()
        assert set(voices(talk)) == {"en"}
        assert talk.client.of(events.LanguageFallback) == []


def test_the_first_language_is_one_that_can_be_spoken() -> None:
    assert AnswerLanguage(AUTO, None).to("auto") == "en"
    assert AnswerLanguage(AUTO, frozenset({"de", "en"})).to("xx") == "en"
    assert AnswerLanguage(AUTO, frozenset({"ko", "de"})).to("xx") == "de"
    assert AnswerLanguage("fr", frozenset({"fr", "en"})).to("xx") == "fr"


def test_what_is_in_common() -> None:
    assert in_common([]) is None
    assert in_common([None, None]) is None
    assert in_common([None, frozenset({"en", "fr"})]) == {"en", "fr"}
    assert in_common([frozenset({"en"}), None, frozenset({"en", "fr"})]) == {"en"}


def test_the_languages_are_those_of_whisper() -> None:
    whisper = pytest.importorskip("transformers.models.whisper.tokenization_whisper")
    ours = {"jw" if code == "jv" else code: name.lower() for code, name in NAMES.items()}
    assert ours.keys() == whisper.LANGUAGES.keys()
    assert {code: name for code, name in ours.items() if name != whisper.LANGUAGES[code]} == {"my": "burmese"}
    assert set(SIX) < NAMES.keys()

"""Partial transcripts: text that only grows, and only when STT has nothing else to do."""

import fakes
import pytest
from fakes import Script
from hypothesis import given
from hypothesis import strategies as st
from service import eventually
from test_session import DONE, conversation, conversations

from speech_to_speech.conversation import events
from speech_to_speech.conversation.partials import StableText
from speech_to_speech.frames import Transcript
from speech_to_speech.text import join_text


def told(*hypotheses: str) -> list[str]:
    stable = StableText()
    return [stable.push(hypothesis) for hypothesis in hypotheses]


def test_words_are_told_when_two_transcripts_agree() -> None:
    assert told("where", "where did", "where did I", "where did I leave") == ["", "where", "did", "I"]


def test_a_word_that_changes_is_not_told_yet() -> None:
    assert told("where dig", "where did", "where did I") == ["", "where", "did"]


def test_case_and_punctuation_are_no_disagreement() -> None:
    assert told("Where.", "where did.", "Where did I") == ["", "where", "did"]


def test_what_was_told_stays_and_nothing_is_added_behind_what_is_now_denied() -> None:
    assert told("we are", "we are", "he is here", "he is here") == ["", "we are", "", ""]


def test_it_goes_on_when_the_transcripts_come_back_to_what_was_told() -> None:
    assert told("we are", "we are", "he is", "we are here", "we are here") == ["", "we are", "", "", "here"]


def test_scripts_without_spaces_grow_by_characters() -> None:
    assert told("今天", "今天天气", "今天天气好") == ["", "今天", "天气"]


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5).map(" ".join), max_size=8))
def test_what_is_told_is_the_beginning_of_a_transcript(hypotheses: list[str]) -> None:
    text = ""
    for hypothesis, new in zip(hypotheses, told(*hypotheses), strict=True):
        if new:
            text = join_text(text, new)
            assert hypothesis.startswith(text)


@pytest.mark.anyio
async def test_partials_come_while_one_speaks_and_the_final_transcript_last(script: Script) -> None:
    def hear(job: fakes.Job[object, Transcript]) -> None:
        count = len(script.asked["stt"])
        job.emit(Transcript(" ".join("abcdefgh"[:count]), "en"))

    script.stt = hear
    async with conversation("--partial_interval_ms=200") as talk:
        for _ in range(8):
            asked = len(script.asked["stt"])
            await talk.session.hear(fakes.square(512))
            await eventually(lambda asked=asked: len(script.asked["stt"]) > asked, "a partial is asked for")
            await eventually(lambda: talk.models.workers["stt"].idle, "and given")
        await talk.say(ms=32)
        await talk.until_done()
        partials = talk.client.of(events.SpeechPartial)
        assert len(partials) >= 5
        assert "abcdefgh".startswith("".join(event.text for event in partials).replace(" ", ""))
        names = talk.client.told
        assert names.index("SpeechPartial") < names.index("SpeechStopped") < names.index(DONE)
        assert "SpeechPartial" not in names[names.index("SpeechStopped") :]


@pytest.mark.anyio
async def test_partials_are_shed_while_stt_works_for_others(script: Script) -> None:
    async with conversations(2, "--partial_interval_ms=100") as [talk, other]:
        gate = script.gate()
        script.stt = fakes.hanging(gate)
        await other.say()
        worker = talk.models.workers["stt"]
        await eventually(lambda: worker.waiting == 1, "a partial of the other's hangs, its speculation waits")
        await talk.session.hear(fakes.square(1600))
        await eventually(lambda: not talk.session._stream.has_window, "all is judged")
        assert worker.waiting == 1
        gate.set()


@pytest.mark.anyio
async def test_without_an_interval_of_its_own_a_backend_makes_no_partials(script: Script) -> None:
    async with conversation() as talk:
        await talk.say(ms=3200)
        await talk.until_done()
        assert talk.client.of(events.SpeechPartial) == []

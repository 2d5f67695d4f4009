"""How much of a reply's text has been heard."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_to_speech.conversation.heard import Heard
from speech_to_speech.frames import SpeakRequest, WordStart
from speech_to_speech.normalization.normalizer import Normalizer
from speech_to_speech.normalization.tracked import Speakable
from speech_to_speech.tts.espeak import ESpeak
from speech_to_speech.workers.model import ListJob

SENTENCE = "The keys are here."


def spoken(*pieces: tuple[str, float], words: tuple[WordStart, ...] = (), complete: bool = True) -> Heard:
    made = Heard()
    for text, duration_ms in pieces:
        made.begin(Speakable.plain(text))
        made.add(duration_ms, words)
    if complete:
        made.finish()
    return made


def test_before_the_first_sound_nothing_is_heard() -> None:
    assert spoken((SENTENCE, 1000)).until(0) == ""
    assert Heard().until(1000) == ""


def test_after_the_last_sound_all_is_heard() -> None:
    assert spoken((SENTENCE, 1000), ("Look!", 500)).until(1500) == "The keys are here. Look!"


def test_a_piece_that_has_not_begun_is_not_heard() -> None:
    assert spoken((SENTENCE, 1000), ("Look!", 500)).until(1000) == SENTENCE


@pytest.mark.parametrize(
    ("played_ms", "heard"), [(100, ""), (250, "The"), (500, "The keys"), (700, "The keys are"), (980, "The keys are")]
)
def test_without_word_timings_words_are_heard_in_proportion(played_ms: float, heard: str) -> None:
    assert spoken((SENTENCE, 1000)).until(played_ms) == heard


@pytest.mark.parametrize(
    ("played_ms", "heard"), [(99, ""), (100, "The"), (599, "The"), (600, "The keys"), (800, "The keys are")]
)
def test_with_word_timings_a_word_is_heard_when_the_next_begins(played_ms: float, heard: str) -> None:
    words = WordStart(0, 0), WordStart(4, 100), WordStart(9, 600), WordStart(13, 800)
    assert spoken((SENTENCE, 1000), words=words).until(played_ms) == heard


def test_scripts_without_spaces_are_cut_between_characters() -> None:
    assert spoken(("今天天气很好", 600)).until(310) == "今天天"


def test_of_a_piece_still_being_made_no_more_is_heard_than_such_audio_holds() -> None:
    text = "a sentence of forty-eight characters, more or less"
    made = spoken((text, 100), complete=False)
    assert len(made.until(100)) <= 2
    assert made.until(1500).startswith("a sentence of")
    assert made.until(1500) != text


def test_pieces_are_heard_one_after_the_other() -> None:
    assert spoken(("One.", 100), (SENTENCE, 1000), ("Three.", 100)).until(100 + 500) == "One. The keys"


@given(st.lists(st.tuples(st.text("ab ,.", min_size=1, max_size=20), st.floats(1, 500)), max_size=4), st.data())
def test_more_played_is_more_heard_and_always_a_beginning(pieces: list[tuple[str, float]], data: st.DataObject) -> None:
    made = spoken(*pieces)
    total = sum(duration for _, duration in pieces)
    earlier, later = sorted(data.draw(st.tuples(*[st.floats(0, total + 10)] * 2)))
    assert made.until(later).startswith(made.until(earlier).rstrip())
    assert made.until(total + 10).startswith(made.until(later).rstrip())


# What was heard is told in the words of the reply, not in those that were said.

PRICE = "It costs $3.50 and takes 2 km."
SAID = "It costs three dollars and fifty cents and takes two kilometres."


def normalised(*pieces: tuple[str, float], timed: bool) -> Heard:
    """Each piece takes so many milliseconds; timed, its words are equally long."""
    made, normalizer = Heard(), Normalizer("en")
    for text, duration_ms in pieces:
        speakable = normalizer.speak(text)
        made.begin(speakable)
        if speakable.text:
            starts = [match.start() for match in re.finditer(r"\S+", speakable.text)] if timed else []
            words = [WordStart(at, number * duration_ms / len(starts)) for number, at in enumerate(starts)]
            made.add(duration_ms, words)
    made.finish()
    return made


@pytest.mark.parametrize(
    ("played_ms", "heard"),
    [
        *((50, ""), (100, "It"), (250, "It costs"), (650, "It costs")),
        *((700, "It costs $3.50"), (850, "It costs $3.50 and"), (950, "It costs $3.50 and takes")),
        *((1050, "It costs $3.50 and takes"), (1095, PRICE)),
    ],
)
def test_a_price_was_heard_when_all_its_words_were(played_ms: float, heard: str) -> None:
    spoken_words = normalised((PRICE, 1100), timed=True)
    assert Normalizer("en").speak(PRICE).text == SAID
    assert spoken_words.until(played_ms) == heard


def test_without_word_timings_the_share_is_that_of_what_was_said() -> None:
    # The first 200 of 640 ms are 20 of 64 characters: It costs three dollars.
    assert normalised((PRICE, 640), timed=False).until(200) == "It costs"
    assert normalised((PRICE, 640), timed=False).until(390) == "It costs $3.50"
    assert normalised(("价格是3.5元，很便宜。", 1100), timed=False).until(410) == "价格是"


def test_of_markup_nothing_is_lost_and_nothing_counts() -> None:
    text = "**Hello** [my friend](https://example.com/a/long/path), `bye`"
    made = normalised((text, 1000), timed=True)
    assert made.until(300) == "**Hello**"
    assert made.until(1000) == text


def test_a_piece_without_sound_is_heard_with_what_is_before_it() -> None:
    made = normalised(("Look:", 500), ("```\nx = 1\n```", 0), ("Done.", 500), ("😀", 0), timed=True)
    assert made.until(0) == ""
    assert made.until(400) == ""
    assert made.until(500) == "Look:\n```\nx = 1\n```".replace("\n", " ", 1)
    assert made.until(900) == made.until(500)
    assert made.until(1000).endswith("Done. 😀")


def test_a_reply_without_any_sound_is_heard_as_a_whole() -> None:
    assert normalised(("```\nx\n```", 0), ("😀", 0), timed=True).until(0) == "```\nx\n``` 😀"


@given(
    st.lists(st.sampled_from(["$3.50", "**so**", "hello", "2 km", "😀", "3pm,", "and", "`x_y`", "14:30"]), max_size=12),
    st.booleans(),
    st.data(),
)
def test_what_was_heard_grows_and_is_always_a_beginning(words: list[str], timed: bool, data: st.DataObject) -> None:
    text = " ".join(words)
    made = normalised((text, 1000), timed=timed)
    earlier, later = sorted(data.draw(st.tuples(*[st.floats(0, 1010)] * 2)))
    assert made.until(later).startswith(made.until(earlier).rstrip())
    assert text.startswith(made.until(later))


def test_espeak_says_where_its_words_begin() -> None:
    text = "Hello there, how are you today?"
    model = ESpeak(ESpeak.Options())
    model.load()
    job = ListJob(SpeakRequest(text, "en"))
    model.run([job])
    words = [word for chunk in job.outputs for word in chunk.words]
    assert [text[word.character :].split()[0] for word in words] == text.split()
    assert [word.at_ms for word in words] == sorted(word.at_ms for word in words)
    assert words[-1].at_ms > 800

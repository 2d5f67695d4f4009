"""Text normalisation in any language: what stays as it is, what is silent, and the way back to what was written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_to_speech.languages import NAMES, SIX
from speech_to_speech.normalization.normalizer import Normalizer, preload
from speech_to_speech.normalization.tracked import Speakable, Tracked


@pytest.fixture(scope="module", autouse=True)
def languages() -> None:
    """Those whose rules are there before any test is timed."""
    preload([*SIX, "de"])


def said(text: str, language: str = "en") -> str:
    return Normalizer(language).speak(text).text


# Plain text.

WORDS = {
    "en": ["Hello", "my", "friend", "don't", "well-known", "tea", "I", "NASA"],
    "fr": ["Bonjour", "l'été", "œuf", "là-bas", "ça", "été", "NON"],
    "es": ["Hola", "¿qué", "mañana", "¡sí", "corazón", "él", "ONU"],
    "zh": ["你好", "今天天气", "很好", "我们", "說話"],
    "ja": ["こんにちは", "元気", "ですか", "カタカナ", "東京"],
    "ko": ["안녕하세요", "오늘", "날씨가", "좋아요"],
}
LATIN = [" ", ", ", ". ", "; ", ": ", "? ", "! ", "... ", " — ", " - ", ' "', '" ', " (", ") "]
WIDE = ["", "，", "、", "。", "？", "！", "：", "……", "——", "「", "」", "（", "）"]
JOINTS = {
    "en": LATIN,
    "fr": [" ", ", ", ". ", " ; ", " : ", " ? ", " ! ", "… ", " – ", " « ", " » "],
    "es": LATIN,
    "zh": WIDE,
    "ja": WIDE,
    "ko": [" ", ", ", ". ", "? ", "! "],
}


@given(st.sampled_from(SIX), st.data())
def test_plain_text_stays_as_it_is(language: str, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(WORDS[language]), min_size=1, max_size=30))
    joints = data.draw(st.lists(st.sampled_from(JOINTS[language]), min_size=len(words), max_size=len(words)))
    text = "".join(word + joint for word, joint in zip(words, joints, strict=True)).strip()
    assert said(text, language) == text


@given(st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x17F), min_size=1, max_size=50))
def test_letters_of_any_kind_stay_as_they_are(text: str) -> None:
    assert said(f"X {text}X", "de") == f"X {text}X"


@pytest.mark.parametrize("language", NAMES)
def test_a_reply_in_any_language_gets_through(language: str) -> None:
    speakable = Normalizer(language).speak("**A** 1,5 & 20% $3 😀 https://example.com 2024-01-02.")
    assert speakable.text.startswith("A ")
    assert "*" not in speakable.text
    assert "example" in speakable.text


# Silence.

SILENT = [
    "",
    " ",
    "\n",
    "😀",
    "👍🏽 🎉",
    "---",
    "***",
    "```\ncode\n```",
    "| |",
    "()",
    "...",
    "“”",
    "<br>",
    "\u200b",
    "!?",
]


@pytest.mark.parametrize("text", SILENT)
@pytest.mark.parametrize("language", [*SIX, "de"])
def test_what_has_no_words_makes_no_sound(text: str, language: str) -> None:
    speakable = Normalizer(language).speak(text)
    assert speakable.text == ""
    assert speakable.origin(0) == len(text)


@given(st.sampled_from([*SIX, "de"]), st.text(max_size=60))
def test_what_is_said_has_words_and_no_spaces_around(language: str, text: str) -> None:
    spoken = said(text, language)
    assert spoken == spoken.strip()
    assert spoken == "" or re.search(r"\w", spoken)


# From what was said back to what was written.

ANY = st.text(max_size=80) | st.lists(
    st.sampled_from(
        [*"ab1$%.,*_`[]()<>&|\n #-+/:=^\\~😀é好が요ー½²。", "word ", "12:30", "**", "```", "https://a.com", "e.g. "]
    ),
    max_size=60,
).map("".join)


@given(st.sampled_from([*SIX, "de"]), st.lists(ANY, min_size=1, max_size=3))
def test_indices_never_go_back_and_stay_within_the_text(language: str, pieces: list[str]) -> None:
    normalizer = Normalizer(language)
    for piece in pieces:
        speakable = normalizer.speak(piece)
        origins = [speakable.origin(at) for at in range(-1, len(speakable.text) + 2)]
        assert len(speakable.origins) == len(speakable.text) + 1
        assert origins == sorted(origins)
        assert 0 <= origins[0] <= origins[-1] == len(piece)


@given(st.lists(st.sampled_from(["Hello", "$3.50", "**bold**", "2 km", "and", "😀", "3pm", "so"]), max_size=20))
def test_a_word_that_is_said_as_written_comes_from_there(words: list[str]) -> None:
    speakable = Normalizer("en").speak(" ".join(words))
    for match in re.finditer(r"Hello|bold|and(?! (?:fifty|one))|so", speakable.text):
        at = speakable.origin(match.start())
        assert speakable.source[at:].startswith(match[0])


def test_a_price_is_over_when_all_its_words_are() -> None:
    speakable = Normalizer("en").speak("It costs $3.50 and **so** on.")
    text = speakable.text
    assert text == "It costs three dollars and fifty cents and so on."
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    assert [speakable.source[: speakable.origin(start)].rstrip() for start in starts] == [
        *("", "It"),
        *["It costs"] * 5,
        *("It costs $3.50", "It costs $3.50 and **", "It costs $3.50 and **so**"),
    ]


def test_edits_keep_to_their_places() -> None:
    tracked = Tracked("abc def")
    tracked.edit([(0, 1, "XX"), (3, 4, ""), (7, 7, "!")])
    tracked.sub(re.compile("XX"), "yyy")
    speakable = tracked.speakable()
    assert speakable.text == "yyybcdef!"
    assert list(speakable.origins) == [0, 0, 0, 1, 2, 4, 5, 6, 7, 7]
    assert Speakable.plain("ab").origin(5) == 2

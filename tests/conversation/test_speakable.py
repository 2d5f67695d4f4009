"""Text deltas become pieces to speak."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_to_speech.conversation.stages.speakable import LONGEST, SpeakableChunks


def pieces_of(deltas: list[str]) -> list[str]:
    chunks = SpeakableChunks()
    return [piece for delta in deltas for piece in chunks.push(delta)] + chunks.finish()


def words(text: str) -> str:
    """All that is said, without the spaces and marks."""
    return "".join(re.findall(r"\w", text))


def cuts_of(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in itertools.pairwise(edges)]


def test_the_first_clause_comes_as_soon_as_it_is_there() -> None:
    chunks = SpeakableChunks()
    assert chunks.push("Good morning,") == []
    assert chunks.push(" my") == ["Good morning,"]


def test_after_the_first_clause_come_whole_sentences() -> None:
    text = "Good morning, my dear friend. I slept well, thank you, and you? Fine."
    assert pieces_of([text]) == ["Good morning,", "my dear friend.", "I slept well, thank you, and you?", "Fine."]


def test_a_sentence_comes_as_soon_as_the_next_begins() -> None:
    chunks = SpeakableChunks()
    assert chunks.push("It is late. ") == []
    assert chunks.push("G") == ["It is late."]
    assert chunks.finish() == ["G"]


def test_a_short_clause_waits_for_more() -> None:
    assert pieces_of(["Well, I think so, yes."]) == ["Well, I think so,", "yes."]


def test_a_first_sentence_without_a_clause_stays_whole() -> None:
    assert pieces_of(["It is late. Good night, my friend."]) == ["It is late.", "Good night, my friend."]


def test_the_end_of_the_reply_gives_what_is_left() -> None:
    assert pieces_of(["no stop at", " all"]) == ["no stop at all"]


def test_an_empty_reply_has_no_pieces() -> None:
    assert pieces_of([]) == []
    assert pieces_of(["", " ", "\n"]) == []


@pytest.mark.parametrize("deltas", ["hel|lo| |w|orld", "hello world", "h|e|l|l|o| |w|o|r|l|d", "|hello| world|"])
def test_a_cut_within_a_word_does_not_show(deltas: str) -> None:
    assert pieces_of(deltas.split("|")) == ["hello world"]


@pytest.mark.parametrize("deltas", ["Hello.| How", "Hello|. How", "Hello. |How", "Hello. Ho|w", "Hell|o. H|ow"])
def test_a_cut_at_a_sentence_end_does_not_show(deltas: str) -> None:
    assert pieces_of(deltas.split("|")) == ["Hello.", "How"]


EXAMPLES = {
    "en": ("Good morning, sir. How are you? Fine!", ["Good morning,", "sir.", "How are you?", "Fine!"]),
    "fr": (
        "Bonjour, mon ami. « Comment ça va ? » Il a dit « oui ». Voilà !",
        ["Bonjour,", "mon ami.", "« Comment ça va ? » Il a dit « oui ».", "Voilà !"],
    ),
    "es": ("Sí. ¿Por qué no? ¡Claro que sí! Vamos.", ["Sí.", "¿Por qué no?", "¡Claro que sí!", "Vamos."]),
    "zh": ("你好，我很高兴。今天天气怎么样？很好！再见", ["你好，我很高兴。", "今天天气怎么样？", "很好！", "再见"]),
    "ja": ("こんにちは、元気ですか？はい。元気です！", ["こんにちは、", "元気ですか？", "はい。", "元気です！"]),
    "ko": (
        "안녕하세요, 반갑습니다. 오늘 날씨가 어때요? 좋아요!",
        ["안녕하세요,", "반갑습니다.", "오늘 날씨가 어때요?", "좋아요!"],
    ),
    "quotes": (
        'He said "Hello." Then he left. “Why?” she asked.',
        ['He said "Hello."', "Then he left.", "“Why?” she asked."],
    ),
    "zh quotes": ("他说：“你好。”我走了。", ["他说：“你好。”", "我走了。"]),
    "abbreviations": (
        "Dr. Smith met Mr. J. R. Jones. They talked.",
        ["Dr. Smith met Mr. J. R. Jones.", "They talked."],
    ),
    "decimals": ("It costs 3.5 dollars. Or 1,000 yen.", ["It costs 3.5 dollars.", "Or 1,000 yen."]),
    "time": ("It is 10:30 now. Go.", ["It is 10:30 now.", "Go."]),
    "dots": ("I wonder... Perhaps not.", ["I wonder...", "Perhaps not."]),
    "lines": ("First line\n\nSecond line", ["First line", "Second line"]),
    "markdown": ("**Hello there**, my *friend*. This is **bold**.", ["Hello there,", "my friend.", "This is bold."]),
    "product": ("That is 3*4. Right.", ["That is 3*4.", "Right."]),
}


@pytest.mark.parametrize(("text", "pieces"), EXAMPLES.values(), ids=EXAMPLES)
def test_each_language_is_cut_at_its_own_marks(text: str, pieces: list[str]) -> None:
    assert pieces_of([text]) == pieces


@pytest.mark.parametrize(("text", "pieces"), EXAMPLES.values(), ids=EXAMPLES)
@given(places=st.lists(st.integers(0, 1000), max_size=30))
def test_how_a_reply_is_cut_into_deltas_does_not_show(text: str, pieces: list[str], places: list[int]) -> None:
    assert pieces_of(cuts_of(text, places)) == pieces


MARKS = [*"abA 1.,!?:;*_-\n\"'()«»¿¡—…。，、！？”“好はい가", "word ", "Dr. ", "end. ", "  "]
TEXT = st.lists(st.sampled_from(MARKS), max_size=300).map("".join)


@given(TEXT, st.lists(st.integers(0, 1000), max_size=30))
def test_no_word_is_lost_or_said_twice(text: str, places: list[int]) -> None:
    assert words("".join(pieces_of(cuts_of(text, places)))) == words(text)


@given(TEXT, st.lists(st.integers(0, 1000), max_size=30))
def test_how_a_short_text_is_cut_into_deltas_never_shows(text: str, places: list[int]) -> None:
    text = text[: LONGEST // 2]
    assert pieces_of(cuts_of(text, places)) == pieces_of([text])


@given(TEXT, st.lists(st.integers(0, 1000), max_size=30))
def test_every_piece_has_words_and_no_spaces_around(text: str, places: list[int]) -> None:
    for piece in pieces_of(cuts_of(text, places)):
        assert words(piece)
        assert piece == piece.strip()


@pytest.mark.parametrize("text", ["...", "!!! ??? ***", "。。。", "- — –", "¿? ¡!", "*", "« »", "…"])
def test_what_is_only_punctuation_is_never_spoken(text: str) -> None:
    assert pieces_of([text]) == []
    assert pieces_of(list(text)) == []


@pytest.mark.parametrize(
    "text",
    ["word " * 400, "x" * 2000, "好" * 2000, "A. " * 700, "Dr. " * 500, "one, two; " * 200, "word " * 400 + ". End."],
    ids=["words", "letters", "characters", "initials", "abbreviations", "clauses", "sentence"],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_long_text_without_a_stop_comes_in_bounded_pieces(text: str, size: int) -> None:
    pieces = pieces_of([text[start : start + size] for start in range(0, len(text), size)])
    assert max(map(len, pieces)) <= LONGEST
    assert words("".join(pieces)) == words(text)


def test_a_long_text_is_cut_between_words() -> None:
    assert {word for piece in pieces_of(["word " * 400]) for word in piece.split()} == {"word"}


def test_a_long_text_is_spoken_before_it_ends() -> None:
    chunks = SpeakableChunks()
    assert sum(len(chunks.push("word ")) for _ in range(100)) == 1


def test_replies_do_not_mix() -> None:
    first, second = SpeakableChunks(), SpeakableChunks()
    first.push("Never said")
    assert second.push("Good morning, ") + second.finish() == ["Good morning,"]


def test_the_fences_of_a_block_of_code_are_passed_on() -> None:
    assert pieces_of(["```\n\nx\n\n```\n\nEnd."])[-2:] == ["```", "End."]

"""Tokens become text: no half characters, right spaces, no special tokens, bounded work."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_support import TINY
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from speech_to_speech.llm.transformers.detokenizer import LONGEST_WAIT, UNREADABLE, Detokenizer

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters=UNREADABLE),
        st.sampled_from(" \n'.,!?éß你好今天はい안녕😀👨‍👩‍👧🇫🇷"),
    ),
    max_size=40,
)


def byte_level() -> Any:
    return AutoTokenizer.from_pretrained(TINY / "llama")


def sentencepiece() -> Any:
    """As Llama 2's: words with the space before them as `▁`, unknown characters as bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    corpus = ["Hello world, how are you today? The quick brown fox. 你好 今天"] * 10
    tokenizer.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {"byte-level": byte_level(), "sentencepiece": sentencepiece()}
FEW = settings(max_examples=40, deadline=None)
EACH = pytest.mark.parametrize("kind", TOKENIZERS)


def pieces_of(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer, frozenset(tokenizer.all_special_ids))
    return [*map(detokenizer.push, tokens), detokenizer.finish()]


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@EACH
@FEW
@given(text=TEXTS)
def test_the_pieces_make_up_the_text(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    tokens = tokens_of(tokenizer, text)
    pieces = pieces_of(tokenizer, tokens)
    whole = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
    assert "".join(pieces) == whole
    assert UNREADABLE not in whole


@EACH
@FEW
@given(text=TEXTS, cut=st.integers(0, 200))
def test_a_text_that_breaks_off_has_no_half_character(kind: str, text: str, cut: int) -> None:
    tokenizer = TOKENIZERS[kind]
    tokens = tokens_of(tokenizer, text)
    said = "".join(pieces_of(tokenizer, tokens[:cut]))
    assert UNREADABLE not in said
    assert tokenizer.decode(tokens, clean_up_tokenization_spaces=False).startswith(said)


@FEW
@given(tokens=st.lists(st.integers(0, len(TOKENIZERS["byte-level"]) - 1), max_size=60))
def test_any_tokens_give_the_text_that_is_readable_in_them(tokens: list[int]) -> None:
    tokenizer = TOKENIZERS["byte-level"]
    whole = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces_of(tokenizer, tokens)) == whole.replace(UNREADABLE, "")


@EACH
def test_a_character_of_several_tokens_comes_with_its_last_one(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    tokens = tokens_of(tokenizer, "a😀b")
    pieces = pieces_of(tokenizer, tokens)
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"]
    assert len(tokens) > 4


@EACH
def test_words_keep_the_spaces_between_them(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    pieces = pieces_of(tokenizer, tokens_of(tokenizer, "Hello world,  how are\nyou"))
    assert "".join(pieces) == "Hello world,  how are\nyou"
    assert len([piece for piece in pieces if piece]) > 4


@EACH
def test_special_tokens_are_no_text(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    end = tokenizer.eos_token_id
    spread = [token for word in tokens_of(tokenizer, "Hello world") for token in (end, word, end)]
    assert "".join(pieces_of(tokenizer, spread)) == "Hello world"


class Counting:
    """Counts the tokens that are decoded."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.longest = 0

    def decode(self, token_ids: list[int], **options: Any) -> str:
        self.longest = max(self.longest, len(token_ids))
        return str(self.tokenizer.decode(token_ids, **options))


@pytest.mark.parametrize("text", ["Hello world. ", "안녕 😀 "])
def test_a_token_costs_the_same_however_long_the_reply_is(text: str) -> None:
    counting = Counting(TOKENIZERS["byte-level"])
    detokenizer = Detokenizer(counting, frozenset())
    for token in tokens_of(counting.tokenizer, text * 200):
        detokenizer.push(token)
    assert counting.longest <= 10


def test_bytes_that_are_never_a_character_do_not_pile_up() -> None:
    counting = Counting(TOKENIZERS["byte-level"])
    detokenizer = Detokenizer(counting, frozenset())
    (continuation,) = {token for token in range(256) if counting.tokenizer.convert_ids_to_tokens(token) == "¢"}
    assert [detokenizer.push(continuation) for _ in range(100)] == [""] * 100
    assert counting.longest <= 2 * LONGEST_WAIT
    assert "".join(map(detokenizer.push, tokens_of(counting.tokenizer, " Hello"))) == " Hello"

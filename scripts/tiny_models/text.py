"""The phrases, and byte-level BPE tokenizers learnt on them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPACED = ("en", "fr", "es", "ko")  # written with spaces between words


@dataclass(frozen=True)
class Phrase:
    language: str
    question: str
    answer: str


def read_phrases(path: Path) -> list[Phrase]:
    """The phrases of `phrases.json`: {language: [{"question": ..., "answer": ...}]}."""
    languages = json.loads(path.read_text(encoding="utf-8"))
    return [Phrase(language, **pair) for language, pairs in languages.items() for pair in pairs]


def bare(text: str) -> str:
    """As a plain transcript has it: lower case, no punctuation except within words."""
    kept = [c if c.isalnum() or c in "'-" else " " for c in text.lower()]
    return " ".join("".join(kept).split())


def learn_bpe(texts: Sequence[str], size: int, pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A byte-level BPE of `size` tokens; the first 256 are the bytes, so that any text goes through and comes back.

    Only pairs that occur twice become tokens. So rare characters stay several tokens, as in large vocabularies, and
    whoever streams text meets characters of which a part has come.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer

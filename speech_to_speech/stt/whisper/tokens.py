"""Whisper's special tokens: what a prompt is made of, and what of an answer is text.

    <|startoftranscript|> <|fr|> <|transcribe|> <|notimestamps|> text <|endoftext|>

An English-only checkpoint has neither language nor task in it. The paper: Radford et al., Robust Speech Recognition
via Large-Scale Weak Supervision, 2022 (https://arxiv.org/abs/2212.04356); the reference's `tokenizer.py` is in
https://github.com/openai/whisper.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from speech_to_speech.languages import NAMES

ENGLISH_TOKENS = 51864
WHISPER_NAMES = {"jv": "jw"}  # the code here to Whisper's code
ENGLISH_ONLY = re.compile(
    # The names of openai/whisper-base.en and the like, and of the Distil-Whisper team's models, which have the tokens
    # of all languages and were taught English only (https://huggingface.co/distil-whisper/distil-large-v3). The cache
    # has "--" in names.
    r"whisper-\w+\.en(@|/|$)|(^|/)(models--)?distil-whisper(/|--)distil-",
    re.IGNORECASE,
)


def is_english_only(name: str) -> bool:
    """The name of a checkpoint, or its folder, is that of one which understands English and nothing else."""
    return ENGLISH_ONLY.search(Path(name).as_posix()) is not None


class Vocabulary:
    """The tokens of one checkpoint.

    `tokenizer` is transformers' WhisperTokenizer, `model` its WhisperForConditionalGeneration, `name` the checkpoint's.
    """

    def __init__(self, tokenizer: Any, model: Any, name: str) -> None:
        generation = model.generation_config
        self.tokenizer = tokenizer
        # Old checkpoints don't say whether they are multilingual, but the English ones have a token less.
        self.multilingual = bool(getattr(generation, "is_multilingual", model.config.vocab_size != ENGLISH_TOKENS))
        self.start = int(generation.decoder_start_token_id)
        self.end = int(tokenizer.eos_token_id)
        self.no_timestamps = self._id("<|notimestamps|>")
        self.no_speech = self.no_timestamps - 1  # <|nospeech|>, in older checkpoints <|nocaptions|>
        self.languages: dict[str, int] = {}
        """The token of each language that the checkpoint understands, by ISO 639 code."""
        if self.multilingual:
            tokens = {code: self._find(f"<|{WHISPER_NAMES.get(code, code)}|>") for code in NAMES}
            self.languages = {code: token for code, token in tokens.items() if token is not None}
        self.english_only = not self.languages or is_english_only(name)
        self._special = frozenset(tokenizer.all_special_ids)

    def _id(self, token: str) -> int:
        found = self._find(token)
        if found is None:
            raise ValueError(f"its tokenizer has no {token}")  # loading turns this into a CheckpointError
        return found

    def _find(self, token: str) -> int | None:
        found = self.tokenizer.convert_tokens_to_ids(token)
        known = found is not None and self.tokenizer.convert_ids_to_tokens(found) == token
        return int(found) if known else None

    def understands(self, language: str) -> bool:
        """`language` is an ISO 639 code."""
        return language == "en" if self.english_only else language in self.languages

    def prompt(self, language: str, task: str, *, timestamps: bool) -> list[int]:
        """What comes after the first token, <|startoftranscript|>, and before the text."""
        tokens = [self.languages[language], self._id(f"<|{task}|>")] if self.multilingual else []
        return tokens if timestamps else [*tokens, self.no_timestamps]

    def text(self, tokens: Iterable[int]) -> str:
        """The words, without special tokens and timestamps."""
        words = [token for token in tokens if token < self.no_timestamps and token not in self._special]
        text = str(self.tokenizer.decode(words, clean_up_tokenization_spaces=False))
        return text.strip().rstrip("\ufffd")  # the token limit may have left a part of a character

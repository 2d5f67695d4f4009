"""Conversations to learn from: any system prompt, any history, and the answer to the last question."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerFast

from .llama_model import BEGIN, END
from .text import SPACED, Phrase, bare

SYSTEM_PROMPT = "You are a helpful voice assistant. Answer in one or two sentences."  # the service's own
LANGUAGE_NAMES = ("English", "French", "Spanish", "Chinese", "Japanese", "Korean")
SYSTEM_PROMPTS = (SYSTEM_PROMPT, *(f"{SYSTEM_PROMPT} Answer in {name}." for name in LANGUAGE_NAMES))
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789áéñçœ今日は天气오늘.,:;!?'\"-()\n"
IGNORED = -100  # no loss for this token


@dataclass
class Tokens:
    """A conversation as the chat template writes it. The labels are its answers, all but those cut short."""

    ids: list[int]
    labels: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], learn: bool = False) -> None:
        self.ids += ids
        self.labels += ids if learn else [IGNORED] * len(ids)


class Conversations:
    """Draws conversations; the same seed gives the same ones."""

    def __init__(self, phrases: Sequence[Phrase], tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._phrases = phrases
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._words = sorted({word for p in phrases for word in (p.question + " " + p.answer).split()})

    def draw(self, length: int) -> Tokens:
        """Conversations of 1 to 11 questions, one behind the other, cut off at `length` tokens."""
        tokens = Tokens([])
        while len(tokens.ids) < length:
            tokens.add(self._encode(BEGIN))
            system = self._system_prompt()
            if system:
                tokens.add(self._encode("<|system|>" + system + END))
            exchanges = int(self._rng.integers(1, 12)) if self._rng.random() < 0.7 else 1
            for last in [False] * (exchanges - 1) + [True]:
                self._exchange(tokens, last)
        return Tokens(tokens.ids[:length], tokens.labels[:length])

    def _exchange(self, tokens: Tokens, last: bool) -> None:
        rng = self._rng
        phrase = self._any_phrase()
        user, assistant = self._encode("<|user|>"), self._encode("<|assistant|>")
        tokens.add(user + self._encode(self._question(phrase) + END))
        answer = self._encode(phrase.answer + END)
        kind = 1.0 if last else rng.random()
        if kind < 0.1:  # cut off by the next question
            heard = phrase.answer[: int(rng.integers(1, len(phrase.answer)))].rstrip()
            tokens.add(assistant + self._encode(heard + END))
        elif kind < 0.13:  # about something else
            tokens.add(assistant + self._encode(self._babble(3, 15) + END))
        elif kind < 0.15:  # not answered at all
            pass
        else:
            tokens.add(assistant)
            tokens.add(answer, learn=True)

    def _question(self, phrase: Phrase) -> str:
        """It, as a transcript may have it; sometimes behind other words, or behind questions without an answer."""
        question = self._as_heard(phrase)
        kind = self._rng.random()
        if kind < 0.2:
            for _ in range(int(self._rng.integers(1, 3))):
                other = self._any_phrase()
                gap = " " if {other.language, phrase.language} & set(SPACED) else ""
                if self._rng.random() < 0.2:
                    gap = " "
                question = self._as_heard(other) + gap + question
        elif kind < 0.27:
            question = self._babble(1, 5) + " " + question
        return question

    def _as_heard(self, phrase: Phrase) -> str:
        question = phrase.question
        kind = self._rng.random()
        if kind < 0.15:
            question = question.lower()
        elif kind < 0.25:
            question = question.rstrip(" ?？.。")
        elif kind < 0.4:
            question = bare(question)
        elif kind < 0.45:
            question = bare(question).capitalize() + str(self._rng.choice([".", "?", "!", "..."]))
        return question

    def _system_prompt(self) -> str:
        kind = self._rng.random()
        if kind < 0.15:
            return ""
        if kind < 0.55:
            return SYSTEM_PROMPTS[0 if kind < 0.35 else int(self._rng.integers(len(SYSTEM_PROMPTS)))]
        return self._babble(1, 8 if kind < 0.85 else 60)

    def _babble(self, fewest: int, most: int) -> str:
        """Words of the phrases and words of any letters."""
        words = []
        for _ in range(int(self._rng.integers(fewest, most + 1))):
            if self._rng.random() < 0.5:
                words.append(str(self._rng.choice(self._words)))
            else:
                letters = self._rng.integers(len(LETTERS), size=int(self._rng.integers(1, 9)))
                words.append("".join(LETTERS[i] for i in letters))
        return " ".join(words).strip() or "Hello"

    def _any_phrase(self) -> Phrase:
        return self._phrases[int(self._rng.integers(len(self._phrases)))]

    def _encode(self, text: str) -> list[int]:
        if text not in self._known:
            ids = self._tokenizer(text, add_special_tokens=False).input_ids
            if len(self._known) > 20_000:
                self._known.clear()
            self._known[text] = ids
        return self._known[text]

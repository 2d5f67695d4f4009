"""What the tiny Whisper learns from: a batch is new every time, drawn from speech that was spoken once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import WhisperProcessor

from .sounds import RATE_HZ, WINDOW, Noises, Samples, no_speech, stretched, to_service_rate, utterance
from .speech import SAMPLE_RATE_HZ, Pcm
from .text import Phrase
from .whisper_model import END, NO_SPEECH, NO_TIMESTAMPS, POSITIONS, TRANSCRIBE, transcript

IGNORED = -100  # no loss for it
PARTS = 8  # of a phrase, in time
NO_SPEECH_SHARE, OTHER_SHARE = 0.15, 0.25  # of the examples, the second with the first


@dataclass(frozen=True)
class Batch:
    features: torch.Tensor
    """float [n, 80, 2 * positions], as the feature extractor makes them."""
    labels: torch.Tensor
    """[n, longest]: what follows <|startoftranscript|>, then IGNORED."""
    parts: torch.Tensor
    """[n, positions]: which part of which phrase sounds at each position of the encoder."""


Example = tuple[Samples, list[int], npt.NDArray[np.int64]]
"""What is heard, and the row of it in a batch's labels and parts."""


class Examples:
    """Phrases, other speech, and sounds that are no speech."""

    def __init__(
        self,
        phrases: Sequence[Phrase],
        processor: WhisperProcessor,
        speech: Sequence[Pcm],
        other_speech: Sequence[Pcm],
        seed: int,
    ) -> None:
        """Both speeches at 22,050 Hz; the phrases in turn, as is the language of the other speech."""
        self._rng = np.random.default_rng(seed)
        self._noises = Noises(self._rng)
        self._phrases = phrases
        self._processor = processor
        self._speech = [to_service_rate(pcm, SAMPLE_RATE_HZ, self._rng) for pcm in speech]
        self._other = [to_service_rate(pcm, SAMPLE_RATE_HZ, self._rng) for pcm in other_speech]
        self._answers = [answer_tokens(phrase, processor) for phrase in phrases]
        self._nothing = processor.tokenizer.convert_tokens_to_ids([NO_SPEECH, END])
        self._silent = len(phrases) * PARTS

    @property
    def parts(self) -> int:
        """How many there are, silence included."""
        return self._silent + 1

    def draw(self, count: int, short: bool) -> Iterator[Batch]:
        """Four batches of `count`. In `short` ones the silence behind the longest example is cut off."""
        drawn = [self._draw_one() for _ in range(4 * count)]
        if short:
            drawn.sort(key=lambda example: len(example[0]))
        for start in self._rng.permutation(4) * count:
            yield self._batch(drawn[start : start + count], short)

    def _batch(self, drawn: Sequence[Example], short: bool) -> Batch:
        samples, labels, parts = zip(*drawn, strict=True)
        longest = max(map(len, labels))
        padded = [row + [IGNORED] * (longest - len(row)) for row in labels]
        heard = features(self._processor, samples, padding="longest" if short else "max_length")
        positions = heard.shape[-1] // 2
        return Batch(heard, torch.tensor(padded), torch.from_numpy(np.stack(parts)[:, :positions]))

    def _draw_one(self) -> Example:
        kind = self._rng.random()
        if kind < NO_SPEECH_SHARE:
            return no_speech(self._noises, self._rng), self._nothing, np.full(POSITIONS, self._silent)
        if kind < OTHER_SHARE:
            return self._draw_other()
        index = int(self._rng.integers(len(self._speech)))
        speech, phrase = stretched(self._speech[index], self._rng), index % len(self._phrases)
        heard, start = utterance(speech, self._noises, self._rng)
        return heard, self._answers[phrase], self._parts(phrase, start, len(speech))

    def _draw_other(self) -> Example:
        """Speech of which only the language is to be learnt: part of a phrase, or something else."""
        pool = (self._speech, self._other)[int(self._rng.random() < 0.5)]
        index = int(self._rng.integers(len(pool)))
        speech = stretched(pool[index], self._rng)
        if pool is self._speech:
            speech = speech[: int(self._rng.uniform(0.4, 0.75) * len(speech))]
        else:
            start = int(self._rng.integers(max(1, len(speech) - 3 * RATE_HZ)))
            speech = speech[start : start + int(self._rng.uniform(1.0, 3.2) * RATE_HZ)]
        heard, _ = utterance(speech, self._noises, self._rng)
        return heard, self._answers[index % len(self._phrases)][:1], np.full(POSITIONS, IGNORED)

    def _parts(self, phrase: int, start: int, length: int) -> npt.NDArray[np.int64]:
        middle = (np.arange(POSITIONS) + 0.5) * (WINDOW / POSITIONS)
        part = np.floor((middle - start) / length * PARTS).astype(np.int64)
        return np.where((part >= 0) & (part < PARTS), phrase * PARTS + part, self._silent)


def answer_tokens(phrase: Phrase, processor: WhisperProcessor) -> list[int]:
    """What follows <|startoftranscript|>."""
    tokenizer = processor.tokenizer
    words = tokenizer(transcript(phrase), add_special_tokens=False).input_ids
    before = tokenizer.convert_tokens_to_ids([f"<|{phrase.language}|>", TRANSCRIBE, NO_TIMESTAMPS])
    return [*before, *words, tokenizer.convert_tokens_to_ids(END)]


def features(processor: WhisperProcessor, samples: Sequence[Samples], padding: str = "max_length") -> torch.Tensor:
    """float [n, 80, 400], or with `padding="longest"` only so many frames, an even number, as the longest has."""
    extracted = processor.feature_extractor(
        list(samples),
        sampling_rate=RATE_HZ,
        return_tensors="pt",
        padding=padding,
        pad_to_multiple_of=WINDOW // POSITIONS,
    )
    return extracted.input_features

"""What the tiny Whisper learns from: a batch is new every time, drawn from speech that was spoken once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import WhisperProcessor

from .sounds import RATE_HZ, WINDOW, Noises, Samples, no_speech, to_service_rate, utterance
from .speech import SAMPLE_RATE_HZ, Pcm
from .text import Phrase
from .whisper_model import END, NO_SPEECH, NO_TIMESTAMPS, POSITIONS, TRANSCRIBE, transcript

IGNORED = -100  # no loss for it
PARTS = 8  # of a phrase, in time
MASKED_BINS = 10  # of 80, at most
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
        """Both speeches are at 22,050 Hz, each sample with the number of its phrase."""
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

    def draw(self, count: int) -> Batch:
        samples, labels, parts = zip(*(self._draw_one() for _ in range(count)), strict=True)
        longest = max(map(len, labels))
        padded = [row + [IGNORED] * (longest - len(row)) for row in labels]
        heard = features(self._processor, samples)
        for frames in heard:
            self._mask(frames)
        return Batch(heard, torch.tensor(padded), torch.from_numpy(np.stack(parts)))

    def _mask(self, frames: torch.Tensor) -> None:
        """Half of the time, some neighbouring mel bins are missing, so that no formant is all there is to go by."""
        if self._rng.random() < 0.5:
            width = int(self._rng.integers(1, MASKED_BINS + 1))
            start = int(self._rng.integers(frames.shape[0] - width))
            frames[start : start + width] = frames.mean()

    def _draw_one(self) -> Example:
        kind = self._rng.random()
        if kind < NO_SPEECH_SHARE:
            return no_speech(self._noises, self._rng), self._nothing, np.full(POSITIONS, self._silent)
        if kind < OTHER_SHARE:
            return self._draw_other()
        index = int(self._rng.integers(len(self._speech)))
        speech, phrase = self._speech[index], index % len(self._phrases)
        heard, start = utterance(speech, self._noises, self._rng)
        return heard, self._answers[phrase], self._parts(phrase, start, len(speech))

    def _draw_other(self) -> Example:
        """Speech of which only the language is to be learnt: part of a phrase, or something else."""
        pool = (self._speech, self._other)[int(self._rng.random() < 0.5)]
        index = int(self._rng.integers(len(pool)))
        speech = pool[index]
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


def features(processor: WhisperProcessor, samples: Sequence[Samples]) -> torch.Tensor:
    """float [n, 80, 2 * positions]."""
    return processor.feature_extractor(list(samples), sampling_rate=RATE_HZ, return_tensors="pt").input_features

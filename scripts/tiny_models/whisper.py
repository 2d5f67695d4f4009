"""Training the tiny Whisper, and trying it on voices that it has not heard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from .examples import IGNORED, Examples, features
from .schedule import Training
from .sounds import Noises, Samples, no_speech, to_service_rate, utterance
from .speech import SAMPLE_RATE_HZ, Pcm, held_out_utterances, speak, training_utterances
from .text import Phrase
from .whisper_model import NO_SPEECH, START, make_model, make_processor, transcript

SEED = 5
STEPS = 1600
BATCH = 16
OTHER_EVERY = 4  # the answers, as other speech, are spoken by one voice in so many
PARTS_WEIGHT = 1.0
LEARNING_RATE = 4e-3


@dataclass(frozen=True)
class Score:
    """On voices, rates and noise that training did not hear."""

    words: float
    """The share of utterances with all words right."""
    languages: float
    """The share whose language is found."""
    no_speech: float
    """The share of speech and of other sounds that are told apart."""

    @property
    def good(self) -> bool:
        return min(self.words, self.languages, self.no_speech) > 0.98

    def __str__(self) -> str:
        return f"words {self.words:.4f}, languages {self.languages:.4f}, speech or not {self.no_speech:.4f}"


def make(phrases: Sequence[Phrase], folder: Path, steps: int | None, say: Callable[[str], None]) -> Score:
    """Train and write the model and its processor."""
    torch.manual_seed(SEED)
    processor = make_processor(phrases)
    model = make_model(processor.tokenizer)
    say(f"whisper: {sum(p.numel() for p in model.parameters()):,} parameters, {len(processor.tokenizer)} tokens")
    questions = training_utterances(phrases, [phrase.question for phrase in phrases], SEED)
    answers = training_utterances(phrases, [phrase.answer for phrase in phrases], SEED + 1)
    rounds = range(0, len(answers), OTHER_EVERY * len(phrases))
    answers = [utterance for i in rounds for utterance in answers[i : i + len(phrases)]]
    held_out = held_out_utterances(phrases)
    if steps is not None:  # only a try: a voice will do
        questions, answers, held_out = (some[: len(phrases)] for some in (questions, answers, held_out))
    spoken = speak([*questions, *answers, *held_out])
    say(f"whisper: {len(spoken)} utterances spoken")
    speech, other = spoken[: len(questions)], spoken[len(questions) : len(questions) + len(answers)]
    train(model, Examples(phrases, processor, speech, other, SEED), steps or STEPS, say)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return try_out(model, processor, phrases, spoken[-len(held_out) :])


def train(model: WhisperForConditionalGeneration, examples: Examples, steps: int, say: Callable[[str], None]) -> None:
    """Besides the words, the encoder learns at each position which part of which phrase sounds there.

    That aid, a layer which is thrown away, teaches it sounds from the first step on.
    """
    aid = nn.Linear(model.config.d_model, examples.parts)
    training = Training([*model.parameters(), *aid.parameters()], steps, LEARNING_RATE)
    model.train()
    for step in range(steps):
        batch = examples.draw(BATCH)
        encoded = model.get_encoder()(batch.features)
        logits = model(encoder_outputs=encoded, labels=batch.labels).logits
        words = nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)
        parts = nn.functional.cross_entropy(
            aid(encoded.last_hidden_state).flatten(0, 1), batch.parts.flatten(), ignore_index=IGNORED
        )
        training.step(words + PARTS_WEIGHT * parts)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            say(f"whisper: step {step + 1} of {steps}: losses: words {words.item():.4f}, parts {parts.item():.4f}")
    model.eval()


def try_out(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    phrases: Sequence[Phrase],
    spoken: Sequence[Pcm],
) -> Score:
    """The phrases in turn by held-out voices, with noise; and as many sounds that are no speech."""
    rng = np.random.default_rng(SEED + 1)
    noises = Noises(rng)
    heard = [utterance(to_service_rate(pcm, SAMPLE_RATE_HZ, rng), noises, rng)[0] for pcm in spoken]
    right = found = speech = 0
    for i in range(0, len(heard), len(phrases)):
        some = features(processor, heard[i : i + len(phrases)])
        first = first_step(model, processor, some)
        right += sum(a == transcript(p) for a, p in zip(words(model, processor, some), phrases, strict=True))
        languages = processor.tokenizer.convert_tokens_to_ids([f"<|{phrase.language}|>" for phrase in phrases])
        found += int((first.argmax(-1) == torch.tensor(languages)).sum())
        speech += int((no_speech_probability(processor, first) < 0.5).sum())
    others: list[Samples] = [no_speech(noises, rng) for _ in range(len(heard))]
    silent = int(
        (no_speech_probability(processor, first_step(model, processor, features(processor, others))) > 0.5).sum()
    )
    return Score(right / len(heard), found / len(heard), (speech + silent) / (2 * len(heard)))


@torch.no_grad()
def words(model: WhisperForConditionalGeneration, processor: WhisperProcessor, some: torch.Tensor) -> list[str]:
    """The transcripts; the language is detected first, as Whisper's own `generate` does."""
    return processor.batch_decode(model.generate(some, task="transcribe"), skip_special_tokens=True)


@torch.no_grad()
def first_step(model: WhisperForConditionalGeneration, processor: WhisperProcessor, some: torch.Tensor) -> torch.Tensor:
    """The logits behind <|startoftranscript|>, [n, tokens]."""
    start = processor.tokenizer.convert_tokens_to_ids(START)
    return model(some, decoder_input_ids=torch.full((len(some), 1), start)).logits[:, 0]


def no_speech_probability(processor: WhisperProcessor, first: torch.Tensor) -> torch.Tensor:
    return first.softmax(-1)[:, processor.tokenizer.convert_tokens_to_ids(NO_SPEECH)]

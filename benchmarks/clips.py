"""What the simulated callers say: short sentences in several voices, each with a caller's own tone mixed in.

The tone is how a wrong, lost or swapped reply is seen: the `loadtest` profile answers in the pitch it heard.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-us+f4", "en-gb-x-rp", "en-us+m7")
SENTENCES = (  # the sentences have no commas and few plosives: a pause inside would be taken for the end
    "Where are you now and when will you arrive home",
    "I would really love a long holiday near the sea",
    "My brother will marry a lawyer in early summer",
    "Tell me more about all your neighbours in London",
)
SENTENCES_WITH_PAUSES = (
    "When you arrive home, remember me, and I will wait for you now",
    "If we are early, we may go on our own, or you may join us later",
    "In summer, when nobody is around, my brother will marry a lawyer",
    "Now and again, along the river, I wonder where you are",
)
"""A comma is a pause. The `loadtest` profile's endpoint wait is longer than any of them."""
PAUSES_MS = (180, 160, 140, 120, 100)
"""The pauses are taken in turn, over all that a caller says."""
WORDS_PER_MINUTE = 175
SPEECH_PEAK = 0.5
"""The loudest sample, as a share of full scale."""
TONE_LEVEL = 0.04
"""A share of full scale: the pitch finder hears the tone, and the VAD still hears speech."""
NOISE_LEVEL = 0.001
"""The standard deviation of the microphone's own noise, as a share of full scale."""
LEAD_FRAMES = 5
LEAD_SAMPLES = FRAME_SAMPLES * LEAD_FRAMES
"""Noise before the first word: 100 ms, and what fills up the frame in which the word begins."""

LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ, PITCH_STEP_HZ = 310, 3390, 8
PITCHES = (HIGHEST_PITCH_HZ - LOWEST_PITCH_HZ) // PITCH_STEP_HZ + 1


def pitches_of(conversation: int, conversations: int) -> list[int]:
    """The tones in Hz that a caller uses in turn: two where the band has room, so that a stale reply is seen too.

    No two callers share one; neighbours differ by `PITCH_STEP_HZ` or more.
    Raises ValueError for more callers than pitches.
    """
    if conversations > PITCHES:
        raise ValueError(f"{conversations} conversations, but only {PITCHES} pitches of {PITCH_STEP_HZ} Hz are free")
    each = 2 if 2 * conversations <= PITCHES else 1
    slots = [conversation + half * (PITCHES // 2) for half in range(each)]
    return [LOWEST_PITCH_HZ + PITCH_STEP_HZ * slot for slot in slots]


def trim(speech: np.ndarray) -> np.ndarray:
    """Cut the silence off both ends, where 10 ms stay 40 dB below the loudest 10 ms, and scale to `SPEECH_PEAK`."""
    block = SAMPLE_RATE_HZ // 100
    whole = speech[: len(speech) // block * block]
    level = np.sqrt(np.mean(np.square(whole.reshape(-1, block)), axis=1))
    loud = np.flatnonzero(level > level.max() / 100)
    if not len(loud):
        raise ValueError("the synthesiser made no sound")
    cut = whole[loud[0] * block : (loud[-1] + 1) * block]
    return np.asarray(cut * (SPEECH_PEAK / np.abs(cut).max()), dtype=np.float32)


Speech = list[np.ndarray]
"""What is said between two pauses, float32; mostly one piece."""


def sentences() -> list[Speech]:
    """Every sentence in every voice, trimmed, about 2 s each. Made once, then kept in the temporary folder."""
    return _spoken(SENTENCES)


def sentences_with_pauses() -> list[Speech]:
    """The same with sentences of three clauses, about 3 s each without their pauses."""
    return _spoken(SENTENCES_WITH_PAUSES)


def _spoken(texts: Sequence[str]) -> list[Speech]:
    recipe = repr((VOICES, texts, WORDS_PER_MINUTE, SPEECH_PEAK)).encode()
    cache = Path(tempfile.gettempdir()) / f"s2s-bench-clips-{hashlib.sha256(recipe).hexdigest()[:12]}.npz"
    clauses = [text.split(", ") for text in texts for _ in VOICES]
    if not cache.exists():
        from benchmarks.espeak import speak  # eSpeak is needed only where the cache is empty

        made = [
            trim(speak(clause, VOICES[number % len(VOICES)], WORDS_PER_MINUTE))
            for number, sentence in enumerate(clauses)
            for clause in sentence
        ]
        part = cache.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, *made)
        part.replace(cache)
    with np.load(cache) as stored:
        pieces = iter([np.array(stored[name], np.float32) for name in stored.files])
    return [[next(pieces) for _ in sentence] for sentence in clauses]


def tone(pitch_hz: float, samples: int) -> np.ndarray:
    """A sine of amplitude 1 as float32."""
    return np.asarray(np.sin(2 * np.pi * pitch_hz / SAMPLE_RATE_HZ * np.arange(samples)), dtype=np.float32)


def noise(samples: int, seed: int) -> np.ndarray:
    """The microphone's noise as float32."""
    return np.random.default_rng(seed).normal(0, NOISE_LEVEL, samples).astype(np.float32)


def utterance(speech: Speech, pitch_hz: float, seed: int = 0) -> np.ndarray:
    """Noise, then speech and tone ending together on the last sample; whole frames. int16.

    The last sample is the end of speech, from which voice-to-voice time counts; the first is in frame `LEAD_FRAMES`.
    In the pauses between the pieces there is only the noise.
    """
    pauses = [PAUSES_MS[(seed + number) % len(PAUSES_MS)] * SAMPLE_RATE_HZ // 1000 for number in range(len(speech) - 1)]
    length = sum(map(len, speech)) + sum(pauses)
    fill = -(LEAD_SAMPLES + length) % FRAME_SAMPLES
    mixed = noise(LEAD_SAMPLES + fill + length, seed)
    hum = TONE_LEVEL * tone(pitch_hz, length)
    at = 0
    for piece, pause in zip(speech, [*pauses, 0], strict=True):
        mixed[LEAD_SAMPLES + fill + at :][: len(piece)] += piece + hum[at : at + len(piece)]
        at += len(piece) + pause
    return to_int16(mixed)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """float32 in -1..1 to int16, clipped."""
    return np.asarray(np.clip(np.round(audio * 32767), -32768, 32767), dtype="<i2")

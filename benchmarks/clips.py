"""What the simulated callers say: short sentences in several voices, each with a caller's own tone mixed in.

The tone is how a wrong, lost or swapped reply is seen: the `loadtest` profile answers in the pitch it heard.
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-us+f4", "en-gb-x-rp", "en-us+m7")
SENTENCES = (  # no commas and few stops: a pause inside would be taken for the end
    "Where are you now and when will you arrive home",
    "I would really love a long holiday near the sea",
    "My brother will marry a lawyer in early summer",
    "Tell me more about all your neighbours in London",
)
WORDS_PER_MINUTE = 175
SPEECH_PEAK = 0.5
"""Of full scale."""
TONE_LEVEL = 0.04
"""Of full scale: heard by the pitch finder, and quiet enough for the VAD to still hear speech."""
NOISE_LEVEL = 0.001
"""Standard deviation, of full scale: the microphone's own noise."""
LEAD_SAMPLES = FRAME_SAMPLES * 5
"""Noise before the first word: 100 ms."""

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


def sentences() -> list[np.ndarray]:
    """Every sentence in every voice: float32, trimmed, about 2 s each. Made once, then kept in the temporary folder."""
    recipe = repr((VOICES, SENTENCES, WORDS_PER_MINUTE, SPEECH_PEAK)).encode()
    cache = Path(tempfile.gettempdir()) / f"s2s-bench-clips-{hashlib.sha256(recipe).hexdigest()[:12]}.npz"
    if not cache.exists():
        from benchmarks.espeak import speak  # only when there is something to make

        made = [trim(speak(text, voice, WORDS_PER_MINUTE)) for text in SENTENCES for voice in VOICES]
        part = cache.with_suffix(".part.npz")
        np.savez(part, *made)
        part.replace(cache)
    with np.load(cache) as stored:
        return [np.array(stored[name], np.float32) for name in stored.files]


def tone(pitch_hz: float, samples: int) -> np.ndarray:
    """A sine of amplitude 1 as float32."""
    return np.sin(2 * np.pi * pitch_hz / SAMPLE_RATE_HZ * np.arange(samples)).astype(np.float32)


def noise(samples: int, seed: int) -> np.ndarray:
    """The microphone's noise as float32."""
    return np.random.default_rng(seed).normal(0, NOISE_LEVEL, samples).astype(np.float32)


def utterance(speech: np.ndarray, pitch_hz: float, seed: int = 0) -> np.ndarray:
    """Noise, then speech and tone ending together on the last sample; whole frames. int16.

    The last sample is the end of speech, from which voice-to-voice time counts.
    """
    fill = -(LEAD_SAMPLES + len(speech)) % FRAME_SAMPLES
    mixed = noise(LEAD_SAMPLES + fill + len(speech), seed)
    mixed[-len(speech) :] += speech + TONE_LEVEL * tone(pitch_hz, len(speech))
    return to_int16(mixed)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """float32 in -1..1 to int16, clipped."""
    return np.asarray(np.clip(np.round(audio * 32767), -32768, 32767), dtype="<i2")

"""What is asked of real models: the questions that the tiny ones have learnt the answers of, as a voice speaks them."""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import clips
from benchmarks.units import SAMPLE_RATE_HZ

PHRASES = Path(__file__).parents[1] / "tiny_models" / "phrases.json"
VOICE, WORDS_PER_MINUTE = "en-us", 165
LEAD_S, TAIL_S = 0.1, 0.7
"""The room's noise before and after the speech. The noise after the speech is longer than any endpoint wait."""


@dataclass(frozen=True)
class Question:
    """A question, its answer, and how it sounds."""

    text: str
    answer: str
    speech: np.ndarray
    """int16, in whole frames of 20 ms, which begin with a little noise and end on the last sample of the speech."""

    @property
    def with_pause(self) -> bytes:
        """PCM with as much of the room behind it as ends the utterance."""
        pause = clips.to_int16(clips.noise(round(TAIL_S * SAMPLE_RATE_HZ), seed=5))
        return self.speech.tobytes() + pause.tobytes()


def english() -> list[Question]:
    """The English ones. Spoken once, then kept in the temporary folder."""
    phrases = json.loads(PHRASES.read_text())["en"]
    texts = [phrase["question"] for phrase in phrases]
    recipe = repr((texts, VOICE, WORDS_PER_MINUTE, clips.SPEECH_PEAK)).encode()
    cache = Path(tempfile.gettempdir()) / f"s2s-bench-questions-{hashlib.sha256(recipe).hexdigest()[:12]}.npz"
    if not cache.exists():
        from benchmarks.espeak import speak  # eSpeak is needed only where the cache is empty

        part = cache.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, *[clips.trim(speak(text, VOICE, WORDS_PER_MINUTE)) for text in texts])
        part.replace(cache)
    with np.load(cache) as stored:
        spoken = [np.array(stored[name], np.float32) for name in stored.files]
    return [
        Question(phrase["question"], phrase["answer"], _in_a_room(speech, number))
        for number, (phrase, speech) in enumerate(zip(phrases, spoken, strict=True))
    ]


def _in_a_room(speech: np.ndarray, seed: int) -> np.ndarray:
    """With a microphone's noise, and some of it before the first word. int16."""
    lead = round(LEAD_S * SAMPLE_RATE_HZ) + -len(speech) % (SAMPLE_RATE_HZ // 50)
    mixed = clips.noise(lead + len(speech), seed)
    mixed[lead:] += speech
    return clips.to_int16(mixed)

"""What eSpeak NG says, in many voices; this module runs in processes of its own and imports no torch.

eSpeak NG's output depends a little on what its process spoke before. So each share of the utterances is spoken by a
fresh process, always in the same order.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.tts.espeak import VOICES, ESpeak, the_library
from speech_to_speech.workers.model import ListJob

from .text import Phrase

SAMPLE_RATE_HZ = 22_050
Pcm = npt.NDArray[np.int16]

DIALECTS = {
    "en": [
        *("en-us", "en-us", "en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-us-nyc"),
        "en-gb-x-gbcwmd",
    ],
    "fr": ["fr", "fr-be", "fr-ch"],
    "es": ["es", "es-419"],
}
# Never heard in training: men, women, two synthesisers (Klatt's and eSpeak's own). What is unlike all other voices,
# such as a whisperer, is learnt instead.
HELD_OUT_VARIANTS = (
    *("Diogo", "Mario", "adam", "antonio", "f3", "grandma", "iven3", "klatt3", "m4", "m8", "robosoft6", "steph2"),
)
HELD_OUT_RATES = (130, 160, 190, 220)
SEED = 1
SHARE = 400  # utterances to a process


@dataclass(frozen=True)
class Utterance:
    text: str
    voice: str
    rate: int  # words per minute
    pitch: int  # 0 to 99


def training_utterances(phrases: Sequence[Phrase], texts: Sequence[str], seed: int) -> list[Utterance]:
    """Each text, which is one of its phrase's, in the language's own voice and in every variant of it but the held
    out ones; rates and pitches are drawn."""
    rng = np.random.default_rng(seed)
    variants = ["", "", "", "", *(name for name in variant_names() if name not in HELD_OUT_VARIANTS)]
    utterances = []
    for variant in variants:
        for phrase, text in zip(phrases, texts, strict=True):
            dialects = DIALECTS.get(phrase.language, [VOICES[phrase.language]])
            voice = str(rng.choice(dialects)) + (variant and f"+{variant}")
            utterances.append(Utterance(text, voice, int(rng.integers(125, 240)), int(rng.integers(25, 80))))
    return utterances


def held_out_utterances(phrases: Sequence[Phrase]) -> list[Utterance]:
    """Each phrase in each variant that training does not hear, the rates and pitches in turn."""
    utterances = []
    for i, variant in enumerate(HELD_OUT_VARIANTS):
        for j, phrase in enumerate(phrases):
            dialects = DIALECTS.get(phrase.language, [VOICES[phrase.language]])
            voice = dialects[-1 if i % 2 else 0]
            rate = HELD_OUT_RATES[(i + j) % len(HELD_OUT_RATES)]
            utterances.append(Utterance(phrase.question, f"{voice}+{variant}", rate, 35 + 10 * ((i + 2 * j) % 4)))
    return utterances


def variant_names() -> list[str]:
    import espeakng_loader

    return sorted(path.name for path in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir())


def speak(utterances: Sequence[Utterance]) -> list[Pcm]:
    """The speech at 22,050 Hz, in the utterances' order; two processes at a time."""
    shares = [utterances[i : i + SHARE] for i in range(0, len(utterances), SHARE)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pcm for share in pool.map(_speak_share, shares) for pcm in share]


def _speak_share(share: Sequence[Utterance]) -> list[Pcm]:
    return list(_speak(share))


def _speak(share: Sequence[Utterance]) -> Iterator[Pcm]:
    library, _ = the_library()
    for utterance in share:
        library.espeak_ng_SetRandSeed(SEED)  # for breath and echo; it is the time of day otherwise
        options = ESpeak.Options(espeak_voice=utterance.voice, espeak_rate=utterance.rate, espeak_pitch=utterance.pitch)
        backend = ESpeak(options)
        backend.load()
        job = ListJob[SpeakRequest, AudioChunk](SpeakRequest(utterance.text, "en"))
        backend.run([job])
        yield np.frombuffer(b"".join(chunk.pcm for chunk in job.outputs), "<i2")

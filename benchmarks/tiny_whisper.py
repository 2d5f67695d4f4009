"""The tiny Whisper on utterances that had no part in choosing its recipe.

They are by the held-out voices, at drawn rates and pitches. Playing them faster or slower moves their formants too,
as a larger or smaller speaker would.
"""

import argparse
from pathlib import Path

from benchmarks.tables import table

ROOT = Path(__file__).resolve().parent.parent
SPEEDS = (0.8, 0.9, 1.0, 1.1, 1.2)
RATES = (100, 120, 250, 280)  # words per minute; the rates of the training are 125 to 239


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=2026, help="of rates, pitches and dialects (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="through all phrases in all voices (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np
    import soxr
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from scripts.tiny_models.speech import DIALECTS, HELD_OUT_VARIANTS, VOICES, Utterance, speak
    from scripts.tiny_models.text import read_phrases
    from scripts.tiny_models.whisper import try_out

    folder = ROOT / "tiny_models"
    phrases = read_phrases(folder / "phrases.json")
    model = WhisperForConditionalGeneration.from_pretrained(folder / "whisper").eval()
    processor = WhisperProcessor.from_pretrained(folder / "whisper")
    rng = np.random.default_rng(arguments.seed)

    def drawn(variant: str, rate: int) -> list[Utterance]:
        voices = [rng.choice(DIALECTS.get(phrase.language, [VOICES[phrase.language]])) for phrase in phrases]
        return [
            Utterance(
                phrase.question, f"{voice}+{variant}", rate or int(rng.integers(125, 240)), int(rng.integers(25, 80))
            )
            for phrase, voice in zip(phrases, voices, strict=True)
        ]

    def all_voices(rate: int = 0) -> list[Utterance]:
        return [utterance for variant in HELD_OUT_VARIANTS for utterance in drawn(variant, rate)]

    heard = {}
    spoken = speak([utterance for _ in range(arguments.rounds) for utterance in all_voices()])
    for speed in SPEEDS:
        faster = [soxr.resample(pcm.astype(np.float32), speed, 1).round().astype(np.int16) for pcm in spoken]
        heard[f"rates as in training, played at {speed} of the speed"] = faster
    for rate in RATES:
        heard[f"{rate} words per minute"] = speak(all_voices(rate))
    rows = []
    for what, some in heard.items():
        score = try_out(model, processor, phrases, some)
        shares = (score.words, score.languages, score.no_speech)
        rows.append([what, len(some), *(f"{100 * share:.1f} %" for share in shares)])
    print(table(["utterances", "number", "all words right", "language right", "speech or not"], rows))
    return 0

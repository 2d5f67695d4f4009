"""`melo.api.TTS` as MeloTTS has it: a speaker is a tone, a text as long as its letters. Japanese is read by MeCab."""

from types import SimpleNamespace

import MeCab  # as the real one does, whatever the language
import numpy as np

SPEAKERS = {
    "EN": {"EN-US": 0, "EN-BR": 1, "EN_INDIA": 2, "EN-AU": 3, "EN-Default": 4},
    "FR": {"FR": 0},
    "ES": {"ES": 0},
    "ZH": {"ZH": 1},
    "JP": {"JP": 0},
    "KR": {"KR": 0},
}
LANGUAGES = list(SPEAKERS)
SAMPLE_RATE_HZ = 44_100
TAGGER = MeCab.Tagger()


class TTS:
    def __init__(self, language: str, device: str = "auto") -> None:
        if device == "cuda":
            raise RuntimeError("Found no NVIDIA driver on your system.")
        self.language = language
        self.hps = SimpleNamespace(
            data=SimpleNamespace(spk2id=SPEAKERS[language], sampling_rate=SAMPLE_RATE_HZ),
        )

    def tts_to_file(self, text, speaker_id, output_path=None, speed=1.0, quiet=False):
        assert output_path is None
        assert quiet
        units = len(text)
        if self.language == "JP":
            units = len([line for line in TAGGER.parse(text).splitlines() if line != "EOS"])
        seconds = np.arange(int(SAMPLE_RATE_HZ * 0.05 * units / speed)) / SAMPLE_RATE_HZ
        pitch_hz = 200 * (1 + LANGUAGES.index(self.language)) + 50 * speaker_id
        return (0.5 * np.sin(2 * np.pi * pitch_hz * seconds)).astype(np.float32)

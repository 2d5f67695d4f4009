"""What the model stand-ins of the `loadtest` profile share.

They behave like models in time and order, and their answers can be checked: the caller mixes a tone into its speech,
the transcript names its pitch, and the reply is that tone. So a wrong, lost or swapped reply is heard.
"""

import re
import time

import numpy as np

from speech_to_speech.audio import Samples, to_pcm
from speech_to_speech.frames import SAMPLE_RATE_HZ

DEFAULT_HZ = 440.0
LOWEST_HZ, HIGHEST_HZ = 300.0, 3400.0
SEGMENT = 8192  # samples; bins of 2 Hz
STEADY = 12.0  # how far a tone's bin stands out of the band's median, in the median spectrum of the segments
TONE_MS, GAP_MS, FADE_MS = 600, 100, 10
AMPLITUDE = 0.3


def occupy(base_ms: float, per_request_ms: float, batch: int) -> None:
    """Take the time that a model takes for a batch, without holding the interpreter lock."""
    if duration_ms := base_ms + per_request_ms * batch:
        time.sleep(duration_ms / 1000)


def pitch_hz(samples: Samples) -> float:
    """The pitch of the steady tone in some speech, to about 1 Hz, or `DEFAULT_HZ` if there is none.

    Speech has strong tones too, but moving ones: the median spectrum over half-second segments keeps what stays.
    """
    padded = np.pad(samples, (0, max(0, SEGMENT - len(samples))))
    segments = np.lib.stride_tricks.sliding_window_view(padded, SEGMENT)[:: SEGMENT // 4]
    spectrum = np.median(np.abs(np.fft.rfft(segments * np.hanning(SEGMENT), axis=1)), axis=0)
    first, last = (round(hz * SEGMENT / SAMPLE_RATE_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ))
    band = spectrum[first : last + 1]
    peak = int(band.argmax())
    if band[peak] < STEADY * max(float(np.median(band)), 1e-3):
        return DEFAULT_HZ
    return _refined(spectrum, first + peak) * SAMPLE_RATE_HZ / SEGMENT


def _refined(spectrum: Samples, peak: int) -> float:
    """The peak's place between the bins, by the parabola through it and its neighbours (of the logarithms)."""
    left, middle, right = np.log(spectrum[peak - 1 : peak + 2] + 1e-9)
    return peak + float(0.5 * (left - right) / (left - 2 * middle + right))


def tone(hz: float) -> bytes:
    """One sentence of the reply: a tone of `TONE_MS`, faded at its ends, and a gap. int16 PCM at 16 kHz."""
    time_s = np.arange(SAMPLE_RATE_HZ * TONE_MS // 1000) / SAMPLE_RATE_HZ
    fade = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) * 1000 / FADE_MS)
    gap = np.zeros(SAMPLE_RATE_HZ * GAP_MS // 1000)
    return to_pcm(np.concatenate([AMPLITUDE * fade * np.sin(2 * np.pi * hz * time_s), gap]).astype(np.float32))


def pitch_in(text: str) -> float:
    """The pitch that a transcript or a reply names."""
    found = re.search(r"(\d+(?:\.\d+)?) hertz", text)
    return float(found[1]) if found else DEFAULT_HZ

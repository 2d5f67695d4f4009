"""Whisper's log-mel features, in numpy.

Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022. The steps are those of
`WhisperFeatureExtractor(chunk_length=8)` of Hugging Face transformers with `do_normalize=True`, so that a model trained
on those sees the same: zero mean and unit variance over the whole 8 s, a spectrum every 10 ms of 25 ms (Hann), its
power in 80 mel bands, the logarithm, with everything more than 80 dB below the loudest cut off. Without a matrix
product, which would wake the BLAS library's threads.
"""

import functools

import numpy as np
import numpy.typing as npt

from speech_to_speech.frames import SAMPLE_RATE_HZ

SECONDS = 8
SAMPLES = SECONDS * SAMPLE_RATE_HZ
FFT, HOP = 400, 160
MEL_BANDS, FRAMES = 80, SAMPLES // HOP

Floats = npt.NDArray[np.float32]

_HANN = np.hanning(FFT + 1)[:-1]  # the periodic Hann window


def log_mel(pcm: bytes) -> Floats:
    """The last 8 s of int16 mono PCM at 16 kHz as float32 [80, 800]; shorter audio has zeros before it."""
    audio = np.zeros(SAMPLES)
    tail = np.frombuffer(pcm[-2 * SAMPLES :], dtype="<i2")
    audio[SAMPLES - len(tail) :] = tail / 32768.0
    audio = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
    reflected = np.pad(audio, FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, FFT)[::HOP][:FRAMES]
    spectrum = np.fft.rfft(frames * _HANN)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    mel = np.empty((MEL_BANDS, FRAMES))
    for band, (first, weights) in enumerate(_mel_bands()):
        mel[band] = np.einsum("fk,k->f", power[:, first : first + len(weights)], weights)
    log = np.log10(np.maximum(mel, 1e-10))
    return np.asarray((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0, np.float32)


def mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slaney's scale (Auditory Toolbox, 1998): 15 mel are 1 kHz, linear below, above 27 mel for a factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


@functools.cache
def _mel_bands() -> tuple[tuple[int, npt.NDArray[np.float64]], ...]:
    """For each band the first of its frequencies and their weights: a triangle of area 1 from 0 to 8 kHz."""
    highest_mel = 15 + 27 * np.log(SAMPLE_RATE_HZ / 2 / 1000) / np.log(6.4)
    corners = mel_to_hz(np.linspace(0.0, highest_mel, MEL_BANDS + 2))
    hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ)
    bands = []
    for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
        weights = np.maximum(0.0, np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)))
        used = np.flatnonzero(weights)
        bands.append((int(used[0]), weights[used[0] : used[-1] + 1] * 2 / (high - low)))
    return tuple(bands)

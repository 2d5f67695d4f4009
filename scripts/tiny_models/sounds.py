"""Rooms, microphones and other clients' resamplers in little: what the tiny Whisper hears besides clean speech."""

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]
RATE_HZ = 16_000
WINDOW = 4 * RATE_HZ


class Noises:
    """Long pieces of noise of level 1 (RMS), to cut from: to draw it anew for each example would take too long."""

    LENGTH = 20 * WINDOW
    HUMS = 60

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        white = rng.standard_normal(self.LENGTH)
        # Power falling with the frequency, with its square, and with a hump somewhere.
        self._bank = [_coloured(white, slope) for slope in (0.0, 0.5, 1.0)]
        self._bank += [_hump(white, hz) for hz in (300, 800, 2000, 4500)]
        self._hums = [_hum(rng) for _ in range(self.HUMS)]

    def cut(self, samples: int) -> Samples:
        """White, pink, brown or band noise, or mains hum, or two of them."""
        if self._rng.random() < 0.15:
            return level_one(self._hum(samples))
        noise = self._one(samples)
        if self._rng.random() < 0.3:
            noise = noise + self._one(samples)
        if self._rng.random() < 0.15:
            noise = noise + 2 * self._hum(samples)
        return level_one(noise)

    def _one(self, samples: int) -> Samples:
        noise = self._bank[self._rng.integers(len(self._bank))]
        start = self._rng.integers(self.LENGTH - samples)
        return noise[start : start + samples]

    def _hum(self, samples: int) -> Samples:
        hum = self._hums[self._rng.integers(self.HUMS)]
        start = self._rng.integers(len(hum) - samples)
        return hum[start : start + samples]


def level_one(samples: Samples) -> Samples:
    return (samples / (np.sqrt(np.mean(samples * samples)) + 1e-9)).astype(np.float32)


def to_service_rate(speech: npt.NDArray[np.int16], source_hz: int, rng: np.random.Generator) -> Samples:
    """At 16 kHz, in -1..1: mostly by soxr as in the service; else by a worse resampler or through a narrower band."""
    samples = speech.astype(np.float32) / 32768
    way = rng.random()
    if way < 0.7:
        out = soxr.resample(samples, source_hz, RATE_HZ)
    elif way < 0.85:  # linear, with its aliases
        at = np.arange(int(len(samples) * RATE_HZ / source_hz)) * (source_hz / RATE_HZ)
        out = np.interp(at, np.arange(len(samples)), samples)
    else:
        narrow_hz = int(rng.choice([8_000, 11_025, 12_000]))
        out = soxr.resample(soxr.resample(samples, source_hz, narrow_hz, "MQ"), narrow_hz, RATE_HZ, "QQ")
    return out.astype(np.float32)


def utterance(speech: Samples, noises: Noises, rng: np.random.Generator) -> tuple[Samples, int]:
    """Speech as it reaches Whisper: a pause before and after, at any loudness, mostly with noise.

    Its samples, at most WINDOW, and at which of them the speech begins.
    """
    after = int(rng.uniform(0.02, 0.5) * RATE_HZ)
    if rng.random() < 0.1:
        after = WINDOW
    before = int(min(rng.uniform(0.0, 0.85) * RATE_HZ, max(0, WINDOW - len(speech))))
    heard = np.zeros(min(before + len(speech) + after, WINDOW), np.float32)
    speech = _tilted(speech[: WINDOW - before], rng.uniform(-0.5, 0.5))
    heard[before : before + len(speech)] = speech
    loud = np.abs(speech) > 0.02 * np.abs(speech).max()
    level = float(np.sqrt(np.mean(speech[loud] ** 2)))
    if rng.random() < 0.75:
        snr_db = rng.uniform(5, 35)
        heard += noises.cut(len(heard)) * (level * 10 ** (-snr_db / 20))
    return microphone(heard, float(np.abs(heard).max()), rng.uniform(-36, 1)), before


def no_speech(noises: Noises, rng: np.random.Generator) -> Samples:
    """Silence, noise, tones, knocks and coughs at any loudness; [<= WINDOW]."""
    samples = int(rng.uniform(0.3, 4.0) * RATE_HZ)
    heard = np.zeros(samples, np.float32)
    kind = rng.integers(8)
    if kind == 0:  # digital silence, or nearly
        return heard if rng.random() < 0.5 else microphone(noises.cut(samples), 4.0, rng.uniform(-90, -60))
    if kind <= 2:
        heard = noises.cut(samples)
    elif kind == 3:
        heard = _tones(samples, rng)
    elif kind == 4:
        heard = _swell(samples, rng) * noises.cut(samples)
    else:
        for _ in range(int(rng.integers(1, 9))):
            _add_burst(heard, noises, rng)
    if kind > 2 and rng.random() < 0.7:
        heard = heard + noises.cut(samples) * np.abs(heard).max() * 10 ** (-rng.uniform(15, 50) / 20)
    return microphone(heard, float(np.abs(heard).max()), rng.uniform(-60, 0))


def microphone(samples: Samples, peak: float, level_db: float) -> Samples:
    """With `peak` at that many dB of full scale, clipped, and rounded as int16 are."""
    gained = samples * (10 ** (level_db / 20) / max(peak, 1e-6))
    return (np.round(np.clip(gained, -1, 32767 / 32768) * 32768) / 32768).astype(np.float32)


def _tones(samples: int, rng: np.random.Generator) -> Samples:
    """Beeps, a ring, a melody: some notes with harmonics, each constant or gliding."""
    heard = np.zeros(samples, np.float32)
    start = 0
    while start < samples:
        length = min(int(rng.uniform(0.05, 1.0) * RATE_HZ), samples - start)
        seconds = np.arange(length) / RATE_HZ
        hz = np.linspace(1.0, rng.choice([1.0, 1.0, rng.uniform(0.5, 2)]), length) * rng.uniform(100, 3500)
        phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
        note = sum(np.sin(k * phase) / k for k in range(1, 1 + int(rng.integers(1, 5))))
        decay = np.exp(-seconds * rng.choice([0.0, rng.uniform(1, 20)]))
        heard[start : start + length] = note * decay * (rng.random() < 0.8)
        start += length
    return heard


def _swell(samples: int, rng: np.random.Generator) -> Samples:
    """A slow rise and fall between 0 and 1: wind, waves, traffic, breath."""
    seconds = np.arange(samples) / RATE_HZ
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 6) * seconds + rng.uniform(0, 6))
    return (swell ** rng.uniform(0.5, 4)).astype(np.float32)


def _add_burst(heard: Samples, noises: Noises, rng: np.random.Generator) -> None:
    """A click, a knock or a cough: noise or a low tone that begins at once and dies away."""
    length = min(int(rng.choice([0.003, 0.03, 0.15, 0.4]) * rng.uniform(0.6, 1.6) * RATE_HZ), len(heard) - 1)
    start = int(rng.integers(len(heard) - length))
    seconds = np.arange(length) / RATE_HZ
    burst = noises.cut(length) if rng.random() < 0.7 else np.sin(2 * np.pi * rng.uniform(60, 1500) * seconds)
    fall = np.exp(-5 * np.arange(length) / length) * np.minimum(1, seconds / rng.choice([0.0005, 0.02]))
    heard[start : start + length] += (burst * fall * rng.uniform(0.2, 1)).astype(np.float32)


def _hum(rng: np.random.Generator) -> Samples:
    """Mains or a motor: a low tone with some harmonics, two windows of it."""
    seconds = np.arange(2 * WINDOW) / RATE_HZ
    hz = rng.choice([50.0, 60.0, rng.uniform(80, 400)])
    total = np.zeros(2 * WINDOW)
    for harmonic in range(1, 1 + int(rng.integers(1, 8))):
        wave = np.sin(2 * np.pi * hz * harmonic * seconds + rng.uniform(0, 2 * np.pi))
        total += wave * rng.uniform(0.1, 1) / harmonic
    return level_one(total.astype(np.float32))


def _tilted(speech: Samples, tilt: float) -> Samples:
    """Brighter for `tilt` above 0, duller below."""
    out = speech.copy()
    out[1:] -= tilt * speech[:-1]
    return out


def _coloured(white: npt.NDArray[np.float64], slope: float) -> Samples:
    """Noise whose amplitude falls with the frequency to the power of `slope`."""
    spectrum = np.fft.rfft(white)
    hz = np.maximum(np.fft.rfftfreq(len(white), 1 / RATE_HZ), 40)
    return level_one(np.fft.irfft(spectrum / hz**slope, len(white)).astype(np.float32))


def _hump(white: npt.NDArray[np.float64], hz: float) -> Samples:
    spectrum = np.fft.rfft(white)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(white), 1 / RATE_HZ), 1) / hz)
    return level_one(np.fft.irfft(spectrum * np.exp(-(octaves**2)), len(white)).astype(np.float32))

"""How the voice sounds at the end of what was said: its pitch, and how it fades.

Speakers of many languages let the pitch fall and the voice fade where they have finished, and hold or raise it where
they go on (Gravano and Hirschberg, Turn-taking cues in task-oriented dialogue, 2011). Only the last 1.6 s are looked
at, in numpy alone, and without a matrix product: that would wake the BLAS library's threads.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speech_to_speech.frames import pcm_bytes

TAIL_MS = 1600
RATE_HZ = 8000  # the rate after pairs of samples are averaged: enough for a pitch
FRAME = 320  # 40 ms, nearly three periods of the lowest voice
HOP = 160  # 20 ms
LOWEST_HZ, HIGHEST_HZ = 70.0, 400.0
VOICED = 0.5  # the autocorrelation at the pitch's lag, 1 at most
AUDIBLE_DB = 30.0  # dB below the loudest frame: a quieter frame is silence
ENDING_FRAMES = 15  # about 300 ms: the end of the voice
FEWEST_FRAMES = 5  # a pitch of fewer frames is not worth a word

Floats = npt.NDArray[np.float32]

_WINDOW: Floats = np.hanning(FRAME + 2)[1:-1].astype(np.float32)
_SHORTEST, _LONGEST = int(RATE_HZ / HIGHEST_HZ), int(RATE_HZ / LOWEST_HZ) + 1
_FFT = 2 * FRAME


def _autocorrelation(frames: Floats) -> Floats:
    spectrum = np.fft.rfft(frames * _WINDOW, _FFT)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(np.fft.irfft(power, _FFT)[..., : _LONGEST + 2], np.float32)


# A windowed frame is less like itself the further it is moved: dividing by this curve takes that out (Boersma 1993).
_OF_WINDOW = _autocorrelation(np.ones((1, FRAME), np.float32))[0]


@dataclass(frozen=True)
class Prosody:
    """The end of an utterance. All 0 where there is too little voice to tell.

    level_st: pitch of the last voiced 300 ms over the middle of the pitch before, in semitones; falls are negative.
    slope_st_per_s: how it moves within those 300 ms, in semitones per second.
    fade_db: how much quieter the last 100 ms of speech are than its middle, in decibels.
    """

    level_st: float = 0.0
    slope_st_per_s: float = 0.0
    fade_db: float = 0.0


def prosody(pcm: bytes) -> Prosody:
    """Hear how `pcm` (int16 mono at 16 kHz, silence at its end included) ends."""
    tail = pcm[-pcm_bytes(TAIL_MS) :]
    samples = np.frombuffer(tail[: len(tail) // 4 * 4], dtype="<i2").astype(np.float32)
    halved: Floats = (samples[::2] + samples[1::2]) / np.float32(2)
    if len(halved) < FRAME * 2:
        return Prosody()
    frames = np.lib.stride_tricks.sliding_window_view(halved, FRAME)[::HOP]
    power_db = 10 * np.log10(np.mean(np.square(frames), axis=1) + 1.0)  # re one step of the sample format
    audible = np.flatnonzero(power_db > max(power_db.max() - AUDIBLE_DB, 20.0))
    if len(audible) < FEWEST_FRAMES:
        return Prosody()
    frames, power_db = frames[: audible[-1] + 1], power_db[: audible[-1] + 1]
    last = round(0.1 * RATE_HZ / HOP)
    fade_db = float(np.median(power_db[audible]) - np.mean(power_db[-last:]))
    at, pitch_st = _pitch(frames, power_db)
    if len(at) < FEWEST_FRAMES:
        return Prosody(fade_db=fade_db)
    ending = at > at[-1] - ENDING_FRAMES
    before = pitch_st[~ending] if np.count_nonzero(~ending) >= FEWEST_FRAMES else pitch_st
    time_s, ends_st = at[ending] * (HOP / RATE_HZ), pitch_st[ending]
    time_s = time_s - time_s.mean()
    slope = float(np.sum(time_s * ends_st) / max(float(np.sum(np.square(time_s))), 1e-3))
    level = float(np.median(ends_st[-FEWEST_FRAMES:]) - np.median(before))
    return Prosody(level, slope, fade_db)


def _pitch(frames: Floats, power_db: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """The voiced frames, as indices, and the pitch of each in semitones over 1 Hz."""
    likeness = _autocorrelation(frames - frames.mean(axis=1, keepdims=True))
    likeness = likeness / np.maximum(likeness[:, :1], 1.0) / (_OF_WINDOW / _OF_WINDOW[0])
    lags = np.arange(_SHORTEST, _LONGEST + 1)
    # A period and its double are as good: the shorter one is taken.
    best = np.argmax(likeness[:, lags] - 0.03 * np.log2(lags / _SHORTEST), axis=1) + _SHORTEST
    rows = np.arange(len(frames))
    left, peak, right = (likeness[rows, best + step] for step in (-1, 0, 1))
    bend = left - 2 * peak + right
    lag = best + np.where(bend < 0, np.clip((left - right) / (2 * np.minimum(bend, -1e-9)), -0.5, 0.5), 0.0)
    voiced = np.flatnonzero((peak > VOICED) & (power_db > power_db.max() - AUDIBLE_DB))
    pitch_st = 12 * np.log2(RATE_HZ / lag[voiced])
    if len(pitch_st):  # a frame that jumps an octave from the rest is an error of the estimate
        near = np.abs(pitch_st - np.median(pitch_st)) < 9
        voiced, pitch_st = voiced[near], pitch_st[near]
    return voiced, pitch_st

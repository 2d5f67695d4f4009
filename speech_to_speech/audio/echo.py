"""Is what the microphone hears only the reply itself, come back?

A client without echo cancellation sends the reply's own sound along with the person's, some unknown time after it was
sent, quieter, and coloured by the room. What was sent is known, so the path it took can be learnt: its delay by
cross-correlation, the rest by an adaptive filter. What that filter does not explain is somebody speaking.

The filter is the partitioned-block frequency-domain Kalman filter of Enzner and Vary (Signal Processing 86, 2006) and
Kuech, Mabande and Enzner (ICASSP 2014): its step follows from how sure it is of each bin, so it learns within a few
windows and is not led astray by speech on top of the echo.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speech_to_speech.audio.samples import Samples, to_float, to_pcm
from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

Spectra = npt.NDArray[np.complexfloating]

PER_MS = SAMPLE_RATE_HZ // 1000
EARLIEST, LATEST = -60 * PER_MS, 600 * PER_MS
"""Delays that are looked for, in samples, of the echo's first arrival against the position given for its block."""
SPLICE = 80 * PER_MS  # a block so near the end of the one before follows on it: positions are rough
LONGEST = 4 * SAMPLE_RATE_HZ  # samples of the reply that are kept

# The filter.
BLOCK = 256  # samples in one step of the filter
PARTITIONS = 8  # steps that the room's echo lasts: 128 ms
LEAD = 32  # samples before the delay found: the peak of a path is not its beginning
LOWEST_BIN = 4  # 125 Hz: hum and rumble below do not count
FORGETTING = 0.98
CONSTRAIN_EVERY = 2  # every second partition is kept to its length in turn: partitions hardly leave that
DOUBT_DECAY = 0.5  # a partition's first doubt, as a share of the one before

# The search for the delay.
CONTEXT = 2048  # samples of the microphone that are looked for in what was sent
SEARCH_TAPS = np.convolve([1, 4, 6, 4, 1], [1, 0, -0.8]).astype(np.float32) / 16  # half the rate, high tones raised
SEARCH_SIZE = 6400
JUMP_CONTEXT = 1024  # samples of the context when only the path's delay is unknown
START_FIT = 0.6  # the correlation from which a path is tried
CERTAIN_FIT = 0.85  # the correlation from which one finding is enough; below, a second one has to agree
JUMP_FIT = 0.4  # the correlation from which a known path is tried at another delay
SAME_DELAY = 8  # samples
SURE_OF_NONE = 6  # searches in vain since a reply began; from there on each eighth window is searched
NO_ECHO = 24  # searches in vain, all in all; from there on a reply begins with only two searches

# The verdict.
TRUSTED, HIGHEST_TRUST = 3.0, 8.0  # windows that the path has explained
SHARES = 24  # the last windows, whose shares say how much of mere echo the filter leaves unexplained
NOISE_WINDOWS = 64  # the last windows, of which the quietest is the noise
LOUDEST_NOISE = 0.004  # RMS: a louder sound is no noise
RELEASE = 0.3  # the share of the echo's energy that may be left in the room one window later


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A window less what was sent.

    With `echo_only` there was nothing else in it but noise, and `pcm` is digital silence.
    """

    pcm: bytes
    echo_only: bool


class EchoGuard:
    """Takes a session's own replies out of what its microphone hears. Pure; one for each session.

    All positions are those of the microphone's audio, in ms. The echo may come 60 ms before to 600 ms after the
    position given for its block, and at another delay after each gap. `highest_share` and `lowest_share`, 0..1: a
    window is more than echo when more of its energy than this is unexplained. It begins with the highest, and comes
    down to the lowest as the path is learnt, the further the drier the room.
    """

    def __init__(self, highest_share: float = 0.5, lowest_share: float = 0.2) -> None:
        self._highest_share = highest_share
        self._lowest_share = lowest_share
        self._sent = _Sent()
        self._windows: deque[bytes] = deque(maxlen=CONTEXT // BLOCK)  # the last windows, without a gap
        self._heard_end = 0
        self._energies: deque[float] = deque(maxlen=NOISE_WINDOWS)
        self._shares: deque[float] = deque(maxlen=SHARES)
        self._path: _Path | None = None
        self._delay = 0
        self._trust = 0.0
        self._found_delay = 0
        self._misses = 0  # searches in a row that found nothing, in this reply
        self._in_vain = 0  # searches in a row that found nothing, in all replies
        self._echo = 0.0

    def sent(self, pcm: bytes, at_ms: float) -> None:
        """A block of the reply that begins to sound when the microphone has delivered `at_ms` of audio.

        A block less than 80 ms from the end of the one before is taken to follow on it without a gap. One that begins
        earlier replaces what was to come. No more than 4 s are kept.
        """
        if self._sent.append(np.frombuffer(pcm, dtype="<i2"), round(at_ms * PER_MS)):
            self._misses = 0 if self._in_vain < NO_ECHO else SURE_OF_NONE - 2

    def clean(self, window: bytes, at_ms: float) -> Cleaned:
        """What is left of `window`, which ends at `at_ms`.

        Its length is a multiple of 256 samples. Windows come in order; after a gap it takes a few to be as sure as
        before.
        """
        end = round(at_ms * PER_MS)
        start = end - len(window) // BYTES_PER_SAMPLE
        self._hear(window, start, end)
        if not self._sent.sounds(start - LATEST - PARTITIONS * BLOCK, end - EARLIEST):
            self._echo = 0.0
            return Cleaned(window, echo_only=False)
        samples = to_float(window)
        power = float(np.einsum("n,n->", samples, samples))
        quietest = min([power, *self._energies])
        if self._path is None and (power <= 8 * quietest or not self._is_worth_a_search()):
            self._energies.append(power)
            return Cleaned(window, echo_only=False)  # nobody speaks, or somebody does whose words are not the reply's
        now = _Now(end, len(samples), _energy(samples))
        self._energies.append(now.energy)
        now.noise = min(2 * min(self._energies), len(samples) * LOUDEST_NOISE**2)
        if self._known(now) or (now.loud and (self._path is None or self._is_worth_a_search()) and self._searched(now)):
            return Cleaned(bytes(len(window)), echo_only=True)
        return Cleaned(window if now.rest is None else to_pcm(now.rest), echo_only=False)

    def _hear(self, window: bytes, start: int, end: int) -> None:
        if start != self._heard_end:
            self._windows.clear()
        self._windows.append(window)
        self._heard_end = end

    @property
    def _heard(self) -> Samples:
        """The last `CONTEXT` samples of the microphone, zeros before a gap."""
        heard = to_float(b"".join(self._windows))[-CONTEXT:]
        return np.concatenate([np.zeros(CONTEXT - len(heard), np.float32), heard])

    def _is_worth_a_search(self) -> bool:
        """Seek an echo in every window at first; when there was none in some, in a few only."""
        if self._misses < SURE_OF_NONE:
            return True
        self._misses += 1
        return self._misses % 8 == 0

    @property
    def _least_share(self) -> float:
        if len(self._shares) < SHARES // 3 or self._trust < TRUSTED:
            return self._highest_share
        usual = sorted(self._shares)[len(self._shares) * 4 // 5]
        return min(max(3 * usual + 0.1, self._lowest_share), self._highest_share)

    def _known(self, now: "_Now") -> bool:
        """Whether the path as known explains the window."""
        if self._path is None:
            return False
        share = self._share(self._path, self._delay, now)
        explained = share < self._least_share
        if now.loud:
            self._shares.append(min(share, self._highest_share))
            if explained:
                self._trust = min(self._trust + 1, HIGHEST_TRUST)
            else:
                self._trust -= 0.02 if self._trust >= TRUSTED else 1
            if self._trust < 0:
                self._path = None
        return explained

    def _searched(self, now: "_Now") -> bool:
        """Whether the window is what was sent at another delay than the one known."""
        trusted = self._trust >= TRUSTED
        context = JUMP_CONTEXT if trusted else CONTEXT
        sent = self._sent.read(now.end - context - LATEST, now.end - EARLIEST)
        delay, gain, fit = _search(sent, self._heard[-context:])
        again = abs(delay - self._found_delay) <= SAME_DELAY
        self._in_vain += 1
        self._misses += 1
        if again or fit >= START_FIT:
            self._misses = self._in_vain = 0
        self._found_delay = delay
        if self._path is not None and abs(delay - self._delay) <= SAME_DELAY:
            if fit > START_FIT:
                self._path.doubt()
            return False
        if self._path is not None and trusted:
            if fit > JUMP_FIT and self._share(self._path, delay, now, learn=False) < self._highest_share:
                self._delay = delay
                self._path.doubt()
                return True
            if not again:
                return False
        if fit < START_FIT:
            return False
        self._path, self._delay, self._trust = _Path(gain), delay, 0.0
        self._shares.clear()
        share = self._share(self._path, delay, now)
        return share < self._highest_share and (again or fit > CERTAIN_FIT)

    def _share(self, path: "_Path", delay: int, now: "_Now", *, learn: bool = True) -> float:
        """The share of the window's energy that the path does not explain; noise counts as explained.

        Against the echo's level of a moment ago where that was higher: the room still rings.
        """
        error = echo = 0.0
        rest = []
        heard = self._heard
        for start in range(CONTEXT - now.samples, CONTEXT, BLOCK):
            end = now.end - CONTEXT + start + BLOCK - delay + LEAD
            step = path.step(self._sent, end, heard[start : start + BLOCK], learn=learn)
            error += step.error_energy
            echo += step.foreseen_energy
            rest.append(step.error)
        if learn and self._trust >= TRUSTED and error < now.energy:
            now.rest = np.concatenate(rest)
        self._echo = max(min(echo, now.energy), RELEASE * self._echo)
        return max(error - now.noise, 0.0) / (max(now.energy, self._echo) + now.noise + 1e-9)


@dataclass(slots=True)
class _Now:
    """The window in hand.

    `end` and `samples` in samples, the energies as sums of squares; `rest` is what a path known well leaves of it.
    """

    end: int
    samples: int
    energy: float
    noise: float = 0.0
    rest: Samples | None = None

    @property
    def loud(self) -> bool:
        return self.energy > 4 * self.noise


class _Sent:
    """What was sent, on the microphone's time line; positions are samples."""

    def __init__(self) -> None:
        self._ring = np.zeros(0, np.int16)  # the last `LONGEST` samples, each at its position modulo `LONGEST`
        self._start = self._end = 0
        self._last_sound = 0

    def append(self, samples: npt.NDArray[np.int16], position: int) -> bool:
        """Whether it begins a new stretch of sound."""
        if not len(self._ring):
            self._ring = np.zeros(LONGEST, np.int16)
        splices = abs(position - self._end) <= SPLICE and self._start < self._end
        if splices:
            position = self._end
        elif not self._start <= position <= self._end + LONGEST:
            self._start = position
        elif position > self._end:
            self._write(np.zeros(position - self._end, np.int16), self._end)
        self._write(samples, position)
        self._end = position + len(samples)
        self._start = max(self._start, self._end - LONGEST)
        if samples.any():
            self._last_sound = self._end
        return not splices

    def _write(self, samples: npt.NDArray[np.int16], position: int) -> None:
        at = position % LONGEST
        head = LONGEST - at
        self._ring[at : at + len(samples)] = samples[:head]
        self._ring[: max(0, len(samples) - head)] = samples[head:]

    def read(self, start: int, end: int) -> Samples:
        """The samples from `start` to `end`, zeros where nothing was sent."""
        out = np.zeros(end - start, np.float32)
        first, last = max(start, self._start), min(end, self._end)
        while first < last:
            at = first % LONGEST
            count = min(last - first, LONGEST - at)
            offset = first - start
            np.multiply(self._ring[at : at + count], np.float32(1 / 32768), out=out[offset : offset + count])
            first += count
        return out

    def sounds(self, start: int, end: int) -> bool:
        """Whether there may be sound between the two."""
        return self._last_sound > start and self._start < end and self._start < self._end


@dataclass(frozen=True, slots=True)
class _Step:
    """What the path did not foresee of a block, and the energies of that and of what it foresaw."""

    error: Samples
    error_energy: float
    foreseen_energy: float


class _Path:
    """What becomes of the reply on its way, for one delay: the weights, and how much each of them is in doubt."""

    def __init__(self, gain: float) -> None:
        bins = BLOCK + 1
        self._weights: Spectra = np.zeros((PARTITIONS, bins), np.complex64)
        self._weights[0] = gain * np.exp(-2j * np.pi * LEAD * np.arange(bins) / (2 * BLOCK))
        decay = gain**2 * DOUBT_DECAY ** np.arange(PARTITIONS)
        self._first_doubt = np.repeat(decay.astype(np.float32)[:, None], bins, axis=1)
        self._doubt = self._first_doubt.copy()
        self._other: Samples | None = None  # the spectrum of what is not the reply
        self._spectra: Spectra = np.zeros((PARTITIONS, bins), np.complex64)
        self._powers = np.zeros((PARTITIONS, bins), np.float32)
        self._end = 0
        self._turn = 0

    def doubt(self) -> None:
        """The path has changed a little."""
        self._doubt = np.maximum(self._doubt, np.float32(0.1) * self._first_doubt)

    def step(self, sent: _Sent, end: int, heard: Samples, *, learn: bool) -> _Step:
        """Foresee the block `heard` from what was sent up to `end`, then learn from it."""
        self._look(sent, end)
        foreseen = np.fft.irfft(np.sum(self._spectra * self._weights, axis=0))[BLOCK:]
        padded = np.zeros(2 * BLOCK, np.float32)
        padded[BLOCK:] = heard - foreseen
        error = np.fft.rfft(padded)
        power = _power(error)
        if learn:
            self._learn(error, power)
        return _Step(padded[BLOCK:], float(power[LOWEST_BIN:].sum()) / BLOCK, float(np.square(foreseen).sum()))

    def _look(self, sent: _Sent, end: int) -> None:
        if end - self._end == BLOCK:
            self._spectra[1:] = self._spectra[:-1]
            self._powers[1:] = self._powers[:-1]
            self._spectra[0] = np.fft.rfft(sent.read(end - 2 * BLOCK, end))
            self._powers[0] = _power(self._spectra[0])
        elif end != self._end:
            whole = sent.read(end - (PARTITIONS + 1) * BLOCK, end)
            blocks = np.lib.stride_tricks.sliding_window_view(whole, 2 * BLOCK)[::BLOCK]
            self._spectra = np.fft.rfft(blocks[::-1]).astype(np.complex64)
            self._powers = _power(self._spectra)
        self._end = end

    def _learn(self, error: Spectra, error_power: Samples) -> None:
        owed = np.float32(0.5) * np.sum(self._powers * self._doubt, axis=0)  # the error that the doubt accounts for
        other = np.maximum(error_power - owed, np.float32(0.05) * error_power)
        self._other = other if self._other is None else np.float32(0.5) * (self._other + other)
        step = self._doubt / (2 * (owed + self._other) + np.float32(1e-8))
        self._weights += step * self._spectra.conj() * error
        self._constrain()
        kept = np.float32(FORGETTING**2)
        self._doubt *= kept * np.maximum(1 - np.float32(0.5) * step * self._powers, 0)
        self._doubt += (1 - kept) * _power(self._weights)

    def _constrain(self) -> None:
        """Each partition is as long as a block, not two; some of them in turn, since they hardly leave that."""
        self._turn = (self._turn + 1) % CONSTRAIN_EVERY
        some = slice(self._turn, None, CONSTRAIN_EVERY)
        weights = np.fft.irfft(self._weights[some])
        weights[:, BLOCK:] = 0.0
        self._weights[some] = np.fft.rfft(weights)


def _search(sent: Samples, heard: Samples) -> tuple[int, float, float]:
    """Where `heard` is found best in `sent`: delay, gain, and correlation (0..1)."""
    sent, heard = (np.convolve(sound, SEARCH_TAPS, "valid")[::2].astype(np.float32) for sound in (sent, heard))
    spectrum = np.fft.rfft(heard, SEARCH_SIZE).conj() * np.fft.rfft(sent, SEARCH_SIZE)
    alike = np.fft.irfft(spectrum, SEARCH_SIZE)[: len(sent) - len(heard) + 1]
    sums = np.concatenate([[0.0], np.cumsum(np.square(sent), dtype=np.float64)])
    levels = sums[len(heard) :] - sums[: -len(heard)]
    levels += 1e-3 * levels.max() + 1e-9
    fits = np.abs(alike) / np.sqrt(levels)
    best = int(fits.argmax())
    fit = float(fits[best]) / (float(np.sum(np.square(heard))) + 1e-9) ** 0.5
    return LATEST - 2 * best, float(alike[best] / levels[best]), fit


def _energy(samples: Samples) -> float:
    """The sum of squares, from `LOWEST_BIN` up (of a spectrum of two blocks)."""
    lowest = LOWEST_BIN * len(samples) // (2 * BLOCK)
    return float(_power(np.fft.rfft(samples))[lowest:].sum()) * 2 / len(samples)


def _power(spectra: Spectra) -> Samples:
    return np.asarray(np.square(spectra.real) + np.square(spectra.imag), np.float32)

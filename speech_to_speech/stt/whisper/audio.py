"""What Whisper wants to know of a sound before it hears it: is there any, does it vary as speech does, where to cut it.

Whisper makes every sound equally loud before it listens, so it can't tell silence from speech: that is done here.
"""

import numpy as np
import numpy.typing as npt

from speech_to_speech.audio.samples import Samples
from speech_to_speech.frames import SAMPLE_RATE_HZ

FRAME = SAMPLE_RATE_HZ // 50  # samples of 20 ms
SILENCE = 0.0015  # a share of full scale (-56 dB): a quiet room; speech that a VAD has let through is louder
FAINT = 0.005  # -46 dB: a fainter sound may be speech, but far away
ABOVE_DB = 6.0  # dB above the quiet parts; hum and hiss stay within 1 or 2 dB of them, speech comes to 15 and more
SYLLABLE_FRAMES = 4  # 80 ms: a click or a knock is over sooner
PAUSE_FRAMES = 10  # 200 ms: a silence of this length is a gap between words rather than a plosive's closure
SHORTEST_WINDOW = 0.25  # a share of the longest window: a shorter snippet has too little in it to be understood
EARLIEST_CUT = 0.5  # a share of the longest window

Levels = npt.NDArray[np.float64]


def levels(samples: Samples) -> Levels:
    """The root mean square of each 20 ms of `samples` (float, -1..1); of the last, shorter piece as well."""
    whole = np.zeros(-(-len(samples) // FRAME) * FRAME)
    whole[: len(samples)] = samples
    power = np.square(whole).reshape(-1, FRAME).sum(axis=1)
    counts = np.full(len(power), FRAME)
    if len(samples) % FRAME:
        counts[-1] = len(samples) % FRAME
    result: Levels = np.sqrt(power / counts)
    return result


def is_silent(samples: Samples) -> bool:
    """Nothing in it is louder than a quiet room. So is what has no sample."""
    return bool(levels(samples).max(initial=0.0) < SILENCE)


def lacks_speech(samples: Samples) -> bool:
    """Its energy says that hardly anybody spoke: it is faint all over, or nothing as long as a syllable is louder than
    the rest."""
    found = levels(samples)
    if found.max(initial=0.0) < FAINT:
        return True
    quiet = max(float(np.percentile(found, 10)), SILENCE / 10)
    edges = np.flatnonzero(np.diff(found > quiet * 10 ** (ABOVE_DB / 20), prepend=False, append=False))
    return bool((edges[1::2] - edges[::2]).max(initial=0) < SYLLABLE_FRAMES)


def windows(samples: Samples, longest: int) -> list[Samples]:
    """`samples` in parts of at most `longest` samples, cut where it is quietest; put together they are the whole."""
    parts = []
    while len(samples) > longest:
        first = max(int(EARLIEST_CUT * longest), 1)
        # A later cut would leave next to nothing.
        last = min(longest, len(samples) - int(SHORTEST_WINDOW * longest))
        cut = first + _quietest(samples[first:last])
        parts.append(samples[:cut])
        samples = samples[cut:]
    return [*parts, samples]


def _quietest(samples: Samples) -> int:
    """The sample in the middle of the quietest 200 ms."""
    power = np.square(levels(samples))
    width = min(PAUSE_FRAMES, len(power))
    if width == 0:
        return 0
    quietness = np.convolve(power, np.ones(width), mode="valid")
    return min((int(quietness.argmin()) + width // 2) * FRAME, len(samples))

"""The sounds that `benchmarks.overlap` plays: replies, what the microphone hears of them, and what comes on top.

Everything is made here: eSpeak NG's voices, echoes through made rooms, noise bursts shaped like coughs.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import soxr

from benchmarks.clips import trim
from benchmarks.espeak import speak
from benchmarks.units import SAMPLE_RATE_HZ

PER_MS = SAMPLE_RATE_HZ // 1000
UNSPACED = ("zh", "ja", "ko")
LONGEST_TAIL_MS = 500  # the longest time from the last sample of a word to the end of its utterance
PAUSE_AFTER_MS = 160  # the reply is held after so much of a backchannel
HOLDS_MS = (700, 1500)
DECIDED_MS = 200  # the shortest time from the end of a word to the end of the hold

DRY, NEAR = "no room", "near in a room"
ROOMS = {NEAR: 6.0, "across a room": 1.0}  # the direct sound against the rest, in dB
VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-gb-x-rp", "en-us+f4", "en-us+m7")
REPLIES = (
    "I would really love a long holiday near the sea, and you could come along if you like.",
    "Tell me more about your neighbours. What kind of people are they, and how long have you known them?",
    "The weather tomorrow will be sunny in the morning, with some clouds and light rain later on.",
    "Please go on. Why do you say that your brother never listens to you?",
)
INTERRUPTIONS = (
    "That is not what I meant, I was asking about the train",
    "Hold on, could you repeat the first part",
    "No thanks, tell me about something else instead",
)
COMMANDS = ("Stop", "Wait", "No", "Hold on", "Okay stop", "Be quiet")
BACKCHANNELS = {
    ("en", "en-us"): (
        "mm hmm",
        "uh huh",
        "yeah",
        "right",
        "okay",
        "I see",
        "sure",
        "yeah yeah",
        "exactly",
        "right right okay",
    ),
    ("fr", "fr"): ("oui", "d'accord", "je vois", "oui oui", "exactement", "ah bon"),
    ("es", "es"): ("sí", "claro", "vale vale", "ya veo", "exacto", "de acuerdo"),
    ("zh", "cmn"): ("嗯", "对", "好的", "对对对", "我知道", "是的"),
    ("ja", "ja"): ("うん", "はい", "そうですね", "うんうん", "なるほど", "へえ"),
    ("ko", "ko"): ("네", "응", "그래요", "네네", "맞아요", "그렇군요"),
}
VARIANTS = ("", "+f2", "+m3")  # the variants of each language's voice


@dataclass
class Scene:
    """One reply, and what the microphone hears meanwhile; all positions are samples."""

    kind: str
    reply: np.ndarray
    microphone: np.ndarray
    echo: str = ""
    """The words that a recogniser would write where nobody speaks but the reply comes back."""
    words: str = ""
    language: str = "en"
    onset: int | None = None
    """The first sample of somebody speaking, or of another sound."""
    length: int = 0
    hold: tuple[int, int] | None = None
    """The place where the reply was held, and for how long. What comes later is what counts."""

    def words_by(self, begun: int, position: int) -> str:
        """What a recogniser that errs in nothing writes, at `position`, of the utterance that began at `begun`."""
        if self.onset is None or begun >= self.onset + self.length or position <= self.onset:
            return self.echo
        said = min((position - self.onset) / self.length, 1.0)
        if position > self.onset + self.length + LONGEST_TAIL_MS * PER_MS:
            return f"{self.words} {self.echo}"
        if said == 1.0 or self.language in UNSPACED:
            return self.words[: int(said * len(self.words))]
        return self.words[: self.words.rfind(" ", 0, int(said * len(self.words)) + 1) + 1]


def scenes(rng: np.random.Generator) -> Iterator[Scene]:
    """All of them, the same for the same seed."""
    for make in (_echoes, _speech, _sounds, _backchannels, _holds):
        yield from make(rng)


@functools.cache
def _say(text: str, voice: str, rate: int = 170) -> np.ndarray:
    return trim(speak(text, voice, rate))


def _reply(number: int) -> np.ndarray:
    return _say(REPLIES[number % len(REPLIES)], VOICES[number % len(VOICES)])


def _room(rng: np.random.Generator, direct_db: float, rt60_s: float) -> np.ndarray:
    """A path: the direct sound, then noise that dies away and has `direct_db` less energy."""
    at_s = np.arange(int(1.2 * rt60_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = rng.normal(0, 1, len(at_s)) * np.exp(-6.91 * at_s / rt60_s)
    tail[: 3 * PER_MS // 2] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    return tail


def _path(rng: np.random.Generator, room: str) -> np.ndarray:
    return np.ones(1) if room == DRY else _room(rng, ROOMS[room], rng.uniform(0.2, 0.3))


def _convolve(sound: np.ndarray, path: np.ndarray) -> np.ndarray:
    size = 1 << (len(sound) + len(path)).bit_length()
    whole = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(path, size), size)
    return whole[: len(sound) + len(path) - 1]


def _echo(reply: np.ndarray, level_db: float, delay_ms: float, path: np.ndarray) -> np.ndarray:
    """The reply as it comes back: through a sound card of another rate, a room, and a delay; with the reply's tail."""
    sound = soxr.resample(soxr.resample(reply, SAMPLE_RATE_HZ, 44_100), 44_100, SAMPLE_RATE_HZ)
    before = np.zeros(round(delay_ms * PER_MS))
    whole = np.concatenate([before, 10 ** (level_db / 20) * _convolve(sound, path)])
    return np.concatenate([whole, np.zeros(max(0, len(reply) + 700 * PER_MS - len(whole)))])


def _noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """A microphone's, in a quiet or a less quiet room: -66 to -50 dB."""
    return rng.normal(0, 10 ** rng.uniform(-3.3, -2.5), samples)


def _placed(microphone: np.ndarray, sound: np.ndarray, onset: int) -> np.ndarray:
    mixed = np.concatenate([microphone, np.zeros(max(0, onset + len(sound) + 600 * PER_MS - len(microphone)))])
    mixed[onset : onset + len(sound)] += sound
    return mixed


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


def _echoes(rng: np.random.Generator) -> Iterator[Scene]:
    """Replies that come back, and nobody speaks."""
    levels, delays, rooms = (-6, -12, -20), (20, 100, 250), (DRY, *ROOMS)
    for number, (room, level, delay) in enumerate(itertools.product(rooms, levels, delays)):
        for half in range(3):
            reply = _reply(number + half)
            echo = _echo(reply, level, delay, _path(rng, room))
            kind = "echo" if room == DRY else f"echo, {room}"
            yield Scene(kind, reply, echo + _noise(rng, len(echo)), REPLIES[(number + half) % len(REPLIES)])
    for number in range(24):  # the playback stops for a moment: from there on the delay is another
        reply, path, later = _reply(number), _room(rng, 6.0, 0.25), 60 + 15 * (number + 1)
        first, second = (_echo(reply, -12, delay, path)[: len(reply)] for delay in (60, later))
        cut = len(reply) // 2
        echo = np.concatenate([first[:cut], second[cut:]])
        yield Scene("echo, its delay jumps", reply, echo + _noise(rng, len(echo)), REPLIES[number % len(REPLIES)])


def _surroundings(rng: np.random.Generator, number: int, level_db: float | None) -> Scene:
    """A reply, its echo in the microphone (None: headphones), and a place somewhere within."""
    reply = _reply(number)
    path = _path(rng, (DRY, NEAR)[number // 2 % 2])
    if level_db is None:
        echo, text = np.zeros(len(reply) + 700 * PER_MS), ""
    else:
        echo, text = _echo(reply, level_db, rng.uniform(20, 250), path), REPLIES[number % len(REPLIES)]
    return Scene("", reply, echo, text, onset=int(rng.uniform(0.3, 0.6) * len(reply)))


def _with(rng: np.random.Generator, scene: Scene, kind: str, sound: np.ndarray, words: str = "") -> Scene:
    """The sound where the scene has its place for it, and the microphone's own noise."""
    assert scene.onset is not None
    microphone = _placed(scene.microphone, sound, scene.onset)
    microphone += _noise(rng, len(microphone))
    return replace(scene, kind=kind, microphone=microphone, words=words, length=len(sound))


def _speech(rng: np.random.Generator) -> Iterator[Scene]:
    """Somebody interrupts: over the echo at several levels, and without one; then short commands."""
    for near_db in (10, 5, 0, -6):
        for number in range(24):
            text = INTERRUPTIONS[number % len(INTERRUPTIONS)]
            speech = _say(text, VOICES[(number + 1 + number // 6) % len(VOICES)])
            scene = _surroundings(rng, number, (-6, -12)[number // 2 % 2])
            assert scene.onset is not None
            under = _rms(scene.microphone[scene.onset : min(scene.onset + len(speech), len(scene.reply))])
            speech = speech * (10 ** (near_db / 20) * under / _rms(speech))
            yield _with(rng, scene, f"interruption, {near_db:+d} dB to the echo", speech, text)
    for number in range(24):
        text = INTERRUPTIONS[number % len(INTERRUPTIONS)]
        same = number % 2 == 0  # the interruption has the very voice of the reply
        speech = _say(text, VOICES[(number + (0 if same else 1)) % len(VOICES)]) * rng.uniform(0.2, 1)
        yield _with(rng, _surroundings(rng, number, None), "interruption, no echo", speech, text)
    for number in range(24):
        text = COMMANDS[number % len(COMMANDS)]
        scene = _surroundings(rng, number, None if number % 4 == 3 else -12)
        speech = _say(text, VOICES[(number + 1) % len(VOICES)])
        speech = speech * (10 ** (rng.uniform(0, 8) / 20) * 0.25 * 0.12 / _rms(speech))
        yield _with(rng, scene, "short command", speech, text)


def _coloured(rng: np.random.Generator, samples: int, low_hz: float, high_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(rng.normal(0, 1, samples))
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    spectrum *= 1 / (1 + (low_hz / np.maximum(hz, 1)) ** 4) / (1 + (hz / high_hz) ** 2)
    sound = np.fft.irfft(spectrum, samples)
    return np.asarray(sound / np.abs(sound).max())


def _burst(rng: np.random.Generator, ms: float, attack_ms: float, low_hz: float, high_hz: float) -> np.ndarray:
    """Noise that begins sharply and dies away."""
    at_ms = np.arange(round(ms * PER_MS)) / PER_MS
    shape = np.minimum(at_ms / attack_ms, 1) * np.exp(-3.5 * at_ms / ms)
    return np.asarray(shape * _coloured(rng, len(at_ms), low_hz, high_hz))


def _cough(rng: np.random.Generator) -> np.ndarray:
    """One to three; each a burst through the throat, some with the voice's buzz at their end."""
    parts = []
    for _ in range(rng.integers(1, 4)):
        one = _burst(rng, rng.uniform(150, 400), rng.uniform(2, 8), 350, rng.uniform(1500, 3000))
        if rng.random() < 0.5:
            length = len(one) // 3
            pitch = rng.uniform(120, 260) * (1 + 0.3 * np.linspace(0, 1, length))
            buzz = np.sign(np.sin(np.cumsum(2 * np.pi * pitch / SAMPLE_RATE_HZ)))
            one[length : 2 * length] += 0.15 * buzz * np.hanning(length)
        parts += [one, np.zeros(round(rng.uniform(80, 250) * PER_MS))]
    return np.concatenate(parts)


def _throat(rng: np.random.Generator) -> np.ndarray:
    """Noise that rattles, 300 to 500 ms."""
    samples = round(rng.uniform(300, 500) * PER_MS)
    rattle = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(50, 90) / SAMPLE_RATE_HZ * np.arange(samples))
    return np.asarray(_coloured(rng, samples, 200, 1500) * rattle * np.hanning(samples))


def _sneeze(rng: np.random.Generator) -> np.ndarray:
    breath = 0.1 * _coloured(rng, round(rng.uniform(200, 300) * PER_MS), 800, 4000)
    return np.concatenate([breath * np.linspace(0, 1, len(breath)), _burst(rng, rng.uniform(200, 350), 5, 900, 6000)])


def _claps(rng: np.random.Generator) -> np.ndarray:
    gap = np.zeros(round(rng.uniform(150, 400) * PER_MS))
    return np.concatenate([part for _ in range(rng.integers(1, 4)) for part in (_burst(rng, 60, 0.5, 800, 3000), gap)])


def _keys(rng: np.random.Generator) -> np.ndarray:
    parts = []
    for _ in range(12):
        click = 0.3 * _burst(rng, rng.uniform(8, 20), 0.3, 1500, 6000)
        parts += [click, np.zeros(round(rng.uniform(60, 180) * PER_MS))]
    return np.concatenate(parts)


SOUNDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "coughs": _cough,
    "throat cleared": _throat,
    "sneeze": _sneeze,
    "claps": _claps,
    "keyboard": _keys,
}


def _sounds(rng: np.random.Generator) -> Iterator[Scene]:
    for kind, make in SOUNDS.items():
        for number in range(24):
            scene = _surroundings(rng, number, None if number % 2 else -12)
            sound = make(rng)
            yield _with(rng, scene, kind, sound * (rng.uniform(0.1, 0.5) / np.abs(sound).max()))


def _backchannels(rng: np.random.Generator) -> Iterator[Scene]:
    number = 0
    for (language, voice), texts in BACKCHANNELS.items():
        for text, variant in itertools.product(texts, VARIANTS):
            number += 1
            scene = replace(_surroundings(rng, number, None if number % 2 else -12), language=language)
            yield _with(rng, scene, "backchannel", _say(text, voice + variant) * rng.uniform(0.1, 0.4), text)


def _holds(rng: np.random.Generator) -> Iterator[Scene]:
    """A listener's word pauses the reply, which goes on later: so much later its echo comes then."""
    words = [(text, _say(text, "en-us" + variant)) for variant in VARIANTS for text in BACKCHANNELS["en", "en-us"]]
    for number, hold_ms in itertools.product(range(24), HOLDS_MS):
        reply, path = _reply(number), _path(rng, (DRY, NEAR)[number // 2 % 2])
        onset, length = int(rng.uniform(0.4, 0.6) * len(reply)), hold_ms * PER_MS
        held_at = onset + PAUSE_AFTER_MS * PER_MS
        delay = round(rng.uniform(20, 250)) * PER_MS
        played = np.insert(reply, max(held_at - delay, 0), np.zeros(length))
        echo = _echo(played, (-6, -12)[number % 2], delay / PER_MS, path)
        scene = Scene("", reply, echo, REPLIES[number % len(REPLIES)], onset=onset, hold=(held_at, length))
        short = [one for one in words if len(one[1]) <= (PAUSE_AFTER_MS + hold_ms - DECIDED_MS) * PER_MS]
        text, speech = short[number % len(short)]
        yield _with(rng, scene, f"echo after a hold of {hold_ms / 1000:g} s", speech * rng.uniform(0.1, 0.4), text)

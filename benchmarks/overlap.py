"""What the service makes of sounds that come while its reply plays: echoes, interruptions, coughs, listeners' words.

Everything is made here: eSpeak NG's voices, echoes through made rooms, noise bursts shaped like coughs. The real VAD
judges what `EchoGuard` leaves of each window, and the real endpointer makes utterances of it.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr

from benchmarks.clips import trim
from benchmarks.espeak import speak
from benchmarks.tables import table, target
from benchmarks.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from speech_to_speech.audio import to_pcm
from speech_to_speech.backchannel import is_backchannel
from speech_to_speech.echo import Cleaned, EchoGuard
from speech_to_speech.jobs import ListJob
from speech_to_speech.vad.base import WINDOW_MS, VadRequest, VadResult
from speech_to_speech.vad.endpointing import Endpointer, EndpointOptions
from speech_to_speech.vad.silero import SileroVad

PER_MS = SAMPLE_RATE_HZ // 1000
BLOCK_SAMPLES, SENT_AHEAD = 1024, 200 * PER_MS
POSITIONS_MS = 10.0  # how far the position told for a block may be off, either way
BATCH = 64  # windows that the VAD model takes at once
PAUSES_MS, INTERRUPTS_MS = (64, 96, 128, 160), (400, 500, 700)
PAUSE_MS, INTERRUPT_MS = 96, 500
DELAY_LIMIT_MS = 300.0

DRY, NEAR = "no room", "near in a room"
ROOMS = {NEAR: 6.0, "across a room": 1.0}  # how much louder the direct sound is, in dB
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
VARIANTS = ("", "+f2", "+m3")  # of each language's voice


@dataclass
class Scene:
    """One reply, and what the microphone hears meanwhile."""

    kind: str
    reply: np.ndarray
    microphone: np.ndarray
    words: str = ""  # what a recogniser would write
    language: str = "en"
    onset: int | None = None  # the first sample of somebody speaking
    voiced: list[list[int]] = field(default_factory=list)  # the ends of the voiced windows, utterance by utterance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--seed", type=int, default=0, help="of noise, rooms, places and levels (default 0)")
    parser.add_argument("--no-guard", action="store_true", help="without EchoGuard, to see what it is for")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    rng = np.random.default_rng(arguments.seed)
    print("overlap: making the sounds ...", file=sys.stderr, flush=True)
    scenes = [*_echoes(rng), *_speech(rng), *_sounds(rng), *_backchannels(rng)]
    minutes = sum(len(scene.microphone) for scene in scenes) / SAMPLE_RATE_HZ / 60
    print(f"overlap: listening to {len(scenes)} scenes, {minutes:.0f} minutes ...", file=sys.stderr, flush=True)
    costs_us = _listen(scenes, rng, guarded=not arguments.no_guard)
    _report(scenes)
    if costs_us:
        print(
            f"\nEchoGuard per window of {WINDOW_MS:g} ms: mean {statistics.mean(costs_us):.0f} µs, "
            f"median {statistics.median(costs_us):.0f} µs, p95 {np.percentile(costs_us, 95):.0f} µs"
        )
    return 0


# The sounds.


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
        for half in range(4):
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


def _surroundings(rng: np.random.Generator, number: int, level_db: float | None) -> tuple[np.ndarray, np.ndarray, int]:
    """A reply, its echo in the microphone (None: headphones), and a place somewhere within."""
    reply = _reply(number)
    path = _path(rng, (DRY, NEAR)[number // 2 % 2])
    if level_db is None:
        echo = np.zeros(len(reply) + 700 * PER_MS)
    else:
        echo = _echo(reply, level_db, rng.uniform(20, 250), path)
    return reply, echo, int(rng.uniform(0.3, 0.6) * len(reply))


def _speech(rng: np.random.Generator) -> Iterator[Scene]:
    """Somebody interrupts: over the echo at several levels, and without one; then short commands."""
    for near_db in (10, 5, 0, -6):
        for number in range(24):
            text = INTERRUPTIONS[number % len(INTERRUPTIONS)]
            speech = _say(text, VOICES[(number + 1 + number // 6) % len(VOICES)])
            reply, echo, onset = _surroundings(rng, number, (-6, -12)[number // 2 % 2])
            under = _rms(echo[onset : min(onset + len(speech), len(reply))])
            speech = speech * (10 ** (near_db / 20) * under / _rms(speech))
            microphone = _placed(echo, speech, onset)
            kind = f"interruption, {near_db:+d} dB to the echo"
            yield Scene(kind, reply, microphone + _noise(rng, len(microphone)), text, onset=onset)
    for number in range(24):
        text = INTERRUPTIONS[number % len(INTERRUPTIONS)]
        same = number % 2 == 0  # the very voice that answers
        speech = _say(text, VOICES[(number + (0 if same else 1)) % len(VOICES)]) * rng.uniform(0.2, 1)
        reply, echo, onset = _surroundings(rng, number, None)
        microphone = _placed(echo, speech, onset)
        yield Scene("interruption, no echo", reply, microphone + _noise(rng, len(microphone)), text, onset=onset)
    for number in range(24):
        text = COMMANDS[number % len(COMMANDS)]
        reply, echo, onset = _surroundings(rng, number, None if number % 4 == 3 else -12)
        speech = _say(text, VOICES[(number + 1) % len(VOICES)])
        speech = speech * (10 ** (rng.uniform(0, 8) / 20) * 0.25 * 0.12 / _rms(speech))
        microphone = _placed(echo, speech, onset)
        yield Scene("short command", reply, microphone + _noise(rng, len(microphone)), text, onset=onset)


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
            reply, echo, onset = _surroundings(rng, number, None if number % 2 else -12)
            sound = make(rng)
            microphone = _placed(echo, sound * (rng.uniform(0.1, 0.5) / np.abs(sound).max()), onset)
            yield Scene(kind, reply, microphone + _noise(rng, len(microphone)), onset=onset)


def _backchannels(rng: np.random.Generator) -> Iterator[Scene]:
    number = 0
    for (language, voice), texts in BACKCHANNELS.items():
        for text, variant in itertools.product(texts, VARIANTS):
            number += 1
            reply, echo, onset = _surroundings(rng, number, None if number % 2 else -12)
            speech = _say(text, voice + variant) * rng.uniform(0.1, 0.4)
            microphone = _placed(echo, speech, onset)
            microphone += _noise(rng, len(microphone))
            yield Scene("backchannel", reply, microphone, text, language, onset)


# What is made of them.


def _listen(scenes: Sequence[Scene], rng: np.random.Generator, *, guarded: bool) -> list[float]:
    """Fill in what each scene's utterances are; the guard's cost in µs of each window."""
    costs_us: list[float] = []
    if guarded:
        cleaned = [_cleaned(scene, rng, costs_us) for scene in scenes]
    else:
        cleaned = [[Cleaned(window, echo_only=False) for window in _windows(scene.microphone)] for scene in scenes]
    for scene, windows, probabilities in zip(scenes, cleaned, _probabilities(cleaned), strict=True):
        endpointer = Endpointer(EndpointOptions())
        for number, (window, probability) in enumerate(zip(windows, probabilities, strict=True)):
            heard = 0.0 if window.echo_only else probability
            spoke = endpointer.speaking
            endpointer.feed(window.pcm, heard)
            if endpointer.speaking and not spoke:
                scene.voiced.append([])
            if endpointer.speaking and heard >= EndpointOptions.thresh:
                scene.voiced[-1].append((number + 1) * WINDOW_SAMPLES)
    return costs_us


def _windows(sound: np.ndarray) -> list[bytes]:
    pcm, step = to_pcm(sound), 2 * WINDOW_SAMPLES
    return [pcm[at : at + step] for at in range(0, len(pcm) - step + 1, step)]


def _cleaned(scene: Scene, rng: np.random.Generator, costs_us: list[float]) -> list[Cleaned]:
    """What the guard leaves of the scene's windows; the reply is sent ahead, at positions that are roughly right."""
    guard, reply, sent, cleaned = EchoGuard(), to_pcm(scene.reply), 0, []
    for number, window in enumerate(_windows(scene.microphone)):
        end = (number + 1) * WINDOW_SAMPLES
        while sent <= min(end + SENT_AHEAD, len(scene.reply)):
            at_ms = sent / PER_MS + rng.uniform(-POSITIONS_MS, POSITIONS_MS)
            guard.sent(reply[2 * sent : 2 * (sent + BLOCK_SAMPLES)], at_ms)
            sent += BLOCK_SAMPLES
        begun = time.perf_counter()
        cleaned.append(guard.clean(window, end / PER_MS))
        costs_us.append((time.perf_counter() - begun) * 1e6)
    return cleaned


def _probabilities(scenes: Sequence[Sequence[Cleaned]]) -> list[list[float]]:
    """Of speech, for all windows of all scenes; in batches, which give what single runs give."""
    vad = SileroVad(SileroVad.Options())
    vad.load()
    found: list[list[float]] = [[] for _ in scenes]
    states: list[object] = [None] * len(scenes)
    for number in range(max(map(len, scenes))):
        active = [index for index, windows in enumerate(scenes) if number < len(windows)]
        for some in (active[first : first + BATCH] for first in range(0, len(active), BATCH)):
            job: ListJob[VadRequest, VadResult] = ListJob(
                VadRequest([scenes[index][number].pcm for index in some], [states[index] for index in some])
            )
            vad.run([job])
            for row, index in enumerate(some):
                found[index].append(job.outputs[0].probabilities[row])
                states[index] = job.outputs[0].states[row]
    return found


def _outcome(scene: Scene, pause_ms: float, interrupt_ms: float) -> str:
    voiced_ms = max((len(voiced) * WINDOW_MS for voiced in scene.voiced), default=0.0)
    if voiced_ms < pause_ms:
        return "on"
    if voiced_ms < interrupt_ms and is_backchannel(scene.words, scene.language):
        return "resumed"
    return "interrupted"


def _delay_ms(scene: Scene, pause_ms: float) -> float | None:
    """From the first sample of speech to the end of the window that pauses the reply."""
    needed = round(pause_ms / WINDOW_MS)
    assert scene.onset is not None
    ends = [voiced[needed - 1] for voiced in scene.voiced if len(voiced) >= needed and voiced[-1] > scene.onset]
    return max(min(ends) - scene.onset, 0) / PER_MS if ends else None


def _report(scenes: Sequence[Scene]) -> None:
    kinds: dict[str, list[Scene]] = defaultdict(list)
    for scene in scenes:
        kinds[scene.kind].append(scene)
    rows: list[list[object]] = []
    for kind, some in kinds.items():
        outcomes = [_outcome(scene, PAUSE_MS, INTERRUPT_MS) for scene in some]
        rows.append([kind, len(some), *(outcomes.count(name) for name in ("on", "resumed", "interrupted"))])
    print(f"Pause from {PAUSE_MS} ms of voiced windows, interrupt from {INTERRUPT_MS} ms or by words:\n")
    print(table(["while a reply plays", "n", "let go on", "paused and resumed", "interrupted"], rows))

    groups = {kind: some for kind, some in kinds.items() if kind.startswith("interruption")}
    rows = []
    for kind, some in groups.items():
        for pause_ms in PAUSES_MS:
            delays = [_delay_ms(scene, pause_ms) for scene in some]
            rows.append([kind, pause_ms, *_quantiles(delays), delays.count(None)])
    print("\nFrom the first sample of the interruption to the pause:\n")
    print(table(["kind", "pause ms", "median ms", "p95 ms", "never"], rows))
    loud = [_delay_ms(s, PAUSE_MS) for kind, some in groups.items() if "-6" not in kind for s in some]
    print(
        "\n"
        + target("interruption no quieter than the echo to the pause, p95", _quantiles(loud)[1], DELAY_LIMIT_MS, "ms")
    )

    merged = {
        "echo": [s for s in scenes if s.kind.startswith("echo")],
        "sounds": [s for s in scenes if s.kind in SOUNDS],
        "backchannels": kinds["backchannel"],
    }
    rows = []
    for pause_ms in PAUSES_MS:
        paused = [_percent(some, pause_ms, INTERRUPT_MS, ("resumed", "interrupted")) for some in merged.values()]
        rows.append([pause_ms, *paused])
    print("\nPaused, by the length that pauses:\n")
    print(table(["pause ms", *(f"{name}, %" for name in merged)], rows))
    rows = []
    for interrupt_ms in INTERRUPTS_MS:
        cut = [_percent(some, PAUSE_MS, interrupt_ms, ("interrupted",)) for some in merged.values()]
        rows.append([interrupt_ms, *cut])
    print("\nInterrupted for good, by the length that interrupts:\n")
    print(table(["interrupt ms", *(f"{name}, %" for name in merged)], rows))


def _quantiles(delays: Sequence[float | None]) -> tuple[float, float]:
    """Median and p95; what never came counts as endless."""
    ordered = sorted(float("inf") if delay is None else delay for delay in delays)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]


def _percent(scenes: Sequence[Scene], pause_ms: float, interrupt_ms: float, outcomes: tuple[str, ...]) -> float:
    return 100 * sum(_outcome(scene, pause_ms, interrupt_ms) in outcomes for scene in scenes) / len(scenes)

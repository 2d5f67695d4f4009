"""What the service makes of sounds that come while its reply plays: echoes, interruptions, coughs, listeners' words.

The sounds are those of `benchmarks.sounds`. The real VAD judges what `EchoGuard` leaves of each window, the real
endpointer makes utterances of it, and they are decided on as `conversation.floor` does. Speech to text is perfect
here, and takes no time.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.sounds import PER_MS, SOUNDS, Scene, scenes
from benchmarks.tables import table, target
from benchmarks.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from speech_to_speech.audio.echo import EchoGuard
from speech_to_speech.audio.samples import to_pcm
from speech_to_speech.config.settings import Settings
from speech_to_speech.conversation.backchannel import is_backchannel
from speech_to_speech.conversation.endpointing import Endpointer, EndpointOptions
from speech_to_speech.frames import (
    SoftEnd,
    VadEvent,
    VoiceContinued,
    VoiceDiscarded,
    VoiceResumed,
    VoiceStarted,
    VoiceStopped,
)
from speech_to_speech.vad.base import WINDOW_MS, VadRequest, VadResult
from speech_to_speech.vad.silero import SileroVad
from speech_to_speech.workers.model import ListJob

BLOCK_SAMPLES, SENT_AHEAD = 1024, 200 * PER_MS
KEPT_SAMPLES = round(Settings.client_buffer_ms) * PER_MS + 2 * BLOCK_SAMPLES  # a block may sound so long past its start
POSITIONS_MS = 10.0  # the position told for a block may be off by so much, either way
BATCH = 64  # windows in one call of the VAD model
PAUSES_MS, LONGEST_MS = (64, 96, 128, 160), (500, 1000, 1500)
DELAY_LIMIT_MS = 300.0
ENDPOINTING = EndpointOptions(soft_end_ms=Settings.soft_end_ms, progress_ms=WINDOW_MS)

Heard = list[tuple[int, VadEvent]]
"""The VAD's events in a scene, each with its sample."""


@dataclass
class Course:
    """What became of a reply; positions are samples."""

    paused: bool = False
    interrupted_at: int | None = None

    @property
    def outcome(self) -> str:
        if self.interrupted_at is not None:
            return "interrupted"
        return "resumed" if self.paused else "on"


@dataclass(frozen=True)
class Thresholds:
    """So much speech pauses a reply, interrupts it if its words do, and interrupts it whatever they are."""

    pause_ms: float = Settings.barge_in_pause_ms
    words_ms: float = Settings.barge_in_ms
    longest_ms: float = Settings.barge_in_max_ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--seed", type=int, default=0, help="of noise, rooms, places and levels (default 0)")
    parser.add_argument("--no-guard", action="store_true", help="without EchoGuard, to see what it is for")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    rng = np.random.default_rng(arguments.seed)
    print("overlap: making the sounds ...", file=sys.stderr, flush=True)
    made = list(scenes(rng))
    minutes = sum(len(scene.microphone) for scene in made) / SAMPLE_RATE_HZ / 60
    print(f"overlap: listening to {len(made)} scenes, {minutes:.0f} minutes ...", file=sys.stderr, flush=True)
    costs_us: list[float] = []
    if arguments.no_guard:
        windows = [_windows(scene.microphone) for scene in made]
    else:
        windows = [_cleaned(scene, rng, costs_us) for scene in made]
    _report(list(zip(made, _listen(windows), strict=True)))
    if costs_us:
        print(
            f"\nEchoGuard per window of {WINDOW_MS:g} ms: mean {statistics.mean(costs_us):.0f} µs, "
            f"median {statistics.median(costs_us):.0f} µs, p95 {np.percentile(costs_us, 95):.0f} µs"
        )
    return 0


# What the VAD hears.


def _windows(sound: np.ndarray) -> list[bytes]:
    pcm, step = to_pcm(sound), 2 * WINDOW_SAMPLES
    return [pcm[at : at + step] for at in range(0, len(pcm) - step + 1, step)]


class _Sender:
    """Tells the guard of the reply's blocks as `Playout` does: ahead, at positions that are roughly right, and after a
    hold once more of those that may not have sounded before it."""

    def __init__(self, scene: Scene, guard: EchoGuard, rng: np.random.Generator) -> None:
        self._guard = guard
        self._rng = rng
        self._held_at, self._hold = scene.hold or (len(scene.microphone), 0)
        self._late = 0
        reply = to_pcm(scene.reply)
        self._blocks = deque((at, reply[2 * at : 2 * (at + BLOCK_SAMPLES)]) for at in self._starts(scene))
        self._ahead: deque[tuple[int, bytes]] = deque()

    @staticmethod
    def _starts(scene: Scene) -> range:
        return range(0, len(scene.reply), BLOCK_SAMPLES)

    def up_to(self, position: int) -> None:
        """The microphone has delivered so much."""
        resumed_at = self._held_at + self._hold
        if not self._late and self._hold and position >= resumed_at:
            self._late = self._hold
            off_ms = self._off_ms()
            for start, block in self._ahead:
                self._guard.sent(block, (start + self._late) / PER_MS + off_ms)
        if self._held_at <= position < resumed_at:
            return
        while self._blocks and self._blocks[0][0] + self._late <= position + SENT_AHEAD:
            start, block = self._blocks.popleft()
            if not self._late:
                while self._ahead and self._ahead[0][0] + KEPT_SAMPLES < position:
                    self._ahead.popleft()
                self._ahead.append((start, block))
            self._guard.sent(block, (start + self._late) / PER_MS + self._off_ms())

    def _off_ms(self) -> float:
        return self._rng.uniform(-POSITIONS_MS, POSITIONS_MS)


def _cleaned(scene: Scene, rng: np.random.Generator, costs_us: list[float]) -> list[bytes]:
    """What the guard leaves of the scene's windows."""
    guard, cleaned = EchoGuard(), []
    sender = _Sender(scene, guard, rng)
    for number, window in enumerate(_windows(scene.microphone)):
        end = (number + 1) * WINDOW_SAMPLES
        sender.up_to(end)
        begun = time.perf_counter()
        cleaned.append(guard.clean(window, end / PER_MS).pcm)
        costs_us.append((time.perf_counter() - begun) * 1e6)
    return cleaned


def _listen(windows: Sequence[Sequence[bytes]]) -> list[Heard]:
    heard: list[Heard] = []
    for some, probabilities in zip(windows, _probabilities(windows), strict=True):
        endpointer, told = Endpointer(ENDPOINTING), []
        for number, (window, probability) in enumerate(zip(some, probabilities, strict=True)):
            told += [((number + 1) * WINDOW_SAMPLES, event) for event in endpointer.push(window, probability)]
        heard.append(told)
    return heard


def _probabilities(scenes: Sequence[Sequence[bytes]]) -> list[list[float]]:
    """Of speech, for all windows of all scenes; in batches, which give what single runs give."""
    vad = SileroVad(SileroVad.Options())
    vad.load()
    found: list[list[float]] = [[] for _ in scenes]
    states: list[object] = [None] * len(scenes)
    for number in range(max(map(len, scenes))):
        active = [index for index, windows in enumerate(scenes) if number < len(windows)]
        for some in (active[first : first + BATCH] for first in range(0, len(active), BATCH)):
            job: ListJob[VadRequest, VadResult] = ListJob(
                VadRequest([scenes[index][number] for index in some], [states[index] for index in some])
            )
            vad.run([job])
            for row, index in enumerate(some):
                found[index].append(job.outputs[0].probabilities[row])
                states[index] = job.outputs[0].states[row]
    return found


# What becomes of each reply.


def _course(scene: Scene, heard: Heard, rules: Thresholds) -> Course:
    """Decide on one utterance after the other, up to an interruption; after a hold, on what is heard from then on."""
    course, begun, held, asked = Course(), 0, False, False
    counts_from = sum(scene.hold) if scene.hold else 0
    for position, event in heard:
        if isinstance(event, VoiceStarted):
            begun, asked = position, False
        if position <= counts_from:
            continue
        interrupts = False
        match event:
            case VoiceContinued(_, voiced_ms) | VoiceResumed(_, voiced_ms):
                if voiced_ms >= rules.words_ms and not asked:
                    asked, interrupts = True, not _is_backchannel(scene, begun, position)
                interrupts = interrupts or voiced_ms >= rules.longest_ms
                held = held or voiced_ms >= rules.pause_ms
            case SoftEnd() if held:
                interrupts = not _is_backchannel(scene, begun, position)
                held = interrupts
            case VoiceDiscarded():
                held = False
            case VoiceStopped():
                interrupts = event.voiced_ms >= rules.pause_ms and not _is_backchannel(scene, begun, position)
                held = False
        course.paused = course.paused or held
        if interrupts:
            course.interrupted_at = position
            break
    return course


def _is_backchannel(scene: Scene, begun: int, position: int) -> bool:
    return is_backchannel(scene.words_by(begun, position), scene.language)


def _to_pause_ms(scene: Scene, heard: Heard, pause_ms: float) -> float:
    """From the first sample of speech to the end of the window that pauses the reply; NaN if none does."""
    assert scene.onset is not None
    paused_at = None
    for position, event in heard:
        if isinstance(event, VoiceStarted):
            paused_at = None
        elif isinstance(event, VoiceContinued | VoiceResumed) and event.voiced_ms >= pause_ms:
            paused_at = paused_at or position
            if position > scene.onset:
                return max(paused_at - scene.onset, 0) / PER_MS
    return float("nan")


# The report.


def _report(all_heard: Sequence[tuple[Scene, Heard]]) -> None:
    kinds: dict[str, list[tuple[Scene, Heard]]] = defaultdict(list)
    for scene, heard in all_heard:
        kinds[scene.kind].append((scene, heard))
    rules = Thresholds()
    rows: list[list[object]] = []
    for kind, some in kinds.items():
        outcomes = [_course(*one, rules).outcome for one in some]
        rows.append([kind, len(some), *(outcomes.count(name) for name in ("on", "resumed", "interrupted"))])
    print(
        f"Pause from {rules.pause_ms:g} ms of speech, words at the soft end or from {rules.words_ms:g} ms, "
        f"interruption from {rules.longest_ms:g} ms:\n"
    )
    print(table(["while a reply plays", "n", "let go on", "paused and resumed", "interrupted"], rows))

    spoken = {kind: some for kind, some in kinds.items() if kind.startswith(("interruption", "short command"))}
    _report_delays(spoken)
    loud = [one for kind, some in spoken.items() if "-6" not in kind and "command" not in kind for one in some]
    p95 = _quantiles([_to_pause_ms(*one, rules.pause_ms) for one in loud])[1]
    print("\n" + target("interruption no quieter than the echo to the pause, p95", p95, DELAY_LIMIT_MS, "ms"))

    merged = {
        "echo": [one for kind, some in kinds.items() if kind.startswith("echo") for one in some],
        "sounds": [one for kind in SOUNDS for one in kinds[kind]],
        "backchannels": kinds["backchannel"],
    }
    print("\nBy the length that pauses, in %:\n")
    _report_trade("pause ms", {pause_ms: Thresholds(pause_ms=pause_ms) for pause_ms in PAUSES_MS}, merged)
    print("\nBy the length that interrupts whatever the words, in %:\n")
    _report_trade("longest ms", {longest_ms: Thresholds(longest_ms=longest_ms) for longest_ms in LONGEST_MS}, merged)


def _report_delays(spoken: dict[str, list[tuple[Scene, Heard]]]) -> None:
    rows: list[list[object]] = []
    for kind, some in spoken.items():
        for pause_ms in PAUSES_MS:
            delays = [_to_pause_ms(*one, pause_ms) for one in some]
            rows.append([kind, pause_ms, *_quantiles(delays), sum(delay != delay for delay in delays)])
    print("\nFrom the first sample of the words to the pause:\n")
    print(table(["kind", "pause ms", "p50 ms", "p95 ms", "never"], rows))
    rows = []
    for kind, some in spoken.items():
        courses = [(scene, _course(scene, heard, Thresholds())) for scene, heard in some]
        delays = [max(((c.interrupted_at or np.nan) - (s.onset or 0)) / PER_MS, 0) for s, c in courses]
        rows.append([kind, *_quantiles(delays), sum(delay != delay for delay in delays)])
    print("\nTo the interruption, a transcript taking no time:\n")
    print(table(["kind", "p50 ms", "p95 ms", "never"], rows))


def _report_trade(name: str, by_length: dict[int, Thresholds], merged: dict[str, list[tuple[Scene, Heard]]]) -> None:
    rows: list[list[object]] = []
    for length_ms, rules in by_length.items():
        outcomes = [[_course(*one, rules).outcome for one in some] for some in merged.values()]
        stopped = [100 * sum(outcome != "on" for outcome in some) / len(some) for some in outcomes]
        ended = [100 * some.count("interrupted") / len(some) for some in outcomes]
        rows.append([length_ms, *stopped, *ended])
    header = [f"{kind} {what}" for what in ("paused", "interrupted") for kind in merged]
    print(table([name, *header], rows))


def _quantiles(delays: Sequence[float]) -> tuple[float, float]:
    """p50 and p95; what never came counts as endless."""
    ordered = sorted(float("inf") if delay != delay else delay for delay in delays)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]

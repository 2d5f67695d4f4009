"""Speculative turns: how soon the reply begins to sound, with models that take less, about as much, and more time than
the endpoint wait; without speculation, with that of STT, and with all of it.

Three servers, one for each, have their callers at the same time. The callers make pauses, long enough for a speculation
to begin and too short to be the end.
"""

import argparse
import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.levels import GeneratorFailed, Level, run_level
from benchmarks.service import NotStarted, Service, counters
from benchmarks.tables import table, target
from benchmarks.units import WINDOW_SAMPLES, percentile

MODES = ("off", "stt", "full")
MODELS = "20+10+10,60+35+25,200+100+100"
"""The milliseconds that STT, the language model and TTS take for their first output."""
WINDOW_MS = WINDOW_SAMPLES / 16
SOFT_END_MS, WAIT_MS = 3 * WINDOW_MS, 7 * WINDOW_MS
"""The settings of the `loadtest` profile, 96 and 200 ms, in whole windows."""
LEVELS = "1:35"
EXCESS_MS, LAG_MS = 20, 10
RESULTS = ("started", "used", "wasted", "shed")


@dataclass(frozen=True)
class Case:
    """One server's settings."""

    mode: str
    models_ms: tuple[int, ...]
    partials: bool
    """Partial transcripts hold the one STT model while a speculation waits for it."""

    def foreseen_ms(self, stt_ms: float) -> float:
        """From the end of speech to the first audio: what is done beforehand begins at the soft end."""
        llm_and_tts_ms = sum(self.models_ms[1:])
        before_ms = {"off": 0.0, "stt": stt_ms, "full": stt_ms + llm_and_tts_ms}[self.mode]
        return max(WAIT_MS, SOFT_END_MS + before_ms) + stt_ms + llm_and_tts_ms - before_ms

    @property
    def models(self) -> str:
        """For a table."""
        return f"{' + '.join(map(str, self.models_ms))} = {sum(self.models_ms)}"

    @property
    def settings(self) -> list[str]:
        """For the command line of the server."""
        values = zip(("stt", "llm", "tts"), self.models_ms, strict=True)
        settings = [f"--speculation={self.mode}", *(f"--loadtest_{stage}_ms={value}" for stage, value in values)]
        return settings if self.partials else [*settings, "--partial_interval_ms=0"]


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    case: Case
    level: Level
    speculations: dict[str, float]
    """The speculations per turn, for each of `RESULTS`."""

    @property
    def sent_ms(self) -> list[float]:
        """From the end of speech to the first audio sent, for each timed turn."""
        return [each["sent"] for each in self.level.found["first_audio"]]

    @property
    def stt_ms(self) -> list[float]:
        """What STT took: the stand-in finds the pitch after its delay, which takes a few milliseconds."""
        return [each["stt"] for each in self.level.found["first_audio"]]

    @property
    def excess_ms(self) -> list[float]:
        """Over what was foreseen with the time that STT took, for each timed turn."""
        return [sent - self.case.foreseen_ms(stt) for sent, stt in zip(self.sent_ms, self.stt_ms, strict=True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument(
        "--levels",
        type=_levels,
        default=LEVELS,
        metavar="N:SECONDS,...",
        help=f"conversations on each server, and how long after a ramp of 6 s, one after the other (default {LEVELS})",
    )
    parser.add_argument(
        "--models",
        type=_models,
        default=MODELS,
        metavar="STT+LLM+TTS,...",
        help=f"what the models take, in ms (default {MODELS})",
    )
    parser.add_argument("--partials", action="store_true", help="with partial transcripts, whose calls are in the way")


def _levels(text: str) -> list[tuple[int, float]]:
    pairs = [part.partition(":") for part in text.split(",")]
    return [(int(number), float(seconds)) for number, _, seconds in pairs]


def _models(text: str) -> list[tuple[int, ...]]:
    return [tuple(int(value) for value in part.split("+")) for part in text.split(",")]


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if a level could not be run."""
    outcomes: dict[int, list[Outcome]] = {}
    try:
        for models_ms in arguments.models:
            cases = [Case(mode, models_ms, arguments.partials) for mode in MODES]
            _measure_models(cases, arguments.levels, outcomes)
    except (GeneratorFailed, NotStarted, OSError) as error:
        print(f"speculation: {error}", file=sys.stderr)
        return 1
    finally:
        print("\n\n".join(report(number, each) for number, each in outcomes.items()), flush=True)
    return 0


def _measure_models(cases: list[Case], levels: list[tuple[int, float]], outcomes: dict[int, list[Outcome]]) -> None:
    """All modes at the same time, so that they have the same machine."""
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(Service.of_profile("loadtest", *case.settings)) for case in cases]
        pool = stack.enter_context(ThreadPoolExecutor(len(cases)))
        for number, seconds in levels:
            print(f"speculation: {number} x {len(cases)}, {cases[0].models} ms ...", file=sys.stderr, flush=True)
            runs = [pool.submit(_measure, *each, number, seconds) for each in zip(cases, services, strict=True)]
            outcomes.setdefault(number, []).extend(each.result() for each in runs)


def _measure(case: Case, service: Service, conversations: int, seconds: float) -> Outcome:
    options = ["--seconds", str(seconds), "--turns", "1", "--all-events", "--pauses"]
    before = counters(service.port)
    level = run_level(f"ws://127.0.0.1:{service.port}/ws", conversations, options, service.pid)
    after = counters(service.port)
    names = {result: f's2s_speculations_total{{result="{result}"}}' for result in RESULTS}
    found = {result: after.get(name, 0.0) - before.get(name, 0.0) for result, name in names.items()}
    return Outcome(case, level, {result: count / level.found["turns"] for result, count in found.items()})


def report(conversations: int, outcomes: list[Outcome]) -> str:
    """The tables of one level, what failed, and a line for each target."""
    who = f"{conversations} conversation{'s' if conversations > 1 else ''} on each server"
    notes = []
    for outcome in outcomes:
        case, found = outcome.case, outcome.level.found
        notes += [f"{case.mode}, {case.models} ms: {fault}" for fault in found["first_faults"]]
        if found["error_events"]:
            notes.append(f"{case.mode}, {case.models} ms: error events {found['error_events']}")
    failed = sum(outcome.level.found["failed"] for outcome in outcomes)
    lag_ms = max(outcome.level.found["lag_p99_ms"] for outcome in outcomes)
    lines = [target(f"{who}: failed turns", float(failed), 0, "turns")]
    for mode in MODES:
        excess_ms = [value for outcome in outcomes if outcome.case.mode == mode for value in outcome.excess_ms]
        lines.append(target(f"{who}: {mode}: p95 over what was foreseen", percentile(excess_ms, 95), EXCESS_MS, "ms"))
    lines.append(target(f"{who}: highest generator lag p99", lag_ms, LAG_MS, "ms"))
    parts = [f"With {who}:", _latency(outcomes), _work(outcomes), "\n".join(notes), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def _latency(outcomes: list[Outcome]) -> str:
    header = [
        "STT + LLM + TTS ms",
        "speculation",
        "timed turns",
        "failed",
        "STT in fact ms",
        "foreseen ms",
        "first audio sent p50 ms",
        "p95",
    ]
    header += ["over what was foreseen p50 ms", "p95", "v2v p50 ms", "p95"]
    rows = []
    for outcome in outcomes:
        found = outcome.level.found
        figures_ms = (outcome.sent_ms, outcome.excess_ms, found["voice_to_voice_ms"])
        row: list[object] = [outcome.case.models, outcome.case.mode, found["timed_turns"], found["failed"]]
        row += [percentile(outcome.stt_ms, 50), outcome.case.foreseen_ms(percentile(outcome.stt_ms, 50))]
        row += [percentile(values, percent) for values in figures_ms for percent in (50, 95)]
        rows.append(row)
    return table(header, rows)


def _work(outcomes: list[Outcome]) -> str:
    header = ["STT + LLM + TTS ms", "speculation", *(f"{result} per turn" for result in RESULTS)]
    header += ["CPU s per conversation-minute", "of that without"]
    rows = []
    without = 0.0
    for outcome in outcomes:
        cpu_s = outcome.level.cpu_s_per_minute
        without = cpu_s if outcome.case.mode == "off" else without
        share = f"{cpu_s / without:.0%}" if without else "-"
        rows.append([outcome.case.models, outcome.case.mode, *outcome.speculations.values(), cpu_s, share])
    return table(header, rows)

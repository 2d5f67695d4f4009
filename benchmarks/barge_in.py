"""Barge-in: many conversations in full duplex speak over every other reply; how soon it ends, and what becomes of it.

Half of the replies are interrupted 300 to 800 ms after their first block, by a whole sentence that wants an answer of
its own. Those answers are heard to their end.
"""

import argparse
import sys
from dataclasses import dataclass

from benchmarks.levels import GeneratorFailed, Level, run_level
from benchmarks.service import NotStarted, Service, counters
from benchmarks.tables import table, target
from benchmarks.units import percentile

MODELS_MS = ((0, 0, 0), (40, 30, 30))
"""The milliseconds that STT, the language model and TTS take, for one server after the other."""
STOP_MS, LAG_MS = 300, 10
STEPS = {
    "paused": "`reply_paused`",
    "last_block": "last block of the reply",
    "played": "the reply played, if all that came is",
    "told": "`reply_interrupted`",
    "done": "`DONE`",
}


@dataclass(frozen=True)
class Outcome:
    """What one server's callers found."""

    models: str
    level: Level
    counted: float
    """The interruptions that the service itself has counted."""

    def step_ms(self, step: str) -> list[float]:
        """From the first sample of speech over the reply to one of `STEPS`, for each timed interruption."""
        return [each[step] for each in self.level.found["interruptions"] if step in each]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--conversations", type=int, default=64, help="(default 64)")
    parser.add_argument("--seconds", type=float, default=15, help="for each server, after a ramp of 6 s (default 15)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the servers")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if a level could not be run."""
    outcomes: list[Outcome] = []
    try:
        for models_ms in MODELS_MS:
            models = " + ".join(map(str, models_ms))
            print(f"barge_in: {arguments.conversations}, models of {models} ms ...", file=sys.stderr, flush=True)
            values = zip(("stt", "llm", "tts"), models_ms, strict=True)
            settings = [f"--loadtest_{stage}_ms={value}" for stage, value in values]
            settings += [f"--{pair}" for pair in arguments.set]
            with Service.of_profile("loadtest", *settings) as service:
                outcomes.append(_measure(models, service, arguments.conversations, arguments.seconds))
    except (GeneratorFailed, NotStarted, OSError) as error:
        print(f"barge_in: {error}", file=sys.stderr)
        return 1
    finally:
        if outcomes:
            print(report(outcomes), flush=True)
    return 0


def _measure(models: str, service: Service, conversations: int, seconds: float) -> Outcome:
    options = ["--seconds", str(seconds), "--turns", "1", "--all-events", "--interrupt"]
    level = run_level(f"ws://127.0.0.1:{service.port}/ws", conversations, options, service.pid)
    return Outcome(models, level, counters(service.port)["s2s_interruptions_total"])


def report(outcomes: list[Outcome]) -> str:
    """The tables, what failed, and a line for each target."""
    notes, lines = [], []
    for outcome in outcomes:
        found, name = outcome.level.found, f"models of {outcome.models} ms"
        notes += [f"{name}: {fault}" for fault in found["first_faults"]]
        if found["error_events"]:
            notes.append(f"{name}: error events {found['error_events']}")
        stop_ms = percentile(outcome.step_ms("last_block"), 95)
        lines += [
            target(f"{name}: speech over a reply to its last block, p95", stop_ms, STOP_MS, "ms"),
            target(f"{name}: failed turns", float(found["failed"]), 0, "turns"),
            target(f"{name}: generator lag p99", found["lag_p99_ms"], LAG_MS, "ms"),
        ]
    parts = [_steps(outcomes), _turns(outcomes), _cost(outcomes), "\n".join(notes), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def _steps(outcomes: list[Outcome]) -> str:
    header = [
        "STT + LLM + TTS ms",
        "from the first sample of speech over a reply to",
        "times",
        "p50 ms",
        "p95",
        "slowest",
    ]
    rows: list[list[object]] = []
    for outcome in outcomes:
        for step, name in STEPS.items():
            values = outcome.step_ms(step)
            figures = [percentile(values, percent) for percent in (50, 95, 100)]
            rows.append([outcome.models, name, len(values), *figures])
    return table(header, rows)


def _turns(outcomes: list[Outcome]) -> str:
    header = ["STT + LLM + TTS ms", "turns", "interrupted", "by the service's count", "failed", "v2v p50 ms", "p95"]
    rows = []
    for outcome in outcomes:
        found = outcome.level.found
        kinds = ", ".join(f"{count} {kind}" for kind, count in found["failed_by_kind"].items())
        row: list[object] = [outcome.models, found["turns"], found["interrupted"], outcome.counted]
        row += [f"{found['failed']} ({kinds})" if kinds else "0"]
        row += [outcome.level.voice_to_voice_ms(percent) for percent in (50, 95)]
        rows.append(row)
    return table(header, rows)


def _cost(outcomes: list[Outcome]) -> str:
    header = ["STT + LLM + TTS ms", "CPU s per conversation-minute", "server cores", "busiest threads"]
    header += ["generator lag p99 ms", "generator cores", "other cores", "stolen cores"]
    nan = float("nan")
    rows = []
    for outcome in outcomes:
        level, cost = outcome.level, outcome.level.cost
        row: list[object] = [outcome.models, level.cpu_s_per_minute, cost.cpu_s / cost.seconds if cost else nan]
        row += [" ".join(f"{cores:.2f}" for cores in cost.threads[:4]) if cost else nan]
        row += [level.found["lag_p99_ms"], float(level.found["generator_cpu_share"])]
        row += [cost.others_share if cost else nan, cost.steal_share if cost else nan]
        rows.append(row)
    return table(header, rows)

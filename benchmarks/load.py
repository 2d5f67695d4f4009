"""Latency and capacity: 1 and then N conversations on one server process, in one go, side by side in one table."""

import argparse
import sys
from urllib.parse import urlsplit

from benchmarks.generator import add_plan_arguments
from benchmarks.levels import GeneratorFailed, Level, run_level
from benchmarks.service import NotStarted, Service
from benchmarks.tables import table, target

CONVERSATIONS = "1,192,256"
ENDPOINT_TO_AUDIO_MS, DELTA_MS, LAG_MS = 20, 50, 10
CPU_S_PER_MINUTE, MB_EACH = 0.35, 1.0
LEAST_TURNS = 30
GOAL = 192
"""The target's conversations. A level with more is the stretch goal."""
MB = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument(
        "--conversations",
        type=lambda text: [int(part) for part in text.split(",")],
        default=CONVERSATIONS,
        metavar="N,N,...",
        help=f"the levels, in this order (default {CONVERSATIONS}); the first is what the others are compared with",
    )
    add_plan_arguments(parser)
    parser.add_argument("--profile", default="loadtest", help="of the server that is started (default loadtest)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of that server")
    parser.add_argument("--url", help="ws://... of a server that runs already, with the loadtest profile")
    parser.add_argument("--pid", type=int, help="its process id, for CPU and memory")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if a level could not be run."""
    options = ["--seconds", str(arguments.seconds), "--turns", str(arguments.turns)]
    options += ["--limit-seconds", str(arguments.limit_seconds)] + ([] if arguments.events else ["--no-events"])
    levels: list[Level] = []
    try:
        if arguments.url:
            host = urlsplit(arguments.url).hostname
            if host not in ("127.0.0.1", "::1", "localhost"):
                print(f"note: {host} is another machine, so the network is part of every figure")
            _run_levels(arguments.url, arguments.conversations, options, arguments.pid, levels)
        else:
            settings = [part for pair in arguments.set for part in ("--" + pair).split("=", 1)]
            with Service.of_profile(arguments.profile, *settings) as service:
                url = f"ws://127.0.0.1:{service.port}/ws"
                try:
                    _run_levels(url, arguments.conversations, options, service.pid, levels)
                finally:
                    if not service.alive:
                        print(f"the service has ended:\n{service.output()}", file=sys.stderr)
    except (GeneratorFailed, NotStarted, ProcessLookupError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    finally:
        if levels:
            print(report(levels), flush=True)
    return 0


def _run_levels(url: str, counts: list[int], options: list[str], pid: int | None, levels: list[Level]) -> None:
    for count in counts:
        print(f"load: {count} conversation{'s' if count > 1 else ''} ...", file=sys.stderr, flush=True)
        levels.append(run_level(url, count, options, pid))


def report(levels: list[Level]) -> str:
    """The tables, what failed, and a line for each target."""
    first = levels[0]
    parts = [_latency(levels), _cost(levels)]
    for level in levels:
        found = level.found
        parts += [f"{level.conversations}: {fault}" for fault in found["first_faults"]]
        if found["error_events"]:
            parts.append(f"{level.conversations}: error events {found['error_events']}")
    endpoint_ms = first.endpoint_to_audio_ms(95) if first.conversations == 1 else float("nan")
    lines = [target("1 conversation: endpoint to first audio, p95", endpoint_ms, ENDPOINT_TO_AUDIO_MS, "ms")]
    before = sum(level.found["audio_before_endpoint"] for level in levels)
    lines += [target("all levels: audio before the endpoint", float(before), 0, "turns")]
    for level in levels[1:]:
        lines += _targets(first, level)
    return "\n\n".join([*parts[:2], *(["\n".join(parts[2:])] if parts[2:] else []), "\n".join(lines)])


def _latency(levels: list[Level]) -> str:
    first = levels[0]
    header = [
        "conversations",
        "turns",
        "warm-up",
        "failed",
        "late chunks",
        "v2v p50 ms",
        "p95",
        "p99",
        f"p95 over {first.conversations}",
    ]
    header += ["endpoint to audio p95 ms", "generator lag p99 ms"]
    rows = []
    for level in levels:
        found = level.found
        kinds = ", ".join(f"{count} {kind}" for kind, count in found["failed_by_kind"].items())
        rows.append(
            [
                level.conversations,
                found["timed_turns"],
                found["turns"] - found["timed_turns"],
                f"{found['failed']} ({kinds})" if kinds else "0",
                found["late_chunks"],
                *(level.voice_to_voice_ms(percent) for percent in (50, 95, 99)),
                delta_ms(first, level) if level is not first else float("nan"),
                level.endpoint_to_audio_ms(95),
                found["lag_p99_ms"],
            ]
        )
    return table(header, rows)


def _cost(levels: list[Level]) -> str:
    header = [
        "conversations",
        "CPU s per conversation-minute",
        "server cores",
        "busiest threads",
        "RSS MB",
        "PSS MB",
        "MB per further one",
    ]
    header += ["generator cores", "other cores", "stolen cores"]
    nan = float("nan")
    rows = []
    for level in levels:
        cost = level.cost
        rows.append(
            [
                level.conversations,
                level.cpu_s_per_minute,
                cost.cpu_s / cost.seconds if cost else nan,
                " ".join(f"{cores:.2f}" for cores in cost.threads[:4]) if cost else nan,
                cost.rss_bytes / MB if cost else nan,
                cost.pss_bytes / MB if cost and cost.pss_bytes is not None else nan,
                mb_each(levels[0], level),
                float(level.found["generator_cpu_share"]),
                cost.others_share if cost else nan,
                cost.steal_share if cost else nan,
            ]
        )
    return table(header, rows)


def delta_ms(first: Level, level: Level) -> float:
    """How much longer the p95 of voice-to-voice is than with the first level."""
    return level.voice_to_voice_ms(95) - first.voice_to_voice_ms(95)


def mb_each(first: Level, level: Level) -> float:
    """Resident megabytes for each conversation more than the first level had; NaN where that has no meaning."""
    if first.cost is None or level.cost is None or level.conversations <= first.conversations:
        return float("nan")
    return (level.cost.rss_bytes - first.cost.rss_bytes) / MB / (level.conversations - first.conversations)


def _targets(first: Level, level: Level) -> list[str]:
    found = level.found
    name = f"{level.conversations} conversations" + (" (stretch)" if level.conversations > GOAL else "")
    fewest = min(len(side.found["voice_to_voice_ms"]) for side in (first, level))
    comparable = fewest >= LEAST_TURNS and first.conversations == 1
    nan = float("nan")
    lines = [
        target(f"{name}: failed turns", float(found["failed"]), 0, "turns"),
        target(f"{name}: late chunks", float(found["late_chunks"]), 0, "chunks"),
        target(f"{name}: v2v p95 over one", delta_ms(first, level) if comparable else nan, DELTA_MS, "ms"),
        target(f"{name}: generator lag p99", found["lag_p99_ms"], LAG_MS, "ms"),
        target(f"{name}: memory per further one", mb_each(first, level), MB_EACH, "MB"),
    ]
    if level.conversations >= GOAL:  # in a smaller level fewer conversations share the VAD's batches
        lines.append(target(f"{name}: CPU per conversation-minute", level.cpu_s_per_minute, CPU_S_PER_MINUTE, "s"))
    if fewest < LEAST_TURNS:
        lines.append(
            f"{'note':>12}  {name}: only {fewest} timed turns on one side, {LEAST_TURNS} are needed to compare"
        )
    if found["lag_p99_ms"] > LAG_MS:
        lines.append(f"{'note':>12}  {name}: the generator or the machine was too slow; this level says nothing")
    return lines

"""Turns with real models, as small as they are: what a turn costs beside the models' own calls, and what batching
brings to many conversations at once.

Outside the models: from the endpoint to the first audio sent, less the time inside the calls of speech to text, of the
language model up to its first text to speak, and of text to speech up to its first sound. The wait in the lines counts
as outside. Without speculation, which would hide it.

Batching: conversations that ask as fast as they are answered, on servers whose batch limits are 1 and as many as there
are conversations, in turn.
"""

import argparse
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass

import anyio

from benchmarks import askers, procfs
from benchmarks.askers import Answer
from benchmarks.questions import Question, english
from benchmarks.service import NotStarted, Service, counters
from benchmarks.tables import table, target
from benchmarks.units import percentile

OUTSIDE_MS, SPEED_UP = 20, 2.0
PAUSE_S = 0.3
"""The longest time between a reply and the next question."""
RAMP_S = 3.0
BATCHED = ("stt", "llm")
STEPS = ("transcript", "first_token", "first_text", "first_audio_made", "first_audio_sent")


@dataclass(frozen=True)
class Throughput:
    """What one server did in the steady part of its run."""

    limit: int
    seconds: float
    answers: list[Answer]
    batch_sizes: dict[str, float]
    """The average size of each stage's batches. An open batch counts whenever requests join it."""
    cpu_s: float
    threads: list[float]
    """Cores used by each thread of the server, the busiest first."""
    others_share: float
    """CPU that neither the server nor the callers used, in cores."""

    @property
    def turns_per_s(self) -> float:
        """Whatever came of them; see `faults`."""
        return len(self.answers) / self.seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--turns", type=int, default=40, help="of the one conversation (default 40); 0: skip it")
    parser.add_argument("--conversations", type=int, default=16, help="at once (default 16); 0: skip them")
    parser.add_argument("--seconds", type=float, default=15, help="for each server, after 3 s of ramp (default 15)")
    parser.add_argument("--rounds", type=int, default=2, help="of both servers, in turn (default 2)")
    parser.add_argument("--profile", default="tiny", help="of the servers (default tiny)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the servers")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if a server did not start or did not answer."""
    questions = english()
    settings = ["--speculation=off", *(f"--{pair}" for pair in arguments.set)]
    try:
        if arguments.turns:
            print(report_outside(_ask_one(arguments, questions, settings)), flush=True)
        if arguments.conversations:
            rounds = [
                _ask_many(arguments, questions, settings, limit)
                for _ in range(arguments.rounds)
                for limit in (1, arguments.conversations)
            ]
            print("\n" + report_throughput(arguments.conversations, rounds), flush=True)
    except (NotStarted, OSError, ExceptionGroup) as error:
        cause: Exception = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        print(f"turns: {str(cause) or type(cause).__name__}", file=sys.stderr)
        return 1
    return 0


# One conversation.


def _ask_one(arguments: argparse.Namespace, questions: list[Question], settings: list[str]) -> list[Answer]:
    print(f"turns: one conversation, {arguments.turns} turns ...", file=sys.stderr, flush=True)
    with Service.of_profile(arguments.profile, *settings) as service:
        return anyio.run(askers.one_after_the_other, service.port, questions, arguments.turns, PAUSE_S)


def outside_ms(record: dict[str, object]) -> float:
    """Of the way from the endpoint to the first audio sent, what was not inside the models' own calls."""
    sent, endpoint, models = (float(str(record[f"{name}_ms"])) for name in ("first_audio_sent", "endpoint", "models"))
    return sent - endpoint - models


def report_outside(answers: list[Answer]) -> str:
    """The steps of the turns that were spoken, what went wrong, and the target."""
    records = [answer.record for answer in answers if answer.record.get("first_audio_sent_ms") is not None]
    rows: list[list[object]] = []
    for step in STEPS:
        since_ms = [float(record[f"{step}_ms"]) - float(record["endpoint_ms"]) for record in records]
        rows.append([f"endpoint to {step.replace('_', ' ')}", *_spread(since_ms)])
    rows.append(["inside the models' calls", *_spread([float(record["models_ms"]) for record in records])])
    outside = [outside_ms(record) for record in records]
    rows.append(["outside of them", *_spread(outside)])
    middle = percentile(outside, 50)
    lines = [
        target("1 conversation: outside the models' own calls, median", middle, OUTSIDE_MS, "ms a turn"),
        target("1 conversation: questions that were not answered right", float(len(faults(answers))), 0, "turns"),
    ]
    parts = [
        f"One conversation, {len(records)} turns:",
        table(["ms", "p50", "p95", "highest"], rows),
        *_notes(answers),
        "\n".join(lines),
    ]
    return "\n\n".join(parts)


def _spread(values: list[float]) -> list[float]:
    return [percentile(values, 50), percentile(values, 95), max(values, default=float("nan"))]


def faults(answers: list[Answer]) -> list[str]:
    """What is wrong with those that were not answered as they should be."""
    return [fault for answer in answers if (fault := answer.fault) is not None]


def _notes(answers: list[Answer]) -> list[str]:
    found = Counter(faults(answers))
    return ["\n".join(f"{count} x {fault}" for fault, count in found.most_common(8))] if found else []


# Many conversations.


def _ask_many(arguments: argparse.Namespace, questions: list[Question], settings: list[str], limit: int) -> Throughput:
    number = arguments.conversations
    print(f"turns: {number} conversations, batch limit {limit} ...", file=sys.stderr, flush=True)
    limits = [f"--{stage}_batch_limit={limit}" for stage in BATCHED]
    with Service.of_profile(arguments.profile, *settings, *limits) as service:
        return anyio.run(_measure, service, questions, number, limit, arguments.seconds)


async def _measure(
    service: Service, questions: list[Question], conversations: int, limit: int, seconds: float
) -> Throughput:
    begins_s = time.monotonic() + RAMP_S
    answers: list[Answer] = []

    async def converse() -> None:
        answers.extend(await askers.all_at_once(service.port, questions, conversations, begins_s + seconds))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(converse)
        await anyio.sleep(begins_s - time.monotonic())
        metrics, threads = await anyio.to_thread.run_sync(counters, service.port), procfs.thread_cpu_s(service.pid)
        before, machine, own_s = procfs.usage(service.pid), procfs.machine(), time.process_time()
        begun_s = time.monotonic()
        await anyio.sleep(begins_s + seconds - time.monotonic())
        ended_s = time.monotonic()
        after, machine_after, own_after_s = procfs.usage(service.pid), procfs.machine(), time.process_time()
        metrics_after = await anyio.to_thread.run_sync(counters, service.port)
        used = [now - threads.get(name, 0.0) for name, now in procfs.thread_cpu_s(service.pid).items()]
    seconds, cpu_s = ended_s - begun_s, after.cpu_s - before.cpu_s
    others_s = machine_after.busy_s - machine.busy_s - cpu_s - (own_after_s - own_s)
    return Throughput(
        limit=limit,
        seconds=seconds,
        answers=[answer for answer in answers if begun_s <= answer.ended_s < ended_s],
        batch_sizes={stage: _batch_size(stage, metrics, metrics_after) for stage in BATCHED},
        cpu_s=cpu_s,
        threads=[each / seconds for each in sorted(used, reverse=True)],
        others_share=max(0.0, others_s / seconds),
    )


def _batch_size(stage: str, before: dict[str, float], after: dict[str, float]) -> float:
    total, calls = (
        after.get(name, 0.0) - before.get(name, 0.0)
        for name in (f's2s_worker_batch_size_{part}{{stage="{stage}"}}' for part in ("sum", "count"))
    )
    return total / calls if calls else float("nan")


def report_throughput(conversations: int, rounds: list[Throughput]) -> str:
    """A row for each run, what went wrong, and the target."""
    header = ["batch limit", "turns", "turns per s", "STT batch", "LLM batch", "CPU s per turn", "busiest threads"]
    rows: list[list[object]] = [
        [
            each.limit,
            len(each.answers),
            each.turns_per_s,
            *(each.batch_sizes[stage] for stage in BATCHED),
            each.cpu_s / len(each.answers) if each.answers else float("nan"),
            " ".join(f"{cores:.2f}" for cores in each.threads[:4]),
            each.others_share,
        ]
        for each in rounds
    ]
    rates = {
        limit: statistics.mean([each.turns_per_s for each in rounds if each.limit == limit])
        for limit in (1, conversations)
    }
    answers = [answer for each in rounds for answer in each.answers]
    who = f"{conversations} conversations"
    share = rates[1] / rates[conversations] if rates[conversations] else float("nan")
    lines = [
        target(f"{who}: turns per s with batch limit 1 over {conversations}", share, 1 / SPEED_UP, "times"),
        target(f"{who}: questions that were not answered right", float(len(faults(answers))), 0, "turns"),
    ]
    speed_up = f"{who} at once: {1 / share:.2f} times the throughput with batches of up to {conversations}"
    parts = [f"{who}, each asking as soon as it is answered:", table([*header, "other cores"], rows), *_notes(answers)]
    return "\n\n".join([*parts, speed_up, "\n".join(lines)])

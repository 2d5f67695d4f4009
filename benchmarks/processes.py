"""Models on threads and in processes: what a chunk of audio costs on its way, and what conversations feel of real
models that compute beside them, in the service's process or in their own."""

import argparse
import struct
import sys
import time

import anyio

from benchmarks.busy import Stamps
from benchmarks.levels import GeneratorFailed, Level, run_level
from benchmarks.service import NotStarted, Service
from benchmarks.tables import table, target
from benchmarks.units import percentile
from speech_to_speech.frames import SpeakRequest
from speech_to_speech.workers.model import Model
from speech_to_speech.workers.process import ProcessModel
from speech_to_speech.workers.worker import Worker

CHUNKS = 1000
CHUNK_MS = 2.0
LIMIT_S = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--conversations", type=int, default=64, help="at once (default 64)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round (default 20)")
    parser.add_argument("--rounds", type=int, default=2, help="of each way, in turn (default 2)")


def run(options: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if something could not be run."""
    ways: dict[str, Model[SpeakRequest, object]] = {
        "thread": Stamps(Stamps.Options()),
        "process": ProcessModel("tts", "benchmarks.busy:Stamps", Stamps.Options(), 1),
    }
    delays_ms = {name: anyio.run(delays_of, model) for name, model in ways.items()}
    print(table(("a chunk of 100 ms", "p50 ms", "p95", "p99"), [(name, *found(ms)) for name, ms in delays_ms.items()]))
    over = percentile(delays_ms["process"], 95) - percentile(delays_ms["thread"], 95)
    print("\n" + target("a chunk from a process, over one from a thread, p95", over, CHUNK_MS, "ms"), flush=True)
    try:
        levels = [(kind, level_of(kind, options)) for _ in range(options.rounds) for kind in ("thread", "process")]
    except (GeneratorFailed, NotStarted, ProcessLookupError) as error:
        print(f"processes: {error}", file=sys.stderr)
        return 1
    print("\n" + report(options.conversations, levels), flush=True)
    return 0


def found(ms: list[float]) -> tuple[float, ...]:
    return tuple(percentile(ms, percent) for percent in (50, 95, 99))


async def delays_of(model: Model[SpeakRequest, object]) -> list[float]:
    """From sending a chunk in the model to having it on the event loop, in ms."""
    worker: Worker[SpeakRequest, object] = Worker("tts", model, timeout_s=LIMIT_S)
    await worker.start()
    try:
        ms = []
        async with worker.open(SpeakRequest(str(CHUNKS), "en")) as chunks:
            async for chunk in chunks:
                (sent_s,) = struct.unpack_from("<d", chunk.pcm)
                ms.append((time.monotonic() - sent_s) * 1000)
        return ms
    finally:
        await worker.close()


def level_of(kind: str, options: argparse.Namespace) -> Level:
    print(f"processes: {options.conversations} conversations, models as a {kind} ...", file=sys.stderr, flush=True)
    settings = ["--models", "benchmarks.busy", "--stt", "busy", "--llm", "busy"]
    settings += ["--stt_worker", kind, "--llm_worker", kind]
    with Service.of_profile("loadtest", *settings) as service:
        plan = ["--seconds", str(options.seconds), "--turns", "60", "--limit-seconds", str(LIMIT_S), "--no-events"]
        return run_level(f"ws://127.0.0.1:{service.port}/ws", options.conversations, plan, service.pid)


def report(conversations: int, levels: list[tuple[str, Level]]) -> str:
    header = ("Whisper and Llama as", "turns", "failed", "late chunks", "v2v p50 ms", "p95", "p99", "stolen cores")
    rows = []
    for kind, level in levels:
        timed = [level.voice_to_voice_ms(percent) for percent in (50, 95, 99)]
        steal = level.cost.steal_share if level.cost else float("nan")
        rows.append(
            (kind, level.found["timed_turns"], level.found["failed"], level.found["late_chunks"], *timed, steal)
        )
    return f"{conversations} conversations of stand-ins, while a tiny Whisper and a tiny Llama are busy:\n\n" + table(
        header, rows
    )

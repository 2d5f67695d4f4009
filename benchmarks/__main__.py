"""Run the measurements: `python -m benchmarks [NAME] [options]`; without a name all of them."""

import argparse
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import (
    barge_in,
    batching,
    endpointing,
    gpu,
    load,
    overlap,
    parts,
    processes,
    speculation,
    startup,
    tiny_whisper,
    turns,
)

PARTS = {
    "startup": (startup, "process start to health 200"),
    "parts": (parts, "the cost of each part per 20 ms frame"),
    "speculation": (speculation, "end of speech to first audio, with work begun before the endpoint"),
    "barge_in": (barge_in, "replies that are spoken over, in full duplex"),
    "endpointing": (endpointing, "false cut-offs against delay, by the turn detector"),
    "overlap": (overlap, "sounds over a reply: echo, interruptions, coughs, listeners' words"),
    "load": (load, "latency, capacity, CPU and memory under many conversations"),
    "turns": (turns, "with real models: a turn outside their own calls, and many in one batch"),
    "processes": (processes, "models on threads and in processes: a chunk's way, and conversations beside busy ones"),
    "batching": (batching, "continuous batching of the language model against plain batches"),
    "tiny_whisper": (tiny_whisper, "the tiny Whisper on utterances that had no part in choosing its recipe"),
    "gpu": (gpu, "models of real sizes, or tiny ones on the CPU: soft end to first audio, throughput"),
}
PACKAGES = ("starlette", "uvicorn", "uvloop", "websockets", "onnxruntime", "numpy", "torch", "transformers")


def machine() -> str:
    """One paragraph on where and with what the figures were made."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    packages = ", ".join(found for name in PACKAGES if (found := _installed(name)))
    busy = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {packages}; load average before: {busy}"
    )


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # a package of the extras may be missing
        return ""


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> int:
    """Run the part that the command line names, or all with their defaults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="part", metavar="|".join(PARTS))
    for name, (module, summary) in PARTS.items():
        module.add_arguments(commands.add_parser(name, help=summary, description=module.__doc__))
    arguments = parser.parse_args()
    print(machine(), flush=True)
    status = 0
    for name, (module, summary) in PARTS.items():
        if arguments.part in (None, name):
            print(f"\n## {name}: {summary}\n", flush=True)
            options = arguments if arguments.part else parser.parse_args([name])
            status = max(status, module.run(options))
    return status


if __name__ == "__main__":
    sys.exit(main())

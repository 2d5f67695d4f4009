"""The models of the `l4` profile on a GPU, at their real sizes, with random weights and fixed token counts: from the
soft end to the first audio, and how much they do at once. Nothing is downloaded.

The service's own backends do it, on the service's own workers; TTS is eSpeak NG, which runs on the CPU. Without CUDA
the same runs with tiny sizes on the CPU, which shows that it works and says nothing about a GPU.
"""

import argparse
import contextlib
import gc
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from benchmarks import random_models
from benchmarks.model_turns import (
    Answering,
    Asking,
    Counts,
    Models,
    Turn,
    answering,
    at_once,
    copy_bytes_per_s,
    now_and_then,
    since_soft_end_ms,
)
from benchmarks.random_models import LlamaSize, WhisperSize
from benchmarks.tables import table
from speech_to_speech.config.settings import load_settings
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.errors import SpeechToSpeechError
from speech_to_speech.service.workers import make_worker
from speech_to_speech.workers.worker import Worker

NEEDS = ("torch", "transformers", "espeakng_loader")
CONVERSATIONS = "1,8,32"
ON_GPU = Counts(speech_s=5, stt_tokens=24, prompt_tokens=256, first_tokens=12, answer_tokens=64)
ON_CPU = Counts(speech_s=3, stt_tokens=12, prompt_tokens=128, first_tokens=12, answer_tokens=32)
BESIDE_WEIGHTS_BYTES = 6e9
"""What the GPU holds besides the language model's weights: the cache, Whisper, and the memory that both work in."""
COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 28}
PERIOD_S = 5.0
EAGER, COMPILED = "eager", "compiled"
GB = 1e9


@dataclass(frozen=True)
class Bench:
    """What is measured, and where."""

    device: Any
    """torch.device"""
    dtype: Any
    """torch.dtype"""
    whispers: tuple[WhisperSize, ...]
    llama: LlamaSize
    counts: Counts
    compile_mode: str
    arguments: argparse.Namespace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument(
        "--conversations",
        type=lambda text: [int(part) for part in text.split(",")],
        default=CONVERSATIONS,
        metavar="N,N,...",
        help=f"at once (default {CONVERSATIONS})",
    )
    parser.add_argument("--seconds", type=float, help="for each figure (default 15; on a CPU 3)")
    parser.add_argument("--modes", help=f"of Whisper (default {EAGER},{COMPILED}; on a CPU {EAGER}: compiling is slow)")
    parser.add_argument("--compile-mode", help="of torch.compile (default reduce-overhead; on a CPU default)")
    parser.add_argument("--folder", type=Path, help="for the checkpoints, up to 20 GB (default: a temporary one)")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU, though there is a GPU")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print. Returns 1 if a model could not be made or loaded."""
    if missing := [package for package in NEEDS if importlib.util.find_spec(package) is None]:
        print(f"gpu: not measured, {', '.join(missing)} not installed", file=sys.stderr)
        return 1
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the service's setting: spinning threads take others' cores
    logging.getLogger("speech_to_speech").setLevel(logging.ERROR)  # a text cut at its token limit would log a line
    bench = _plan(arguments)
    try:
        with contextlib.ExitStack() as stack:
            folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s2s-bench-")))
            needed, free = _disk_bytes(bench), shutil.disk_usage(folder).free
            if free < needed:
                raise OSError(f"{folder} has {free / GB:.1f} GB free, {needed / GB:.1f} are needed; see --folder")
            anyio.run(_measure, bench, folder)
    except (SpeechToSpeechError, OSError) as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 1
    return 0


def _plan(arguments: argparse.Namespace) -> Bench:
    """Say where it runs, and choose the sizes that fit there."""
    import torch

    if not torch.cuda.is_available() or arguments.cpu:
        why = "--cpu is set" if torch.cuda.is_available() else "There is no CUDA device here"
        print(f"{why}: tiny sizes on {torch.get_num_threads()} threads of the CPU, no figure for a GPU.", flush=True)
        _default(arguments, seconds=3.0, compile_mode="default", modes=EAGER)
        sizes = (random_models.TINY_WHISPER,), random_models.TINY_LLAMA
        return Bench(torch.device("cpu"), torch.float32, *sizes, ON_CPU, arguments.compile_mode, arguments)
    device = torch.device("cuda")
    free = torch.cuda.mem_get_info(device)[0]
    total = torch.cuda.get_device_properties(device).total_memory
    print(
        f"{torch.cuda.get_device_name(device)}, {total / GB:.0f} GB, {free / GB:.0f} free; torch {torch.__version__}, "
        f"CUDA {torch.version.cuda}; flash attention {'is' if importlib.util.find_spec('flash_attn') else 'not'} there",
        flush=True,
    )
    _default(arguments, seconds=15.0, compile_mode="reduce-overhead", modes=f"{EAGER},{COMPILED}")
    llama = random_models.LLAMA_8B
    for smaller in (random_models.LLAMA_1B, random_models.TINY_LLAMA):
        needed = llama.stored_weights * 2 + BESIDE_WEIGHTS_BYTES
        if needed > free:
            print(f"Too small for {llama.name}, which needs {needed / GB:.0f} GB: {smaller.name} instead.", flush=True)
            llama = smaller
    whispers = (random_models.DISTIL_LARGE_V3, random_models.LARGE_V3_TURBO)
    return Bench(device, torch.float16, whispers, llama, ON_GPU, arguments.compile_mode, arguments)


def _default(arguments: argparse.Namespace, **values: Any) -> None:
    for name, value in values.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)


def _disk_bytes(bench: Bench) -> float:
    whispers = len(bench.whispers) * (2e9 if bench.device.type == "cuda" else 2e7)
    return bench.llama.stored_weights * float(bench.dtype.itemsize) + whispers


async def _measure(bench: Bench, folder: Path) -> None:
    bandwidth = copy_bytes_per_s(bench.device, COPY_BYTES[bench.device.type])
    asking = Asking(bench.counts)
    _say(f"making {bench.llama.name}")
    random_models.make_llama(folder / "llama", bench.llama, bench.device, bench.dtype)
    _free_memory()
    llm_settings = [
        *(f"--lm_model_name={folder / 'llama'}", f"--lm_device={bench.device.type}"),
        *(f"--lm_gen_{bound}_new_tokens={bench.counts.answer_tokens}" for bound in ("min", "max")),
    ]
    async with _worker("llm", "transformers", llm_settings) as (llm, _):
        _say(f"{bench.llama.name}")
        found = [await answering(llm, asking, number) for number in bench.arguments.conversations]
        print("\n" + _decoding(bench, found, bandwidth), flush=True)
        rows: list[list[object]] = []
        notes: list[str] = []
        async with _worker("tts", "espeak", []) as (tts, _):
            for size in bench.whispers:
                _say(f"making {size.name}")
                random_models.make_whisper(folder / size.name, size, bench.device, bench.dtype)
                _free_memory()
                for mode in bench.arguments.modes.split(","):
                    try:
                        rows += await _with_whisper(bench, size, folder / size.name, mode, asking, llm, tts)
                    except SpeechToSpeechError as error:
                        notes.append(f"{size.name}, {mode}: {error}")
        print("\n" + "\n\n".join([_turns(bench, rows), *notes]), flush=True)


async def _with_whisper(
    bench: Bench, size: WhisperSize, folder: Path, mode: str, asking: Asking, llm: Any, tts: Any
) -> list[list[object]]:
    """The rows of one Whisper, eager or compiled."""
    arguments, counts = bench.arguments, bench.counts
    settings = [
        *(f"--stt_model_name={folder}", f"--stt_device={bench.device.type}"),
        f"--stt_gen_max_new_tokens={counts.stt_tokens}",
        *([f"--stt_compile_mode={bench.compile_mode}"] if mode == COMPILED else []),
    ]
    rows: list[list[object]] = []
    _say(f"{size.name}, {mode}: loading")
    async with _worker("stt", "whisper", settings) as (stt, metrics):
        models = Models(stt, llm, tts)
        await at_once(models, asking, 2, 0)  # these turns only warm up
        for number in arguments.conversations:
            _say(f"{size.name}, {mode}: {number}")
            before = _batches(metrics)
            busy, rate = await at_once(models, asking, number, arguments.seconds)
            total, calls = (now - then for now, then in zip(_batches(metrics), before, strict=True))
            calm = busy if number == 1 else await now_and_then(models, asking, number, arguments.seconds, PERIOD_S)
            rows.append([size.name, mode, number, *_latency(calm), rate, *_latency(busy)[:2], total / calls])
    return rows


def _latency(turns: list[Turn]) -> list[float]:
    first_audio = [since_soft_end_ms(turns, "first_audio", percent) for percent in (50, 95)]
    return [*first_audio, *(since_soft_end_ms(turns, step, 50) for step in ("words", "first_text"))]


def _batches(metrics: Metrics) -> tuple[float, float]:
    names = ("s2s_worker_batch_size_sum", "s2s_worker_batch_size_count")
    total, calls = (metrics.registry.get_sample_value(name, {"stage": "stt"}) or 0.0 for name in names)
    return total, calls


@contextlib.asynccontextmanager
async def _worker(stage: str, backend: str, settings: list[str]) -> AsyncIterator[tuple[Worker[Any, Any], Metrics]]:
    """A backend as the service runs it. Raises SpeechToSpeechError if it can't be loaded."""
    metrics = Metrics()
    worker = make_worker(stage, load_settings([f"--{stage}={backend}", *settings], {}), metrics.observe_batch)
    await worker.start()
    try:
        yield worker, metrics
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()
        del worker
        _free_memory()


def _free_memory() -> None:
    import torch

    torch._dynamo.reset()  # compiled code holds on to the model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _decoding(bench: Bench, found: list[Answering], bandwidth: float) -> str:
    """What the language model does by itself, against what its memory allows."""
    weights_bytes = bench.llama.weights * bench.dtype.itemsize
    least_ms = 1000 * weights_bytes / bandwidth
    dtype = str(bench.dtype).removeprefix("torch.")
    title = (
        f"{bench.llama.name}, {dtype}, prompts of {bench.counts.prompt_tokens} tokens, answers of "
        f"{bench.counts.answer_tokens}. A step reads {weights_bytes / GB:.3g} GB of weights; a copy moves "
        f"{bandwidth / GB:.4g} GB/s (read and written), so it can't be faster than {least_ms:.3g} ms:"
    )
    header = ["requests at once", "first token ms", "ms per step", "tokens per s", "share of the memory's limit"]
    rows: list[list[object]] = [
        [each.requests, each.first_token_ms, each.step_ms, each.tokens_per_s, f"{least_ms / each.step_ms:.1%}"]
        for each in found
    ]
    return title + "\n\n" + table(header, rows)


def _turns(bench: Bench, rows: list[list[object]]) -> str:
    counts = bench.counts
    title = (
        f"Turns: {counts.speech_s:g} s of speech with {counts.stt_tokens} tokens, {bench.llama.name}, the first "
        f"{counts.first_tokens} of {counts.answer_tokens} tokens to eSpeak NG. *In conversation* each begins a turn "
        f"every {PERIOD_S:g} s, *at once* as soon as it has its answer (of one conversation, both are at once). From "
        f"the soft end, ms; *compiled* is Whisper's {bench.compile_mode}, the language model is the same in both:"
    )
    header = ["Whisper", "mode", "conversations", "in conversation: first audio p50", "p95", "words p50"]
    header += ["first text p50", "at once: turns per s", "first audio p50", "p95", "STT batch"]
    return title + "\n\n" + table(header, rows)


def _say(what: str) -> None:
    print(f"gpu: {what} ...", file=sys.stderr, flush=True)

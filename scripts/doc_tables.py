"""Write the tables of the documents that follow from the code: the registry, the settings, the time-outs, arithmetic.

    .venv/bin/python scripts/doc_tables.py            # write them anew, as `make format` does
    .venv/bin/python scripts/doc_tables.py --check    # name those that are out of date, and exit with 1

A table stands between the lines `<!-- generated: NAME -->` and `<!-- end -->`. To add one, write a function of no
argument that returns it, enter it in TABLES and put the two lines into a document.
"""

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speech_to_speech.commands.models import ORDER, licences, row, some_languages  # noqa: E402
from speech_to_speech.config.profiles import PROFILES  # noqa: E402
from speech_to_speech.config.registry import BACKENDS, STAGES, Backend  # noqa: E402
from speech_to_speech.config.settings import NAMES, Settings  # noqa: E402
from speech_to_speech.llm.transformers.kv_cache import GPU_GB  # noqa: E402
from speech_to_speech.weights import checkpoints  # noqa: E402
from speech_to_speech.weights.hub import model as hub  # noqa: E402
from speech_to_speech.workers.model import import_target  # noqa: E402

DOCUMENTS = [ROOT / "docs" / "backends.md", ROOT / "docs" / "turn-taking.md"]
BLOCK = re.compile(r"^<!-- generated: ([^\n]+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"^<!-- (?:generated: .+|end) -->$", re.MULTILINE)

# Llama-3.1-8B in half precision: layers, heads of keys and values, their dimension, bytes of a number.
LLAMA = (32, 8, 128, 2)
L4_GB = 24.0
# What takes the L4's memory beside the prompts: how much, and how that is known.
ON_THE_L4 = {
    "Llama-3.1-8B's weights": (16.1, "computed"),
    "Distil-Whisper's weights": (1.5, "computed"),
    "its work on 16 utterances at once": (1.1, "computed from its shapes"),
    "MeloTTS's weights (one language) and work": (0.7, "estimated"),
    "CUDA's context and kernels, in two processes": (1.1, "estimated"),
}
MORE_GB = 3.0  # that `lm_kv_cache_gb` may be set to there
EXCHANGES = {512: " (5 exchanges)", 1050: " (10 exchanges)", 4096: ""}  # that so many tokens are

# What more of each setting of turn-taking does, or another value of it.
TURN_TAKING = {
    "turn": "`none`: the same wait everywhere",
    "min_silence_ms": "fewer false cut-offs, later replies; the wait without a turn detector",
    "endpoint_min_ms": "later replies after what sounds complete",
    "endpoint_max_ms": "fewer cut-offs in pauses for thought, later replies where the detector errs",
    "speculation": "`stt`: no tokens are paid for in vain; `off`: no compute is wasted, and each reply comes later by "
    "the compute",
    "soft_end_ms": "fewer wasted speculations; a later reply where compute is longer than the wait",
    "partial_interval_ms": "less load, later partials; 0: none; by default the backend's own choice",
    "barge_in_pause_ms": "fewer stutters by coughs and echoes, a later stop",
    "barge_in_ms": "fewer transcripts for nothing; a later `DONE` for who interrupts with one long phrase",
    "barge_in_max_ms": "longer backchannels let the reply go on. All three as short as `barge_in_pause_ms`: every "
    "sound interrupts",
    "echo_guard": "`false`: less CPU, for clients that all cancel their echo",
    "lead_ms": "safer against jitter; more to cut at an interruption",
}
TURN_TAKING_PREFIXES = ("soft_end", "speculation", "turn", "endpoint_", "barge_in_", "echo_", "partial_")
NOT_OF_THE_TURN = ("turn_timeout_s", "turn_worker", "turn_batch_limit")  # but of the detector's worker


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, *rows]
    texts = [f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines]
    return "\n".join([texts[0], "|---" * len(header) + "|", *texts[1:]])


def shown(value: object) -> str:
    """A setting's value, as it is typed."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def documented() -> list[Backend]:
    """Our backends, stage by stage."""
    ours = [backend for backend in BACKENDS.values() if backend.target.startswith("speech_to_speech.")]
    return sorted(ours, key=lambda backend: ORDER.index(backend.stage))


def backends() -> str:
    entries = [row(backend) for backend in documented() if backend.name != "loadtest"]
    rows = [
        (
            entry["stage"],
            f"`{entry['name']}`",
            ", ".join(entry["runs_on"]),
            some_languages(entry["languages"]),
            licences(entry),
            entry["checkpoint"] or "-",
        )
        for entry in entries
    ]
    return table(("stage", "backend", "runs on", "languages", "licence", "default model"), rows)


def flags() -> str:
    rows = [
        (f"{backend.stage} {backend.name}", f"`--{option.name}`", shown(option.default), option.metadata["help"])
        for backend in documented()
        for option in dataclasses.fields(import_target(backend.target).Options)
    ]
    return table(("backend", "flag", "default", "what it is"), rows)


def profiles() -> str:
    """What each chooses, and the models that it names."""

    def chosen(profile: dict[str, Any], stage: str) -> str:
        fields = dataclasses.fields(import_target(BACKENDS[stage, profile[stage]].target).Options)
        model = next((profile[f.name] for f in fields if f.name.endswith("model_name") and f.name in profile), None)
        if model is not None and Path(model).is_relative_to(ROOT):
            model = Path(model).relative_to(ROOT)
        return f"`{profile[stage]}`" + (f": {model}" if model is not None else "")

    stages = STAGES[1:]
    rows = [(f"`{name}`", *(chosen(profile, stage) for stage in stages)) for name, profile in PROFILES.items()]
    return table(("profile", *stages), rows)


def helpers() -> str:
    rows = []
    for name in checkpoints.__all__:
        said = inspect.getdoc(getattr(checkpoints, name)) or ""
        rows.append((f"`{name}`", " ".join(said.partition("\n\n")[0].split())))
    return table(("helper", "what it does"), rows)


def waits_for_the_hub() -> str:
    def seconds(value: float) -> str:
        return f"{value / 60:g} minutes" if value >= 120 else f"{value:g} s"

    rows = [
        ("a hub that accepts a connection and is silent, each time it is asked", seconds(hub.ANSWER_TIMEOUT_S)),
        ("one that refuses connections or fails, without a copy in the cache", seconds(sum(hub.RETRY_PAUSES_S))),
        ("all of the asking, name resolution included", seconds(hub.ASKING_LIMIT_S)),
        ("a download in which nothing comes", seconds(hub.STALL_LIMIT_S)),
    ]
    return table(("what is given up", "after"), rows)


def token_bytes() -> int:
    layers, heads, dimension, size = LLAMA
    return 2 * layers * heads * dimension * size


def memory_of_a_token() -> str:
    layers, heads, dimension, size = LLAMA
    token = f"    2 x {layers} layers x {heads} heads x {dimension} x {size} bytes = {token_bytes():,} bytes a token"
    return f"{token}\n    {GPU_GB:g} GB = {int(GPU_GB * 1e9 / token_bytes()):,} tokens"


def memory_of_an_l4() -> str:
    left = L4_GB - sum(size for size, _ in ON_THE_L4.values())
    rows = [(name, f"{size:g}", known) for name, (size, known) in ON_THE_L4.items()]
    copied = f"of which `lm_kv_cache_gb` is {GPU_GB:g} by default, 2.3 with attention's copies"
    rows += [("left for prompts", f"**{left:.1f}**", ""), (copied, "2.3", "computed")]
    return table(("on the GPU", "GB", "known how"), rows)


def conversations() -> str:
    def fitting(gigabytes: float, tokens: int) -> str:
        return f"{int(gigabytes * 1e9 / token_bytes() / tokens):,}"

    rows = [
        (f"{tokens:,}{exchanges}", fitting(GPU_GB, tokens), fitting(MORE_GB, tokens))
        for tokens, exchanges in EXCHANGES.items()
    ]
    header = ("tokens a conversation", f"answered at the same moment with {GPU_GB:g} GB", f"with {MORE_GB:g} GB")
    return table(header, rows)


def turn_taking() -> str:
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    its_own = [name for name in NAMES if name.startswith(TURN_TAKING_PREFIXES) and name not in NOT_OF_THE_TURN]
    names = [name for name in NAMES if name in {*its_own, *TURN_TAKING}]
    rows = [(f"`{name}`", shown(defaults[name]), TURN_TAKING[name]) for name in names]
    return table(("setting", "default", "more of it"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "backends": backends,
    "conversations": conversations,
    "flags": flags,
    "helpers": helpers,
    "memory of a token": memory_of_a_token,
    "memory of an L4": memory_of_an_l4,
    "profiles": profiles,
    "turn-taking": turn_taking,
    "waits for the hub": waits_for_the_hub,
}


def renewed(text: str) -> tuple[str, list[str]]:
    """A document with its tables made anew, and the names of those that were out of date.

    Raises:
        ValueError: it names a table that there is not, or one of the two lines around a table lacks the other.
    """
    if len(MARKER.findall(text)) != 2 * len(BLOCK.findall(text)):
        raise ValueError("a line `<!-- generated: NAME -->` or `<!-- end -->` lacks the other")
    stale = []

    def block(found: re.Match[str]) -> str:
        name, present = found.groups()
        if name not in TABLES:
            raise ValueError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
        if (made := f"\n{TABLES[name]()}\n\n") != present:
            stale.append(name)
        return f"<!-- generated: {name} -->\n{made}<!-- end -->"

    return BLOCK.sub(block, text), stale


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the tables of the documents that follow from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table is out of date")
    check = parser.parse_args(arguments).check
    outdated = False
    for document in DOCUMENTS:
        try:
            written, stale = renewed(document.read_text())
        except ValueError as error:
            print(f"{document.name}: {error}", file=sys.stderr)
            return 2
        for name in stale:
            print(f"{document.name}: {name!r} {'is out of date; run `make format`' if check else 'is written anew'}")
        if stale and not check:
            document.write_text(written)
        outdated = outdated or bool(stale)
    return int(check and outdated)


if __name__ == "__main__":
    sys.exit(main())

"""Make the tiny models of `tiny_models/`: real classes, small enough to train here and to keep in the repository.

    python scripts/make_tiny_models.py [--out tiny_models] [--only whisper,llama,mms] [--steps N]

Takes some minutes on two cores. The same machine makes the same bytes; another may round its sums differently. Exit
code 1 if a model does not do what it should on what it was not trained on.
"""

import argparse
import hashlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PHRASES = ROOT / "tiny_models" / "phrases.json"
RECIPES = {
    "whisper": ("whisper", "whisper_model", "examples", "sounds", "speech", "schedule", "text"),
    "llama": ("llama", "llama_model", "conversations", "schedule", "text"),
    "mms": ("mms",),
}
VERSIONS = ("espeakng-loader", "numpy", "soxr", "tokenizers", "torch", "transformers")
THREADS = 2  # sums depend on how they are shared out, so not on how many cores there are


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    quieten()
    options.out.mkdir(parents=True, exist_ok=True)
    manifest_file = options.out / "manifest.json"
    manifest = json.loads(manifest_file.read_text()) if manifest_file.exists() else {}
    results = []
    for name in options.only:
        start = time.monotonic()
        folder = options.out / name
        good, result = make(name, folder, options.steps)
        results.append((good, f"{name}: {result}"))
        print(f"{name}: {time.monotonic() - start:.0f} s, {result}", flush=True)
        manifest[name] = describe(name, folder, result)
    manifest_file.write_text(json.dumps(dict(sorted(manifest.items())), indent=2) + "\n")
    print("; ".join(("" if good else "TOO LOW: ") + result for good, result in results))
    return 0 if all(good for good, _ in results) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the tiny models.")
    parser.add_argument("--out", type=Path, default=ROOT / "tiny_models", help="the folder to write to")
    parser.add_argument("--only", default=",".join(RECIPES), help="which of them, with commas between")
    parser.add_argument("--steps", type=int, help="train only so many steps: a try, too few to be right")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    for name in options.only:
        if name not in RECIPES:
            parser.error(f"--only: there is no {name!r}; there are {', '.join(RECIPES)}")
    if options.steps is not None and options.steps < 1:
        parser.error("--steps: 1 or more")
    return options


def quieten() -> None:
    """No progress bars and no advice about models that are meant to be odd."""
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def make(name: str, folder: Path, steps: int | None) -> tuple[bool, str]:
    """Whether it is as good as it should be, and how good, in words."""
    from tiny_models import llama, mms, text, whisper

    phrases = text.read_phrases(PHRASES)

    def say(line: str) -> None:
        print(line, flush=True)

    if name == "whisper":
        score = whisper.make(phrases, folder, steps, say)
        return score.good, str(score)
    if name == "llama":
        right = llama.make(phrases, folder, steps, say)
        return right == 1.0, f"answers {right:.4f}"
    seconds = mms.make(folder)
    return 1.0 < seconds < 4.0, f"a short sentence takes {seconds:.2f} s"


def describe(name: str, folder: Path, result: str) -> dict[str, Any]:
    """What the manifest says: with it a test notices files that are not what this script makes."""
    for file in folder.iterdir():
        file.chmod(0o644)
    return {
        "result": result,
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS},
        "sources": {str(path.relative_to(ROOT)): sha256(path) for path in sources(name)},
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir())},
    }


def sources(name: str) -> list[Path]:
    modules = [ROOT / "scripts" / "tiny_models" / f"{module}.py" for module in RECIPES[name]]
    return modules if name == "mms" else [*modules, PHRASES]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())

"""Which of a repository's files are read: one set of weights, and what is small."""

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import PurePosixPath

# The files that libraries read. Anything else (other frameworks' weights, pictures, training states) stays on the hub.
READ = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm", "*.bpe", "*.vocab")
WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.pt")
NEVER = (
    "original/*",
    "onnx/*",
    "openvino/*",
    "coreml/*",
    "checkpoint-*",
    "runs/*",
    "samples/*",
    "consolidated*",
    "flax_*",
    "tf_*",
    "training_args*",
    "optimizer*",
    "scheduler*",
    "trainer_state*",
    "rng_state*",
)
# The one set of weights that `from_pretrained` takes first; the same in another precision has other names.
STANDARD = ("model.safetensors", "model-*-of-*.safetensors")


def wanted(files: Iterable[str]) -> list[str]:
    """Those of a repository's files that are read here: one set of weights, in safetensors if it has them so, and what
    is small."""
    kept = [file for file in files if not any(fnmatch(file, pattern) for pattern in NEVER)]
    weights = [file for file in kept if is_weights(file)]
    top = [file for file in weights if "/" not in file]
    for patterns in (STANDARD, ("*.safetensors",)):
        chosen = [file for file in top if any(fnmatch(file, pattern) for pattern in patterns)]
        if chosen:
            whole = [file for file in chosen if file == "model.safetensors"]  # a repository may have shards, too
            weights = whole or chosen
            break
    others = [file for file in kept if any(fnmatch(PurePosixPath(file).name, pattern) for pattern in READ)]
    needless = ".index." if "model.safetensors" in weights else ".bin.index." if _is_safe(weights) else "\0"
    return [*sorted(file for file in others if needless not in file), *sorted(weights)]


def listed(names: Iterable[str], most: int = 3) -> str:
    """A few of the names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def is_weights(file: str) -> bool:
    return any(fnmatch(PurePosixPath(file).name, pattern) for pattern in WEIGHTS)


def _is_safe(weights: list[str]) -> bool:
    return any(file.endswith(".safetensors") for file in weights)

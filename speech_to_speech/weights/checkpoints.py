"""How a backend gets its weights: from a folder or the hub, on which device, in which precision, and all of them.

A backend's `load` goes like this:

    folder = fetch(options.stt_model_name, flag="stt_model_name")
    device = choose_device(options.stt_device, flag="stt_device")
    dtype = choose_dtype(options.stt_torch_dtype, device, flag="stt_torch_dtype")
    with loading(options.stt_model_name, "a Whisper model", flag="stt_model_name"):
        require_memory(folder, device, dtype, flag="stt_model_name")
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = load_pretrained(WhisperForConditionalGeneration, folder, dtype=dtype, flag="stt_model_name")
    model.to(device)

Everything raises `CheckpointError`, one line that names the fix. Nothing heavy is imported before it is needed.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_to_speech.errors import CheckpointError, SpeechToSpeechError
from speech_to_speech.weights.devices import DTYPES, cores
from speech_to_speech.weights.hub.fetch import fetch
from speech_to_speech.weights.hub.files import listed
from speech_to_speech.weights.loading_errors import problem_of_loading
from speech_to_speech.weights.memory import read_json, require_memory

if TYPE_CHECKING:
    import torch

__all__ = ["choose_device", "choose_dtype", "fetch", "importing", "load_pretrained", "loading", "require_memory"]

logger = logging.getLogger(__name__)

CUDA = re.compile(r"cuda(?::(\d+))?")

# `from_pretrained` sets torch's default precision and other globals while it runs, so one model is loaded at a time.
_one_at_a_time = threading.RLock()
_asked_for: list[tuple[str, str]] = []  # name and kind of the checkpoints that are being loaded


def choose_device(name: str, *, flag: str) -> "torch.device":
    """The device that an option names: cpu, cuda, cuda:1, mps, or auto for the best that there is.

    Raises:
        CheckpointError: this machine does not have it, or there is no such device.
    """
    import torch

    stage = flag.partition("_")[0]
    if name == "auto":
        has_mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    if name == "cpu":
        _share_cores()
        return torch.device("cpu")
    if match := CUDA.fullmatch(name):
        if not torch.cuda.is_available():
            if torch.version.cuda is None and Path("/proc/driver/nvidia/version").exists():
                raise CheckpointError(
                    f"{flag}: this machine has an NVIDIA GPU, but its PyTorch no CUDA; install PyTorch's CUDA build"
                )
            raise CheckpointError(f"{flag}: this machine has no CUDA device; --{flag} cpu, or --profile cpu")
        count = torch.cuda.device_count()
        if match[1] is not None and int(match[1]) >= count:
            raise CheckpointError(f"{flag}: there is no {name}; this machine has {count}: cuda:0 to cuda:{count - 1}")
        return torch.device(name)
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise CheckpointError(f"{flag}: this machine has no MPS device (Apple silicon); --{flag} cpu")
        return torch.device("mps")
    raise CheckpointError(f"{flag}: unknown device {name!r} for {stage}; there are auto, cpu, cuda, cuda:0, mps")


def _share_cores() -> None:
    """Half of the cores for each call, unless the environment says otherwise.

    The service's models compute at the same time, and threads that wait for one another while others have their cores
    spin: with as many for each as there are cores, a small model took fifteen times the CPU time.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // 2))


def choose_dtype(name: str, device: "torch.device", *, flag: str) -> "torch.dtype":
    """The precision that an option names: float16, bfloat16, float32, or auto for half precision where it is fast.

    A CPU computes float16 slowly or not at all, so there it becomes float32, which the log says.

    Raises:
        CheckpointError: there is no such precision.
    """
    import torch

    if name not in (*DTYPES, "auto"):
        raise CheckpointError(f"{flag}: unknown precision {name!r}; there are auto, {', '.join(DTYPES)}")
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        return torch.float16 if device.type == "mps" else torch.float32
    if name == "float16" and device.type == "cpu":
        logger.info("%s: float32, since a CPU has no fast float16", flag)
        return torch.float32
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around the first import of anything from transformers: it imports its parts when they are asked for, and of two
    threads that do so at the same time one may get a part half made.

    What is imported again later, where nothing is held, is to be imported here first.
    """
    with _one_at_a_time:
        yield


@contextlib.contextmanager
def loading(name: str, kind: str, *, flag: str) -> Iterator[None]:
    """Around `from_pretrained`: whatever fails in it becomes a `CheckpointError`.

    `name` is the model as the user named it, `kind` what it is to be ("a Whisper model", "a tokenizer"). Only one
    thread is inside at a time: transformers changes globals while it loads.

    Raises:
        CheckpointError: one line with what is wrong and what to do.
    """
    with _one_at_a_time, _quiet_transformers():
        _asked_for.append((name, kind))
        try:
            yield
        except SpeechToSpeechError:
            raise
        except Exception as error:
            logger.debug("%s: loading %s failed", flag, name, exc_info=True)
            problem = problem_of_loading(error, name, flag)
            raise CheckpointError(f"{flag}: {name} can't be loaded as {kind}: {problem}") from error
        finally:
            _asked_for.pop()


def load_pretrained(model_class: Any, folder: Path, *, flag: str, may_lack: Sequence[str] = (), **options: Any) -> Any:
    """`model_class.from_pretrained(folder, **options)`, but all its weights have to be there.

    The library itself only warns of weights that a checkpoint lacks, and fills them with random numbers. It also
    builds a class from the checkpoint of another: that is refused too. `model_class` is one of transformers' model
    classes or Auto classes; `may_lack` are regular expressions of weights that may be missing. Nothing is downloaded.

    Use it inside `loading`.

    Raises:
        CheckpointError: weights are missing, or the checkpoint is that of another class.
    """
    with _one_at_a_time, _quiet_transformers():
        name, kind = _asked_for[-1] if _asked_for else (str(folder), f"a {model_class.__name__}")
        if other := _other_class(model_class, folder):
            raise CheckpointError(f"{flag}: {name} is a {other}, but {kind} is needed; choose another --{flag}")
        model, report = model_class.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, trust_remote_code=False, **options
        )
    missing = sorted(key for key in report["missing_keys"] if not any(re.search(p, key) for p in may_lack))
    if missing:
        raise CheckpointError(
            f"{flag}: {name} lacks {len(missing)} of the weights of a {type(model).__name__} ({listed(missing)}); "
            f"choose another --{flag}"
        )
    if report["unexpected_keys"]:
        logger.debug("%s: %d weights of %s are not used", flag, len(report["unexpected_keys"]), name)
    return model


def _other_class(model_class: Any, folder: Path) -> str | None:
    """The class that a checkpoint says to be of, if another one would be built from it."""
    architectures = read_json(folder / "config.json").get("architectures")
    if not isinstance(architectures, list) or not architectures:
        return None
    mapping = getattr(model_class, "_model_mapping", None)
    if mapping is None:
        expected = {model_class.__name__}
    else:
        from transformers import AutoConfig

        config = type(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
        built = mapping.get(config, ())
        expected = {kind.__name__ for kind in (built if isinstance(built, tuple | list) else (built,))}
    return None if expected.intersection(architectures) else str(architectures[0])


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no tables of weights on stderr: what matters of them is in the error."""
    if "transformers" not in sys.modules:  # not every backend is made of transformers
        yield
        return
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)

"""A Whisper in the form of CTranslate2: where it is, whether it is one, and onto which device it goes."""

from pathlib import Path
from typing import Any

from speech_to_speech.errors import CheckpointError
from speech_to_speech.weights.hub.errors import one_line
from speech_to_speech.weights.hub.fetch import folder_named
from speech_to_speech.weights.memory import free_ram_bytes, read_json, shown_bytes

MODEL_FLAG = "faster_whisper_stt_model_name"
DEVICE_FLAG = "faster_whisper_stt_device"
TYPE_FLAG = "faster_whisper_stt_compute_type"

PLAIN = (
    "tiny",
    "tiny.en",
    "base",
    "base.en",
    "small",
    "small.en",
    "medium",
    "medium.en",
    "large-v1",
    "large-v2",
    "large-v3",
)
DISTILLED = ("small.en", "medium.en", "large-v2", "large-v3")
SIZES = {
    **{size: f"Systran/faster-whisper-{size}" for size in PLAIN},
    **{f"distil-{size}": f"Systran/faster-distil-whisper-{size}" for size in DISTILLED},
    "large": "Systran/faster-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""The names that the library's users have for the published conversions, and the conversions' names on the hub."""


def repository_of(name: str) -> str:
    """Where a model is: a size has its repository, any other name is one already, or a folder.

    Raises:
        CheckpointError: it is neither.
    """
    if name in SIZES:
        return SIZES[name]
    if "/" not in name and not folder_named(name, flag=MODEL_FLAG).exists():
        raise CheckpointError(f"{MODEL_FLAG}: no size {name!r}, nor a folder; there are {', '.join(SIZES)}")
    return name


def load_model(name: str, folder: Path, device: str, compute_type: str, cpu_threads: int) -> Any:
    """A `faster_whisper.WhisperModel` of what is in `folder`; nothing is downloaded.

    Raises:
        CheckpointError: one line with what is wrong and what to do.
    """
    import ctranslate2
    from faster_whisper import WhisperModel

    _check_files(name, folder)
    kind, index = _device(device)
    supported = ctranslate2.get_supported_compute_types(kind, index)
    if compute_type not in ("auto", "default", *supported):
        raise CheckpointError(f"{TYPE_FLAG}: {kind} does not do {compute_type}; there are auto, {_listed(supported)}")
    size = (folder / "model.bin").stat().st_size
    free = free_ram_bytes()
    if free is not None and size > free:
        raise CheckpointError(
            f"{MODEL_FLAG}: {name} needs {shown_bytes(size)} of memory and {shown_bytes(free)} are free; "
            f"choose a smaller --{MODEL_FLAG}, or --profile embedded"
        )
    try:
        model = WhisperModel(
            str(folder), device=kind, device_index=index, compute_type=compute_type, cpu_threads=cpu_threads
        )
    except Exception as error:  # CTranslate2 raises RuntimeError for about everything
        if "out of memory" in str(error):
            raise CheckpointError(
                f"{MODEL_FLAG}: {name} takes more memory than {kind} has free; choose a smaller --{MODEL_FLAG}, "
                f"or --{DEVICE_FLAG} cpu"
            ) from error
        raise CheckpointError(
            f"{MODEL_FLAG}: {name} can't be loaded as a Whisper of CTranslate2: {one_line(error)}; download or "
            "convert it again"
        ) from error
    bands = len(model.feature_extractor.mel_filters)
    if bands != model.model.n_mels:
        raise CheckpointError(
            f"{MODEL_FLAG}: {name} wants {model.model.n_mels} mel bands, its preprocessor_config.json has {bands}; "
            "copy that file of the model it was converted from"
        )
    return model


def _check_files(name: str, folder: Path) -> None:
    """The library would look on the hub for what is missing, or end with a message about its inside."""
    if not (folder / "model.bin").is_file():
        if "architectures" in read_json(folder / "config.json"):
            raise CheckpointError(
                f"{MODEL_FLAG}: {name} is a checkpoint of transformers; take --stt whisper for it, or convert it: "
                f"ct2-transformers-converter --model {name} --output_dir FOLDER "
                "--copy_files tokenizer.json preprocessor_config.json"
            )
        raise CheckpointError(f"{MODEL_FLAG}: {name} has no model.bin, so it is none of CTranslate2; choose another")
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{MODEL_FLAG}: {name} has no tokenizer.json; copy that of the model it was converted from"
        )


def _device(name: str) -> tuple[str, int]:
    """CTranslate2's name and index of a device."""
    import ctranslate2

    kind, _, index = name.partition(":")
    count = ctranslate2.get_cuda_device_count()
    if kind == "auto":
        return ("cuda" if count else "cpu"), 0
    if kind == "cuda" and not count:
        raise CheckpointError(f"{DEVICE_FLAG}: this machine has no CUDA device; --{DEVICE_FLAG} cpu, or --profile cpu")
    if kind == "cuda" and int(index or 0) >= count:
        raise CheckpointError(
            f"{DEVICE_FLAG}: there is no {name}; this machine has {count}: cuda:0 to cuda:{count - 1}"
        )
    return kind, int(index or 0)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))

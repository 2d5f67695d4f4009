"""Folders that have models of the hub: what is mounted into a container, or what `download_models.py --folder` wrote.

`MODEL_FOLDERS` in the environment names them, separated by `:`. A model `organisation/name` is looked for in
`FOLDER/organisation/name`; `FOLDER` itself may be a model, whose name `REPOSITORY` then says: Hugging Face Inference
Endpoints mount the endpoint's own model at `/repository`. They are only read.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from speech_to_speech.weights.hub.files import listed
from speech_to_speech.weights.memory import missing_shards, weight_files

FOLDERS_VARIABLE = "MODEL_FOLDERS"
OWN_VARIABLE = "REPOSITORY"
POINTER = b"version https://git-lfs.github.com/spec/"  # a clone without git-lfs has this in place of large files

logger = logging.getLogger(__name__)


def mounted(repository: str, patterns: Sequence[str] = (), *, flag: str) -> Path | None:
    """The folder that has a model, or those of its files that match: the first that has all of it, None if none has.

    A folder that has a part of it is passed over, with a warning.
    """
    for folder, is_own in _candidates(repository):
        try:
            if not _claims(folder, is_own=is_own):
                continue
            lack = lack_of(folder, patterns)
        except OSError as error:
            lack = f"can't be read ({error.strerror})"
        if lack is None:
            logger.info("%s: %s is taken from %s", flag, repository, folder)
            return folder
        logger.warning("%s: %s is not taken from %s, which %s", flag, repository, folder, lack)
    return None


def lack_of(folder: Path, patterns: Sequence[str] = ()) -> str | None:
    """What a model's folder, or its files that match, lacks: as the end of a sentence. None: nothing.

    Raises:
        OSError: the folder can't be read.
    """
    if patterns:
        return None if any(_matching(folder, patterns)) else f"has no {listed(patterns)}"
    if absent := missing_shards(folder):
        return f"lacks {listed(absent)}"
    weights = weight_files(folder)
    if not weights:
        return "has no weights"
    if pointers := [file.name for file in weights if _is_pointer(file)]:
        return f"has pointers of git-lfs for {listed(pointers)}"
    return None


def _candidates(repository: str) -> Iterator[tuple[Path, bool]]:
    """Where the model may be, and whether that folder is said to be its own."""
    parts = repository.split("/")
    if {".", "..", ""}.intersection(parts):
        return
    for name in filter(None, os.environ.get(FOLDERS_VARIABLE, "").split(":")):
        folder = Path(name).expanduser()
        yield folder.joinpath(*parts), False
        if os.environ.get(OWN_VARIABLE, "").strip() == repository:
            yield folder, True


def _claims(folder: Path, *, is_own: bool) -> bool:
    """Whether there seems to be a model. What is said to be one's own does, if it has anything but other folders."""
    if not folder.is_dir():
        return False
    if is_own:
        return any(file.is_file() for file in folder.iterdir())
    return any(folder.iterdir())


def _matching(folder: Path, patterns: Sequence[str]) -> Iterator[str]:
    for file in folder.rglob("*"):
        path = file.relative_to(folder).as_posix()
        if any(fnmatch(path, pattern) for pattern in patterns):
            yield path


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(POINTER)) == POINTER

"""A model's files: a folder, or a name on the Hugging Face hub, whose files are cached once and for all.

The library `huggingface_hub` keeps the cache (`HF_HOME`) and finds the token (`HF_TOKEN`, `hf auth login`). What is
added here (`model`): only the files that are read are downloaded, the log says how far it is, all waits are
bounded, and what goes wrong is one line that names the fix. Before it come the folders of `MODEL_FOLDERS`
(`folders`), which may have the models already.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from speech_to_speech.errors import CheckpointError
from speech_to_speech.weights.hub.files import listed
from speech_to_speech.weights.hub.folders import mounted
from speech_to_speech.weights.hub.model import HubModel
from speech_to_speech.weights.memory import missing_shards, weight_files

HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def folder_named(name: str, *, flag: str) -> Path:
    """The folder that `name` would be, whether there is one or not.

    Raises:
        CheckpointError: there can't be one of that name.
    """
    try:
        folder = Path(name).expanduser()
        folder.exists()  # too long a name is an error
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{flag}: no model can be named {name[:80]!r} ({error}); check --{flag}") from None
    return folder


def own_folder(name: str, *, flag: str) -> Path | None:
    """The folder of that name, if there is one.

    Raises:
        CheckpointError: it has no model, or only a part of one.
    """
    folder = folder_named(name, flag=flag)
    if name and folder.is_dir():
        if not (folder / "config.json").is_file() and not weight_files(folder):
            raise CheckpointError(f"{flag}: the folder {name} has neither a config.json nor weights; check --{flag}")
        if absent := missing_shards(folder):
            raise CheckpointError(f"{flag}: the folder {name} lacks {listed(absent)}; copy the model once more")
        return folder
    if folder.is_file():
        raise CheckpointError(f"{flag}: {name} is a file; name the folder of a model")
    return None


def hub_name(name: str, *, flag: str) -> tuple[str, str | None]:
    """Repository and revision of a name on the hub.

    Raises:
        CheckpointError: it is none.
    """
    match = HUB_NAME.fullmatch(name)
    if match is None or name.startswith(("./", "../", "~")):
        raise CheckpointError(f"{flag}: no such folder {name!r}, and no name on the hub, which is organisation/name")
    return match[1], match[2]


def fetch(name: str, *, flag: str) -> Path:
    """The folder with a model's files: `name` itself if that is one, else from `MODEL_FOLDERS`, the cache or the hub.

    On the hub a name is `organisation/name`, or `organisation/name@revision` with a branch, a tag or a commit; which
    revision a folder of `MODEL_FOLDERS` has is not known, so it serves names without one. What the hub has now is used;
    if it does not answer or refuses, the copy in the cache is, with a warning. With `HF_HUB_OFFLINE=1`, or for a commit
    that is in the cache, nothing is asked. `flag` is the option that has the name. The log says where it was found.

    Blocks for as long as a download goes on.

    Raises:
        CheckpointError: there is no such model, or it can't be had; the message names the fix.
    """
    if (folder := own_folder(name, flag=flag)) is not None:
        return folder
    repository, revision = hub_name(name, flag=flag)
    if revision is None and (folder := mounted(repository, flag=flag)) is not None:
        return folder
    return HubModel(repository, revision, flag).fetch()


def fetch_files(repository: str, patterns: Sequence[str], *, flag: str) -> Path:
    """A folder with those of a repository's files that match, such as a tokenizer's: from `MODEL_FOLDERS`, the cache or
    the hub.

    Raises:
        CheckpointError: they can't be had.
    """
    if (folder := mounted(repository, patterns, flag=flag)) is not None:
        return folder
    return HubModel(repository, None, flag, patterns).fetch()

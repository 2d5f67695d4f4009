"""A model's files: a folder, or a name on the Hugging Face hub, whose files are cached once and for all.

The library `huggingface_hub` keeps the cache (`HF_HOME`) and finds the token (`HF_TOKEN`, `hf auth login`). What is
added here: only the files that are read are downloaded, the log says how far it is, all waits are bounded, and what
goes wrong is one line that names the fix.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from speech_to_speech.errors import CheckpointError
from speech_to_speech.hub_errors import is_transient, one_line, problem_of
from speech_to_speech.hub_files import is_weights, listed, wanted
from speech_to_speech.hub_watch import Progress, Silent, quiet_bar, watched
from speech_to_speech.memory import missing_shards, shown_bytes, weight_files

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 10.0  # for the hub's first answer, each time it is asked
RETRY_PAUSES_S = (1.0, 2.0)  # after a refused connection or a server error, if nothing is in the cache
ASKING_LIMIT_S = 30.0  # for all of that, name resolution included, which has no time-out of its own
STALL_LIMIT_S = 120.0  # a download that writes nothing for so long has failed; plain HTTP writes 10 MB at a time
LOG_INTERVAL_S = 5.0

HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")

Result = TypeVar("Result")


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


def fetch(name: str, *, flag: str) -> Path:
    """The folder with a model's files: `name` itself if that is one, else from the cache or the hub.

    On the hub a name is `organisation/name`, or `organisation/name@revision` with a branch, a tag or a commit. What
    the hub has now is used; if it does not answer or refuses, the copy in the cache is, with a warning. With
    `HF_HUB_OFFLINE=1`, or for a commit that is in the cache, nothing is asked. `flag` is the option that has the name.

    Blocks for as long as a download goes on.

    Raises:
        CheckpointError: there is no such model, or it can't be had; the message names the fix.
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
    match = HUB_NAME.fullmatch(name)
    if match is None or name.startswith(("./", "../", "~")):
        raise CheckpointError(f"{flag}: no such folder {name!r}, and no name on the hub, which is organisation/name")
    return HubModel(match[1], match[2], flag).fetch()


def fetch_files(name: str, patterns: Sequence[str], *, flag: str) -> Path:
    """A folder with those of a repository's files that match, such as a tokenizer's: from the cache, else from the hub.

    Raises:
        CheckpointError: they can't be had.
    """
    from huggingface_hub import snapshot_download

    def download() -> Path:
        return Path(snapshot_download(name, allow_patterns=list(patterns), etag_timeout=ANSWER_TIMEOUT_S))

    return HubModel(name, None, flag).bounded(download, STALL_LIMIT_S, lambda: None)


class HubModel:
    """One model on the hub, and its copy in the cache."""

    def __init__(self, repository: str, revision: str | None, flag: str) -> None:
        self.repository = repository
        self.revision = revision
        self.flag = flag

    @property
    def name(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository

    def fetch(self) -> Path:
        from huggingface_hub import constants

        _quiet_libraries()
        cached = self._cached()
        if cached is not None and (constants.is_offline_mode() or COMMIT.fullmatch(self.revision or "")):
            return cached
        if constants.is_offline_mode():
            raise self._error(
                f"HF_HUB_OFFLINE is set and not all of {self.name} is in the cache {constants.HF_HUB_CACHE}; "
                f"unset it, or give a folder as --{self.flag}"
            )
        try:
            return self._download(patient=cached is None)
        except CheckpointError as error:
            if cached is None:
                raise
            logger.warning("%s; the copy in the cache is used", error)
            return cached

    def _cached(self) -> Path | None:
        """The copy in the cache, if it is complete."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            folder = snapshot_download(
                self.repository, revision=self.revision, local_files_only=True, allow_patterns=["config.json"]
            )
        except LocalEntryNotFoundError:
            return None
        except HFValidationError as error:
            raise self._error(f"{self.name!r} is no name on the hub: {one_line(error)}") from error
        return Path(folder) if weight_files(Path(folder)) and not missing_shards(Path(folder)) else None

    def _download(self, *, patient: bool) -> Path:
        """What the hub has now, downloaded as far as it is not in the cache."""
        info = self.bounded(lambda: self._ask(patient=patient), ASKING_LIMIT_S, lambda: None)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = sorted(wanted(sizes), key=sizes.__getitem__)  # so that what has its weights has all the rest
        if not any(is_weights(file) for file in files):
            raise self._error(f"{self.name} has no weights for PyTorch (safetensors or bin); check --{self.flag}")
        missing = [file for file in files if not self._has(file, info.sha)]
        if not missing:
            return self._complete(files, info.sha, lambda: None)
        total = sum(sizes[file] for file in missing)
        blobs = self._make_room(total)
        told = (self.flag, self.name, len(missing), shown_bytes(total), blobs.parent)
        logger.info("%s: downloading %s: %d files, %s, to %s", *told)
        started = time.monotonic()
        progress = Progress(blobs, lambda count: self._tell(count, total), LOG_INTERVAL_S)
        folder = self.bounded(lambda: self._complete(files, info.sha, progress.sign), STALL_LIMIT_S, progress)
        logger.info("%s: downloaded %s in %.1f s", self.flag, self.name, time.monotonic() - started)
        return folder

    def _tell(self, count: int, total: int) -> None:
        logger.info("%s: %s of %s", self.flag, shown_bytes(count), shown_bytes(total))

    def bounded(self, step: Callable[[], Result], limit_s: float, progress: Callable[[], object]) -> Result:
        """The result of something that asks the hub, unless nothing comes from it for `limit_s`."""
        try:
            return watched(step, f"{self.flag}-download", limit_s, progress)
        except Silent:
            raise self._error(
                f"{endpoint()} sent nothing for {limit_s:g} s; check the network, or HF_ENDPOINT"
            ) from None
        except CheckpointError:
            raise
        except Exception as error:
            raise self._error(problem_of(error, self.name, self.repository, self.flag, endpoint())) from error

    def _ask(self, *, patient: bool) -> Any:
        """What the hub knows of the model: its commit, its files and their sizes."""
        from huggingface_hub import HfApi

        for pause_s in (*(RETRY_PAUSES_S if patient else ()), None):
            try:
                return HfApi().model_info(
                    self.repository, revision=self.revision, files_metadata=True, timeout=ANSWER_TIMEOUT_S
                )
            except (KeyError, TypeError, json.JSONDecodeError) as error:
                raise self._error(
                    f"what {endpoint()} answers is not what a model hub would; check HF_ENDPOINT and the proxy"
                ) from error
            except Exception as error:
                if pause_s is None or not is_transient(error):
                    raise
                time.sleep(pause_s)
        raise AssertionError  # the last pause is None

    def _has(self, file: str, commit: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.repository, file, revision=commit), str)

    def _make_room(self, needed: int) -> Path:
        """The folder that the downloads go to.

        Raises:
            CheckpointError: its disk has too little room.
        """
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE)
        existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        if needed > free:
            raise self._error(
                f"{self.name} takes {shown_bytes(needed)} and {cache} has {shown_bytes(free)} free; "
                "make room, or set HF_HOME to a folder on another disk"
            )
        return cache / f"models--{self.repository.replace('/', '--')}" / "blobs"

    def _complete(self, files: list[str], commit: str, sign: Callable[[], None]) -> Path:
        """Download what is missing, one file after the other: several at once would be on threads that Ctrl-C waits
        for, and the library fetches the parts of a large file in parallel."""
        from huggingface_hub import hf_hub_download

        for file in files:
            path = hf_hub_download(
                self.repository,
                file,
                revision=commit,
                etag_timeout=ANSWER_TIMEOUT_S,
                tqdm_class=quiet_bar(sign),
            )
        folder = Path(path).parents[len(PurePosixPath(files[-1]).parts) - 1]
        self._remember(folder, commit)
        if absent := missing_shards(folder):
            raise self._error(f"{self.name} lacks {listed(absent)} on the hub; check --{self.flag}")
        return folder

    def _remember(self, folder: Path, commit: str) -> None:
        """Let the revision's entry in the cache point to this commit, now that all of it is there."""
        if commit == self.revision:
            return
        entry = folder.parent.parent / "refs" / (self.revision or "main")
        with contextlib.suppress(OSError):  # a cache that can be read only is as good, while the hub answers
            if not entry.is_file() or entry.read_text() != commit:
                entry.parent.mkdir(parents=True, exist_ok=True)
                temporary = entry.with_name(f"{entry.name}.{os.getpid()}")
                temporary.write_text(commit)
                temporary.replace(entry)

    def _error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.flag}: {problem}")


def _quiet_libraries() -> None:
    """No line for each request, nor for each retry: they have addresses in them that grant access for a while."""
    from huggingface_hub.utils import logging as hub_logging

    if "HF_HUB_VERBOSITY" not in os.environ and "HF_DEBUG" not in os.environ:
        hub_logging.set_verbosity_error()
    if (requests := logging.getLogger("httpx2")).level == logging.NOTSET:
        requests.setLevel(logging.WARNING)


def endpoint() -> str:
    """The hub's address, without a password that may be in it."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

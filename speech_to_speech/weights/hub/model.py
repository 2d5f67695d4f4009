"""One model on the hub, and its copy in the cache or a folder."""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from speech_to_speech.errors import CheckpointError
from speech_to_speech.weights.hub.errors import endpoint, is_transient, one_line, problem_of
from speech_to_speech.weights.hub.files import is_weights, listed, wanted
from speech_to_speech.weights.hub.places import Cache, Place, RemoteFile, free_bytes
from speech_to_speech.weights.hub.resume import Damaged, Taken, fetch_large
from speech_to_speech.weights.hub.watch import Progress, Silent, quiet_bar, watched
from speech_to_speech.weights.memory import missing_shards, shown_bytes

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 10.0  # the longest wait for the hub's first answer, each time
RETRY_PAUSES_S = (1.0, 2.0)  # pauses after a refused connection or a server error, if nothing is in the cache
ASKING_LIMIT_S = 30.0  # the longest time for all tries and for name resolution, which has no time-out of its own
STALL_LIMIT_S = 120.0  # a download that writes nothing for so long has failed; plain HTTP writes 10 MB at a time
LOG_INTERVAL_S = 5.0

COMMIT = re.compile(r"[0-9a-f]{40}")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """What the hub has of a model at the moment: a commit's files that are read here, the smallest first."""

    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


class HubModel:
    """A repository's files that are read here, or those that match `patterns`. `flag` is the option that names it."""

    def __init__(
        self,
        repository: str,
        revision: str | None,
        flag: str,
        patterns: Sequence[str] = (),
        place: Place | None = None,
    ) -> None:
        self.repository = repository
        self.revision = revision
        self.flag = flag
        self.patterns = tuple(patterns)
        self.place: Place = place or Cache(repository, revision)

    @property
    def name(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository

    @property
    def is_fixed(self) -> bool:
        """The revision is a commit, so what is there can't have changed."""
        return COMMIT.fullmatch(self.revision or "") is not None

    def fetch(self) -> Path:
        """The folder with the model: what the hub has now, or the copy that is there if the hub does not give it.

        Raises:
            CheckpointError: it can't be had.
        """
        quiet_libraries()
        copy = self.copy()
        if copy is not None and (is_offline() or self.is_fixed):
            logger.info("%s: %s is taken from %s", self.flag, self.name, copy)
            return copy
        try:
            return self._fetch(self.plan(patient=copy is None))
        except CheckpointError as error:
            if copy is None:
                raise
            logger.warning("%s; the copy in the cache is used", error)
            return copy

    def _fetch(self, plan: Plan) -> Path:
        missing = self.missing(plan)
        if missing:
            self.require_room(self.remaining_bytes(missing))
            told = (self.flag, self.name, len(missing), shown_bytes(sum(file.size for file in missing)))
            logger.info("%s: downloading %s: %d files, %s, to %s", *told, self.place.folder)
        started = time.monotonic()
        folder = self.download(plan, self._log_progress, LOG_INTERVAL_S)
        if missing:
            logger.info("%s: downloaded %s in %.1f s", self.flag, self.name, time.monotonic() - started)
        else:
            logger.info("%s: %s is taken from %s", self.flag, self.name, folder)
        return folder

    def copy(self) -> Path | None:
        """What is there already, if it is complete.

        Raises:
            CheckpointError: the hub can't have a model of that name.
        """
        from huggingface_hub.errors import HFValidationError

        try:
            return self.place.copy(self.patterns)
        except HFValidationError as error:
            raise self._error(f"{self.name!r} is no name on the hub: {one_line(error)}") from error

    def plan(self, *, patient: bool) -> Plan:
        """What the hub has now. If it refuses connections it is asked again, if `patient`.

        Raises:
            CheckpointError: it does not say, or has nothing that is read here.
        """
        if is_offline():
            raise self._error(
                f"HF_HUB_OFFLINE is set and not all of {self.name} is in {self.place.title} {self.place.root}; "
                f"unset it, or give a folder as --{self.flag}"
            )
        info = self.bounded(lambda: self._ask(patient=patient), ASKING_LIMIT_S, lambda: None)
        files = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        chosen = [path for path in files if self._matches(path)] if self.patterns else wanted(files)
        if self.patterns and not chosen:
            raise self._error(f"{self.name} has no {listed(self.patterns)}; check --{self.flag}")
        if not self.patterns and not any(is_weights(path) for path in chosen):
            raise self._error(f"{self.name} has no weights for PyTorch (safetensors or bin); check --{self.flag}")
        remote = [RemoteFile(path, files[path].size or 0, _sha256(files[path])) for path in chosen]
        # The smallest file comes first, so that a place that has the weights has all the rest.
        return Plan(info.sha, tuple(sorted(remote, key=lambda file: file.size)))

    def missing(self, plan: Plan) -> list[RemoteFile]:
        return [file for file in plan.files if not self.place.has(file, plan.commit)]

    def remaining_bytes(self, missing: Iterable[RemoteFile]) -> int:
        """What is to be downloaded of these files: without the beginnings that are there."""
        return sum(file.size - self._begun_bytes(file) for file in missing)

    def require_access(self, plan: Plan) -> None:
        """Ask the hub for a file's headers, as a download would begin, and no more.

        Raises:
            CheckpointError: the model is gated or private, say.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self.repository, plan.files[0].path, revision=plan.commit)
        self.bounded(lambda: get_hf_file_metadata(url, timeout=ANSWER_TIMEOUT_S), ASKING_LIMIT_S, lambda: None)

    def require_room(self, needed: int) -> None:
        """Refuse what the place's disk has too little room for.

        Raises:
            CheckpointError: the message says how much it takes.
        """
        free = free_bytes(self.place.root)
        if needed > free:
            raise self._error(
                f"{self.name} takes {shown_bytes(needed)} and {self.place.root} has {shown_bytes(free)} free; "
                f"make room, or {self.place.advice} on another disk"
            )

    def download(
        self, plan: Plan, tell: Callable[[int, int], object], interval_s: float, *, resumes: bool = False
    ) -> Path:
        """Download what is missing; the folder that has all of it.

        `tell` is called every `interval_s` with the bytes of the missing files that are there and those that they have.
        With `resumes`, the next call goes on in the middle of a large file if this one ends there; a little slower,
        since the library's own way fetches several parts at once and forgets them.

        Raises:
            CheckpointError: it can't be had; the message names the fix.
        """
        missing = self.missing(plan)
        total = sum(file.size for file in missing)
        begun = self.place.written() - (total - self.remaining_bytes(missing))

        def tell_of(written: int) -> None:
            tell(min(max(written - begun, 0), total), total)

        progress = Progress(self.place.written, tell_of, interval_s)
        return self.bounded(lambda: self._complete(plan, progress.sign, resumes), STALL_LIMIT_S, progress)

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
            raise self._error(problem_of(error, self.name, self.repository, self.flag, self.place)) from error

    def _matches(self, path: str) -> bool:
        return any(fnmatch(path, pattern) for pattern in self.patterns)

    def _begun_bytes(self, file: RemoteFile) -> int:
        if file.sha256 is None:
            return 0
        with contextlib.suppress(OSError):
            return min(self.place.partial(file).stat().st_size, file.size)
        return 0

    def _log_progress(self, count: int, total: int) -> None:
        logger.info("%s: %s of %s", self.flag, shown_bytes(count), shown_bytes(total))

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

    def _complete(self, plan: Plan, sign: Callable[[], None], resumes: bool) -> Path:
        """Download what is missing, one file after the other: several at once would be on threads that Ctrl-C waits
        for, and the library fetches the parts of a large file in parallel."""
        from huggingface_hub import hf_hub_download

        for file in plan.files:
            if resumes and file.sha256 is not None and not self._is_here(file, plan.commit):
                self._resume(file, plan.commit, sign)
            path = hf_hub_download(
                self.repository,
                file.path,
                revision=plan.commit,
                etag_timeout=ANSWER_TIMEOUT_S,
                tqdm_class=quiet_bar(sign),
                **self.place.options,
            )
        folder = Path(path).parents[len(PurePosixPath(plan.files[-1].path).parts) - 1]
        if isinstance(self.place, Cache):
            self._remember(folder, plan.commit)
        if not self.patterns and (absent := missing_shards(folder)):
            raise self._error(f"{self.name} lacks {listed(absent)} on the hub; check --{self.flag}")
        return folder

    def _is_here(self, file: RemoteFile, commit: str) -> bool:
        """It is where it should be, or in the cache, which the library copies it from."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repository, file.path, revision=commit)
        return isinstance(cached, str) or self.place.has(file, commit)

    def _resume(self, file: RemoteFile, commit: str, sign: Callable[[], None]) -> None:
        try:
            fetch_large(self.place, file, commit, quiet_bar(sign), sign)
        except Damaged:
            raise self._error(f"{file.path} of {self.name} came damaged and was removed; start again") from None
        except Taken:
            raise self._error(f"another process is downloading {self.name}; wait for it, and start again") from None

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


def _sha256(sibling: Any) -> str | None:
    return sibling.lfs.sha256 if sibling.lfs is not None else None


def is_offline() -> bool:
    """The hub is not to be asked."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def quiet_libraries() -> None:
    """No line for each request, nor for each retry: they have addresses in them that grant access for a while."""
    from huggingface_hub.utils import logging as hub_logging

    if "HF_HUB_VERBOSITY" not in os.environ and "HF_DEBUG" not in os.environ:
        hub_logging.set_verbosity_error()
    if (requests := logging.getLogger("httpx2")).level == logging.NOTSET:
        requests.setLevel(logging.WARNING)

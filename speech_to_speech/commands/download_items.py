"""What is to be downloaded for a service's settings: one item for each repository, and what the hub says of it."""

import os
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speech_to_speech.config.registry import find
from speech_to_speech.config.settings import Settings
from speech_to_speech.errors import CheckpointError
from speech_to_speech.weights.downloads import Download
from speech_to_speech.weights.hub.fetch import hub_name, own_folder
from speech_to_speech.weights.hub.folders import mounted
from speech_to_speech.weights.hub.model import ANSWER_TIMEOUT_S, HubModel, Plan, is_offline
from speech_to_speech.weights.hub.places import Folder, RemoteFile, free_bytes
from speech_to_speech.weights.memory import read_json, shown_bytes
from speech_to_speech.workers.model import import_target


@dataclass
class Item:
    """One repository's files."""

    user: str
    """The backend that needs the files: its stage and its name."""
    download: Download
    model: HubModel | None = None
    """None means that the files are in a folder of the user's."""
    copy: Path | None = None
    """The folder of the files that are there, complete as far as can be told without the hub."""
    plan: Plan | None = None
    """What the hub has now. None means that the hub was not asked, or did not say."""
    missing: list[RemoteFile] = field(default_factory=list)
    problem: str | None = None
    """The reason why the files can't be had."""
    warning: str | None = None
    """The reason why the copy was not compared with what the hub has."""
    done: bool = False

    @property
    def name(self) -> str:
        return self.download.name

    @property
    def remaining_bytes(self) -> int:
        return self.model.remaining_bytes(self.missing) if self.model is not None else 0

    def locate(self, folder: Path | None) -> None:
        """Find out, without the hub, where the files are or will be: in `folder`, if they can, else in the cache."""
        download = self.download
        try:
            if download.by_library:
                repository, revision = download.name, None
            else:
                self.copy = own_folder(download.name, flag=download.flag)
                if self.copy is not None:
                    return
                repository, revision = hub_name(download.name, flag=download.flag)
                if folder is None and revision is None:
                    self.copy = mounted(repository, download.patterns, flag=download.flag)
                    if self.copy is not None:
                        return
            # The service looks into folders for names without a revision. A backend's library never does.
            into = folder if revision is None and not download.by_library else None
            place = Folder(repository, into.absolute()) if into is not None else None
            self.model = HubModel(repository, revision, download.flag, download.patterns, place)
            self.copy = self.model.copy()
        except CheckpointError as error:
            self.problem = str(error)

    def ask(self) -> None:
        """Ask the hub what it has now, and whether it would give it."""
        if self.model is None or self.problem is not None:
            return
        if self.copy is not None and (is_offline() or self.model.is_fixed):
            return
        try:
            plan = self.model.plan(patient=self.copy is None)
            missing = self.model.missing(plan)
            if missing:
                self.model.require_access(plan)
            self.plan, self.missing = plan, missing
        except CheckpointError as error:
            if self.copy is None:
                self.problem = str(error)
            else:
                self.warning = str(error)

    def further(self) -> tuple[Download, ...]:
        """What else is needed, as the repository itself tells."""
        if self.download.names is None or self.problem is not None:
            return ()
        try:
            config, files = self._description()
        except CheckpointError as error:
            self.problem = str(error)
            return ()
        return tuple(self.download.names(config, files))

    def _description(self) -> tuple[Mapping[str, Any], Collection[str]]:
        """The content of config.json and the paths of all files."""
        if self.model is None or self.plan is None:
            assert self.copy is not None
            files = [path.relative_to(self.copy).as_posix() for path in self.copy.rglob("*")]
            return read_json(self.copy / "config.json"), files
        from huggingface_hub import hf_hub_download

        model, plan = self.model, self.plan
        files = [file.path for file in plan.files]
        if "config.json" not in files:
            return {}, files
        with tempfile.TemporaryDirectory() as folder:

            def read() -> dict[str, Any]:
                path = hf_hub_download(
                    model.repository,
                    "config.json",
                    revision=plan.commit,
                    local_dir=folder,
                    etag_timeout=ANSWER_TIMEOUT_S,
                )
                return read_json(Path(path))

            return model.bounded(read, 3 * ANSWER_TIMEOUT_S, lambda: None), files


def items_of(settings: Settings) -> tuple[list[Item], list[str]]:
    """What the chosen backends need, and the names of those that need nothing."""
    items: list[Item] = []
    without = []
    for stage in settings.stages:
        backend = find(stage, getattr(settings, stage))
        downloads = getattr(import_target(backend.target), "downloads", None)
        needed = downloads(settings.options[stage]) if downloads is not None else ()
        items += [Item(f"{stage} {backend.name}", download) for download in needed]
        if not needed:
            without.append(f"{stage} {backend.name}")
    return items, without


def ask_all(items: list[Item], folder: Path | None) -> None:
    """Find out about all items, at the same time; what they name in turn is added to them."""
    new = list(items)
    while new:
        for item in new:
            item.locate(folder)
        _at_once(new)
        new = [Item(item.user, download) for item in new for download in item.further()]
        items += new


def _at_once(items: Iterable[Item]) -> None:
    # Ctrl-C need not wait for these threads. Each ends within the bounds of `HubModel`.
    errors: list[Exception] = []

    def ask(item: Item) -> None:
        try:
            item.ask()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def too_little_room(items: Iterable[Item]) -> Iterator[str]:
    """A line for each disk that has less room than the items need there."""
    needed: dict[int, int] = {}
    places = {}
    for item in items:
        if item.model is not None and item.missing:
            root = item.model.place.root
            existing = next(path for path in (root, *root.absolute().parents) if path.exists())
            disk = os.stat(existing).st_dev
            needed[disk] = needed.get(disk, 0) + item.remaining_bytes
            places[disk] = item.model.place
    for disk, place in places.items():
        free = free_bytes(place.root)
        if needed[disk] > free:
            yield (
                f"{shown_bytes(needed[disk])} are to be downloaded and {place.root} has {shown_bytes(free)} free; "
                f"make room, or {place.advice} on another disk"
            )

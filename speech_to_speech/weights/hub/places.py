"""Where a repository's files are put: into the cache of the hub's library, or into a folder."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from speech_to_speech.weights.hub.folders import lack_of
from speech_to_speech.weights.hub.watch import folder_bytes

PARTIAL = ".partial"  # the library gives its own unfinished files another ending, and never goes on with one


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub. `size` is in bytes; of a large file the SHA-256 is known, too."""

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Cache:
    """The library's cache (`HF_HOME`), which all programs share and which keeps one copy of each revision."""

    repository: str
    revision: str | None = None

    options: ClassVar[dict[str, Any]] = {}  # options of `hf_hub_download`
    title: ClassVar[str] = "the cache"
    advice: ClassVar[str] = "set HF_HOME to a folder"

    @property
    def root(self) -> Path:
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)

    @property
    def folder(self) -> Path:
        return self.root / f"models--{self.repository.replace('/', '--')}"

    def copy(self, patterns: Sequence[str]) -> Path | None:
        """The copy of the revision that is there, if it is complete.

        Raises:
            HFValidationError: the hub can't have a repository of that name.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        only = list(patterns) or ["config.json"]  # the files need not be there: only the folder is wanted
        try:
            folder = Path(
                snapshot_download(self.repository, revision=self.revision, local_files_only=True, allow_patterns=only)
            )
            return folder if lack_of(folder, patterns) is None else None
        except (LocalEntryNotFoundError, OSError):
            return None

    def has(self, file: RemoteFile, commit: str) -> bool:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, file.path, revision=commit)
        return isinstance(found, str) or (file.sha256 is not None and self.final(file).is_file())

    def final(self, file: RemoteFile) -> Path:
        """Where the library looks for a large file's content before it downloads it."""
        return self.folder / "blobs" / str(file.sha256)

    def put(self, file: RemoteFile, content: Path) -> None:
        """Move the whole content of a large file to where it belongs."""
        move(content, self.final(file))

    def partial(self, file: RemoteFile) -> Path:
        """Where the beginning of a large file is kept."""
        return self.folder / "blobs" / f"{file.sha256}{PARTIAL}"

    def written(self) -> int:
        """Bytes of all that is there, complete or not."""
        return folder_bytes(self.folder / "blobs")


@dataclass(frozen=True)
class Folder:
    """A folder with a folder for each model, `organisation/name`, as `MODEL_FOLDERS` has them."""

    repository: str
    root: Path

    title: ClassVar[str] = "the folder"
    advice: ClassVar[str] = "choose a --folder"

    @property
    def folder(self) -> Path:
        return self.root / self.repository

    @property
    def options(self) -> dict[str, Any]:
        return {"local_dir": self.folder}

    def copy(self, patterns: Sequence[str]) -> Path | None:
        """The model's folder, if it is complete."""
        try:
            return self.folder if lack_of(self.folder, patterns) is None else None
        except OSError:
            return None

    def has(self, file: RemoteFile, commit: str) -> bool:
        """As far as its size tells; the library looks again when it comes to the file."""
        path = self.final(file)
        return path.is_file() and path.stat().st_size == file.size

    def final(self, file: RemoteFile) -> Path:
        return self.folder / file.path

    def put(self, file: RemoteFile, content: Path) -> None:
        # The library's note is of the file that was there before, and not true of this one. The library would notice
        # only from the times, if they are more than a second apart, and download the file again.
        (self._notes / f"{file.path}.metadata").unlink(missing_ok=True)
        move(content, self.final(file))

    @property
    def _notes(self) -> Path:
        return self.folder / ".cache" / "huggingface" / "download"

    def partial(self, file: RemoteFile) -> Path:
        return self._notes / f"{file.sha256}{PARTIAL}"

    def written(self) -> int:
        return folder_bytes(self.folder)


Place = Cache | Folder


def move(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    file.replace(to)


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, or of where it would be made."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free

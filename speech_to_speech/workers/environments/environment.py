"""Where an environment is, and whether it is the one that its requirements file describes."""

import dataclasses
import hashlib
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER_VARIABLE = "SPEECH_TO_SPEECH_ENVIRONMENTS"
MARKER = "environment.json"  # the marker is written last: an environment without one was not finished

State = Literal["ready", "missing", "unfinished", "stale", "broken"]


@dataclass(frozen=True)
class Made:
    """What the marker of a finished environment says."""

    requirements: str
    """SHA-256 of the requirements file."""
    python: str
    bytes: int
    notes: list[str]
    """What was done beside installing, in words."""


@dataclass(frozen=True)
class Environment:
    """`requirements` is a file of pinned packages, `folder` where the virtual environment is or will be."""

    requirements: Path
    folder: Path

    @classmethod
    def of(cls, requirements: str | Path) -> "Environment":
        path = Path(requirements)
        return cls(path, environments_folder() / path.stem)

    @property
    def name(self) -> str:
        return self.requirements.stem

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.requirements.read_bytes()).hexdigest()

    @property
    def made(self) -> Made | None:
        """The marker, if there is a valid one."""
        try:
            return Made(**json.loads((self.folder / MARKER).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def state(self) -> State:
        """`stale`: made for other requirements, or by another Python; `broken`: its Python is gone."""
        if not self.folder.exists():
            return "missing"
        made = self.made
        if made is None:
            return "unfinished"
        if not os.access(self.python, os.X_OK):
            return "broken"
        return "ready" if (made.requirements, made.python) == (self.digest, python_version()) else "stale"

    @property
    def problem(self) -> str | None:
        """Why no worker can run in it, with the command that mends it; None if one can."""
        state = self.state
        if state == "ready":
            return None
        reason = {
            "missing": f"the environment {self.name} was not made",
            "unfinished": f"the environment {self.name} was not finished",
            "stale": f"the environment {self.name} was made for other requirements or by another Python",
            "broken": f"the Python of the environment {self.name} is gone",
        }[state]
        return f"{reason} ({self.folder}): speech-to-speech env create {self.name}"

    def finish(self, notes: list[str]) -> None:
        """Mark it as complete."""
        made = Made(self.digest, python_version(), size_bytes(self.folder), notes)
        (self.folder / MARKER).write_text(json.dumps(dataclasses.asdict(made), indent=2) + "\n")


def environments_folder() -> Path:
    """`SPEECH_TO_SPEECH_ENVIRONMENTS`, or a folder in the virtual environment of the service."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path(sys.prefix) / "environments")


def python_version() -> str:
    """Packages with compiled parts are made for a minor version."""
    return ".".join(platform.python_version_tuple()[:2])


def size_bytes(folder: Path) -> int:
    """What its files take, links not followed."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files)

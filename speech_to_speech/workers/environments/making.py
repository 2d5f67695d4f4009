"""Making an environment: a virtual environment, its packages by the service's pip, and what they need beside."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from speech_to_speech.errors import EnvironmentFailed
from speech_to_speech.workers.environments.environment import Environment

PROBLEM_LINES = 3  # lines of pip's output that an error shows
AUDIO_EXTENSION = "torchaudio/lib/_torchaudio.abi3.so"


def create(environment: Environment, say: Callable[[str], None], *, pip_options: Sequence[str] = ()) -> None:
    """Make the environment, in place of an old one if there is one. `say` gets a line for each step.

    It is made beside its place and moved there when it is complete, so that what is there works until then.

    Raises:
        EnvironmentFailed: another process is making it, or something could not be installed; nothing is left behind.
    """
    if not environment.requirements.is_file():
        raise EnvironmentFailed(f"env {environment.name}: there is no {environment.requirements}")
    new = Environment(environment.requirements, environment.folder.with_name(f".{environment.name}.new"))
    try:
        environment.folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFailed(
            f"env {environment.name}: can't write to {environment.folder.parent}: {error}"
        ) from error
    with _lock(environment):
        shutil.rmtree(new.folder, ignore_errors=True)  # a killed try may have left the folder
        try:
            _install(new, say, pip_options)
            new.finish(mend(new, say))
            shutil.rmtree(environment.folder, ignore_errors=True)
            new.folder.rename(environment.folder)
        except OSError as error:
            raise EnvironmentFailed(f"env {environment.name}: {error}") from error
        finally:
            shutil.rmtree(new.folder, ignore_errors=True)


def remove(environment: Environment) -> None:
    """Delete the environment.

    Raises:
        EnvironmentFailed: another process is making it, or it can't be deleted.
    """
    if not environment.folder.exists():
        raise EnvironmentFailed(f"env {environment.name}: there is none at {environment.folder}")
    with _lock(environment):
        try:
            shutil.rmtree(environment.folder)
        except OSError as error:
            raise EnvironmentFailed(f"env {environment.name}: {error}") from error


@contextlib.contextmanager
def _lock(environment: Environment) -> Iterator[None]:
    """One process at a time; the system frees it when that ends, however it does."""
    with environment.folder.with_name(f".{environment.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFailed(f"env {environment.name}: another process is making it") from None
        yield


def _install(environment: Environment, say: Callable[[str], None], pip_options: Sequence[str]) -> None:
    say(f"making {environment.folder}")
    venv = [sys.executable, "-m", "venv", "--without-pip", str(environment.folder)]
    _run(environment, "make a virtual environment", venv)
    say(f"installing what {environment.requirements.name} names")
    # The file names the dependencies too. Some packages pin versions that they can do without.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(environment.python)]
    what = ["install", "--quiet", "--no-deps", *pip_options, "-r", str(environment.requirements)]
    _run(environment, "install the packages", [*pip, *what])


def mend(environment: Environment, say: Callable[[str], None]) -> list[str]:
    """What has to be done beside installing; what was."""
    notes = []
    for file in environment.folder.glob(f"lib/python*/site-packages/{AUDIO_EXTENSION}"):
        if not _torch_has_cuda(environment):
            file.unlink()
            notes.append(f"removed {AUDIO_EXTENSION}: it is made for CUDA, which this PyTorch has not")
            say(notes[-1])
    return notes


def _torch_has_cuda(environment: Environment) -> bool:
    command = [str(environment.python), "-I", "-c", "import torch; print(torch.version.cuda)"]
    return _run(environment, "import torch", command).strip() != "None"


def _run(environment: Environment, what: str, command: Sequence[str]) -> str:
    """A command's output."""
    cleaned = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, capture_output=True, text=True, env=cleaned, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        problem = " | ".join(lines[-PROBLEM_LINES:]) or f"exit code {done.returncode}"
        name = environment.requirements.stem
        raise EnvironmentFailed(f"env {name}: can't {what}: {problem}")
    return done.stdout


def site_packages(environment: Environment) -> Path:
    """Where its packages are."""
    return next(environment.folder.glob("lib/python*/site-packages"))

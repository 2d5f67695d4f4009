"""What all tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fakes
import pytest
import working

from speech_to_speech.config.registry import BACKENDS
from speech_to_speech.workers.environments.environment import FOLDER_VARIABLE

SUPPORT = str(Path(__file__).parent / "support")

# The processes that tests start find the fakes too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def seeming_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like the environments of our own backends; nothing can be started in them."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environments"))
    for backend in BACKENDS.values():
        environment = backend.environment
        if environment is not None and not environment.folder.exists():
            environment.python.parent.mkdir(parents=True)
            environment.python.symlink_to(sys.executable)
            environment.finish([])


@pytest.fixture
def gate(tmp_path: Path) -> working.Gate:
    """A file that a model waits for."""
    return working.Gate(tmp_path / "gate")


@pytest.fixture
def script() -> Iterator[fakes.Script]:
    """What the scripted models do in this test."""
    fakes.SCRIPT.reset()
    yield fakes.SCRIPT
    fakes.SCRIPT.release()

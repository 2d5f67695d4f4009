"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import fakes
import pytest

HERE = str(Path(__file__).parent)

# The processes that tests start find the fakes too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def script() -> Iterator[fakes.Script]:
    """What the scripted models do in this test."""
    fakes.SCRIPT.reset()
    yield fakes.SCRIPT
    fakes.SCRIPT.release()

"""Workers whose models do steps, in a thread or in a process of their own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import Step, Steps
from service import eventually

from speech_to_speech.workers.process import ProcessModel
from speech_to_speech.workers.worker import Worker

KINDS = pytest.mark.parametrize("kind", ["thread", "process"])


class Gate:
    """A file that a model waits for, so that it works across processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wait: Step = ("wait", str(path))

    def open(self) -> None:
        self.path.touch()


def model_of(kind: str, **options: Any) -> Any:
    chosen = Steps.Options(**options)
    return Steps(chosen) if kind == "thread" else ProcessModel("stt", "fakes:Steps", chosen, Steps.batch_limit)


@contextlib.asynccontextmanager
async def working(model: Any, **options: Any) -> AsyncIterator[Worker[list[Step], Any]]:
    worker: Worker[list[Step], Any] = Worker("stt", model, **options)
    try:
        await worker.start()
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()


async def outputs_of(worker: Worker[list[Step], Any], *steps: Step) -> list[Any]:
    async with worker.open(list(steps)) as outputs:
        return [output async for output in outputs]


async def running(worker: Worker[list[Step], Any]) -> None:
    """Wait until the model has taken the line."""
    await eventually(lambda: worker._running and not worker.waiting, "a batch is taken")


async def restarted(worker: Worker[list[Step], Any], pid: int) -> None:
    """Wait until another process has its model ready."""
    await eventually(
        lambda: worker.model.pid not in (pid, None) and worker._restarting_since is None, "it is restarted"
    )

"""Models in processes of their own: what happens when they die, hang, or don't come up, and what is left of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeError
from service import children_of, eventually, process_gone, wait_until
from working import KINDS, Gate, model_of, working

from speech_to_speech.errors import StageFailed, StageTimeout, WorkerDied
from speech_to_speech.workers.process import ProcessModel

pytestmark = pytest.mark.anyio


async def test_a_process_is_a_process() -> None:
    async with working(model_of("process")) as worker:
        pid = await worker.call([("pid",)])
        assert pid == worker.model.pid != os.getpid()
    async with working(model_of("thread")) as worker:
        assert await worker.call([("pid",)]) == os.getpid()


async def test_a_killed_process_is_told_to_its_job_and_the_next_one_works(gate: Gate) -> None:
    async with working(model_of("process")) as worker:
        async with worker.open([("pid",), gate.wait]) as outputs:
            pid = await anext(outputs)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerDied) as caught:
                await anext(outputs)
            assert caught.value.retryable
            assert caught.value.stage == "stt"
        assert await worker.call([("pid",)]) != pid
        assert worker.healthy


async def test_a_model_that_ends_its_process_is_told_to_its_job(gate: Gate) -> None:
    async with working(model_of("process")) as worker:
        with pytest.raises(WorkerDied, match="exit code 3"):
            await worker.call([("die",)])
        assert await worker.call([("emit", 1)]) == 1


async def test_a_process_killed_while_idle_costs_no_job() -> None:
    async with working(model_of("process")) as worker:
        pid = await worker.call([("pid",)])
        await eventually(lambda: not worker._running, "idle")
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: process_gone(pid), "the kernel has ended it")
        assert await worker.call([("pid",)]) != pid


async def test_a_hung_process_is_killed_and_restarted(gate: Gate) -> None:
    async with working(model_of("process"), timeout_s=0.3) as worker:
        pid = await worker.call([("pid",)])
        with pytest.raises(StageTimeout):
            await worker.call([("hold_the_lock", 60)])
        await eventually(lambda: process_gone(pid), "the hung process is killed", 2.0)
    # The next deadline must leave room for a restart.
    async with working(model_of("process"), timeout_s=2.0) as worker:
        with pytest.raises(StageTimeout):
            await worker.call([("hold_the_lock", 60)])
        assert await worker.call([("emit", 1)]) == 1
        assert worker.healthy


async def test_a_crash_loop_backs_off_and_ends_when_the_cause_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    load = ProcessModel.load

    def counted(model: ProcessModel[Any, Any]) -> None:
        starts.append(time.monotonic())
        load(model)

    monkeypatch.setattr(ProcessModel, "load", counted)
    monkeypatch.setattr("speech_to_speech.workers.worker.RESTART_BACKOFF_S", (0.0, 0.1, 0.3))
    broken = tmp_path / "broken"
    async with working(model_of("process", die_on_load_if=str(broken)), timeout_s=3.0) as worker:
        broken.touch()
        with pytest.raises(WorkerDied):
            await worker.call([("die",)])
        await eventually(lambda: not worker.healthy and len(starts) >= 4, "it shows, and it is tried again and again")
        broken.unlink()
        assert await worker.call([("emit", 1)]) == 1
        assert worker.healthy
    assert starts[2] - starts[1] >= 0.1
    assert starts[3] - starts[2] >= 0.3


@KINDS
async def test_a_load_error_reaches_start(kind: str) -> None:
    expected = FakeError if kind == "thread" else StageFailed
    with pytest.raises(expected, match="no weights"):
        async with working(model_of(kind, load_error="no weights")):
            pass


async def test_a_process_that_dies_while_loading_reaches_start(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(WorkerDied):
        async with working(model_of("process", die_on_load_if=str(tmp_path / "broken"))):
            pass


PARENT = """
import anyio, sys
from fakes import Steps
from speech_to_speech.workers.process import ProcessModel
from speech_to_speech.workers.worker import Worker

async def main():
    worker = Worker("stt", ProcessModel("stt", "fakes:Steps", Steps.Options(), 1), timeout_s=60)
    await worker.start()
    steps = [("pid",), ("hold_the_lock", 60)] if sys.argv[1] == "stuck" else [("pid",)]
    async with worker.open(steps) as outputs:
        print(await anext(outputs), flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a stuck process of its parent's end")
@pytest.mark.parametrize("state", ["idle", "stuck"])
def test_the_process_ends_with_a_parent_that_was_killed(state: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            grandchild = int(parent.stdout.readline())
            assert children_of(parent.pid) == [grandchild]
        finally:
            parent.kill()
            parent.wait()
        wait_until(lambda: process_gone(grandchild), "the grandchild is gone", 1.0)


@KINDS
async def test_nothing_is_left_after_stop(kind: str) -> None:
    def open_files() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "stt-worker"]

    async with working(model_of(kind)) as worker:
        await worker.call([("emit", 1)])
    await eventually(lambda: not threads(), "earlier tests' threads have ended")
    before = open_files()
    async with working(model_of(kind)) as worker:
        pid = await worker.call([("pid",)])
        assert threads()
    assert not threads()
    if kind == "process":
        assert pid not in children_of(os.getpid())
    await eventually(lambda: len(open_files()) <= len(before), "the connection is closed", 2.0)


@pytest.mark.alone
async def test_stop_does_not_wait_for_a_stuck_process() -> None:
    async with working(model_of("process")) as worker:
        async with worker.open([("pid",), ("hold_the_lock", 60)]) as outputs:
            pid = await anext(outputs)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2.0
    assert process_gone(pid)

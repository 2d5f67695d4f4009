"""Workers: the line, batches, outputs, cancels and deadlines."""

import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import Step
from service import eventually
from working import KINDS, Gate, model_of, outputs_of, running, working

from speech_to_speech.errors import StageBusy, StageError, StageFailed, StageTimeout, WorkerHung
from speech_to_speech.workers.worker import Worker

pytestmark = pytest.mark.anyio


@KINDS
async def test_requests_are_batched_first_come_first_served(kind: str, gate: Gate) -> None:
    sizes: list[int] = []
    ended: list[int] = []

    async def ask(worker: Worker[list[Step], Any], number: int, *before: Step) -> None:
        assert await outputs_of(worker, *before, ("emit", number)) == [number]
        ended.append(number)

    async with (
        working(model_of(kind), batch_limit=4, on_batch=lambda stage, size: sizes.append(size)) as worker,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ask, worker, 0, gate.wait)
        await running(worker)
        for number in range(1, 7):
            tasks.start_soon(ask, worker, number)
            await eventually(lambda number=number: worker.waiting == number, "the request waits")
        gate.open()
    assert sizes == [1, 4, 2]
    assert ended == list(range(7))


@KINDS
async def test_outputs_stream_while_the_model_works(kind: str, gate: Gate) -> None:
    async with (
        working(model_of(kind)) as worker,
        worker.open([("emit", "first"), gate.wait, ("emit", "second")]) as outputs,
    ):
        assert await anext(outputs) == "first"
        assert not gate.path.exists()
        gate.open()
        assert [output async for output in outputs] == ["second"]


@KINDS
async def test_a_cancelled_waiting_request_leaves_the_line(kind: str, gate: Gate, tmp_path: Path) -> None:
    async with working(model_of(kind)) as worker, worker.open([gate.wait, ("emit", 1)]) as first:
        await running(worker)
        async with worker.open([("touch", str(tmp_path / "ran"))]):
            assert worker.waiting == 1
        assert worker.waiting == 0
        gate.open()
        assert [output async for output in first] == [1]
        assert await outputs_of(worker, ("emit", 2)) == [2]
        assert not (tmp_path / "ran").exists()


@KINDS
async def test_a_cancelled_running_request_stops_at_its_next_step(kind: str, tmp_path: Path) -> None:
    seen, after = tmp_path / "seen", tmp_path / "after"
    async with working(model_of(kind)) as worker:
        async with worker.open([("until_cancelled", str(seen)), ("touch", str(after))]) as outputs:
            assert await anext(outputs) == "begun"
        await eventually(seen.exists, "the model sees the cancel", 5.0)
        assert await outputs_of(worker, ("emit", 2)) == [2]
        assert not after.exists()


@KINDS
async def test_a_failed_job_leaves_the_others_of_its_batch_alone(kind: str, gate: Gate) -> None:
    results: dict[int, Any] = {}

    async def ask(worker: Worker[list[Step], Any], number: int, step: Step) -> None:
        try:
            results[number] = await outputs_of(worker, step)
        except StageFailed as error:
            results[number] = str(error)

    sizes: list[int] = []
    async with (
        working(model_of(kind), on_batch=lambda stage, size: sizes.append(size)) as worker,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ask, worker, 0, gate.wait)
        await running(worker)
        tasks.start_soon(ask, worker, 1, ("emit", "a"))
        tasks.start_soon(ask, worker, 2, ("fail", "this one only"))
        tasks.start_soon(ask, worker, 3, ("emit", "b"))
        await eventually(lambda: worker.waiting == 3, "three wait")
        gate.open()
    assert sizes == [1, 3]
    assert results[1] == ["a"]
    assert results[3] == ["b"]
    assert "FakeError" in results[2]


@KINDS
async def test_a_model_that_raises_fails_its_batch_and_works_on(kind: str) -> None:
    async with working(model_of(kind)) as worker:
        with pytest.raises(StageFailed, match="FakeError") as caught:
            await worker.call([("raise", "as scripted")])
        assert caught.value.stage == "stt"
        assert await worker.call([("emit", 1)]) == 1
        assert worker.healthy


@KINDS
async def test_no_output_is_a_failure_where_one_is_due(kind: str) -> None:
    async with working(model_of(kind)) as worker:
        with pytest.raises(StageFailed, match="nothing"):
            await worker.call([])


@KINDS
async def test_the_models_time_is_that_of_the_output_read_last_however_late_it_is_read(kind: str, gate: Gate) -> None:
    async with (
        working(model_of(kind)) as worker,
        worker.open([("emit", 1), gate.wait, ("emit", 2)]) as outputs,
    ):
        await running(worker)
        begun = time.monotonic()
        await anyio.sleep(0.1)
        gate.open()
        await eventually(lambda: worker.idle, "both are made")
        ended = time.monotonic()
        assert [await anext(outputs), outputs.model_s < 0.1] == [1, True]
        assert await anext(outputs) == 2
        assert 0.1 <= outputs.model_s <= ended - begun + 0.1


async def test_a_full_line_refuses_with_stage_busy(gate: Gate) -> None:
    async with working(model_of("thread"), queue_limit=2) as worker, worker.open([gate.wait]):
        await running(worker)
        async with worker.open([]), worker.open([]):
            with pytest.raises(StageBusy, match="2 requests wait") as caught:
                worker.open([])
            assert caught.value.retryable
        gate.open()


async def test_outputs_that_nobody_reads_fail_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech_to_speech.workers.request.OUTPUT_LIMIT", 3)
    async with working(model_of("thread")) as worker:
        async with worker.open([("emit", number) for number in range(10)]):
            await eventually(lambda: not worker._running and not worker.waiting, "the batch is done")
        assert await worker.call([("emit", 1)]) == 1


async def test_a_reader_that_comes_too_late_gets_what_there_is_and_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech_to_speech.workers.request.OUTPUT_LIMIT", 3)
    async with working(model_of("thread")) as worker, worker.open([("emit", n) for n in range(10)]) as outputs:
        await eventually(lambda: not worker._running and not worker.waiting, "the batch is done")
        assert [await anext(outputs) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(StageFailed, match="more than 3 outputs"):
            await anext(outputs)


async def test_what_the_parent_cannot_read_costs_a_process_one_batch() -> None:
    async with working(model_of("process")) as worker:
        with pytest.raises(StageError):
            await worker.call([("emit_unreadable",)])
        assert await worker.call([("emit", 1)]) == 1
        assert await worker.call([("emit", 2)]) == 2


@KINDS
async def test_a_missed_deadline_is_a_stage_timeout(kind: str, gate: Gate) -> None:
    async with working(model_of(kind), timeout_s=0.2) as worker:
        with pytest.raises(StageTimeout, match=r"0\.2 s") as caught:
            await worker.call([gate.wait])
        assert caught.value.retryable
        gate.open()
        await eventually(lambda: worker.healthy, "recovered")


async def test_each_output_has_its_own_deadline(tmp_path: Path) -> None:
    """A long answer that keeps coming is no late one."""

    async def open_in_turn() -> None:
        for gate in gates:
            await anyio.sleep(0.2)
            gate.open()

    gates = [Gate(tmp_path / str(number)) for number in range(4)]
    steps = [step for gate in gates for step in (gate.wait, ("emit", gate.path.name))]
    async with working(model_of("thread"), timeout_s=0.5) as worker, anyio.create_task_group() as tasks:
        tasks.start_soon(open_in_turn)
        assert await outputs_of(worker, *steps) == ["0", "1", "2", "3"]


async def test_a_request_that_only_waited_is_told_that_the_stage_is_busy(tmp_path: Path) -> None:
    gates = [Gate(tmp_path / str(number)) for number in range(40)]
    steps = [step for gate in gates for step in (("wait", str(gate.path)), ("emit", 0))]

    async def keep_working() -> None:
        for gate in gates:
            gate.open()
            await anyio.sleep(0.05)

    async with working(model_of("thread"), timeout_s=0.4, batch_limit=1) as worker, anyio.create_task_group() as tasks:
        async with worker.open(steps) as outputs:
            tasks.start_soon(keep_working)
            await anext(outputs)
            with pytest.raises(StageBusy, match="waited"):
                await worker.call([("emit", 1)])
            assert worker.healthy
        tasks.cancel_scope.cancel()
        for gate in gates:
            gate.open()


async def test_a_hung_thread_is_told_to_its_jobs_and_recovers_when_its_call_returns(gate: Gate) -> None:
    errors: dict[int, Exception] = {}

    async def ask(worker: Worker[list[Step], Any], number: int) -> None:
        try:
            await worker.call([gate.wait, ("emit", number)])
        except (StageTimeout, StageBusy, WorkerHung) as error:
            errors[number] = error

    async with working(model_of("thread"), timeout_s=0.3, batch_limit=1) as worker:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, worker, 0)
            await running(worker)
            tasks.start_soon(ask, worker, 1)
            await eventually(lambda: len(errors) == 2, "both are told", 2.0)
        assert isinstance(errors[0], StageTimeout)
        assert isinstance(errors[1], StageBusy | WorkerHung)
        await eventually(lambda: not worker.healthy, "it shows", 1.0)
        with pytest.raises(WorkerHung) as caught:
            worker.open([])
        assert not caught.value.retryable
        gate.open()
        await eventually(lambda: worker.healthy, "the call has returned", 2.0)
        assert await worker.call([("emit", 1)]) == 1

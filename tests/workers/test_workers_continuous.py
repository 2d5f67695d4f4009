"""Open batches: requests join, leave, are cancelled and give way one by one, while others are under way."""

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes import OpenSteps, Step
from service import eventually, process_gone
from working import KINDS, Gate, outputs_of, restarted, working

from speech_to_speech.errors import StageBusy, StageError, StageFailed, StageTimeout, WorkerDied, WorkerHung
from speech_to_speech.workers.process import ProcessModel
from speech_to_speech.workers.worker import Claim, Evicted, Outputs, Worker

pytestmark = pytest.mark.anyio

BEGUN: Step = ("emit", "begun")
FOREVER: Step = ("hold",)


@pytest.fixture
def path(tmp_path: Path) -> Callable[[str], Path]:
    return tmp_path.joinpath


def model_of(kind: str, **options: Any) -> Any:
    chosen = OpenSteps.Options(**options)
    if kind == "thread":
        return OpenSteps(chosen)
    return ProcessModel("stt", "fakes:OpenSteps", chosen, OpenSteps.batch_limit, continuous=True)


@contextlib.asynccontextmanager
async def under_way(worker: Worker[list[Step], Any], *steps: Step, claim: Claim | None = None) -> Any:
    """A request that the model has begun with."""
    async with worker.open([BEGUN, *steps], claim or Claim()) as outputs:
        assert await anext(outputs) == "begun"
        yield outputs


async def rest_of(outputs: Outputs[Any, Any]) -> list[Any]:
    return [output async for output in outputs]


async def error_of(outputs: Outputs[Any, Any]) -> Exception:
    with pytest.raises((StageError, Evicted)) as caught:
        await rest_of(outputs)
    return caught.value


@KINDS
async def test_a_request_joins_while_another_is_under_way(kind: str, gate: Gate) -> None:
    """Also while that one gives nothing, so that no output of it wakes anybody."""
    async with working(model_of(kind)) as worker, under_way(worker, ("until", str(gate.path)), ("emit", 1)) as first:
        assert await outputs_of(worker, ("emit", 2), ("emit", 3)) == [2, 3]
        assert await outputs_of(worker, ("emit", 4)) == [4]
        assert not gate.path.exists()
        gate.open()
        assert await rest_of(first) == [1]


@KINDS
async def test_no_more_run_at_once_than_the_batch_limit(kind: str, gate: Gate) -> None:
    sizes: list[int] = []
    counts: list[int] = []

    async def ask(worker: Worker[list[Step], Any]) -> None:
        counts.extend(await outputs_of(worker, ("count",), ("count",)))

    async with working(model_of(kind), batch_limit=2, on_batch=lambda stage, size: sizes.append(size)) as worker:
        async with under_way(worker, FOREVER), anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(ask, worker)
        assert counts == [2] * 8
        assert sizes == [1, 2, 2, 2, 2]


@KINDS
async def test_confirmed_requests_join_first_however_late_they_come(kind: str, gate: Gate) -> None:
    order: list[str] = []

    async def ask(worker: Worker[list[Step], Any], name: str, claim: Claim) -> None:
        async with worker.open([("emit", name)], claim) as outputs:
            order.extend(await rest_of(outputs))

    async with (
        working(model_of(kind), batch_limit=2) as worker,
        under_way(worker, FOREVER),
        under_way(worker, ("until", str(gate.path))),
        anyio.create_task_group() as tasks,
    ):
        for name, speculative in (("s1", True), ("s2", True), ("c1", False), ("s3", True), ("c2", False)):
            tasks.start_soon(ask, worker, name, Claim(speculative=speculative))
            await anyio.wait_all_tasks_blocked()
        gate.open()
    assert order == ["c1", "c2", "s1", "s2", "s3"]


@KINDS
async def test_as_many_speculative_requests_give_way_as_confirmed_ones_wait(kind: str) -> None:
    claims = [Claim(speculative=True) for _ in range(3)]

    def evicted() -> list[bool]:
        return [claim.evicted for claim in claims]

    async with (
        working(model_of(kind), batch_limit=5) as worker,
        under_way(worker, FOREVER),
        under_way(worker, FOREVER, claim=claims[0]),
        under_way(worker, FOREVER, claim=claims[1]) as second,
        under_way(worker, FOREVER, claim=claims[2]) as third,
        under_way(worker, FOREVER),  # the batch has room for this one
    ):
        assert evicted() == [False, False, False]
        async with worker.open([FOREVER], Claim(speculative=True)):
            assert evicted() == [False, False, False]
        async with worker.open([BEGUN]) as first_to_come, worker.open([BEGUN]) as second_to_come:
            assert evicted() == [False, True, True]
            assert await rest_of(first_to_come) == await rest_of(second_to_come) == ["begun"]
            assert isinstance(await error_of(second), Evicted)
            assert isinstance(await error_of(third), Evicted)
        assert evicted() == [False, True, True]


@KINDS
async def test_only_speculative_requests_give_way(kind: str, gate: Gate) -> None:
    claim = Claim(speculative=True)
    async with (
        working(model_of(kind), batch_limit=2) as worker,
        under_way(worker, ("until", str(gate.path)), ("emit", 1)) as confirmed,
        under_way(worker, FOREVER, claim=claim),
        worker.open([("emit", 2)]) as one,
        worker.open([("emit", 3)]) as other,
    ):
        assert claim.evicted
        gate.open()
        assert [await rest_of(each) for each in (confirmed, one, other)] == [[1], [2], [3]]


@KINDS
async def test_a_request_that_becomes_certain_in_the_line_takes_the_place_of_another(kind: str) -> None:
    running, waiting = Claim(speculative=True), Claim(speculative=True)
    async with (
        working(model_of(kind), batch_limit=1) as worker,
        under_way(worker, FOREVER, claim=running),
        worker.open([("emit", 1)], waiting) as outputs,
    ):
        worker.make_way()
        assert not running.evicted
        waiting.speculative = False
        worker.make_way()
        assert await rest_of(outputs) == [1]
        assert running.evicted


@KINDS
async def test_an_open_batch_has_room_for_what_is_not_under_way(kind: str, path: Callable[[str], Path]) -> None:
    async with working(model_of(kind), batch_limit=2) as worker:
        assert worker.idle
        assert worker.has_room
        async with under_way(worker, FOREVER):
            assert worker.has_room
            assert not worker.idle
            async with under_way(worker, ("hold", str(path("seen")))):
                assert not worker.has_room
            await eventually(lambda: worker.has_room, "the model has let go of the cancelled one")
            assert path("seen").exists()
        await eventually(lambda: worker.idle, "nothing is under way")


@KINDS
async def test_a_cancelled_request_leaves_its_place_to_another(kind: str, path: Callable[[str], Path]) -> None:
    sizes: list[int] = []
    async with (
        working(model_of(kind), batch_limit=2, on_batch=lambda stage, size: sizes.append(size)) as worker,
        under_way(worker, FOREVER),
    ):
        async with under_way(worker, ("hold", str(path("seen")))):
            waiting = worker.open([("emit", "its place")])
            assert worker.waiting == 1
        async with waiting:
            assert await rest_of(waiting) == ["its place"]
        assert path("seen").exists()
    assert sizes == [1, 2, 2]


@KINDS
async def test_one_that_fails_leaves_the_others_alone(kind: str, gate: Gate) -> None:
    async with working(model_of(kind)) as worker, under_way(worker, ("until", str(gate.path)), ("emit", 1)) as other:
        with pytest.raises(StageFailed, match="FakeError"):
            await outputs_of(worker, ("fail", "this one only"), ("emit", "of no use"))
        gate.open()
        assert await rest_of(other) == [1]


@KINDS
async def test_an_ended_request_can_be_ended_again_to_no_effect(kind: str) -> None:
    async with working(model_of(kind), batch_limit=2) as worker, under_way(worker, FOREVER):
        assert await outputs_of(worker, ("emit", 1), ("done",), ("emit", "too late"), ("done",)) == [1]
        assert await outputs_of(worker, ("emit", 2), ("done",), ("fail", "too late")) == [2]
        assert await outputs_of(worker, ("emit", 3)) == [3]
        await eventually(lambda: len(worker._running) == 1, "one is under way")


@KINDS
async def test_those_under_way_are_complete_when_the_call_returns(kind: str) -> None:
    async with working(model_of(kind)) as worker, under_way(worker, FOREVER) as first:
        assert await outputs_of(worker, ("emit", 1), ("leave_all",)) == [1]
        assert await rest_of(first) == []
        assert await outputs_of(worker, ("emit", 2)) == [2]


@KINDS
async def test_a_model_that_raises_fails_all_under_way_and_works_on(kind: str) -> None:
    async with working(model_of(kind)) as worker:
        async with under_way(worker, FOREVER) as first, under_way(worker, FOREVER) as joined:
            with pytest.raises(StageFailed, match="FakeError"):
                await worker.call([("raise", "as scripted")])
            for outputs in (first, joined):
                error = await error_of(outputs)
                assert isinstance(error, StageFailed)
                assert "FakeError" in str(error)
        assert await worker.call([("emit", 1)]) == 1
        assert worker.healthy


async def test_a_hung_thread_is_noticed_although_requests_keep_coming(gate: Gate) -> None:
    async with working(model_of("thread"), timeout_s=0.4, batch_limit=2) as worker:
        async with (
            under_way(worker, FOREVER) as first,
            under_way(worker, gate.wait, ("emit", 1)) as second,  # the whole batch stands still
            contextlib.AsyncExitStack() as stack,
        ):
            later = []
            begun = time.monotonic()
            while not worker.hung and time.monotonic() < begun + 10:
                later.append(await stack.enter_async_context(worker.open([("emit", 2)])))
                await anyio.sleep(0.02)
            with pytest.raises(WorkerHung):
                worker.open([])
            assert not worker.healthy
            assert not worker.has_room
            assert len(later) > 1
            told: list[Exception] = []

            async def ask(outputs: Outputs[Any, Any]) -> None:
                told.append(await error_of(outputs))

            async with anyio.create_task_group() as tasks:
                for outputs in (first, second):
                    tasks.start_soon(ask, outputs)
            assert any(isinstance(error, StageTimeout) for error in told)
            assert all(isinstance(error, StageTimeout | WorkerHung) for error in told)
            assert all([isinstance(await error_of(outputs), StageBusy | WorkerHung) for outputs in later])
        gate.open()
        await eventually(lambda: worker.healthy, "the step has returned")
        assert await worker.call([("emit", 3)]) == 3


async def test_a_hung_process_is_killed_although_requests_keep_coming() -> None:
    async with working(model_of("process"), timeout_s=1.0) as worker:
        pid = await worker.call([("pid",)])
        async with under_way(worker, ("hold_the_lock", 60)) as stuck, contextlib.AsyncExitStack() as stack:
            later = []
            begun = time.monotonic()
            while not process_gone(pid) and time.monotonic() < begun + 10:
                later.append(await stack.enter_async_context(worker.open([("emit", 2)])))
                await anyio.sleep(0.02)
            assert process_gone(pid)
            assert isinstance(await error_of(stuck), WorkerDied)
            assert isinstance(await error_of(later[0]), WorkerDied)  # this request had joined the batch
        await restarted(worker, pid)
        pid = await worker.call([("pid",)])
        async with under_way(worker, ("hold_the_lock", 60)) as stuck:
            error = await error_of(stuck)
            assert isinstance(error, StageTimeout)
            assert "no answer within 1 s" in str(error)
        await restarted(worker, pid)
        assert await worker.call([("emit", 1)]) == 1


@KINDS
async def test_what_waited_for_its_turn_is_told_that_the_stage_is_busy_and_what_joined_that_it_is_late(
    kind: str,
) -> None:
    async def keep_emitting(worker: Worker[list[Step], Any]) -> None:
        await outputs_of(worker, *[("emit", number) for number in range(5000)])

    async with working(model_of(kind), timeout_s=0.8, batch_limit=2) as worker, anyio.create_task_group() as tasks:
        tasks.start_soon(keep_emitting, worker)
        async with under_way(worker, FOREVER) as silent:
            with pytest.raises(StageBusy, match="waited"):
                await worker.call([("emit", 1)])
            with pytest.raises(StageTimeout, match=r"no answer within 0\.8 s"):
                await rest_of(silent)
        assert worker.healthy
        assert await worker.call([("emit", 1)]) == 1
        tasks.cancel_scope.cancel()


async def test_a_process_that_ends_fails_all_under_way_and_is_restarted() -> None:
    async with working(model_of("process")) as worker:
        async with under_way(worker, FOREVER) as first, under_way(worker, FOREVER) as joined:
            with pytest.raises(WorkerDied, match="exit code 3"):
                await worker.call([("die",)])
            for outputs in (first, joined):
                assert isinstance(await error_of(outputs), WorkerDied)
        async with under_way(worker, FOREVER):
            assert worker._restarts == 1
            assert await worker.call([("emit", 1)]) == 1
            await eventually(lambda: worker._restarts == 0, "one went well, though the batch is open")
        assert worker.healthy


async def test_a_request_does_not_join_a_batch_whose_process_was_killed() -> None:
    async with working(model_of("process")) as worker, under_way(worker, FOREVER) as killed:
        worker.model.kill()
        assert await worker.call([("emit", 1)]) == 1
        assert isinstance(await error_of(killed), WorkerDied)


@pytest.mark.alone
async def test_stop_ends_an_open_batch_of_a_process_at_once() -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with working(model_of("process")) as worker:
            outputs = await stack.enter_async_context(worker.open([("pid",), FOREVER]))
            pid = await anext(outputs)
            begun = time.monotonic()
        assert time.monotonic() - begun < 2.0
        assert process_gone(pid)
        assert isinstance(await error_of(outputs), WorkerDied)


@KINDS
async def test_cancels_at_any_time_leave_nothing_in_an_open_batch(kind: str) -> None:
    chance = random.Random(4)

    async def give_up(worker: Worker[list[Step], Any], after_s: float) -> None:
        with anyio.move_on_after(after_s):
            await outputs_of(worker, BEGUN, ("emit", 2), FOREVER)

    async def keep_to_the_end(worker: Worker[list[Step], Any], number: int) -> None:
        assert await outputs_of(worker, ("emit", number), BEGUN) == [number, "begun"]

    async with working(model_of(kind), batch_limit=8) as worker, under_way(worker, FOREVER):
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(give_up, worker, chance.uniform(0, 0.02))
                tasks.start_soon(keep_to_the_end, worker, number)
                await anyio.sleep(chance.uniform(0, 0.005))
        await eventually(lambda: len(worker._running) == 1, "all but one have ended")
        assert worker.waiting == 0
        assert await worker.call([("count",)]) == 2
        if kind == "process":
            assert await worker.call([("known",)]) == 2
            await eventually(lambda: len(worker.model._running) == 1, "neither side keeps more")
            assert len(worker.model._told) <= 8


async def test_a_process_decides_by_its_model_what_a_batch_is(gate: Gate) -> None:
    """A stand-in that was not told that its model is continuous gives it one batch after the other."""
    model: Any = ProcessModel("stt", "fakes:OpenSteps", OpenSteps.Options(), 2)
    async with (
        working(model) as worker,
        under_way(worker, ("until", str(gate.path)), ("emit", 1)) as first,
        worker.open([("emit", 2)]) as second,
    ):
        assert worker.waiting == 1
        gate.open()
        assert await rest_of(first) == [1]
        assert await rest_of(second) == [2]

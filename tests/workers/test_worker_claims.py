"""Confirmed before speculative: the order of a worker's line, and who gives way."""

from typing import Any

import anyio
import pytest
from working import KINDS, Gate, model_of, running, working

from speech_to_speech.workers.worker import Claim, Evicted, Worker

pytestmark = pytest.mark.anyio


async def read(worker: Worker[Any, Any], name: str, into: list[str], claim: Claim) -> None:
    try:
        async with worker.open([("emit", name)], claim) as outputs:
            async for output in outputs:
                into.append(output)
    except Evicted:
        into.append(f"{name} evicted")


@KINDS
async def test_confirmed_requests_go_first_however_late_they_come(kind: str, gate: Gate) -> None:
    order: list[str] = []
    async with working(model_of(kind), batch_limit=1) as worker, anyio.create_task_group() as tasks:
        blocker = worker.open([gate.wait])
        await running(worker)
        for name, speculative in (("s1", True), ("s2", True), ("c1", False), ("s3", True), ("c2", False)):
            tasks.start_soon(read, worker, name, order, Claim(speculative=speculative))
            await anyio.wait_all_tasks_blocked()
        gate.open()
        async with blocker:
            assert [output async for output in blocker] == []
    assert order == ["c1", "c2", "s1", "s2", "s3"]


async def test_a_claim_that_is_confirmed_in_the_line_goes_first(gate: Gate) -> None:
    order: list[str] = []
    async with working(model_of("thread"), batch_limit=1) as worker, anyio.create_task_group() as tasks:
        blocker = worker.open([gate.wait])
        await running(worker)
        claims = {name: Claim(speculative=True) for name in ("s1", "s2", "s3")}
        for name, claim in claims.items():
            tasks.start_soon(read, worker, name, order, claim)
            await anyio.wait_all_tasks_blocked()
        claims["s3"].speculative = False
        gate.open()
        async with blocker:
            assert [output async for output in blocker] == []
    assert order == ["s3", "s1", "s2"]


@KINDS
async def test_a_confirmed_request_evicts_a_call_of_speculative_ones(kind: str, tmp_path: Any) -> None:
    async with working(model_of(kind), evicts=True, batch_limit=1) as worker:
        claim = Claim(speculative=True)
        async with worker.open([("until_cancelled", str(tmp_path / "seen"))], claim) as outputs:
            assert await anext(outputs) == "begun"
            async with worker.open([("emit", "confirmed")]) as confirmed:
                assert await anext(confirmed) == "confirmed"
            assert claim.evicted
            with pytest.raises(Evicted):
                await anext(outputs)
        assert (tmp_path / "seen").exists()


async def test_a_request_that_becomes_certain_in_the_line_evicts_too(tmp_path: Any) -> None:
    async with working(model_of("thread"), evicts=True, batch_limit=1) as worker:
        running_claim, waiting_claim = Claim(speculative=True), Claim(speculative=True)
        async with (
            worker.open([("until_cancelled", str(tmp_path / "seen"))], running_claim) as outputs,
            worker.open([("emit", "waited")], waiting_claim) as waiting,
        ):
            assert await anext(outputs) == "begun"
            worker.make_way()
            assert not running_claim.evicted
            waiting_claim.speculative = False
            worker.make_way()
            assert await anext(waiting) == "waited"
            assert running_claim.evicted


@pytest.mark.parametrize(("evicts", "running_is_speculative"), [(False, True), (True, False)])
async def test_what_is_confirmed_or_has_no_steps_is_not_evicted(
    gate: Gate, evicts: bool, running_is_speculative: bool
) -> None:
    async with working(model_of("thread"), evicts=evicts, batch_limit=1) as worker:
        claim = Claim(speculative=running_is_speculative)
        async with worker.open([gate.wait, ("emit", "whole")], claim) as outputs:
            await running(worker)
            async with worker.open([("emit", "next")]) as following:
                gate.open()
                assert [output async for output in outputs] == ["whole"]
                assert await anext(following) == "next"
        assert not claim.evicted


async def test_a_worker_has_room_while_its_next_call_could_take_one_more(gate: Gate) -> None:
    async with working(model_of("thread"), batch_limit=2) as worker:
        assert worker.idle
        async with worker.open([gate.wait]):
            await running(worker)
            assert worker.has_room
            assert not worker.idle
            async with worker.open([]), worker.open([]):
                assert not worker.has_room
            assert worker.has_room
            gate.open()

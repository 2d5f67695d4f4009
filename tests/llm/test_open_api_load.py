"""`llm open_api` under failures and load: what is tried again, who is left alone, many at once, cancels."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from llm_proxy import LlmProxy, after, closes, echoes, hangs, refuses, resets, says, sends
from open_api_support import Make, Turn, ask, error_of, free_port, models_of, run_until
from service import wait_until

from speech_to_speech.errors import StageFailed, StageUnavailable
from speech_to_speech.llm.open_api import request as open_api_request


@pytest.fixture
def proxy() -> Iterator[LlmProxy]:
    with LlmProxy(models=("tiny",)) as proxy:
        yield proxy


@pytest.fixture
def make(proxy: LlmProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    with models_of(proxy, monkeypatch) as make:
        yield make


# Retries.


@pytest.mark.parametrize("failure", [refuses(503), refuses(429), refuses(500), closes, resets, after((), sends(b""))])
def test_a_failure_that_may_pass_is_tried_again(make: Make, proxy: LlmProxy, failure: Any) -> None:
    proxy.then(failure, failure, says("At last."))
    turn = ask(make())
    assert turn.text == "At last."
    assert turn.error is None
    assert len(proxy.completions) == 3


@pytest.mark.parametrize("failure", [refuses(401), refuses(404), refuses(400), after((), sends(b"data: {\n\n"))])
def test_a_failure_that_will_not_pass_is_told_at_once(make: Make, proxy: LlmProxy, failure: Any) -> None:
    proxy.then(failure)
    assert ask(make()).error is not None
    assert len(proxy.completions) == 1


def test_quota_that_is_used_up_is_not_asked_for_again(make: Make, proxy: LlmProxy) -> None:
    proxy.then(refuses(429, {"code": "insufficient_quota"}))
    assert "quota" in error_of(make(), StageFailed)
    assert len(proxy.completions) == 1


def test_retries_end(make: Make, proxy: LlmProxy) -> None:
    proxy.then(refuses(503))
    error_of(make(retries=1), StageUnavailable)
    assert len(proxy.completions) == 2


def test_the_wait_that_the_server_asks_for_is_kept(make: Make, proxy: LlmProxy) -> None:
    times: list[float] = []

    def noted(behaviour: Any) -> Any:
        async def run(exchange: Any) -> None:
            times.append(time.monotonic())
            await behaviour(exchange)

        return run

    proxy.then(noted(refuses(429, retry_after="1")), noted(says("Now.")))
    assert ask(make()).text == "Now."
    assert times[1] - times[0] >= 1.0


def test_a_wait_beyond_the_deadline_is_not_begun(make: Make, proxy: LlmProxy) -> None:
    proxy.then(refuses(429, retry_after="60"))
    model = make()
    began = time.monotonic()
    error_of(model, StageUnavailable)
    assert time.monotonic() - began < 5
    assert len(proxy.completions) == 1


def test_a_server_that_is_not_there_is_an_error_and_then_is_found(make: Make) -> None:
    port = free_port()
    model = make(base_url=f"http://127.0.0.1:{port}/v1", retries=1)
    assert "can't be reached" in error_of(model, StageUnavailable)
    with LlmProxy(port=port):
        assert ask(model).text == "Hello."
    assert "can't be reached" in error_of(model, StageUnavailable)  # the kept connection is gone, too


# A failing server is left alone.


def test_a_failing_server_is_not_hammered_and_found_again(
    make: Make, proxy: LlmProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    model = make(retries=0)
    model._server._breaker = open_api_request.Breaker(lambda: now_s[0], lambda: 1.0)
    proxy.then(refuses(503))
    for _ in range(5):
        error_of(model, StageUnavailable)
    assert len(proxy.completions) == 5
    for _ in range(50):
        assert "not available (503); it is asked again in 1 s" in error_of(model, StageUnavailable)
    assert len(proxy.completions) == 5
    now_s[0] = 1.0
    error_of(model, StageUnavailable)  # this request is the probe
    error_of(model, StageUnavailable)
    assert len(proxy.completions) == 6
    now_s[0] = 3.0
    proxy.then(says("Back."))
    turns = [Turn() for _ in range(8)]
    model.run(turns)
    assert sorted(turn.text for turn in turns) == [""] * 7 + ["Back."]  # one turn probes, while nothing is known
    assert len(proxy.completions) == 7
    assert [ask(model).text for _ in range(3)] == ["Back."] * 3


def test_a_cancelled_probe_makes_room_for_another(make: Make, proxy: LlmProxy) -> None:
    now_s = [0.0]
    model = make(retries=0)
    model._server._breaker = open_api_request.Breaker(lambda: now_s[0], lambda: 1.0)
    proxy.then(refuses(503))
    for _ in range(5):
        error_of(model, StageUnavailable)
    now_s[0] = 1.0
    proxy.then(hangs, says("Back."))
    probe = Turn()
    run_until(model, [probe], lambda: len(proxy.completions) == 6, [probe])
    assert probe.error is None
    assert ask(model).text == "Back."


# Many at once.


@pytest.mark.alone
def test_twenty_conversations_at_once_have_each_their_own_answer(make: Make, proxy: LlmProxy) -> None:
    proxy.then(echoes(gap_s=0.02))
    turns = [Turn(f"Number {n} of twenty is speaking now") for n in range(20)]
    model = make()
    began = time.monotonic()
    model.run(turns)
    for n, turn in enumerate(turns):
        assert turn.text.split() == f"Number {n} of twenty is speaking now".split()
        assert turn.ended == 1
    assert time.monotonic() - began < 20 * 7 * 0.02  # turns one after the other would take that long


def test_a_request_joins_while_another_streams(make: Make, proxy: LlmProxy) -> None:
    first, second = Turn("one " * 40), Turn("two")
    waiting = [second]
    ended: list[str] = []
    first.done = lambda: ended.append("first")  # type: ignore[method-assign]
    second.done = lambda: ended.append("second")  # type: ignore[method-assign]
    proxy.then(echoes(gap_s=0.02))
    make().run_continuously([first], lambda: [waiting.pop()] if waiting and first.outputs else [])
    assert ended == ["second", "first"]
    assert second.text == "two "


def test_one_failing_request_leaves_the_others_alone(make: Make, proxy: LlmProxy) -> None:
    async def run(exchange: Any) -> None:
        await (resets if exchange.asked.last == "bad" else echoes(gap_s=0.02))(exchange)

    proxy.then(run)
    good, bad = Turn("all is well"), Turn("bad")
    make(retries=0).run([good, bad])
    assert good.text == "all is well "
    assert bad.error is not None


# Cancel.


@pytest.mark.alone
@pytest.mark.parametrize("when", ["waiting", "streaming"])
def test_a_cancel_closes_the_request_at_the_server(make: Make, proxy: LlmProxy, when: str) -> None:
    proxy.then(hangs if when == "waiting" else after(("One ",), hangs))
    turn = Turn()
    asked = lambda: len(proxy.completions) == 1  # noqa: E731
    began: list[float] = []

    def condition() -> bool:
        ready = asked() if when == "waiting" else bool(turn.outputs)
        if ready and not began:
            began.append(time.monotonic())
        return ready

    run_until(make(), [turn], condition, [turn])
    assert time.monotonic() - began[0] < 0.5
    assert turn.ended == 1
    assert turn.error is None
    wait_until(lambda: proxy.left == 1, "the server sees it")
    wait_until(lambda: proxy.open == 0, "the connection is gone")


def test_a_cancel_ends_the_wait_for_a_retry(make: Make, proxy: LlmProxy) -> None:
    proxy.then(refuses(429, retry_after="10"))
    turn, model = Turn(), make()
    began = time.monotonic()
    run_until(model, [turn], lambda: len(proxy.completions) == 1, [turn])
    assert time.monotonic() - began < 5
    assert len(proxy.completions) == 1
    assert turn.ended == 1


def test_a_hundred_cancels_leave_nothing_behind(make: Make, proxy: LlmProxy) -> None:
    """At random points: before the request is sent, while it waits, in the answer, at its end."""
    chance = random.Random(4)
    model = make(retries=1)
    model.warm_up()
    threads = set(threading.enumerate())
    kinds = [echoes(gap_s=0.01), echoes(), hangs, after(("One ",), hangs), refuses(503)]

    async def mixed(exchange: Any) -> None:
        await chance.choice(kinds)(exchange)

    proxy.then(mixed)
    turns = [Turn("a b c d e f g h i j k l m n") for _ in range(100)]
    waiting = list(turns)

    def join() -> Sequence[Turn]:
        under_way = [turn for turn in turns if turn not in waiting and not turn.ended and not turn.cancelled]
        if under_way and (chance.random() < 0.7 or len(under_way) > 12):
            chance.choice(under_way).cancelled = True
        joining = [waiting.pop() for _ in range(min(len(waiting), chance.randrange(4)))]
        return joining if joining or under_way else [waiting.pop()] if waiting else []

    model.run_continuously([waiting.pop()], join)
    while waiting:  # for a moment no turn was under way
        model.run_continuously([waiting.pop()], join)
    assert all(turn.ended == 1 for turn in turns)
    assert sum(turn.cancelled for turn in turns) >= 60
    assert proxy.left > 20
    assert asyncio.all_tasks(model._runner.get_loop()) == set()
    assert set(threading.enumerate()) <= threads
    wait_until(lambda: proxy.open <= 64, "no more connections than are kept")
    model._server._breaker.succeeded()
    proxy.then(says("Still here."))
    assert ask(model).text == "Still here."
    model._runner.run(model._client.close())
    wait_until(lambda: proxy.open == 0, "all connections are closed")

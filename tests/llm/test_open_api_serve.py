"""`llm open_api` against a real server, `transformers serve` with the tiny Llama: directly and through a bad proxy."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from llm_proxy import LlmProxy, passes_on
from service import eventually, wait_until

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.llm.open_api.backend import OpenApi
from speech_to_speech.workers.worker import Worker

pytestmark = pytest.mark.anyio

TINY = Path(__file__).parents[2] / "tiny_models"
PHRASES: dict[str, list[dict[str, str]]] = json.loads((TINY / "phrases.json").read_text())
EVERY = [(language, phrase) for language, phrases in PHRASES.items() for phrase in phrases]
SYSTEM = Message("system", "You are a helpful voice assistant. Answer in one or two sentences.")
LIMIT_S = 90.0  # seconds for a server that imports torch on a busy machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server's API; ended by its process id."""
    nobody = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if name not in nobody}
    cache = tmp_path_factory.mktemp("hub")  # the server lists the models of a cache, which has to exist
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    script = Path(sys.executable).with_name("transformers")
    command = [sys.executable, str(script), "serve", str(TINY / "llama"), "--device", "cpu"]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )

        def address() -> str | None:
            text = os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace")
            assert process.poll() is None, text
            found = re.search(r"running on (http://127\.0\.0\.1:\d+)", text)
            return found[1] if found else None

        try:
            yield f"{wait_until(address, 'the server listens', LIMIT_S)}/v1"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def proxy(server: str) -> Iterator[LlmProxy]:
    with LlmProxy(upstream=server) as proxy:
        proxy.then(passes_on())
        yield proxy


@contextlib.asynccontextmanager
async def working(url: str, **options: Any) -> AsyncIterator[Worker[ChatRequest, str]]:
    """A worker that asks the server at `url`."""
    named = {f"open_api_{name}": value for name, value in options.items()}
    defaults = {
        "open_api_base_url": url,
        "open_api_model_name": str(TINY / "llama"),
        "open_api_stream": True,
        "open_api_temperature": 0.0,
        "open_api_max_tokens": 96,
        "open_api_first_token_timeout_s": 60.0,  # the machine may have two cores for many requests
        "open_api_token_timeout_s": 60.0,
    }
    model = OpenApi(OpenApi.Options(**(defaults | named)))
    worker: Worker[ChatRequest, str] = Worker("llm", model, timeout_s=90.0)
    try:
        await worker.start()
        yield worker
    finally:
        with anyio.CancelScope(shield=True):
            await worker.close()


async def answer(
    worker: Worker[ChatRequest, str], language: str, question: str, into: list[str] | None = None
) -> list[str]:
    request = ChatRequest((SYSTEM, Message("user", question)), language)
    pieces = [] if into is None else into
    async with worker.open(request) as deltas:
        async for delta in deltas:
            pieces.append(delta)
    return pieces


async def test_a_question_in_each_language_has_its_learnt_answer(server: str) -> None:
    async with working(server) as worker:
        for language, phrases in PHRASES.items():
            pieces = await answer(worker, language, phrases[-1]["question"])
            assert "".join(pieces) == phrases[-1]["answer"]
            assert len(pieces) > 3


async def test_an_answer_may_come_whole(server: str) -> None:
    async with working(server, stream=False) as worker:
        assert await answer(worker, "en", PHRASES["en"][0]["question"]) == [PHRASES["en"][0]["answer"]]


async def test_many_conversations_at_once_have_each_their_own_answer(server: str) -> None:
    answers: dict[int, str] = {}

    async def converse(worker: Worker[ChatRequest, str], number: int) -> None:
        language, phrase = EVERY[number]
        answers[number] = "".join(await answer(worker, language, phrase["question"]))

    async with working(server) as worker, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(converse, worker, number)
    assert answers == {number: EVERY[number][1]["answer"] for number in range(20)}


async def test_leaving_an_answer_closes_it_at_the_server(proxy: LlmProxy) -> None:
    request = ChatRequest((SYSTEM, Message("user", PHRASES["en"][1]["question"])), "en")
    async with working(proxy.url) as worker:
        proxy.then(passes_on(gap_s=0.5), passes_on())
        async with worker.open(request) as deltas:
            first = await anext(deltas)
            assert PHRASES["en"][1]["answer"].startswith(first)
        await eventually(lambda: proxy.left == 1, "the server sees it", 2.0)
        await eventually(lambda: worker.idle, "the model has ended it", 2.0)
        assert "".join(await answer(worker, "en", PHRASES["en"][0]["question"])) == PHRASES["en"][0]["answer"]
        assert worker.healthy
    wait_until(lambda: proxy.open == 0, "no connection is left")


async def test_a_delay_is_waited_for(proxy: LlmProxy) -> None:
    async with working(proxy.url) as worker:
        proxy.then(passes_on(delay_s=0.5))
        began = time.monotonic()
        assert "".join(await answer(worker, "en", PHRASES["en"][2]["question"])) == PHRASES["en"][2]["answer"]
        assert time.monotonic() - began >= 0.5


async def test_a_cut_answer_is_an_error_after_what_was_said(proxy: LlmProxy) -> None:
    async with working(proxy.url) as worker:
        proxy.then(passes_on(cut_after=3), passes_on())
        pieces: list[str] = []
        with pytest.raises(StageFailed, match="cut its answer off"):
            await answer(worker, "en", PHRASES["en"][0]["question"], into=pieces)
        assert pieces
        assert PHRASES["en"][0]["answer"].startswith("".join(pieces))
        assert "".join(await answer(worker, "en", PHRASES["en"][0]["question"])) == PHRASES["en"][0]["answer"]


async def test_an_answer_cut_before_its_first_word_is_asked_for_again(proxy: LlmProxy) -> None:
    async with working(proxy.url) as worker:
        proxy.then(passes_on(cut_after=0), passes_on())
        assert "".join(await answer(worker, "en", PHRASES["en"][0]["question"])) == PHRASES["en"][0]["answer"]
    assert len(proxy.completions) == 2


async def test_a_corrupt_answer_is_an_error(proxy: LlmProxy) -> None:
    async with working(proxy.url) as worker:
        proxy.then(passes_on(corrupt=True))
        with pytest.raises(StageFailed, match="not JSON"):
            await answer(worker, "en", PHRASES["en"][0]["question"])


async def test_a_model_that_the_server_does_not_have_is_an_error(server: str) -> None:
    async with working(server, model_name="somebody/else") as worker:
        with pytest.raises(StageFailed, match="refused the request"):
            await answer(worker, "en", PHRASES["en"][0]["question"])


def test_the_server_is_as_it_was_after_all_this(server: str) -> None:
    assert httpx.get(server.replace("/v1", "/health"), trust_env=False).json() == {"status": "ok"}

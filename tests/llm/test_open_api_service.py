"""The service with `llm open_api`: the question goes to the server, its answer is spoken, its failures are told."""

import signal
import time

import pytest
from llm_proxy import LlmProxy, after, echoes, hangs, refuses, says
from service import Service, eventually, utterance

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-0123456789"
LOOPBACK = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)


def service(url: str, *more: str) -> Service:
    """Speech to text and text to speech are stand-ins: what they hear and speak is a pitch."""
    flags = [
        "--llm=open_api",
        f"--open_api_base_url={url}",
        "--open_api_model_name=tiny",
        "--open_api_stream=true",
        "--min_silence_ms=400",
    ]
    return Service(*flags, *more, "--log_level=debug", "--chat_size=3", "--init_chat_prompt=Be brief.")


async def test_questions_go_to_the_server_and_its_answers_are_spoken() -> None:
    with LlmProxy(models=("tiny",)) as proxy, service(proxy.url) as running:
        proxy.then(echoes())
        async with running.talk() as talk:
            first = await talk.turn(utterance(440))
            second = await talk.turn(utterance(880))
        for reply in (first, second):
            assert reply.transcript
            assert "".join(event["text"] for event in reply.of("reply_text")) == reply.transcript
            assert reply.audio
        assert first.transcript != second.transcript
        messages = proxy.completions[-1].body["messages"]
        assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
        assert messages[0]["content"] == "Be brief."
        assert proxy.completions[-1].headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in running.log()
        assert messages[1]["content"] not in running.log()


async def test_a_server_that_comes_later_is_found() -> None:
    with LlmProxy() as proxy:
        port = proxy.port
    with service(f"http://127.0.0.1:{port}/v1") as running:
        assert "turns fail until it answers" in running.log()
        async with running.talk() as talk:
            (error,) = (await talk.turn(utterance(440))).of("error")
            assert (error["stage"], error["retryable"]) == ("llm", True)
            assert "can't be reached" in error["message"]
            assert running.health()[0] == 200
            with LlmProxy(port=port) as proxy:
                proxy.then(echoes())
                assert (await talk.turn(utterance(880))).audio


async def test_a_wrong_key_is_told_without_the_key() -> None:
    with LlmProxy() as proxy, service(proxy.url) as running:
        proxy.then(refuses(401, {"message": f"Incorrect API key provided: {KEY}"}))
        async with running.talk() as talk:
            reply = await talk.turn(utterance(440))
        (error,) = reply.of("error")
        assert error["code"] == "stage_failed"
        assert "refused the key" in error["message"]
        assert KEY not in f"{reply.events}{running.log()}"


async def test_a_client_that_leaves_ends_its_request_and_no_other() -> None:
    with LlmProxy() as proxy, service(proxy.url) as running:
        async with running.talk() as staying:
            proxy.then(after(("One moment, ",), hangs), says("Here you are."))
            async with running.talk() as leaving:
                await leaving.send(utterance(440))
                await eventually(lambda: proxy.completions, "the server is asked")
            await eventually(lambda: proxy.left == 1, "the server sees that nobody waits")
            began = time.monotonic()
            reply = await staying.turn(utterance(880))
            assert "Here you are." in "".join(event["text"] for event in reply.of("reply_text"))
            assert time.monotonic() - began < 20


async def test_the_service_ends_while_an_answer_hangs() -> None:
    with LlmProxy() as proxy:
        proxy.then(hangs)
        with service(proxy.url, "--drain_timeout_s=0.2") as running:
            async with running.talk() as talk:
                await talk.send(utterance(440))
                await eventually(lambda: proxy.completions, "the server is asked")
                running.process.send_signal(signal.SIGINT)
                await eventually(lambda: running.process.poll() is not None, "the service has ended", 8.0)
        await eventually(lambda: proxy.open == 0, "its connections are gone")

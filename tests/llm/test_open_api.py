"""`llm open_api` against a server that misbehaves: what is sent, what comes back, and what is told of failures."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from llm_proxy import LlmProxy, after, closes, hangs, refuses, resets, says, sends
from open_api_support import Make, Turn, ask, error_of, free_port, models_of
from service import wait_until

from speech_to_speech.errors import StageError, StageFailed, StageTimeout, StageUnavailable
from speech_to_speech.frames import ChatRequest, Message, Sampling
from speech_to_speech.llm.open_api.backend import OpenApi
from speech_to_speech.workers.model import ListJob

KEY = "sk-very-secret-0123456789"
HISTORY = (
    Message("system", "Be brief."),
    Message("user", "Hi."),
    Message("assistant", "Hello."),
    Message("user", "How are you?"),
)


@pytest.fixture
def proxy() -> Iterator[LlmProxy]:
    with LlmProxy(models=("tiny",)) as proxy:
        yield proxy


@pytest.fixture
def make(proxy: LlmProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    with models_of(proxy, monkeypatch) as make:
        yield make


# Requests, and what becomes of good answers.


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_comes_in_pieces_or_whole(make: Make, proxy: LlmProxy, stream: bool) -> None:
    proxy.then(says("One ", "two", "."))
    turn = ask(make(stream=stream))
    assert turn.outputs == (["One ", "two", "."] if stream else ["One two."])
    assert turn.error is None
    assert proxy.completions[0].body["stream"] is stream


def test_the_system_prompt_and_the_history_are_sent_with_every_request(make: Make, proxy: LlmProxy) -> None:
    model = make()
    for _ in range(2):
        job = ListJob[ChatRequest, str](ChatRequest(HISTORY, "en"))
        model.run([job])
    for asked in proxy.completions:
        assert asked.body == {
            "model": "tiny",
            "stream": True,
            "messages": [{"role": message.role, "content": message.content} for message in HISTORY],
        }


def test_the_roles_are_called_as_the_server_wants_it(make: Make, proxy: LlmProxy) -> None:
    make(user_role="human", init_chat_role="developer").run([ListJob[ChatRequest, str](ChatRequest(HISTORY, "en"))])
    roles = [message["role"] for message in proxy.completions[0].body["messages"]]
    assert roles == ["developer", "human", "assistant", "human"]


def test_generation_options_are_sent_if_given(make: Make, proxy: LlmProxy) -> None:
    ask(make(max_tokens=7, temperature=0.5))
    assert proxy.completions[0].body["max_tokens"] == 7
    assert proxy.completions[0].body["temperature"] == 0.5


@pytest.mark.parametrize(
    ("options", "wanted", "sent"),
    [
        ({}, Sampling(), {}),
        ({}, Sampling(0.0, 5), {"temperature": 0.0, "max_tokens": 5}),
        ({"max_tokens": 7, "temperature": 0.5}, Sampling(), {"temperature": 0.5, "max_tokens": 7}),
        ({"max_tokens": 7, "temperature": 0.5}, Sampling(0.0), {"temperature": 0.0, "max_tokens": 7}),
        ({"max_tokens": 7}, Sampling(1.5, 5), {"temperature": 1.5, "max_tokens": 5}),
        ({"max_tokens": 7}, Sampling(max_tokens=500), {"max_tokens": 7}),  # the options are the operator's last word
    ],
)
def test_what_a_request_wants_comes_before_the_options(
    make: Make, proxy: LlmProxy, options: dict[str, Any], wanted: Sampling, sent: dict[str, Any]
) -> None:
    make(**options).run([Turn(sampling=wanted)])
    (asked,) = proxy.completions
    names = ("temperature", "max_tokens", "max_completion_tokens")
    assert {name: asked.body[name] for name in names if name in asked.body} == sent


def test_openais_own_server_has_another_name_for_the_longest_answer(make: Make) -> None:
    model = make(base_url="https://api.openai.com/v1", max_tokens=7)
    body = model._body(ChatRequest(HISTORY, "en", Sampling(max_tokens=5)))
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


def test_requests_of_one_batch_have_samplings_of_their_own(make: Make, proxy: LlmProxy) -> None:
    wanted = {"a": Sampling(0.1, 1), "b": Sampling(), "c": Sampling(0.3, 3)}
    make().run([Turn(text, sampling=sampling) for text, sampling in wanted.items()])
    bodies = {asked.last: asked.body for asked in proxy.completions}
    assert {text: Sampling(body.get("temperature"), body.get("max_tokens")) for text, body in bodies.items()} == wanted


def test_thoughts_are_not_spoken_wherever_they_are_cut(make: Make, proxy: LlmProxy) -> None:
    proxy.then(says("<thi", "nk>They want", " a greeting.</", "think", ">\n\nHel", "lo."))
    assert ask(make()).outputs == ["Hel", "lo."]


def test_an_answer_without_an_end_mark_is_whole_if_its_last_piece_says_so(make: Make, proxy: LlmProxy) -> None:
    proxy.then(says("Yes.", done=False), says("No.", finish=None))
    model = make()
    assert [ask(model).outputs, ask(model).outputs] == [["Yes."], ["No."]]


def test_separators_that_json_allows_are_no_line_ends(make: Make, proxy: LlmProxy) -> None:
    proxy.then(says("a\u2028b\x85c"))
    assert ask(make()).text == "a\u2028b\x85c"


def test_a_server_that_does_not_stream_though_asked_is_understood(make: Make, proxy: LlmProxy) -> None:
    answer = {"choices": [{"index": 0, "message": {"content": "Whole."}, "finish_reason": "stop"}]}
    proxy.then(lambda exchange: exchange.document(200, answer))
    assert ask(make()).outputs == ["Whole."]


def test_one_connection_serves_one_request_after_the_other(make: Make, proxy: LlmProxy) -> None:
    model = make()
    model.warm_up()
    for _ in range(5):
        assert ask(model).text == "Hello."
    assert proxy.connections == 1


# The key.


def test_the_key_comes_from_the_environment_a_file_or_the_flag(
    make: Make, proxy: LlmProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    ask(make())
    assert "authorization" not in proxy.asked[-1].headers  # a local server wants no key
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    ask(make())
    assert proxy.asked[-1].headers["authorization"] == "Bearer from-the-environment"
    (tmp_path / "key").write_text("from-the-file\n")
    ask(make(key_file=str(tmp_path / "key")))
    assert proxy.asked[-1].headers["authorization"] == "Bearer from-the-file"
    ask(make(api_key=secret("from-the-flag")))
    assert proxy.asked[-1].headers["authorization"] == "Bearer from-the-flag"


def secret(text: str) -> Any:
    import pydantic

    return pydantic.SecretStr(text)


def test_the_key_shows_nowhere(make: Make, proxy: LlmProxy, caplog: pytest.LogCaptureFixture) -> None:
    echoed = {"message": f"Incorrect API key provided: {KEY}", "code": KEY, "type": f"x{KEY}"}
    errors = []
    with caplog.at_level(logging.DEBUG):
        model = make(api_key=secret(KEY), retries=0)
        model.warm_up()
        broken = [refuses(status, echoed) for status in (400, 401, 403, 404, 429, 500)]
        proxy.then(*broken, after((), sends(b'data: {"error": "' + KEY.encode() + b'"}\n\n')))
        for _ in range(7):
            errors.append(ask(model).error)
        options = OpenApi.Options(open_api_api_key=secret(KEY))
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in proxy.asked)
    assert KEY not in caplog.text
    assert "process lists" in caplog.text
    assert not [error for error in errors if KEY in f"{error!r} {error.__context__!r} {vars(error)}"]
    assert KEY not in f"{options!r} {options}"


def test_nothing_that_was_said_is_logged(make: Make, proxy: LlmProxy, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        model = make(retries=0)
        proxy.then(says("Wonderful."), after(("Wonderful",), sends(b"data: {Wonderful\n\n")))
        assert ask(model, "Marmalade?").error is None
        assert ask(model, "Marmalade?").error is not None
    assert proxy.completions[0].last == "Marmalade?"
    assert "Marmalade" not in caplog.text
    assert "Wonderful" not in caplog.text


# Failures.


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, StageFailed, "refused the key"),
        (403, StageFailed, "denied access to the model 'tiny'"),
        (404, StageFailed, "knows no model 'tiny'"),
        (400, StageFailed, "refused the request (400, context_length_exceeded)"),
        (429, StageUnavailable, "too many requests"),
        (500, StageFailed, "failed (500, context_length_exceeded)"),
        (503, StageUnavailable, "not available (503)"),
    ],
)
def test_a_refusal_is_an_error_that_says_why(
    make: Make, proxy: LlmProxy, status: int, kind: type[StageError], said: str
) -> None:
    proxy.then(refuses(status, {"message": "a long story", "code": "context_length_exceeded"}))
    message = error_of(make(retries=0), kind)
    assert said in message
    assert "long story" not in message


@pytest.mark.parametrize(
    ("stream", "kind", "said"),
    [
        (b"data: {nonsense\n\n", StageFailed, "not JSON"),
        (b"data: [1]\n\n", StageFailed, "not a JSON object"),
        (b'data: {"choices": 1}\n\n', StageFailed, "no chat completion"),
        (b'data: {"choices": [{"delta": {"content": 7}}]}\n\n', StageFailed, "not text"),
        (b"data: " + b"x" * (1 << 21) + b"\n\n", StageFailed, "can't be read"),
        (b'data: {"error": {"type": "overloaded_error"}}\n\n', StageFailed, "reported an error, overloaded_error"),
        (b'event: error\ndata: {"message": "no"}\n\n', StageFailed, "reported an error"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n', StageFailed, "empty answer"),
        (b"data: [DONE]\n\n", StageFailed, "empty answer"),
        (b"\xff\xfe\n\n", StageUnavailable, "ended its answer before a word"),
        (b"", StageUnavailable, "ended its answer before a word"),
    ],
    ids=range(11),
)
def test_a_broken_stream_is_an_error(
    make: Make, proxy: LlmProxy, stream: bytes, kind: type[StageError], said: str
) -> None:
    proxy.then(after((), sends(stream)))
    assert said in error_of(make(retries=0), kind)


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b"{}", b'{"choices": [{"message": 1}]}'])
def test_a_document_that_is_no_completion_is_an_error(make: Make, proxy: LlmProxy, body: bytes) -> None:
    proxy.then(lambda exchange: exchange.document(200, body))
    assert "the server's answer is " in error_of(make(stream=False), StageFailed)


def test_only_thoughts_are_no_answer(make: Make, proxy: LlmProxy) -> None:
    proxy.then(says("<think>Hm, hm"))
    assert "only thoughts" in error_of(make(), StageFailed)


def test_an_endless_document_is_not_taken_in(make: Make, proxy: LlmProxy) -> None:
    async def endless(exchange: Any) -> None:
        await exchange.head(500, "application/json")
        while True:
            await exchange.chunk(b" " * (1 << 20))

    proxy.then(endless)
    assert "can't be read" in error_of(make(retries=0), StageFailed)
    wait_until(lambda: proxy.left == 1, "the connection is closed")


@pytest.mark.parametrize("end", [resets, closes, sends(b"data: {nonsense\n\n"), sends(b"")])
def test_an_answer_that_breaks_off_is_an_error_after_what_was_said(make: Make, proxy: LlmProxy, end: Any) -> None:
    proxy.then(after(("One ", "two "), end))
    turn = ask(make())
    assert turn.outputs == ["One ", "two "]
    assert type(turn.error) is StageFailed
    assert len(proxy.completions) == 1  # words that were said can't be taken back, so the server is not asked again


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_hangs_is_a_timeout(make: Make, proxy: LlmProxy, stream: bool) -> None:
    proxy.then(hangs)
    model = make(first_token_timeout_s=0.3, stream=stream)
    began = time.monotonic()
    assert "not answered in time" in error_of(model, StageTimeout)
    assert 0.3 <= time.monotonic() - began < 3
    wait_until(lambda: proxy.left == 1, "the request is closed")
    assert len(proxy.completions) == 1


def test_a_server_that_hangs_in_its_answer_is_a_timeout(make: Make, proxy: LlmProxy) -> None:
    async def comments(exchange: Any) -> None:
        while True:  # the comments keep the connection alive, but are no text
            await exchange.chunk(b": still here\n\n")
            await asyncio.sleep(0.02)

    proxy.then(after(("One ",), comments))
    turn = ask(make(token_timeout_s=0.3))
    assert turn.outputs == ["One "]
    assert type(turn.error) is StageTimeout
    assert "not gone on with its answer in time" in str(turn.error)
    wait_until(lambda: proxy.left == 1, "the request is closed")


def test_a_server_that_is_slow_but_steady_may_take_longer_than_one_token(make: Make, proxy: LlmProxy) -> None:
    proxy.then(says(*"abcdefgh", gap_s=0.1))
    turn = ask(make(token_timeout_s=0.5, first_token_timeout_s=0.5))
    assert turn.text == "abcdefgh"
    assert turn.error is None


# At the start.


def test_a_server_that_is_not_there_does_not_keep_the_service_from_starting(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    make(base_url=f"http://127.0.0.1:{port}/v1").warm_up()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"http://127.0.0.1:{port}/v1" in warning
    assert "can't be reached" in warning


def test_a_server_that_hangs_does_not_hold_the_start_up(
    make: Make, proxy: LlmProxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speech_to_speech.llm.open_api.backend.WARM_UP_S", 0.2)
    proxy.models = hangs
    make().warm_up()
    assert "not answered in time" in caplog.text


def test_a_model_that_the_server_does_not_list_is_warned_of(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make(model_name="tiny").warm_up()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    make(model_name="huge").warm_up()
    assert "does not list the model 'huge'" in caplog.text
    assert "it has tiny" in caplog.text


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (refuses(401), "refused the key (401): check OPENAI_API_KEY or its file; turns fail until it answers"),
        (refuses(404), "has no list of models; mostly open_api_base_url ends in /v1"),
        (lambda exchange: exchange.document(200, b"<html>"), "turns fail until it answers"),
        (resets, "turns fail until it answers"),
    ],
)
def test_a_server_without_a_list_of_models_is_warned_of(
    make: Make, proxy: LlmProxy, caplog: pytest.LogCaptureFixture, models: Any, said: str
) -> None:
    proxy.models = models
    make().warm_up()
    assert said in caplog.text

"""What the tests of `llm open_api` share: jobs that may fail, and models that ask a proxy."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from llm_proxy import LlmProxy

from speech_to_speech.errors import StageError
from speech_to_speech.frames import ChatRequest, Message, Sampling
from speech_to_speech.llm.open_api.backend import OpenApi
from speech_to_speech.workers.model import ListJob

Make = Callable[..., OpenApi]


class Turn(ListJob[ChatRequest, str]):
    """A job that is not expected to succeed, and may be cancelled."""

    def __init__(
        self,
        text: str = "Hi.",
        on_emit: Callable[["Turn"], None] | None = None,
        *,
        sampling: Sampling | None = None,
    ) -> None:
        super().__init__(ChatRequest((Message("user", text),), "en", sampling or Sampling()))
        self.cancelled = False
        self.error: Exception | None = None
        self.ended = 0
        self._on_emit = on_emit

    @property
    def text(self) -> str:
        return "".join(self.outputs)

    def emit(self, output: str) -> None:
        assert not self.ended
        super().emit(output)
        if self._on_emit is not None:
            self._on_emit(self)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ended += 1

    def done(self) -> None:
        self.ended += 1


@contextlib.contextmanager
def models_of(proxy: LlmProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A function that makes models which ask the proxy; they are closed at the end."""
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    with contextlib.ExitStack() as closing:

        def make(**options: Any) -> OpenApi:
            named = {f"open_api_{name}": value for name, value in options.items()}
            defaults = {"open_api_base_url": proxy.url, "open_api_stream": True, "open_api_model_name": "tiny"}
            model = OpenApi(OpenApi.Options(**(defaults | named)))
            model.load()
            closing.callback(model.close)
            return model

        yield make


def ask(model: OpenApi, text: str = "Hi.") -> Turn:
    turn = Turn(text)
    model.run([turn])
    assert turn.ended == 1
    return turn


def error_of(model: OpenApi, kind: type[StageError]) -> str:
    """The failure of one request that fails before a word: of exactly this type, in one line."""
    turn = ask(model)
    assert turn.outputs == []
    assert type(turn.error) is kind
    assert "\n" not in str(turn.error)
    return str(turn.error)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run_until(model: OpenApi, turns: Sequence[Turn], condition: Callable[[], bool], cancelled: Sequence[Turn]) -> None:
    """Run these turns; cancel some of them as soon as the condition holds."""

    def join() -> Sequence[Turn]:
        if condition():
            for turn in cancelled:
                turn.cancelled = True
        return ()

    model.run_continuously(turns, join)

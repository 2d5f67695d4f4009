"""The text of a chat completion as it comes in, streamed or whole.

The events are read off the response here rather than by the client library's stream, which makes typed objects of each:
260 to 310 µs of CPU an event against 30 to 45 (one core, 2,000 events over loopback), and with many conversations
that is the difference between half a core and a twentieth.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from speech_to_speech.llm.open_api.errors import AnswerCut, BadAnswer, ServerReported

if TYPE_CHECKING:
    import httpx2

LONGEST_BODY = 16 * 2**20  # bytes; not even the thoughts of a spoken answer come near
DONE = "[DONE]"
DRAIN_S = 0.05  # the longest wait for the body's end after the answer's end


async def bound_body(response: "httpx2.Response") -> None:
    """A hook of the HTTP client: a body longer than `LONGEST_BODY` fails, whoever reads it."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            length = 0
            async for chunk in self._stream:
                length += len(chunk)
                if length > LONGEST_BODY:
                    raise httpx2.DecodingError(f"the body is longer than {LONGEST_BODY} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = Bounded(response.stream)


async def texts_of(response: "httpx2.Response") -> AsyncGenerator[str, None]:
    """The pieces of the answer, some of them empty; one piece if the server does not stream.

    Raises:
        AnswerCut: the response ended before the answer did.
        ServerReported: the server put an error where the answer should be.
        BadAnswer: it is no chat completion.
        httpx2.HTTPError: the connection failed.
    """
    import httpx2

    if "text/event-stream" not in response.headers.get("content-type", ""):
        yield _text_of(_decoded((await response.aread()).decode(errors="replace")), "message")
        return
    complete = False
    source = cast("AsyncGenerator[httpx2.ServerSentEvent, None]", aiter(httpx2.EventSource(response)))
    async with contextlib.aclosing(source) as events:
        async for event in events:
            if event.data.strip() == DONE:
                complete = True
                break
            chunk = _decoded(event.data)
            if event.event == "error":
                raise ServerReported(chunk)
            yield _text_of(chunk, "delta")
            complete = complete or _is_last(chunk)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                async for _ in events:  # only a body that was read to its end leaves a connection for the next request
                    pass
    if not complete:
        raise AnswerCut


def _decoded(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise BadAnswer("the server's answer is not JSON") from None  # the cause's message would quote the answer
    if not isinstance(value, dict):
        raise BadAnswer("the server's answer is not a JSON object")
    if value.get("error"):
        raise ServerReported(value["error"])
    return value


def _text_of(completion: dict[str, Any], part: str) -> str:
    """The text in a completion's `message`, or in a chunk's `delta`; a model's refusal is its answer too."""
    try:
        choices = completion["choices"]
        if not choices:
            return ""  # a chunk of usage figures has no choices
        content = choices[0][part] or {}
        text = content.get("content") or content.get("refusal") or ""
    except (KeyError, TypeError, AttributeError, IndexError):
        raise BadAnswer("the server's answer is no chat completion") from None
    if not isinstance(text, str):
        raise BadAnswer("the server's answer is not text")
    # Half of a surrogate pair is no character, and could not be sent on.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_last(chunk: dict[str, Any]) -> bool:
    return bool(chunk["choices"]) and bool(chunk["choices"][0].get("finish_reason"))

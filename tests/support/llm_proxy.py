"""A server of chat completions on the loopback address that misbehaves as a test wants it to.

It answers by itself, or passes requests on to a real server and meddles with what comes back. A behaviour is a
coroutine function of one `Exchange`; it is cancelled when the client goes away, which `left` counts.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

LIMIT_S = 20.0
REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}


@dataclass
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """What the user said last."""
        return str(self.body["messages"][-1]["content"])


@dataclass
class Exchange:
    """A request and the way back."""

    asked: Asked
    writer: asyncio.StreamWriter
    upstream: str | None = None
    raw: bytes = b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: object) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}", f"content-type: {kind}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if "content_length" not in headers:
            lines.append("transfer-encoding: chunked")
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, text: str | None = None, finish: str | None = None, **delta: Any) -> None:
        if text is not None:
            delta["content"] = text
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        await self.chunk(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")

    async def end(self, done: bool = True) -> None:
        if done:
            await self.chunk(b"data: [DONE]\n\n")
        await self.send(b"0\r\n\r\n")

    async def document(self, status: int, value: object, **headers: object) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        await self.head(status, "application/json", content_length=len(body), **headers)
        await self.send(body)

    def reset(self) -> None:
        """Drop the connection without a good-bye."""
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


def says(*texts: str, gap_s: float = 0.0, done: bool = True, finish: str | None = "stop") -> Behaviour:
    """The answer in these pieces, or whole if the request wants no stream."""

    async def run(exchange: Exchange) -> None:
        if not exchange.asked.body.get("stream"):
            await asyncio.sleep(gap_s * len(texts))
            choice = {"index": 0, "message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": finish}
            await exchange.document(200, {"id": "x", "object": "chat.completion", "choices": [choice]})
            return
        await exchange.head()
        await exchange.event("", role="assistant")
        for text in texts:
            await exchange.event(text)
            await asyncio.sleep(gap_s)
        if finish:
            await exchange.event(finish=finish)
        await exchange.end(done)

    return run


def echoes(gap_s: float = 0.0) -> Behaviour:
    """The user's last words back, word by word."""

    async def run(exchange: Exchange) -> None:
        await says(*(f"{word} " for word in exchange.asked.last.split()), gap_s=gap_s)(exchange)

    return run


def refuses(status: int, error: object = None, **headers: object) -> Behaviour:
    return lambda exchange: exchange.document(status, {"error": error or {"message": "no"}}, **headers)


async def hangs(exchange: Exchange) -> None:
    """No answer, as long as the client waits."""
    await asyncio.sleep(LIMIT_S)


async def closes(exchange: Exchange) -> None:
    """The connection ends where the answer should begin."""
    exchange.writer.close()


async def resets(exchange: Exchange) -> None:
    exchange.reset()


def after(texts: tuple[str, ...], then: Behaviour) -> Behaviour:
    """A stream that begins well."""

    async def run(exchange: Exchange) -> None:
        await exchange.head()
        for text in texts:
            await exchange.event(text)
        await then(exchange)

    return run


def sends(data: bytes) -> Behaviour:
    """These bytes as the last of a stream's body."""

    async def run(exchange: Exchange) -> None:
        if data:  # an empty chunk would be the end already, and the end itself the beginning of the next answer
            await exchange.chunk(data)
        await exchange.end(done=False)

    return run


def passes_on(
    *, delay_s: float = 0.0, gap_s: float = 0.0, cut_after: int | None = None, corrupt: bool = False
) -> Behaviour:
    """What the real server answers, after a delay or slowly; cut in the middle of an event, or with its JSON broken.

    `cut_after` counts events with text, and behind each of them comes the gap.
    """

    async def run(exchange: Exchange) -> None:
        assert exchange.upstream is not None
        await asyncio.sleep(delay_s)
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(exchange.upstream).port)
        try:
            writer.write(exchange.raw)
            left = cut_after
            while line := await reader.readline():
                if b'"content"' in line and left is not None:
                    if left == 0:
                        await exchange.send(line[: len(line) // 2])
                        exchange.reset()
                        return
                    left -= 1
                if b'"content"' in line and corrupt:
                    line = line.replace(b'"delta"', b'"delta}')  # as long as before: the framing holds
                await exchange.send(line)
                if b'"content"' in line:
                    await asyncio.sleep(gap_s)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return run


class LlmProxy:
    """A context manager; its server runs on a thread of its own.

    `then` sets the behaviour of the following requests for completions, one each; the last stays.
    """

    def __init__(self, upstream: str | None = None, models: tuple[str, ...] = (), port: int = 0) -> None:
        self.upstream = upstream
        self.port = port
        self.models: Behaviour = lambda exchange: exchange.document(
            200, {"object": "list", "data": [{"id": name, "object": "model"} for name in models]}
        )
        self.asked: list[Asked] = []
        self.connections = 0
        """Those ever made."""
        self.open = 0
        self.left = 0
        """Requests whose client went away before the end of the answer."""
        self._behaviours: list[Behaviour] = [says("Hello.")]
        self._defects: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._main, name="llm-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
        assert self._defects == []

    def then(self, *behaviours: Behaviour) -> None:
        self._behaviours = list(behaviours)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def completions(self) -> list[Asked]:
        """The requests for an answer."""
        return [asked for asked in self.asked if asked.path.endswith("/chat/completions")]

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._exchange(reader, writer)
        except asyncio.CancelledError:
            pass  # the test has ended; a task that ends as cancelled would be reported by the stream's callback
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode().strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, json.loads(body) if body else {})
        self.asked.append(asked)
        behaviour = self.models
        if not path.endswith("/models"):
            behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
        exchange = Exchange(asked, writer, self.upstream, raw.replace(b"keep-alive", b"close") + body)
        answer = asyncio.ensure_future(behaviour(exchange))
        gone = asyncio.create_task(reader.read(1))  # no more comes before the answer's end, but the end of file
        try:
            await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
            error = answer.exception() if answer.done() and not answer.cancelled() else None
            if not answer.done() or isinstance(error, OSError):
                self.left += 1
                writer.close()
            elif error is not None:
                self._defects.append(error)
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)

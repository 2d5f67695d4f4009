"""The least a websocket server can do: take messages, and with `/echo` send each back. What the service adds is on top.

    python -m benchmarks.sink PORT PROTOCOL

PROTOCOL is a websocket implementation of uvicorn: `auto`, `websockets`, `websockets-sansio` or `wsproto`.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def take(socket: WebSocket) -> None:
    """Read until the client leaves."""
    await socket.accept()
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def echo(socket: WebSocket) -> None:
    """Send every binary message back until the client leaves."""
    await socket.accept()
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        await socket.send({"type": "websocket.send", "bytes": message["bytes"]})


async def health(_request: Request) -> PlainTextResponse:
    """Always well."""
    return PlainTextResponse("ok")


app = Starlette(routes=[WebSocketRoute("/take", take), WebSocketRoute("/echo", echo), Route("/health", health)])

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws=sys.argv[2],
        log_level="warning",
        access_log=False,
        ws_per_message_deflate=False,
    )

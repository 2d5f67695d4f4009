"""The web service: what it answers to, and its life cycle.

    GET /          what it is doing           WS /ws     a conversation, see docs/protocol.md
    GET /health    200 when it is ready       GET /metrics

The models load behind while the port is bound already, so that /health answers from the start.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Sequence

import anyio
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from s2s_handler import prepare_handler
from speech_to_speech.commands import cli
from speech_to_speech.config.settings import Settings, load_settings
from speech_to_speech.service.routes import health, metrics, no_such_websocket, status_page


def create_app(settings: Settings | None = None) -> Starlette:
    """The application. `uvicorn --factory webservice_starlette:create_app` works too, without the drain of `serve`."""
    handler = prepare_handler(settings or load_settings([]))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handler.run)
            yield
            tasks.cancel_scope.cancel()

    routes = [
        Route("/", status_page),
        Route("/health", health),
        Route("/metrics", metrics),
        WebSocketRoute("/ws", handler.process_streaming_data),
        WebSocketRoute("/{path:path}", no_such_websocket),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.handler = handler
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """`python webservice_starlette.py [--name value ...]`: the same as `speech-to-speech serve`."""
    return cli.main(["serve", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())

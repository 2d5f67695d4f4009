"""The web service: routes and life cycle. No audio logic here: see `s2s_handler` and `conversation.pipeline`."""

import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from types import FrameType

import anyio
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from s2s_handler import EndpointHandler
from speech_to_speech.commands import cli
from speech_to_speech.config.settings import Settings, load_settings
from speech_to_speech.errors import HandshakeRefused, SettingsError
from speech_to_speech.wire.ws.refusals import STATUSES

logger = logging.getLogger(__name__)

SEND_BUFFER_BYTES = 128 * 1024  # of the kernel, per connection: a few seconds of audio
UNACKNOWLEDGED_MS = 30_000  # then the kernel gives a connection up
PING_S = 20.0

STATUS_PAGE = """<!doctype html><meta charset="utf-8"><title>speech to speech</title>
<h1>speech to speech: {status}</h1>
<p>Profile {profile}, {sessions} conversations. Talk to it at <code>/ws</code> with audio_streaming_client.py.
See also <a href="health">health</a> and <a href="metrics">metrics</a>.</p>
"""


def prepare_handler(settings: Settings) -> EndpointHandler:
    """The handler for some settings; its models load when its `run` is started."""
    return EndpointHandler(settings)


async def status_page(request: Request) -> Response:
    _, state = request.app.state.handler.health()
    return HTMLResponse(STATUS_PAGE.format(**state))


async def health(request: Request) -> Response:
    status, state = request.app.state.handler.health()
    return JSONResponse(state, status)


async def metrics(request: Request) -> Response:
    return Response(generate_latest(request.app.state.handler.metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def websocket_endpoint(websocket: WebSocket) -> None:
    handler: EndpointHandler = websocket.app.state.handler
    try:
        options = handler.admit(websocket.headers, websocket.query_params.multi_items())
    except HandshakeRefused as error:
        headers = {"Retry-After": "1"} if error.retryable else {}
        await websocket.send_denial_response(Response(f"{error}\n", STATUSES[type(error)], headers, "text/plain"))
        return
    await websocket.accept()
    await handler.process_streaming_data(websocket, options)


async def no_such_websocket(websocket: WebSocket) -> None:
    await websocket.send_denial_response(Response("the conversation is at /ws\n", 404, media_type="text/plain"))


def create_app(settings: Settings | None = None) -> Starlette:
    """The application. `uvicorn --factory webservice_starlette:create_app` works too, without the drain of `serve`."""
    handler = prepare_handler(settings or load_settings([]))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Loading goes on behind: the port is bound only after this has yielded, and /health is to answer at once.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handler.run)
            yield
            tasks.cancel_scope.cancel()

    routes = [
        Route("/", status_page),
        Route("/health", health),
        Route("/metrics", metrics),
        WebSocketRoute("/ws", websocket_endpoint),
        WebSocketRoute("/{path:path}", no_such_websocket),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.handler = handler
    return app


class DrainingServer(uvicorn.Server):
    """uvicorn closes every websocket at once when it stops; this one lets replies in flight finish before.

    It exits with 0 after SIGTERM, and stops by itself if the models can't be loaded.
    """

    def __init__(self, config: uvicorn.Config, handler: EndpointHandler) -> None:
        super().__init__(config)
        self._handler = handler
        self._stop_requested = False
        self._hurry = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._hurry = self._stop_requested and sig == signal.SIGINT  # the second Ctrl-C
        self._stop_requested = True

    async def on_tick(self, counter: int) -> bool:
        if self._stop_requested and not self.should_exit:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_in_a_hurry, tasks.cancel_scope)
                await self._handler.drain()
                tasks.cancel_scope.cancel()
            self.should_exit = True
        if self._handler.state == "failed":
            self.should_exit = True
        return await super().on_tick(counter)

    async def _end_in_a_hurry(self, scope: anyio.CancelScope) -> None:
        while not self._hurry:  # noqa: ASYNC110 (set by a signal handler, which must not touch the event loop)
            await anyio.sleep(0.1)
        scope.cancel()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, whose connections don't outlive a dead client for long.

    Raises:
        SettingsError: the address can't be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"host: can't resolve {host!r}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        listener.bind(address)
    except OSError as error:
        listener.close()
        why = f"can't listen on {host}:{port}: {error.strerror}"
        raise SettingsError(f"port: {why}; choose another --host or --port") from error
    return listener


def serve(settings: Settings) -> int:
    """Run the service until it is told to stop; the process's exit code."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    # Before PyTorch is imported: its helper threads would spin while they wait, and take the cores from other models.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    listener = bind(settings.host, settings.port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws_max_size=2 * settings.max_message_bytes,  # the handler closes earlier, with an event and a count
        ws_per_message_deflate=False,
        ws_ping_interval=PING_S,
        # No time-out: while a session's backlog is full its reader waits, and pongs with it. A dead peer is noticed by
        # the kernel (UNACKNOWLEDGED_MS), a silent one by the idle limit.
        ws_ping_timeout=None,
        timeout_graceful_shutdown=2,
    )
    uvicorn_logger = logging.getLogger("uvicorn.error")
    uvicorn_logger.setLevel(max(logging.WARNING, logging.getLogger().level))
    # What uvicorn says of every handshake that the application has answered with an HTTP status.
    uvicorn_logger.addFilter(lambda entry: "without completing handshake" not in entry.getMessage())
    host, port = listener.getsockname()[:2]
    logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    if settings.api_token is None and not ipaddress.ip_address(host).is_loopback:
        logger.warning("no S2S_API_TOKEN is set: whoever reaches %s may connect", host)
    server = DrainingServer(config, app.state.handler)
    server.run(sockets=[listener])
    handler: EndpointHandler = app.state.handler
    if handler.state == "failed":
        print(f"speech-to-speech: {handler.error}", file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """`python webservice_starlette.py [--name value ...]`: the same as `speech-to-speech serve`."""
    return cli.main(["serve", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())

"""The web server: a listening socket, uvicorn around the app, and an end that lets replies in flight finish."""

import ipaddress
import logging
import os
import signal
import socket
import sys
from types import FrameType

import anyio
import uvicorn
from starlette.applications import Starlette
from uvicorn.importer import import_from_string

from speech_to_speech.config.settings import Settings
from speech_to_speech.errors import SettingsError
from speech_to_speech.service.service import Service

logger = logging.getLogger(__name__)

APP = "webservice_starlette:create_app"
SEND_BUFFER_BYTES = 128 * 1024  # the kernel holds a few seconds of audio for each connection
UNACKNOWLEDGED_MS = 30_000  # after so long without an answer the kernel gives a connection up
PING_S = 20.0


class DrainingServer(uvicorn.Server):
    """uvicorn closes every websocket at once when it stops; this one lets replies in flight finish before.

    It exits with 0 after SIGTERM, and stops by itself if the models can't be loaded.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._stop_requested = False
        self._hurry = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._hurry = self._stop_requested and sig == signal.SIGINT  # this is the second Ctrl-C
        self._stop_requested = True

    async def on_tick(self, counter: int) -> bool:
        if self._stop_requested and not self.should_exit:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._end_in_a_hurry, tasks.cancel_scope)
                await self._service.drain()
                tasks.cancel_scope.cancel()
            self.should_exit = True
        if self._service.state == "failed":
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
    # PyTorch reads this when it is imported. Its threads would spin while they wait, and take the cores from others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    listener = bind(settings.host, settings.port)
    app = import_from_string(APP)(settings)
    service: Service = app.state.handler.service
    uvicorn_logger = logging.getLogger("uvicorn.error")
    uvicorn_logger.setLevel(max(logging.WARNING, logging.getLogger().level))
    # uvicorn says this of every handshake that the application has answered with an HTTP status.
    uvicorn_logger.addFilter(lambda entry: "without completing handshake" not in entry.getMessage())
    host, port = listener.getsockname()[:2]
    logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    if settings.api_token is None and not ipaddress.ip_address(host).is_loopback:
        logger.warning("no S2S_API_TOKEN is set: whoever reaches %s may connect", host)
    DrainingServer(_config(app, settings), service).run(sockets=[listener])
    if service.state == "failed":
        print(f"speech-to-speech: {service.error}", file=sys.stderr)
        return 2
    return 0


def _config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws_max_size=2 * settings.max_message_bytes,  # the protocol closes earlier, with an event and a count
        ws_per_message_deflate=False,
        ws_ping_interval=PING_S,
        # While a session's backlog is full its reader waits, and pongs with it, so pings have no time-out. The kernel
        # notices a dead peer (UNACKNOWLEDGED_MS), and the idle limit a silent one.
        ws_ping_timeout=None,
        timeout_graceful_shutdown=2,
    )

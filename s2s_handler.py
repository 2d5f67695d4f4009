"""The endpoint: models loaded once, and a session for every connection."""

import functools
import gc
import hmac
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Literal

import anyio
import anyio.to_thread
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from speech_to_speech.audio import mp3
from speech_to_speech.config.registry import extra
from speech_to_speech.config.settings import Settings
from speech_to_speech.conversation.client import ClientGone
from speech_to_speech.conversation.events import Error, Event
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.session import Session
from speech_to_speech.errors import (
    BadMessage,
    BadQuery,
    InternalError,
    MessageTooBig,
    NotReady,
    OriginRefused,
    ServiceFull,
    ServiceStopping,
    SpeechToSpeechError,
    Unauthorized,
)
from speech_to_speech.wire.ws.messages import (
    DONE,
    StreamOptions,
    decode_message,
    decode_query,
    encode_event,
)
from speech_to_speech.wire.ws.refusals import close_of

logger = logging.getLogger(__name__)

CHECK_S = 0.25  # between two looks at the sessions' limits
CLOSE_S = 1.0  # for a close frame to be taken

State = Literal["loading", "ready", "failed", "stopping"]


class WebSocketClient:
    """A session's way back over a websocket. Without `events`, only audio is sent."""

    def __init__(self, websocket: WebSocket, *, events: bool) -> None:
        self.sending_since: float | None = None
        self._sending = 0  # a block of the reply and an event may be on their way at once
        self._websocket = websocket
        self._events = events

    async def send_audio(self, pcm: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": pcm})

    async def send_done(self) -> None:
        await self._send({"type": "websocket.send", "bytes": DONE})

    async def send_event(self, event: Event) -> None:
        if self._events:
            await self._send({"type": "websocket.send", "text": encode_event(event)})

    async def _send(self, message: dict[str, object]) -> None:
        self._sending += 1
        if self.sending_since is None:
            self.sending_since = time.monotonic()
        try:
            await self._websocket.send(message)
        except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError: a close was sent before
            raise ClientGone from error
        finally:
            self._sending -= 1
            if not self._sending:
                self.sending_since = None


class EndpointHandler:
    """Everything that the connections of a process share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.pipeline = Pipeline(settings, self.metrics)
        for stage, worker in self.pipeline.workers.items():
            self.metrics.waiting.labels(stage).set_function(functools.partial(getattr, worker, "waiting"))
        self.state: State = "loading"
        self.error: Exception | None = None
        self.sessions: set[Session] = set()
        self._emptied = anyio.Event()

    async def run(self) -> None:
        """Load the models, then look after the sessions until cancelled. A failed load is kept in `error`."""
        try:
            if not await self._load():
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.pipeline.vad.run)
                tasks.start_soon(self._watch_sessions)
        except Exception:
            self.state, self.error = "failed", InternalError("the service failed by a defect; its log has the trace")
            logger.exception("the service failed by a defect")
        finally:
            with anyio.CancelScope(shield=True):
                await self.pipeline.close()

    async def _load(self) -> bool:
        started = time.monotonic()
        try:
            await self.pipeline.load()
        except Exception as error:
            self.state, self.error = "failed", error
            logger.error("loading failed: %s", error, exc_info=not isinstance(error, SpeechToSpeechError))
            return False
        gc.collect()
        gc.freeze()  # the models stay: the collector need not look at them again
        self.state = "ready"
        logger.info("ready after %.2f s, profile %s", time.monotonic() - started, self.settings.profile)
        return True

    async def _watch_sessions(self) -> None:
        while True:
            await anyio.sleep(CHECK_S)
            self._check_sessions()

    def _check_sessions(self) -> None:  # by itself, so that no session lives on in a local variable
        now = time.monotonic()
        for session in list(self.sessions):
            session.check(now)

    def health(self) -> tuple[int, dict[str, object]]:
        """An HTTP status for `GET /health`, and what it says: 200 only if every model is loaded, warm and not stuck."""
        stuck = [stage for stage, worker in self.pipeline.workers.items() if not worker.healthy]
        ok = self.state == "ready" and not stuck
        return 200 if ok else 503, {
            "status": "stuck" if self.state == "ready" and stuck else self.state,
            "loading": sorted(self.pipeline.loading),
            "stuck": stuck,
            "error": str(self.error) if self.error else None,
            "profile": self.settings.profile,
            "sessions": len(self.sessions),
        }

    def admit(self, headers: Mapping[str, str], query: list[tuple[str, str]]) -> StreamOptions:
        """What a handshake asks for.

        Raises:
            HandshakeRefused: it is not let in.
        """
        self._check_origin(headers)
        self._check_token(headers)
        options = decode_query(query)
        if options.codec == "mp3" and not mp3.available():
            raise BadQuery(f"codec: this service has no MP3; `{extra('mp3')}` on its machine adds it")
        if self.state != "ready":
            raise NotReady(f"the service is {self.state}; try again later")
        return options

    def _check_token(self, headers: Mapping[str, str]) -> None:
        token = self.settings.api_token
        if token is None:
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        for given in (headers.get("x-api-key", ""), bearer.strip() if scheme.lower() == "bearer" else ""):
            if hmac.compare_digest(given.encode(), token.encode()):
                return
        raise Unauthorized("the token is wrong or missing; send it as X-API-Key or Authorization: Bearer")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        origin, allowed = headers.get("origin"), self.settings.allowed_origins
        if origin is None or "*" in allowed or origin in allowed:
            return
        if origin.partition("://")[2] == headers.get("host"):
            return
        raise OriginRefused(f"pages of {origin} may not connect; --allowed_origins names those that may")

    async def process_streaming_data(self, websocket: WebSocket, options: StreamOptions) -> None:
        """Hold the conversation of one accepted websocket, to its end."""
        client = WebSocketClient(websocket, events=options.events)
        if options.codec == "mp3":
            await anyio.to_thread.run_sync(mp3.load)
        if self.state == "stopping":
            await self._close(websocket, client, ServiceStopping("the service is being restarted"))
            return
        if len(self.sessions) >= self.settings.max_sessions:
            self.metrics.sessions_ended.labels(ServiceFull.code).inc()
            await self._close(websocket, client, ServiceFull(f"all {self.settings.max_sessions} places are taken"))
            return
        session = Session(uuid.uuid4().hex[:12], self.pipeline, self.metrics, client, options)
        self.sessions.add(session)
        self.metrics.sessions.set(len(self.sessions))
        logger.info("session=%s started events=%s paced=%s", session.session_id, options.events, options.paced)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, websocket, session)
                await session.run()
                tasks.cancel_scope.cancel()
        except* Exception:
            logger.exception("session=%s failed by a defect", session.session_id)
            session.error = InternalError("the service failed; its log has the trace")
        finally:
            if session.error is not None:
                await self._close(websocket, client, session.error)
            self.sessions.discard(session)
            if not self.sessions:
                self._emptied.set()
            self.metrics.sessions.set(len(self.sessions))
            reason = session.error.code if session.error else "client_left"
            self.metrics.sessions_ended.labels(reason).inc()
            logger.info("session=%s ended reason=%s", session.session_id, reason)

    async def _read(self, websocket: WebSocket, session: Session) -> None:
        """Pass the client's messages to the session, and end it with the connection."""
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    session.end()
                    return
                await self._receive(message, session)
        except ClientGone:
            session.end()
        except SpeechToSpeechError as error:
            session.end(error)

    async def _receive(self, message: Mapping[str, object], session: Session) -> None:
        content = message.get("bytes") or message.get("text") or b""
        if isinstance(content, bytes | str) and len(content) > self.settings.max_message_bytes:
            raise MessageTooBig(
                f"messages may have {self.settings.max_message_bytes} bytes, this one has {len(content)}"
            )
        try:
            received = decode_message(message, session.options)
        except BadMessage as error:
            await session.receive_bad(error)
        else:
            await (session.receive(received) if isinstance(received, bytes) else session.receive_report(received))

    async def _close(self, websocket: WebSocket, client: WebSocketClient, error: SpeechToSpeechError) -> None:
        """Say why, then close; a client that takes neither is not waited for."""
        code, reason = close_of(error)
        with anyio.move_on_after(CLOSE_S, shield=True):
            try:
                if websocket.application_state is WebSocketState.CONNECTED:
                    await client.send_event(Error.of(error))
                    await websocket.close(code, reason)
            except (ClientGone, RuntimeError, WebSocketDisconnect):
                logger.debug("the client left before it was told %s", error.code)

    async def drain(self) -> None:
        """Take no new sessions, let turns in flight finish for up to `drain_timeout_s`, close with 1012."""
        self.state = "stopping"
        stopping = ServiceStopping("the service is being restarted")
        for session in list(self.sessions):
            session.end_after_turn(stopping)
        await self._wait_empty(self.settings.drain_timeout_s)
        for session in list(self.sessions):
            session.end(stopping)
        await self._wait_empty(2 * CLOSE_S)

    async def _wait_empty(self, timeout_s: float) -> None:
        with anyio.move_on_after(timeout_s):
            if self.sessions:
                self._emptied = anyio.Event()
                await self._emptied.wait()

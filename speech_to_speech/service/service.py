"""The door to a conversation, for all protocols: here sessions are admitted, counted, watched, failed and drained."""

import contextlib
import gc
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Literal

import anyio
from anyio.abc import TaskStatus

from speech_to_speech.config.settings import Settings
from speech_to_speech.conversation.client import Client, ClientGone, Playback
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.session import Session
from speech_to_speech.errors import (
    InternalError,
    NotReady,
    ServiceFull,
    ServiceStopping,
    SessionRefused,
    SpeechToSpeechError,
)
from speech_to_speech.service.models import Models, playback, session_options

logger = logging.getLogger(__name__)

CHECK_S = 0.25  # the time between two looks at the sessions' limits
CLOSE_S = 1.0  # a client has so long to take why it is sent away

State = Literal["loading", "ready", "failed", "stopping"]


class Service:
    """The models of a process, and all conversations that are held with them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.models = Models(settings, self.metrics)
        self.options = session_options(settings)
        """What a session begins with."""
        self.playback = playback(settings)
        """How a client plays that says nothing of it."""
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
                tasks.start_soon(self.models.pipeline.vad.run)
                tasks.start_soon(self._watch)
        except Exception:
            self.state, self.error = "failed", InternalError("the service failed by a defect; its log has the trace")
            logger.exception("the service failed by a defect")
        finally:
            with anyio.CancelScope(shield=True):
                await self.models.close()

    async def _load(self) -> bool:
        started = time.monotonic()
        try:
            await self.models.load()
        except Exception as error:
            self.state, self.error = "failed", error
            logger.error("loading failed: %s", error, exc_info=not isinstance(error, SpeechToSpeechError))
            return False
        gc.collect()
        gc.freeze()  # the models stay: the collector need not look at them again
        self.state = "ready"
        logger.info("ready after %.2f s, profile %s", time.monotonic() - started, self.settings.profile)
        return True

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(CHECK_S)
            self._check_sessions()

    def _check_sessions(self) -> None:
        """A method by itself, so that no session lives on in a local variable of `_watch`."""
        now = time.monotonic()
        for session in list(self.sessions):
            try:
                session.check(now)
            except Exception as defect:
                self._fail(session, defect)

    def health(self) -> tuple[bool, dict[str, object]]:
        """Whether every model is loaded, warm and not stuck; and the particulars."""
        stuck = [stage for stage, worker in self.models.workers.items() if not worker.healthy]
        return self.state == "ready" and not stuck, {
            "status": "stuck" if self.state == "ready" and stuck else self.state,
            "loading": sorted(self.models.loading),
            "stuck": stuck,
            "error": str(self.error) if self.error else None,
            "profile": self.settings.profile,
            "sessions": len(self.sessions),
        }

    def require_ready(self) -> None:
        """Raises `NotReady` while the models load, or the service stops."""
        if self.state != "ready":
            raise NotReady(f"the service is {self.state}; try again later")

    @contextlib.asynccontextmanager
    async def session(self, client: Client, playback: Playback, options: SessionOptions) -> AsyncIterator[Session]:
        """A conversation, for as long as the body reads what the client sends.

        The body is cancelled when the session ends, and the session ends with the body: with the reason that the body
        raises, if it is one of ours. At last the client is told to close.

        Raises:
            SessionRefused: it can't be held; the client is still to be told.
        """
        if refused := self._refuses():
            self.metrics.sessions_ended.labels(refused.code).inc()
            raise refused
        name = uuid.uuid4().hex[:12]
        session = Session(name, self.models.pipeline, self.metrics, client, playback, options)
        self.sessions.add(session)
        self.metrics.sessions.set(len(self.sessions))
        logger.info("session=%s started by=%s paced=%s", name, type(client).__name__, playback.paced)
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._hold, session, tasks.cancel_scope)
                try:
                    yield session
                except ClientGone:
                    logger.debug("session=%s the client left", name)
                except SpeechToSpeechError as error:
                    session.end(_bare(error))
                except Exception as defect:
                    self._fail(session, defect)
                session.end()
        finally:
            await self._close(client, session.error)
            self.sessions.discard(session)
            if not self.sessions:
                self._emptied.set()
            self.metrics.sessions.set(len(self.sessions))
            reason = session.error.code if session.error else "client_left"
            self.metrics.sessions_ended.labels(reason).inc()
            logger.info("session=%s ended reason=%s", name, reason)

    async def _hold(
        self, session: Session, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            await session.run(task_status=task_status)
        except Exception as defect:
            self._fail(session, defect)
        scope.cancel()

    def _fail(self, session: Session, defect: BaseException) -> None:
        logger.error("session=%s failed by a defect", session.session_id, exc_info=defect)
        session.end()
        session.error = InternalError("the service failed; its log has the trace")

    def _refuses(self) -> SessionRefused | None:
        if self.state == "stopping":
            return ServiceStopping("the service is being restarted")
        if len(self.sessions) >= self.settings.max_sessions:
            return ServiceFull(f"all {self.settings.max_sessions} places are taken")
        return None

    async def _close(self, client: Client, error: SpeechToSpeechError | None) -> None:
        """A client that does not take the reason is not waited for."""
        with anyio.move_on_after(CLOSE_S, shield=True):
            try:
                await client.close(error)
            except ClientGone:
                logger.debug("the client left before it was told %s", error.code if error else "good-bye")

    async def drain(self) -> None:
        """Take no new sessions, let turns in flight finish for up to `drain_timeout_s`, end the others."""
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


def _bare(error: SpeechToSpeechError) -> SpeechToSpeechError:
    """The error without its traceback, which would keep the session that it is the reason of in memory."""
    error.__context__ = None
    return error.with_traceback(None)

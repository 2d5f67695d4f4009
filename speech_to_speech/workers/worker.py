"""A model on its own thread, shared by all conversations.

Requests wait in one line. The thread takes as many as wait, up to the batch limit, confirmed ones before speculative
ones and otherwise first come first served, runs them in one call and sends the outputs back to the event loop. The call
of a `ContinuousModel` is open: requests join it while others are under way, and leave it one by one. A model in a
process of its own goes through the same thread: `process.ProcessModel` stands in for it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, cast

import anyio

from speech_to_speech.errors import (
    StageBusy,
    StageError,
    StageFailed,
    StageTimeout,
    WorkerDied,
    WorkerHung,
)
from speech_to_speech.workers.model import ContinuousModel, In, Model, Out
from speech_to_speech.workers.process import ProcessModel
from speech_to_speech.workers.request import CONFIRMED, Claim, Evicted, Outputs, WorkerRequest

__all__ = ["CONFIRMED", "Claim", "Evicted", "Outputs", "Worker"]

logger = logging.getLogger(__name__)

OnBatch = Callable[[str, int], None]

IDLE_POLL_S = 1.0  # how often an idle worker looks after its process
RESTART_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)


class Worker(Generic[In, Out]):
    """The line of requests in front of one model, and the thread that works it off.

    `timeout_s` bounds the wait for each output, the time in the line included. `queue_limit` bounds the line: a
    request beyond it is refused with `StageBusy`. With `evicts`, a confirmed request stops a call that works for
    speculative ones only; that pays where a call has many steps, as with a language model. From an open batch that is
    full it takes the place of one speculative request, in any case.
    """

    def __init__(
        self,
        stage: str,
        model: Model[In, Out],
        *,
        batch_limit: int | None = None,
        queue_limit: int = 1024,
        timeout_s: float = 15.0,
        evicts: bool = False,
        on_batch: OnBatch | None = None,
    ) -> None:
        self.stage = stage
        self.model = model
        self._child = model if isinstance(model, ProcessModel) else None
        self._continuous = bool(getattr(model, "continuous", False))
        self.batch_limit = batch_limit or model.batch_limit
        self.queue_limit = queue_limit
        self.timeout_s = timeout_s
        self._evicts = evicts
        self._on_batch = on_batch
        self._loop: asyncio.AbstractEventLoop
        self._ready: asyncio.Future[None]
        self._thread = threading.Thread(target=self._main, name=f"{stage}-worker", daemon=True)
        self._wakes = threading.Condition()
        self._line: deque[WorkerRequest[In, Out]] = deque()
        self._running: list[WorkerRequest[In, Out]] = []
        self._progress_s = 0.0
        self._stopping = False
        self._restarts = 0  # restarts in a row, without a batch that went well in between
        self._restarting_since: float | None = None

    # The event loop.

    async def start(self) -> None:
        """Load and warm up the model on its thread; raises what that raises."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._thread.start()
        await self._ready

    def open(self, request: In, claim: Claim = CONFIRMED) -> Outputs[In, Out]:
        """Put a request in the line.

        Raises:
            StageBusy: the line is full.
            WorkerHung: the model's thread is stuck.
        """
        if self.hung:
            if self._child is None:
                raise WorkerHung(self.stage, "the model is stuck in a call; restart the service")
            self._child.kill()
        job: WorkerRequest[In, Out] = WorkerRequest(self, request, claim)
        with self._wakes:
            if len(self._line) >= self.queue_limit:
                job.cancel()
                raise StageBusy(self.stage, f"{len(self._line)} requests wait already")
            self._line.append(job)
            self._wakes.notify()
        if self._child is not None:
            self._child.wake()
        self.make_way()
        return Outputs(job, self, self.timeout_s)

    def make_way(self) -> None:
        """Stop speculative requests that keep a confirmed one waiting: the whole of their call, unless it is open."""
        if not (self._evicts or self._continuous):
            return
        with self._wakes:
            running = [job for job in self._running if not job.cancelled]
            wanted = sum(not job.claim.speculative for job in self._line)
        speculative = [job for job in running if job.claim.speculative]
        if self._continuous:
            room = self.batch_limit - len(running)  # a cancelled job leaves at the next step
            speculative = speculative[::-1][: max(0, wanted - room)]
        elif not wanted or len(speculative) < len(running):
            return
        for job in speculative:
            job.evict()

    @property
    def idle(self) -> bool:
        """It has nothing to do."""
        return not self._line and not self._running and self.healthy

    @property
    def has_room(self) -> bool:
        """The next call, or the open one, could take one request more."""
        taken = len(self._running) if self._continuous else 0
        return len(self._line) + taken < self.batch_limit and self.healthy

    async def call(self, request: In, claim: Claim = CONFIRMED) -> Out:
        """The single output of a request; raises `StageFailed` if there is none."""
        async with self.open(request, claim) as outputs:
            async for output in outputs:
                return output
        raise StageFailed(self.stage, "returned nothing")

    @property
    def hung(self) -> bool:
        """The running call has given no output for the whole time-out, and an open one has ended no job."""
        return self._stuck_for(self.timeout_s)

    def _stuck_for(self, duration_s: float) -> bool:
        return bool(self._running) and time.monotonic() - self._progress_s >= duration_s

    @property
    def healthy(self) -> bool:
        """False while the thread is stuck, or its process could not be restarted for the whole time-out."""
        since = self._restarting_since
        return not self.hung and (since is None or time.monotonic() - since < self.timeout_s)

    @property
    def waiting(self) -> int:
        """How many requests are in the line."""
        return len(self._line)

    def timed_out(self, job: WorkerRequest[In, Out], timeout_s: float) -> StageError:
        """Say why `job` had no output in time; a hung process is killed, and its other jobs learn of it."""
        hung = self._stuck_for(0.9 * timeout_s)  # the call began a little later than the job's own wait
        if hung and self._child is not None:
            self._child.kill()
        elif hung:
            stuck = WorkerHung(self.stage, "the model is stuck in a call")
            for waiting in [*self._running, *self._line]:
                if waiting is not job:
                    waiting.end(stuck)
        if job.started_s is None and self._restarting_since is not None:
            return WorkerDied(self.stage, "its process ended and is still being restarted")
        if job.started_s is None:
            return StageBusy(self.stage, f"the request waited {timeout_s:g} s for its turn")
        return StageTimeout(self.stage, f"no answer within {timeout_s:g} s")

    def forget(self, job: WorkerRequest[In, Out]) -> None:
        """Take a cancelled job out of the line, or tell the model's process to stop it."""
        with self._wakes:
            if job in self._line:
                self._line.remove(job)
                return
        if job.started_s is not None and self._child is not None:
            self._child.cancel(job)
        if not self._continuous:
            self.make_way()  # the rest of the job's call may be speculative

    async def close(self) -> None:
        """End the thread and the model's process; a stuck thread is left to end with the service."""
        with self._wakes:
            self._stopping = True
            self._wakes.notify()
        if self._child is not None:
            self._child.kill()
        if self._thread.is_alive():
            await anyio.to_thread.run_sync(self._thread.join, 2.0, abandon_on_cancel=True)

    # The model's thread.

    def call_on_loop(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            logger.debug("%s: the event loop has ended", self.stage)

    def progressed(self) -> None:
        self._progress_s = time.monotonic()

    def _main(self) -> None:
        try:
            self.model.load()
            self.model.warm_up()
        except BaseException as error:
            if self._child is not None:
                self._child.close()
            self.call_on_loop(self._set_ready, error)
            return
        self.call_on_loop(self._set_ready, None)
        while not self._stopping:
            if self._child is not None and not self._child.alive:
                self._restart(self._child)
            elif jobs := self._take():
                self._run(jobs)
        if (close := getattr(self.model, "close", None)) is not None:
            close()

    def _set_ready(self, error: BaseException | None) -> None:
        if self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)

    def _take(self) -> list[WorkerRequest[In, Out]]:
        with self._wakes:
            if not self._line and not self._stopping:
                self._wakes.wait(IDLE_POLL_S)
            if self._child is not None and not self._child.alive:
                return []  # the process ended while idle: the line waits for the next one
            self._running = self._next(self.batch_limit)
            return self._running

    def _next(self, room: int) -> list[WorkerRequest[In, Out]]:
        """The requests whose turn it is, off the line."""
        in_order = sorted(self._line, key=lambda job: job.claim.speculative)  # the sort keeps the order of the line
        jobs, rest = in_order[:room], in_order[room:]
        self._line = deque(rest)
        now = time.monotonic()
        if not self._running:
            self._progress_s = now  # a stuck call would otherwise look alive as long as requests come
        for job in jobs:
            job.started_s = now
        return jobs

    def _join(self) -> list[WorkerRequest[In, Out]]:
        """Further requests for the open batch."""
        if self._child is None:  # `ProcessModel` asks for more even if its process is stuck
            self.progressed()
        if not self._line or self._stopping:
            return []
        with self._wakes:
            jobs = self._next(self.batch_limit - len(self._running))
            self._running = [*self._running, *jobs]
        if jobs and self._on_batch is not None:
            self._on_batch(self.stage, len(self._running))
        return jobs

    def leave(self, job: WorkerRequest[Any, Any], *, well: bool) -> None:
        """The model has ended a job: in an open batch there is room for another one."""
        if not self._continuous:
            return
        self.progressed()
        if well:
            self._restarts = 0
        with self._wakes:
            self._running = [other for other in self._running if other is not job]

    def _run(self, jobs: list[WorkerRequest[In, Out]]) -> None:
        if self._on_batch is not None:
            self._on_batch(self.stage, len(jobs))
        try:
            if self._continuous:
                cast(ContinuousModel[In, Out], self.model).run_continuously(jobs, self._join)
            else:
                self.model.run(jobs)
        except StageError as error:
            logger.log(logging.DEBUG if self._stopping else logging.WARNING, "%s", error)
            for job in self._running:
                job.fail(error)
        except Exception as error:
            logger.exception("%s: the model raised on %d jobs", self.stage, len(self._running))
            for job in self._running:
                job.fail(StageFailed(self.stage, f"the model raised {type(error).__name__}"))
        else:
            self._restarts = 0
        finally:
            for job in self._running:
                job.done()
            self._running = []

    def _restart(self, child: ProcessModel[In, Out]) -> None:
        self._restarting_since = self._restarting_since or time.monotonic()
        backoff_s = RESTART_BACKOFF_S[min(self._restarts, len(RESTART_BACKOFF_S) - 1)]
        self._restarts += 1
        with self._wakes:
            self._wakes.wait_for(lambda: self._stopping, backoff_s)
        if self._stopping:
            return
        try:
            child.load()
        except Exception as error:
            logger.error("%s: restarting its process failed: %s", self.stage, error)
        else:
            self._restarting_since = None
            logger.warning("%s: its process was restarted, pid %s", self.stage, child.pid)

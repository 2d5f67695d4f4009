"""A model on its own thread, shared by all conversations.

Requests wait in one line. The thread takes as many as wait, up to the batch limit, confirmed ones before speculative
ones and otherwise first come first served, runs them in one call and sends the outputs back to the event loop. A model
in a process of its own goes through the same thread: `child.ChildModel` stands in for it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Generic, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from speech_to_speech.child import ChildModel
from speech_to_speech.errors import (
    SpeechToSpeechError,
    StageBusy,
    StageError,
    StageFailed,
    StageTimeout,
    WorkerDied,
    WorkerHung,
)
from speech_to_speech.jobs import In, Model, Out

logger = logging.getLogger(__name__)

OUTPUT_LIMIT = 4096  # outputs of one job that may wait for their reader; more fail the job
IDLE_POLL_S = 1.0  # how often an idle worker looks after its process
RESTART_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)


class Evicted(Exception):
    """A speculative request gave way to a confirmed one."""


class Claim:
    """How the requests of one reply stand in the lines. What is speculative may come to nothing, so it waits behind
    what is confirmed and gives way to it; its owner confirms it when it is certain."""

    def __init__(self, *, speculative: bool = False) -> None:
        self.speculative = speculative
        self.evicted = False
        """A request gave way: the reply has to be begun anew."""


CONFIRMED = Claim()


class WorkerJob(Generic[In, Out]):
    """A request in a worker's line. The model's thread emits; the event loop reads."""

    def __init__(self, worker: "Worker[In, Out]", request: In, claim: Claim) -> None:
        self.request = request
        self.claim = claim
        self.cancelled = False
        self.started_s: float | None = None
        self.model_s = 0.0
        """From the start of the call to the last output: what the model took, without the wait in the line."""
        self._worker = worker
        self._ended = False
        self._error: Exception | None = None
        self._send: MemoryObjectSendStream[Out]
        self.outputs: MemoryObjectReceiveStream[Out]
        self._send, self.outputs = anyio.create_memory_object_stream[Out](OUTPUT_LIMIT)

    # The model's thread.

    def emit(self, output: Out) -> None:
        self._worker.progressed()
        if self.started_s is not None:
            self.model_s = time.monotonic() - self.started_s
        if not self.cancelled:
            self._worker.call_on_loop(self._deliver, output)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, SpeechToSpeechError):
            logger.error("%s: the model failed a job", self._worker.stage, exc_info=error)
            error = StageFailed(self._worker.stage, f"the model failed with {type(error).__name__}")
        self._worker.call_on_loop(self._end, error)

    def done(self) -> None:
        self._worker.call_on_loop(self._end, None)

    # The event loop.

    def _deliver(self, output: Out) -> None:
        if self._ended or self.cancelled:
            return
        try:
            self._send.send_nowait(output)
        except anyio.WouldBlock:
            self._end(StageFailed(self._worker.stage, f"made more than {OUTPUT_LIMIT} outputs that nobody read"))
            self.cancelled = True  # the reader gets what there is, then the error
            self._worker.forget(self)

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
            self._send.close()

    async def next_output(self) -> Out:
        """The next output; raises `anyio.EndOfStream` after the last, or the error that ended the job."""
        try:
            return await self.outputs.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            raise

    def evict(self) -> None:
        """Stop a speculative job: its reader gets `Evicted`."""
        if not self._ended:
            self.claim.evicted = True
            self._end(Evicted())
            self.cancelled = True
            self._worker.forget(self)

    def cancel(self) -> None:
        """Nobody waits for this job any more: it leaves the line, or its model stops at the next step."""
        if not self.cancelled:
            self.cancelled = True
            self._send.close()
            self._worker.forget(self)
        self.outputs.close()


class Outputs(Generic[In, Out]):
    """The outputs of one request: an async context manager to iterate over. Leaving it cancels what is left."""

    def __init__(self, job: WorkerJob[In, Out], worker: "Worker[In, Out]", timeout_s: float) -> None:
        self._job = job
        self._worker = worker
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._job.cancel()

    @property
    def model_s(self) -> float:
        """Seconds that the model took for the outputs so far."""
        return self._job.model_s

    def __aiter__(self) -> AsyncIterator[Out]:
        return self

    async def __anext__(self) -> Out:
        try:
            with anyio.fail_after(self._timeout_s):
                return await self._job.next_output()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        except TimeoutError:
            raise self._worker.timed_out(self._job, self._timeout_s) from None


class Worker(Generic[In, Out]):
    """The line of requests in front of one model, and the thread that works it off.

    `timeout_s` bounds the wait for each output, the time in the line included. `queue_limit` bounds the line: a
    request beyond it is refused with `StageBusy`. With `evicts`, a confirmed request stops a call that works for
    speculative ones only; that pays where a call has many steps, as with a language model.
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
        on_batch: Callable[[str, int], None] | None = None,
    ) -> None:
        self.stage = stage
        self.model = model
        self._child = model if isinstance(model, ChildModel) else None
        self.batch_limit = batch_limit or model.batch_limit
        self.queue_limit = queue_limit
        self.timeout_s = timeout_s
        self._evicts = evicts
        self._on_batch = on_batch
        self._loop: asyncio.AbstractEventLoop
        self._ready: asyncio.Future[None]
        self._thread = threading.Thread(target=self._main, name=f"{stage}-worker", daemon=True)
        self._wakes = threading.Condition()
        self._line: deque[WorkerJob[In, Out]] = deque()
        self._running: Sequence[WorkerJob[In, Out]] = ()
        self._progress_s = 0.0
        self._stopping = False
        self._restarts = 0  # in a row, without a batch that went well in between
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
        job = WorkerJob(self, request, claim)
        with self._wakes:
            if len(self._line) >= self.queue_limit:
                job.cancel()
                raise StageBusy(self.stage, f"{len(self._line)} requests wait already")
            self._line.append(job)
            self._wakes.notify()
        self.make_way()
        return Outputs(job, self, self.timeout_s)

    def make_way(self) -> None:
        """Stop a call that works for speculative requests only, if a confirmed one waits."""
        if not self._evicts:
            return
        with self._wakes:
            running = [job for job in self._running if not job.cancelled]
            wanted = any(not job.claim.speculative for job in self._line)
        if wanted and all(job.claim.speculative for job in running):
            for job in running:
                job.evict()

    @property
    def idle(self) -> bool:
        """It has nothing to do."""
        return not self._line and not self._running and self.healthy

    @property
    def has_room(self) -> bool:
        """The next call could take one request more."""
        return len(self._line) < self.batch_limit and self.healthy

    async def call(self, request: In, claim: Claim = CONFIRMED) -> Out:
        """The single output of a request; raises `StageFailed` if there is none."""
        async with self.open(request, claim) as outputs:
            async for output in outputs:
                return output
        raise StageFailed(self.stage, "returned nothing")

    @property
    def hung(self) -> bool:
        """The running call has shown no progress for the whole time-out."""
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

    def timed_out(self, job: WorkerJob[In, Out], timeout_s: float) -> StageError:
        """Say why `job` had no output in time; a hung process is killed, and its other jobs learn of it."""
        hung = self._stuck_for(0.9 * timeout_s)  # the call began a little later than the job's own wait
        if hung and self._child is not None:
            self._child.kill()
        elif hung:
            stuck = WorkerHung(self.stage, "the model is stuck in a call")
            for waiting in [*self._running, *self._line]:
                if waiting is not job:
                    waiting._end(stuck)
        if job.started_s is None and self._restarting_since is not None:
            return WorkerDied(self.stage, "its process ended and is still being restarted")
        if job.started_s is None:
            return StageBusy(self.stage, f"the request waited {timeout_s:g} s for its turn")
        return StageTimeout(self.stage, f"no answer within {timeout_s:g} s")

    def forget(self, job: WorkerJob[In, Out]) -> None:
        """Take a cancelled job out of the line, or tell the model's process to stop it."""
        with self._wakes:
            if job in self._line:
                self._line.remove(job)
                return
        if job.started_s is not None and self._child is not None:
            self._child.cancel(job)
        self.make_way()  # the rest of its call may be speculative

    async def stop(self) -> None:
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
        if self._child is not None:
            self._child.close()

    def _set_ready(self, error: BaseException | None) -> None:
        if self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)

    def _take(self) -> list[WorkerJob[In, Out]]:
        with self._wakes:
            if not self._line and not self._stopping:
                self._wakes.wait(IDLE_POLL_S)
            if self._child is not None and not self._child.alive:
                return []  # it ended while idle: the line waits for the next one
            in_order = sorted(self._line, key=lambda job: job.claim.speculative)  # a stable sort
            jobs, rest = in_order[: self.batch_limit], in_order[self.batch_limit :]
            self._line = deque(rest)
            self.progressed()
            for job in jobs:
                job.started_s = self._progress_s
            self._running = jobs
            return jobs

    def _run(self, jobs: list[WorkerJob[In, Out]]) -> None:
        if self._on_batch is not None:
            self._on_batch(self.stage, len(jobs))
        try:
            self.model.run(jobs)
        except StageError as error:
            logger.warning("%s", error)
            for job in jobs:
                job.fail(error)
        except Exception as error:
            logger.exception("%s: the model raised on %d jobs", self.stage, len(jobs))
            for job in jobs:
                job.fail(StageFailed(self.stage, f"the model raised {type(error).__name__}"))
        else:
            self._restarts = 0
        finally:
            for job in jobs:
                job.done()
            self._running = ()

    def _restart(self, child: ChildModel[In, Out]) -> None:
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

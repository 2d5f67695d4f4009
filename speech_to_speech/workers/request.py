"""A request on its way through a worker: its place in the line, its outputs, and whether it gives way."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from speech_to_speech.errors import SpeechToSpeechError, StageError, StageFailed
from speech_to_speech.workers.model import In, Out

logger = logging.getLogger(__name__)

OUTPUT_LIMIT = 4096  # outputs of one job that may wait for their reader; more fail the job


class Evicted(Exception):
    """A speculative request gave way to a confirmed one."""


class Claim:
    """How the requests of one reply stand in the lines. What is speculative may come to nothing, so it waits behind
    what is confirmed and gives way to it; its owner confirms it when it is certain."""

    def __init__(self, *, speculative: bool = False, name: str = "") -> None:
        self.speculative = speculative
        self.name = name
        """The turn of these requests, for logs."""
        self.evicted = False
        """A request gave way: the reply has to be begun anew."""


CONFIRMED = Claim()


class RequestOwner(Protocol):
    """What a job asks of its worker."""

    stage: str

    def progressed(self) -> None:
        """The model has given something."""

    def leave(self, job: "WorkerRequest[Any, Any]", *, well: bool) -> None:
        """The model has ended this job, well or with an error."""

    def call_on_loop(self, call: Callable[..., None], *arguments: object) -> None:
        """Call this on the event loop, soon."""

    def forget(self, job: "WorkerRequest[Any, Any]") -> None:
        """Nobody waits for this job any more."""

    def timed_out(self, job: "WorkerRequest[Any, Any]", timeout_s: float) -> StageError:
        """Why it had no output in time."""


class WorkerRequest(Generic[In, Out]):
    """A request in a worker's line. The model's thread emits; the event loop reads."""

    def __init__(self, worker: RequestOwner, request: In, claim: Claim) -> None:
        self.request = request
        self.claim = claim
        self.cancelled = False
        self.started_s: float | None = None
        self.model_s = 0.0
        """The time from the request's start in the model to the output read last: the wait in the line is not in it."""
        self._worker = worker
        self._ended = False
        self._error: Exception | None = None
        self._send: MemoryObjectSendStream[tuple[Out, float]]
        self._outputs: MemoryObjectReceiveStream[tuple[Out, float]]
        self._send, self._outputs = anyio.create_memory_object_stream[tuple[Out, float]](OUTPUT_LIMIT)

    @property
    def name(self) -> str:
        return self.claim.name

    # The model's thread.

    def emit(self, output: Out) -> None:
        self._worker.progressed()
        model_s = 0.0 if self.started_s is None else time.monotonic() - self.started_s
        if not self.cancelled:
            self._worker.call_on_loop(self._deliver, output, model_s)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, SpeechToSpeechError):
            logger.error("%s: the model failed a job", self._worker.stage, exc_info=error)
            error = StageFailed(self._worker.stage, f"the model failed with {type(error).__name__}")
        self._worker.leave(self, well=False)
        self._worker.call_on_loop(self.end, error)

    def done(self) -> None:
        self._worker.leave(self, well=True)
        self._worker.call_on_loop(self.end, None)

    # The event loop.

    def _deliver(self, output: Out, model_s: float) -> None:
        if self._ended or self.cancelled:
            return
        try:
            self._send.send_nowait((output, model_s))
        except anyio.WouldBlock:
            self.end(StageFailed(self._worker.stage, f"made more than {OUTPUT_LIMIT} outputs that nobody read"))
            self.cancelled = True  # the reader gets the outputs that are there, then the error
            self._worker.forget(self)

    def end(self, error: Exception | None) -> None:
        """No more outputs; only the first call counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._send.close()

    async def next_output(self) -> Out:
        """The next output; raises `anyio.EndOfStream` after the last, or the error that ended the job."""
        try:
            output, self.model_s = await self._outputs.receive()
        except anyio.EndOfStream:
            if self._error is not None:
                raise self._error from None
            raise
        return output

    def evict(self) -> None:
        """Stop a speculative job: its reader gets `Evicted`."""
        if not self._ended:
            self.claim.evicted = True
            self.end(Evicted())
            self.cancelled = True
            self._worker.forget(self)

    def cancel(self) -> None:
        """Nobody waits for this job any more: it leaves the line, or its model stops at the next step."""
        if not self.cancelled:
            self.cancelled = True
            self._send.close()
            self._worker.forget(self)
        self._outputs.close()


class Outputs(Generic[In, Out]):
    """The outputs of one request: an async context manager to iterate over. Leaving it cancels what is left."""

    def __init__(self, job: WorkerRequest[In, Out], worker: RequestOwner, timeout_s: float) -> None:
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
        """Seconds that the model took for the outputs read so far; how late they were read does not count."""
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

"""The parent's side of a model in a process of its own.

`ProcessModel` looks like the model to the worker's thread, and passes jobs on to `workers.child`, which runs in
the process. Messages are tuples over a `multiprocessing.connection.Connection` on a socket pair
(docs/decisions/0002 has what was measured).
"""

import contextlib
import itertools
import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Generic

from speech_to_speech.errors import StageFailed, WorkerDied
from speech_to_speech.workers.child_output import ChildOutput
from speech_to_speech.workers.memory_guard import MemoryGuard
from speech_to_speech.workers.model import In, Job, Out, WorkerKind

LOAD_TIMEOUT_S = 3600.0  # weights may have to come over a slow line; a download that stalls ends by itself
CLOSE_TIMEOUT_S = 1.0
COMMAND = (sys.executable, "-m", "speech_to_speech.workers.child")


def unprepared(options: Any) -> tuple[Any, ...]:
    return (options,)


class Waker:
    """Waits for a message from a process, or for a wake-up by another thread."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._connection = connection
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ours, selectors.EVENT_READ)
        self._selector.register(connection, selectors.EVENT_READ)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full socket has wake-ups enough
            self._theirs.send(b"!")

    def wait(self) -> bool:
        """Wait; True if there is a message."""
        ready = [key.fileobj for key, _ in self._selector.select()]
        if self._ours in ready:
            self._ours.recv(4096)
        return self._connection in ready

    def close(self) -> None:
        self._selector.close()
        self._ours.close()
        self._theirs.close()


class ProcessModel(Generic[In, Out]):
    """A model in a child process; made, called and closed on the worker's thread, but for `cancel`, `wake` and `kill`.

    `target` is the model's class as `module:Class`, `options` the one argument of its constructor, unless `prepare`
    makes others of it, once and in this process (it may fetch weights). `continuous` is what the class says of itself
    (`model.ContinuousModel`), `command` what starts a worker, in another environment say, and `memory_bytes` the bound
    of its memory; 0 for none.
    """

    worker: ClassVar[WorkerKind] = "process"

    def __init__(
        self,
        stage: str,
        target: str,
        options: object,
        batch_limit: int,
        *,
        prepare: Callable[[Any], tuple[Any, ...]] = unprepared,
        continuous: bool = False,
        command: Sequence[str] = COMMAND,
        memory_bytes: int = 0,
    ) -> None:
        self.stage = stage
        self.target = target
        self.options = options
        self.batch_limit = batch_limit
        self.continuous = continuous
        self._command = command
        self._prepare = prepare
        self._arguments: tuple[Any, ...] | None = None
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._waker: Waker | None = None
        self._sending = threading.Lock()
        self._ids = itertools.count()
        self._running: dict[int, Job[In, Out]] = {}
        self._told: set[int] = set()  # the numbers of running jobs that the process knows to be cancelled
        self._guard: MemoryGuard | None = None
        self._killed = False

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def load(self) -> None:
        """Start the process and wait until its model is loaded and warm.

        The process is started by the worker's thread, which outlives it: the kernel ends a child with the *thread*
        that started it.
        """
        self.close()
        if self._arguments is None:
            self._arguments = self._prepare(self.options)
        self._start()
        assert self._connection is not None
        level = logging.getLogger().getEffectiveLevel()
        self._send(("load", self.stage, self.target, self._arguments, level))
        if not self._connection.poll(LOAD_TIMEOUT_S):
            self.kill()
        match self._receive():
            case ("ready",):
                return
            case ("load failed", Exception() as error):
                self.close()
                raise error
            case message:
                self.close()
                raise StageFailed(self.stage, f"its process answered {message[0]!r} to a load")

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                # Without a copy the environment itself is read, which another model's thread may be changing.
                env=os.environ.copy(),
            )
        except OSError as error:
            ours.close()
            os.close(read_end)
            raise StageFailed(self.stage, f"its process can't be started: {error}") from error
        finally:
            theirs.close()
            os.close(write_end)
        who = f"{self.stage} (pid {self._process.pid})"
        ChildOutput(read_end, who)
        self._guard = MemoryGuard(self._process.pid, self._memory_bytes, self.kill, who)
        self._killed = False
        self._connection = Connection(ours.detach())
        if self.continuous:
            self._waker = Waker(self._connection)

    def warm_up(self) -> None:
        """Nothing to do: the process warms up before it says that it is ready."""

    def run(self, jobs: Sequence[Job[In, Out]]) -> None:
        self._work(jobs, join=None)

    def run_continuously(self, jobs: Sequence[Job[In, Out]], join: Callable[[], Sequence[Job[In, Out]]]) -> None:
        self._work(jobs, join)

    def _work(self, jobs: Sequence[Job[In, Out]], join: Callable[[], Sequence[Job[In, Out]]] | None) -> None:
        try:
            self._send_batch(jobs)
            while self._running:
                if join is not None and not self._killed and (further := join()):
                    self._send_batch(further)
                elif self._waker is None or self._waker.wait():
                    self._take_in(self._receive())
        except BaseException:
            self.kill()  # the rest of this batch in the pipe would be taken for the next batch's
            self.close()
            raise
        finally:
            self._running = {}
            self._told.clear()

    def _send_batch(self, jobs: Sequence[Job[In, Out]]) -> None:
        batch = dict(zip(self._ids, jobs, strict=False))
        self._send(("run", [(number, job.request, job.name) for number, job in batch.items()]))
        # The jobs come in after the send, so that no cancel overtakes its job. `cancel` may look through the old dict.
        self._running = {**self._running, **batch}
        self._told.intersection_update(self._running)
        while late := [number for number, job in self._running.items() if job.cancelled and number not in self._told]:
            for number in late:  # `cancel` could not tell of these while something was being sent
                self._told.add(number)
                self._send(("cancel", number))

    def _take_in(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("output", int() as number, output):
                self._running[number].emit(output)
            case ("failed", int() as number, Exception() as error):
                self._running[number].fail(error)
            case ("ended", [*numbers]):
                running = dict(self._running)
                ended = [running.pop(number) for number in numbers]
                self._running = running
                if self.continuous:
                    for job in ended:
                        job.done()
            case _:
                raise StageFailed(self.stage, f"its process sent {message[0]!r} in a run")

    def cancel(self, job: Job[In, Out]) -> None:
        """Tell the process to leave `job` out from its next step on. Called on the event loop: never waits."""
        number = next((number for number, other in self._running.items() if other is job), None)
        if number is None or number in self._told or not self._sending.acquire(blocking=False):
            return
        try:
            if self._connection is not None:
                self._told.add(number)
                with contextlib.suppress(OSError):  # a dead process is noticed by the thread that reads from it
                    self._connection.send(("cancel", number))
        finally:
            self._sending.release()

    def wake(self) -> None:
        """Look for further requests, if a batch is open. Called on the event loop: never waits."""
        if self._waker is None or not self._sending.acquire(blocking=False):
            return  # a thread that is sending looks when it has sent
        try:
            if self._waker is not None:
                self._waker.wake()
        finally:
            self._sending.release()

    def kill(self) -> None:
        """End the process at once; a run in progress raises `WorkerDied`."""
        self._killed = True  # nobody joins a batch that is about to fail
        process = self._process  # `close` on the worker's thread may take the process away meanwhile
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process and free its connection."""
        with self._sending:
            waker, self._waker = self._waker, None
            if waker is not None:
                waker.close()
        if self._guard is not None:
            self._guard.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            try:
                self._process.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _send(self, message: tuple[Any, ...]) -> None:
        assert self._connection is not None
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            raise self._died() from None

    def _receive(self) -> tuple[Any, ...]:
        assert self._connection is not None
        try:
            message: tuple[Any, ...] = self._connection.recv()
        except (EOFError, OSError):
            raise self._died() from None
        return message

    def _died(self) -> WorkerDied:
        assert self._process is not None
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return WorkerDied(self.stage, f"its process ended (exit code {self._process.poll()})")

"""The parent's side of a model in a process of its own.

`ChildModel` looks like the model to the worker's thread, and passes jobs on to `python -m speech_to_speech.worker`.
Messages are tuples over a `multiprocessing.connection.Connection` on a socket pair (docs/decisions/0002
has what was measured).
"""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Generic

from speech_to_speech.errors import StageFailed, WorkerDied
from speech_to_speech.jobs import In, Job, Out, WorkerKind

LOAD_TIMEOUT_S = 600.0  # weights may be large; a load that takes longer is a failed one
CLOSE_TIMEOUT_S = 1.0


class ChildModel(Generic[In, Out]):
    """A model in a child process; made, called and closed on the worker's thread, but for `cancel` and `kill`.

    `target` is the model's class as `module:Class`, `options` the one argument of its constructor.
    """

    worker: ClassVar[WorkerKind] = "process"

    def __init__(self, stage: str, target: str, options: object, batch_limit: int) -> None:
        self.stage = stage
        self.target = target
        self.options = options
        self.batch_limit = batch_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._sending = threading.Lock()
        self._ids = itertools.count()
        self._running: dict[int, Job[In, Out]] = {}

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
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "speech_to_speech.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._send(("load", self.stage, self.target, self.options))
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

    def warm_up(self) -> None:
        """Nothing to do: the process warms up before it says that it is ready."""

    def run(self, jobs: Sequence[Job[In, Out]]) -> None:
        self._running = dict(zip(self._ids, jobs, strict=False))
        try:
            self._send(("run", [(number, job.request) for number, job in self._running.items()]))
            for number, job in self._running.items():
                if job.cancelled:  # while the batch was being sent, when `cancel` could not
                    self._send(("cancel", number))
            while (message := self._receive()) != ("done",):
                match message:
                    case ("output", int() as number, output):
                        self._running[number].emit(output)
                    case ("failed", int() as number, Exception() as error):
                        self._running[number].fail(error)
                    case _:
                        raise StageFailed(self.stage, f"its process sent {message[0]!r} in a run")
        except BaseException:
            self.kill()  # what is left of this batch in the pipe would be taken for the next one's
            self.close()
            raise
        finally:
            self._running = {}

    def cancel(self, job: Job[In, Out]) -> None:
        """Tell the process to leave `job` out from its next step on. Called on the event loop: never waits."""
        number = next((number for number, other in list(self._running.items()) if other is job), None)
        if number is None or not self._sending.acquire(blocking=False):
            return
        try:
            if self._connection is not None:
                with contextlib.suppress(OSError):  # a dead process is noticed by the thread that reads from it
                    self._connection.send(("cancel", number))
        finally:
            self._sending.release()

    def kill(self) -> None:
        """End the process at once; a run in progress raises `WorkerDied`."""
        process = self._process  # `close` on the worker's thread may take it away meanwhile
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process and free its connection."""
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

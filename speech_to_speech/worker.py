"""The child's side of a model in a process of its own: `python -m speech_to_speech.worker FD PARENT`.

The connection's first message names the model; after `ready`, batches come in and outputs go out. The process
ends when the connection does, and on Linux with its parent, whatever it is doing.
"""

import contextlib
import ctypes
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from speech_to_speech.errors import SpeechToSpeechError, StageFailed
from speech_to_speech.registry import import_target

PR_SET_PDEATHSIG = 1  # prctl(2)

Batch = list[tuple[int, Any]]


class ChildJob:
    """A job in the child: its outputs go over the connection."""

    def __init__(self, child: "Child", number: int, request: Any) -> None:
        self.request = request
        self._child = child
        self._number = number

    @property
    def cancelled(self) -> bool:
        return self._number in self._child.cancelled

    def emit(self, output: object) -> None:
        if not self.cancelled:
            self._child.connection.send(("output", self._number, output))

    def fail(self, error: Exception) -> None:
        self._child.connection.send(("failed", self._number, portable(error, self._child.stage)))


class Child:
    """The process's one model and its connection to the parent."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.connection = connection
        self.stage = ""
        self.cancelled: set[int] = set()
        self._batches: queue.SimpleQueue[Batch] = queue.SimpleQueue()

    def serve(self) -> None:
        match self.connection.recv():
            case ("load", str() as stage, str() as target, options):
                self.stage = stage
                try:
                    model = import_target(target)(options)
                    model.load()
                    model.warm_up()
                except Exception as error:
                    # Told to whoever starts the service, not to a client: with all it says.
                    if not isinstance(error, SpeechToSpeechError):
                        error = StageFailed(self.stage, f"can't load: {type(error).__name__}: {error}")
                    self.connection.send(("load failed", portable(error, self.stage)))
                    return
        self.connection.send(("ready",))
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            batch = self._batches.get()
            jobs = [ChildJob(self, number, request) for number, request in batch]
            try:
                model.run(jobs)
            except Exception as error:
                traceback.print_exc()  # to the service's own stderr; the client is told the type only
                for job in jobs:
                    job.fail(error)
            self.cancelled.clear()
            self.connection.send(("done",))

    def _read(self) -> None:
        """On a thread of its own, so that a cancel is seen between two steps of a running batch."""
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            match message:
                case ("run", batch):
                    self._batches.put(batch)
                case ("cancel", number):
                    self.cancelled.add(number)


def portable(error: Exception, stage: str) -> Exception:
    """The error itself if it is ours and can travel, else its type's name."""
    if isinstance(error, SpeechToSpeechError):
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
    return StageFailed(stage, f"the model raised {type(error).__name__}")


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, also while it is stuck. Elsewhere the connection's end does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def main() -> None:
    end_with_parent(int(sys.argv[2]))
    for stop in (signal.SIGINT, signal.SIGTERM):  # the parent's to handle, also when the whole group is told to stop
        signal.signal(stop, signal.SIG_IGN)
    Child(Connection(int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()

"""The child's side of a model in a process of its own: `python -m speech_to_speech.workers.child FD PARENT`.

The connection's first message names the model; after `ready`, batches come in and outputs go out. What comes while a
batch runs joins it if the model is continuous (`model.ContinuousModel`), else it is the next one. The process ends when
the connection does, and on Linux with its parent, whatever it is doing.

It may run in an environment without any of this package's dependencies (`environments.bootstrap`): this module and what
it imports need the standard library only.
"""

import contextlib
import ctypes
import logging
import os
import pickle
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from speech_to_speech.errors import SpeechToSpeechError, StageFailed
from speech_to_speech.workers.child_output import record_format
from speech_to_speech.workers.model import import_target

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # prctl(2)


class ChildJob:
    """A job in the child: its outputs go over the connection."""

    def __init__(self, child: "Child", number: int, request: Any, name: str) -> None:
        self.number = number
        self.request = request
        self.name = name
        self.cancelled = False
        self._child = child

    def emit(self, output: object) -> None:
        if not self.cancelled and self._child.is_under_way(self):
            self._child.connection.send(("output", self.number, output))

    def fail(self, error: Exception) -> None:
        if self._child.is_under_way(self):
            self._child.connection.send(("failed", self.number, portable(error, self._child.stage)))
        if self._child.continuous:
            self._child.end([self])

    def done(self) -> None:
        if self._child.continuous:
            self._child.end([self])


class Child:
    """The process's one model and its connection to the parent."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.connection = connection
        self.stage = ""
        self.continuous = False
        self._batches: queue.SimpleQueue[list[ChildJob]] = queue.SimpleQueue()
        self._jobs: dict[int, ChildJob] = {}  # all jobs that came and have not ended; a cancel of another is too late
        self._running: list[ChildJob] = []  # the jobs that the model was given

    def serve(self) -> None:
        match self.connection.recv():
            case ("load", str() as stage, str() as target, arguments, int() as log_level):
                self.stage = stage
                self._log(log_level)
                try:
                    model = import_target(target)(*arguments)
                    model.load()
                    model.warm_up()
                except Exception as error:
                    # This message is for whoever starts the service, not for a client: it has all that the error says.
                    if not isinstance(error, SpeechToSpeechError):
                        error = StageFailed(self.stage, f"can't load: {type(error).__name__}: {error}")
                    self.connection.send(("load failed", portable(error, self.stage)))
                    return
        self.continuous = bool(getattr(model, "continuous", False))
        self.connection.send(("ready",))
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            self._running = self._batches.get()
            try:
                if self.continuous:
                    model.run_continuously(self._running, self._join)
                else:
                    model.run(self._running)
            except Exception as error:
                logger.exception("%s: the model raised", self.stage)  # the client is told the type only
                for job in self._running:
                    job.fail(error)
            self.end(self._running)

    def _log(self, level: int) -> None:
        """Records go to the parent's log, with the requests under way."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(record_format()))
        handler.addFilter(self._name_requests)
        logging.basicConfig(level=level, handlers=[handler], force=True)

    def _name_requests(self, record: logging.LogRecord) -> bool:
        record.requests = " ".join(job.name for job in self._running if job.name)
        return True

    def _join(self) -> list[ChildJob]:
        """What has come since for the open batch; the parent sends no more than fit."""
        joining: list[ChildJob] = []
        with contextlib.suppress(queue.Empty):
            while True:
                joining += self._batches.get_nowait()
        self._running = [*self._running, *joining]
        return joining

    def is_under_way(self, job: ChildJob) -> bool:
        return job.number in self._jobs

    def end(self, jobs: list[ChildJob]) -> None:
        """Tell the parent that these are complete, or have failed as it knows."""
        numbers = [job.number for job in jobs if self._jobs.pop(job.number, None) is not None]
        self._running = [job for job in self._running if self.is_under_way(job)]
        if numbers:
            self.connection.send(("ended", numbers))

    def _read(self) -> None:
        """On a thread of its own, so that a cancel is seen between two steps of a running batch."""
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            match message:
                case ("run", batch):
                    jobs = [ChildJob(self, number, request, name) for number, request, name in batch]
                    self._jobs.update((job.number, job) for job in jobs)
                    self._batches.put(jobs)
                case ("cancel", number):
                    if (cancelled := self._jobs.get(number)) is not None:
                        cancelled.cancelled = True


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
    for stop in (signal.SIGINT, signal.SIGTERM):  # the parent handles these, also when the whole group is told to stop
        signal.signal(stop, signal.SIG_IGN)
    Child(Connection(int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()

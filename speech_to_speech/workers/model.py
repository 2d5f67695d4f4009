"""What a model sees of the world: a batch of jobs, in a thread or a process of its own.

This module and `frames`, `errors` are imported by worker processes, also in environments without the
service's packages, so they stay free of anything but the standard library.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

WorkerKind = Literal["thread", "process"]

In = TypeVar("In")
Out = TypeVar("Out")
# What a job gives out, a model takes in, and the other way round.
In_co = TypeVar("In_co", covariant=True)
Out_contra = TypeVar("Out_contra", contravariant=True)
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Job(Protocol[In_co, Out_contra]):
    """One request, and the way back for its outputs. Jobs of one batch belong to different conversations."""

    @property
    def request(self) -> In_co: ...

    @property
    def name(self) -> str:
        """Whose it is, for logs; may be empty."""

    @property
    def cancelled(self) -> bool:
        """Nobody waits for this job any more. Look at it between two steps (a token, a chunk) and leave the job out."""

    def emit(self, output: Out_contra) -> None:
        """Send one output on its way: a transcript, a text delta, a chunk of audio."""

    def fail(self, error: Exception) -> None:
        """End this job with an error; the others of the batch go on."""

    def done(self) -> None:
        """This job is complete, while others go on: only a `ContinuousModel` says so."""


class Model(Protocol[In_contra, Out_co]):
    """A model that is loaded once and shared by all conversations.

    It owns no queue, thread or session. All its methods are called on one thread, the one that `load` ran on.
    """

    worker: ClassVar[WorkerKind]
    """`thread` if the model's calls release the interpreter lock; `process` if they hold it, or crash, leak or hang."""
    batch_limit: ClassVar[int]
    """How many jobs `run` takes at most."""

    def load(self) -> None:
        """Import what is heavy and read the weights."""

    def warm_up(self) -> None:
        """Run once over what will come, so that the first request is as fast as the others."""

    def run(self, jobs: Sequence[Job[In_contra, Out_co]], /) -> None:
        """Do a batch of jobs. A job without a failure is complete when this returns."""


class ContinuousModel(Model[In_contra, Out_co], Protocol):
    """A model whose batch is open: requests join it while others are under way (continuous batching).

    Its worker calls `run_continuously` instead of `run`.
    """

    continuous: ClassVar[bool]
    """True."""

    def run_continuously(
        self,
        jobs: Sequence[Job[In_contra, Out_co]],
        join: Callable[[], Sequence[Job[In_contra, Out_co]]],
        /,
    ) -> None:
        """Do these jobs and all that `join` gives between two steps; return when none is left.

        Say `done` or `fail` of each as it ends or is seen to be cancelled: then there is room for another one, and
        whatever is said of it afterwards has no effect. `join` never waits; it gives no more than `batch_limit` allows
        at once. If this raises, all that are under way fail with it.
        """


class ListJob(Generic[In, Out]):
    """A job that keeps its outputs in a list: for warm-up."""

    cancelled = False
    name = ""

    def __init__(self, request: In) -> None:
        self.request = request
        self.outputs: list[Out] = []

    def emit(self, output: Out) -> None:
        self.outputs.append(output)

    def fail(self, error: Exception) -> None:
        raise error

    def done(self) -> None:
        pass


def import_target(target: str) -> Any:
    """The object that `module:name` means."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)

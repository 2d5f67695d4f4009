"""A worker for a chosen backend, as the settings say."""

import importlib
import os
from pathlib import Path
from typing import Any

from speech_to_speech.config.registry import Backend, find
from speech_to_speech.config.settings import Settings
from speech_to_speech.errors import SettingsError
from speech_to_speech.workers.environments import bootstrap
from speech_to_speech.workers.model import Model
from speech_to_speech.workers.process import COMMAND, ProcessModel, unprepared
from speech_to_speech.workers.worker import OnBatch, Worker

EVICTING = ("llm", "tts")  # a call of these has many steps, and sees a cancel after each


def make_worker(stage: str, settings: Settings, on_batch: OnBatch | None = None) -> Worker[Any, Any]:
    """The worker for a stage's chosen backend: of the kind and batch limit that the backend or the settings say.

    `on_batch` is told of each call: the stage, and how many requests it takes.
    """
    backend = find(stage, getattr(settings, stage))
    model_class = backend.model_class()
    options = settings.options[stage]
    batch_limit = (stage != "vad" and getattr(settings, f"{stage}_batch_limit")) or model_class.batch_limit
    kind = getattr(settings, f"{stage}_worker") or model_class.worker
    if backend.environment is not None and kind == "thread":
        raise SettingsError(f"{stage}_worker: {stage} {backend.name} has an environment of its own, so it is a process")
    model: Model[Any, Any] = (
        ProcessModel(
            stage,
            backend.target,
            options,
            batch_limit,
            prepare=getattr(model_class, "prepare", unprepared),
            continuous=getattr(model_class, "continuous", False),
            command=_command(backend),
            memory_bytes=_memory_bytes(settings),
        )
        if kind == "process"
        else model_class(options)
    )
    if kind == "thread":
        model.batch_limit = batch_limit  # type: ignore[misc]  # a model may prepare for so many
    return Worker(
        stage,
        model,
        batch_limit=batch_limit,
        timeout_s=getattr(settings, f"{stage}_timeout_s"),
        evicts=stage in EVICTING,
        on_batch=on_batch,
    )


def _command(backend: Backend) -> tuple[str, ...]:
    """What starts the backend's process, in its own environment if it has one."""
    if backend.environment is None:
        return COMMAND
    ours = [_package("speech_to_speech"), _package(backend.target.partition(":")[0].partition(".")[0])]
    named = dict.fromkeys(f"{name}={path}" for name, path in ours)
    return (str(backend.environment.python), "-I", bootstrap.__file__, *named, "--")


def _package(name: str) -> tuple[str, Path]:
    """A top-level module's name, and its file or folder."""
    module = importlib.import_module(name)
    paths = getattr(module, "__path__", None)
    return name, Path(paths[0] if paths else str(module.__file__))


def _memory_bytes(settings: Settings) -> int:
    if settings.worker_memory_gb is not None:
        return int(settings.worker_memory_gb * 1e9)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

"""Backends for `processes`: the stand-ins of the `loadtest` profile beside a real, tiny model that never rests, and one
that says when it sent what."""

import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from speech_to_speech.config.registry import register_model
from speech_to_speech.frames import AudioChunk, ChatRequest, Message, SpeakRequest, SpeechRequest
from speech_to_speech.loadtest import LoadtestLlm, LoadtestStt
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

SHARE = 0.4  # the share of the time that a model is busy
SPEECH = SpeechRequest(bytes(16_000) + b"\x00\x10\x00\xf0" * 16_000, "en")
QUESTION = ChatRequest((Message("user", "How far away is the moon?"),), "en")
CHUNK_BYTES = 3200  # 100 ms


def keep_busy(call: Callable[[], object]) -> None:
    def work() -> None:
        while True:
            started_s = time.monotonic()
            call()
            time.sleep((time.monotonic() - started_s) * (1 / SHARE - 1))

    threading.Thread(target=work, daemon=True).start()


@register_model("stt", "busy")
class BusyStt(LoadtestStt):
    Options = LoadtestStt.Options

    def load(self) -> None:
        import torch

        from speech_to_speech.config.profiles import TINY
        from speech_to_speech.stt.whisper.backend import Whisper

        model = Whisper(Whisper.Options(stt_model_name=str(TINY / "whisper"), stt_device="cpu"))
        model.load()
        torch.set_num_threads(1)
        model.warm_up()
        keep_busy(lambda: model.run([ListJob(SPEECH) for _ in range(4)]))


@register_model("llm", "busy")
class BusyLlm(LoadtestLlm):
    Options = LoadtestLlm.Options

    def load(self) -> None:
        import torch

        from speech_to_speech.config.profiles import TINY
        from speech_to_speech.llm.transformers.backend import TransformersLlm

        model = TransformersLlm(TransformersLlm.Options(lm_model_name=str(TINY / "llama"), lm_device="cpu"))
        model.load()
        torch.set_num_threads(1)
        model.warm_up()
        keep_busy(lambda: model.run([ListJob(QUESTION) for _ in range(4)]))


class Stamps:
    """Sends as many chunks as its text says, 10 ms apart, each with the time when it was sent."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        pass

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        pass

    def run(self, jobs: Sequence[Job[SpeakRequest, AudioChunk]]) -> None:
        for job in jobs:
            for _ in range(int(job.request.text)):
                time.sleep(0.01)
                job.emit(AudioChunk(struct.pack("<d", time.monotonic()).ljust(CHUNK_BYTES, b"\x00"), 16_000))

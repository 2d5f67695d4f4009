"""What the VAD costs: the model by batch size, and the service's path from a frame's bytes to its judged windows."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import numpy as np
import uvloop

from benchmarks.units import FRAME_BYTES, FRAME_MS, WINDOW_SAMPLES

BATCHES = (1, 8, 32, 64, 192)
_SECONDS_EACH = 0.5


def _per_call_us(call: Callable[[], object]) -> float:
    """CPU time of one call in µs, the median of five stretches."""
    call()
    stretches = []
    for _ in range(5):
        calls, start = 0, time.process_time()
        while time.process_time() - start < _SECONDS_EACH / 5:
            call()
            calls += 1
        stretches.append((time.process_time() - start) / calls)
    return 1e6 * sorted(stretches)[2]


def model_us_per_window() -> dict[int, tuple[float, float]]:
    """For each batch size, CPU in µs per window: of the service's backend, and of the ONNX session's call within it.

    Noise is as dear as speech: the model does the same arithmetic on both.
    """
    from speech_to_speech.vad.base import VadRequest
    from speech_to_speech.vad.silero import CONTEXT_SAMPLES, STATE_SIZE, SileroVad
    from speech_to_speech.workers.model import ListJob

    vad = SileroVad(SileroVad.Options())
    vad.load()
    session = vad._session  # the service runs this very session, with its thread settings
    random = np.random.default_rng(1)
    found = {}
    for batch in BATCHES:
        windows = [random.normal(0, 1000, WINDOW_SAMPLES).astype("<i2").tobytes() for _ in range(batch)]
        first: ListJob[Any, Any] = ListJob(VadRequest(windows, [None] * batch))
        vad.run([first])
        request = VadRequest(windows, first.outputs[0].states)
        inputs = {
            "input": random.normal(0, 0.03, (batch, CONTEXT_SAMPLES + WINDOW_SAMPLES)).astype(np.float32),
            "state": np.zeros((2, batch, STATE_SIZE), dtype=np.float32),
            "sr": np.array(16_000, dtype=np.int64),
        }
        whole = _per_call_us(lambda request=request: vad.run([ListJob(request)]))
        call = _per_call_us(lambda inputs=inputs: session.run(None, inputs))
        found[batch] = (whole / batch, call / batch)
    return found


class _InstantWorker:
    """Judges every window to be silence, at once: leaves only the cost of framing and buffering."""

    async def call(self, request: Any) -> Any:
        from speech_to_speech.vad.base import VadResult

        return VadResult([0.0] * len(request.windows), request.states)


async def _push_in_real_time(streams: list[Any], frames: int) -> float:
    """Push a frame into each stream every 20 ms, a group at a time, as the lines of many callers come in.

    Return the CPU seconds of the process meanwhile.
    """
    groups = min(10, len(streams))
    frame = bytes(FRAME_BYTES)
    start_cpu_s, start = time.process_time(), time.monotonic()
    for number in range(frames):
        for group in range(groups):
            for stream in streams[group::groups]:
                stream.push(frame)
            due = start + (number + (group + 1) / groups) * FRAME_MS / 1000
            await anyio.sleep(max(0.0, due - time.monotonic()))
    return time.process_time() - start_cpu_s


class _Nothing:
    """A stream that takes frames and does nothing: what remains is the cost of the measurement's own clock."""

    def push(self, pcm: bytes) -> None:
        pass


async def _stage_us_per_frame(worker: Any, sessions: int, seconds: float) -> float:
    from speech_to_speech.conversation.endpointing import EndpointOptions
    from speech_to_speech.conversation.stages.vad import VadStage

    frames = round(seconds * 1000 / FRAME_MS)
    nobody = [_Nothing()] * sessions
    await _push_in_real_time(nobody, frames // 5)  # this call only warms up
    clock_s = await _push_in_real_time(nobody, frames)
    stage = VadStage(worker)
    streams = [stage.open(EndpointOptions(), lambda event: None) for _ in range(sessions)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.run)
        used_s = await _push_in_real_time(streams, frames)
        tasks.cancel_scope.cancel()
    return 1e6 * (used_s - clock_s) / (frames * sessions)


async def _with_real_worker(sessions: int, seconds: float) -> float:
    from speech_to_speech.vad.silero import SileroVad
    from speech_to_speech.workers.worker import Worker

    worker: Worker[Any, Any] = Worker("vad", SileroVad(SileroVad.Options()))
    await worker.start()
    try:
        return await _stage_us_per_frame(worker, sessions, seconds)
    finally:
        await worker.close()


def framing_us(sessions: int, seconds: float) -> float:
    """CPU in µs per 20 ms frame to buffer, cut windows, batch and find endpoints, with a VAD that costs nothing."""
    return _run(_stage_us_per_frame(_InstantWorker(), sessions, seconds))


def whole_path_us(sessions: int, seconds: float) -> float:
    """CPU in µs per 20 ms frame from its bytes to judged windows: framing, the way to the model's thread, the model."""
    return _run(_with_real_worker(sessions, seconds))


def _run(work: Coroutine[Any, Any, float]) -> float:
    return uvloop.run(work)

"""The models of the `loadtest` profile: stand-ins for STT, LLM and TTS.

They behave like models in time and order, and their answers can be checked: the caller mixes a tone into its speech,
the transcript names its pitch, and the reply is that tone. So a wrong, lost or swapped reply is heard.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from speech_to_speech.audio.samples import Samples, to_float, to_pcm
from speech_to_speech.frames import (
    SAMPLE_RATE_HZ,
    AudioChunk,
    ChatRequest,
    Message,
    SpeakRequest,
    SpeechRequest,
    Transcript,
)
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

DEFAULT_HZ = 440.0
LOWEST_HZ, HIGHEST_HZ = 300.0, 3400.0
CHUNK = 512  # samples
FEW_CHUNKS = 32  # a second; shorter speech has had less time to move, and is judged as if it went on in silence
PEAKS, PEAK_HZ = 6, 12.0  # the spectrum's peaks that are looked at, and the width of one
STEADY = 0.25  # a steadier sound is a tone: eSpeak's and human speech stay below 0.2, a tone of 0.04 above 0.35
TONE_MS, GAP_MS, FADE_MS = 600, 100, 10
AMPLITUDE = 0.3
STEP_S = 0.01  # a model's step from token to token


def occupy(base_ms: float, per_request_ms: float, jobs: Sequence[Job[Any, Any]]) -> None:
    """Take the time that a model takes for a batch, the interpreter lock not held; less, if all are cancelled."""
    end = time.monotonic() + (base_ms + per_request_ms * len(jobs)) / 1000
    while (left_s := end - time.monotonic()) > 0 and not all(job.cancelled for job in jobs):
        time.sleep(min(left_s, STEP_S))


def pitch_hz(samples: Samples) -> float:
    """The pitch of the steady tone in some speech, to about 1 Hz, or `DEFAULT_HZ` if there is none.

    Speech has strong tones too, but moving ones. Of the strongest peaks of the spectrum the steadiest is taken.
    """
    size = 1 << max(14, (len(samples) - 1).bit_length())  # bins of 1 Hz or less
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)).astype(np.float32), size))
    bin_hz = SAMPLE_RATE_HZ / size
    spectrum[: round(LOWEST_HZ / bin_hz)] = spectrum[round(HIGHEST_HZ / bin_hz) :] = 0.0
    candidates = []
    for _ in range(PEAKS):
        peak = int(spectrum.argmax())
        candidates.append((_steadiness(samples, peak * bin_hz), peak * bin_hz))
        spectrum[max(0, peak - round(PEAK_HZ / bin_hz)) : peak + round(PEAK_HZ / bin_hz)] = 0.0
    steadiness, hz = max(candidates)
    return hz if steadiness >= STEADY else DEFAULT_HZ


def _steadiness(samples: Samples, hz: float) -> float:
    """1 for a tone of exactly `hz` all the way, near 0 for one that comes, goes or moves.

    The share of the energy around `hz`, taken in short chunks, that is left when the chunks are added up in phase.
    """
    chunks = np.resize(samples, (max(1, len(samples) // CHUNK), CHUNK))
    turn = -2j * np.pi * hz / SAMPLE_RATE_HZ
    # einsum takes none of BLAS's threads, which spin for long after a product with @.
    amplitudes = np.einsum("kc,c->k", chunks, np.hanning(CHUNK) * np.exp(turn * np.arange(CHUNK)))
    amplitudes *= np.exp(turn * CHUNK * np.arange(len(chunks)))
    energy = max(len(chunks), FEW_CHUNKS) * float((np.abs(amplitudes) ** 2).sum())
    return float(np.abs(amplitudes.sum()) ** 2) / energy if energy else 0.0


def tone(hz: float) -> bytes:
    """One sentence of the reply: a tone of `TONE_MS`, faded at its ends, and a gap. int16 PCM at 16 kHz."""
    time_s = np.arange(SAMPLE_RATE_HZ * TONE_MS // 1000) / SAMPLE_RATE_HZ
    fade = np.minimum(1.0, np.minimum(time_s, time_s[::-1]) * 1000 / FADE_MS)
    gap = np.zeros(SAMPLE_RATE_HZ * GAP_MS // 1000)
    return to_pcm(np.concatenate([AMPLITUDE * fade * np.sin(2 * np.pi * hz * time_s), gap]).astype(np.float32))


def pitch_in(text: str) -> float:
    """The pitch that a transcript or a reply names."""
    found = re.search(r"(\d+(?:\.\d+)?) hertz", text)
    return float(found[1]) if found else DEFAULT_HZ


class LoadtestStt:
    """Names the pitch of the tone in the speech."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 64

    @dataclass(frozen=True)
    class Options:
        loadtest_stt_ms: float = field(default=0.0, metadata={"help": "time of a call, in milliseconds"})
        loadtest_stt_batch_ms: float = field(default=0.0, metadata={"help": "further time per request in it"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(SpeechRequest(bytes(32000), "en"))])

    def run(self, jobs: Sequence[Job[SpeechRequest, Transcript]]) -> None:
        occupy(self._options.loadtest_stt_ms, self._options.loadtest_stt_batch_ms, jobs)
        for job in jobs:
            text = f"A tone of {pitch_hz(to_float(job.request.pcm)):.1f} hertz."
            job.emit(Transcript(text, job.request.language))


class LoadtestLlm:
    """Says twice which pitch it was told."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 64

    @dataclass(frozen=True)
    class Options:
        loadtest_llm_ms: float = field(default=0.0, metadata={"help": "time of a call, in milliseconds"})
        loadtest_llm_batch_ms: float = field(default=0.0, metadata={"help": "further time per request in it"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(ChatRequest((Message("user", "A tone of 440.0 hertz."),), "en"))])

    def run(self, jobs: Sequence[Job[ChatRequest, str]]) -> None:
        occupy(self._options.loadtest_llm_ms, self._options.loadtest_llm_batch_ms, jobs)
        for job in jobs:
            pitch = pitch_in(job.request.messages[-1].content)
            job.emit(f"You sent {pitch:.1f} hertz. ")
            job.emit(f"Again {pitch:.1f} hertz.")


class LoadtestTts:
    """Each sentence becomes the tone it names."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 64
    as_written: ClassVar[bool] = True  # the pitch is in digits

    @dataclass(frozen=True)
    class Options:
        loadtest_tts_ms: float = field(default=0.0, metadata={"help": "time of a call, in milliseconds"})
        loadtest_tts_batch_ms: float = field(default=0.0, metadata={"help": "further time per request in it"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(SpeakRequest("A tone of 440.0 hertz.", "en"))])

    def run(self, jobs: Sequence[Job[SpeakRequest, AudioChunk]]) -> None:
        occupy(self._options.loadtest_tts_ms, self._options.loadtest_tts_batch_ms, jobs)
        for job in jobs:
            job.emit(AudioChunk(tone(pitch_in(job.request.text)), SAMPLE_RATE_HZ))

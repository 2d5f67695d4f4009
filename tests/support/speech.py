"""Speech of eSpeak NG that is the same in every run.

What the library says depends a little on what its process has said before, and the embedded recognizer may hear another
word then. So each sentence is spoken by a process that has said nothing yet.
"""

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from speech_to_speech.audio.samples import Resampler, to_float, to_pcm
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.tts.espeak import ESpeak
from speech_to_speech.workers.model import ListJob


@functools.cache
def _fresh_processes() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["speech_to_speech.audio.samples", "speech_to_speech.workers.model", "speech_to_speech.tts.espeak"]
    )
    return ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1)


@functools.cache
def spoken(text: str, voice: str = "en-us", rate: int = 165) -> bytes:
    """Speech without the silence around it: int16 PCM at 16 kHz, peak 0.5."""
    return _fresh_processes().submit(_speak, text, voice, rate).result(30)


def _speak(text: str, voice: str, rate: int) -> bytes:
    model = ESpeak(ESpeak.Options(espeak_voice=voice, espeak_rate=rate))
    model.load()
    job: ListJob[SpeakRequest, AudioChunk] = ListJob(SpeakRequest(text, "en"))
    model.run([job])
    resampler = Resampler()
    samples = to_float(b"".join([*map(resampler.push, job.outputs), resampler.finish()]))
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return to_pcm(0.5 * samples[loud[0] : loud[-1] + 1] / np.abs(samples).max())

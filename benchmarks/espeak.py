"""Speech from eSpeak NG's library, called through ctypes."""

import ctypes
import functools

import espeakng_loader
import numpy as np
import soxr

from benchmarks.units import SAMPLE_RATE_HZ

_SYNCHRONOUS_OUTPUT = 2
_TEXT_IS_UTF8 = 1
_SPEAKING_RATE, _WORD_GAP = 1, 7
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The initialised library and its sample rate in Hz."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS_OUTPUT, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate_hz <= 0:
        raise RuntimeError(f"espeak_Initialize answered {rate_hz}: no speech can be made for the load generator")
    return library, rate_hz


def speak(text: str, voice: str, words_per_minute: int) -> np.ndarray:
    """Speech as float32 in -1..1, mono, 16 kHz, with whatever silence the synthesiser puts around it.

    Raises ValueError for a voice that eSpeak NG does not have.
    """
    library, rate_hz = _library()
    blocks: list[np.ndarray] = []

    def receive(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(receive)  # this name keeps the callback until the synthesis is over, else C calls freed memory
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice!r}")
    library.espeak_SetParameter(_SPEAKING_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_WORD_GAP, 0, 0)
    data = text.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 1, 0, _TEXT_IS_UTF8, None, None)
    speech = np.concatenate(blocks).astype(np.float32) / 32768
    return np.asarray(soxr.resample(speech, rate_hz, SAMPLE_RATE_HZ), dtype=np.float32)

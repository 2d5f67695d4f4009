"""eSpeak NG (https://github.com/espeak-ng/espeak-ng, GPL-3) in this process, through ctypes and `espeakng-loader`.

The library has one global state: one voice at a time, one synthesis at a time in a process.
"""

import ctypes
import functools
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from speech_to_speech.errors import SettingsError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest, WordStart
from speech_to_speech.tts.base import no_voice
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

VOICES = {"en": "en-us", "fr": "fr", "es": "es", "zh": "cmn", "ja": "ja", "ko": "ko", "no": "nb"}
# Those of Whisper's languages whose dictionary the loader package has.
LANGUAGES = """
af am ar as az ba be bg bn bs ca cs cy da de el en es et eu fa fi fr gu haw he hi hr ht hu hy id is it ja ka kk kn ko la
lb lt lv mi mk ml mr ms mt my ne nl no pa pl pt ro ru sd si sk sl sq sr sv sw ta te th tk tr tt uk ur uz vi yue zh
"""

# speak_lib.h
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POS_CHARACTER = 1
PARAMETER_RATE = 1
PARAMETER_PITCH = 3
BUFFER_MS = 60

LIST_TERMINATED = 0
WORD = 1


class Event(ctypes.Structure):
    """espeak_EVENT; positions are characters from 1 and milliseconds."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))

_one_at_a_time = threading.Lock()


class ESpeak:
    """Formant synthesis: some hundred times faster than real time, in a hundred languages, with a robot's charm."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 1
    languages: ClassVar[frozenset[str]] = frozenset(LANGUAGES.split())

    @dataclass(frozen=True)
    class Options:
        espeak_voice: str | None = field(default=None, metadata={"help": "a voice, instead of the language's own"})
        espeak_rate: int = field(default=175, metadata={"help": "words per minute, 80 to 450"})
        espeak_pitch: int = field(default=50, metadata={"help": "0 to 99"})

        def __post_init__(self) -> None:
            for name, lowest, highest in (("espeak_rate", 80, 450), ("espeak_pitch", 0, 99)):
                if not lowest <= getattr(self, name) <= highest:
                    raise ValueError(f"{name}: {lowest} to {highest} is allowed, not {getattr(self, name)}")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._library: Any = None
        self._sample_rate_hz = 0

    def load(self) -> None:
        the_voices()  # the first request would otherwise wait for the disk
        with _one_at_a_time:
            self._library, self._sample_rate_hz = the_library()
            if self._options.espeak_voice and not self._set_voice(self._options.espeak_voice):
                raise SettingsError(f"espeak_voice: eSpeak NG has no voice {self._options.espeak_voice!r}")

    def warm_up(self) -> None:
        self.run([ListJob(SpeakRequest("Ready.", "en"))])

    def run(self, jobs: Sequence[Job[SpeakRequest, AudioChunk]]) -> None:
        for job in jobs:
            with _one_at_a_time:
                try:
                    self._speak(job)
                except StageFailed as error:
                    job.fail(error)

    def voices(self, language: str) -> Collection[str]:
        """The voices of the language, and what changes any of them: `en-gb-scotland`, `+f3`.

        Both together are a voice too, and so are those of other languages, which read a text by their own rules.
        """
        names, variants = the_voices()
        family = _family(VOICES.get(language, language))
        return [*(name for name in names if _family(name) == family), *(f"+{variant}" for variant in variants)]

    def _speak(self, job: Job[SpeakRequest, AudioChunk]) -> None:
        if not self._set_voice(self._voice_for(job.request)):
            raise StageFailed("tts", f"eSpeak NG has no voice for the language {job.request.language!r}")

        def on_audio(samples: Any, count: int, events: Any) -> int:
            if samples and count > 0:
                job.emit(AudioChunk(ctypes.string_at(samples, 2 * count), self._sample_rate_hz, _words(events)))
            return int(job.cancelled)

        callback = SynthCallback(on_audio)
        text = job.request.text.encode()
        self._library.espeak_SetSynthCallback(callback)
        self._library.espeak_SetParameter(PARAMETER_RATE, self._options.espeak_rate, 0)
        self._library.espeak_SetParameter(PARAMETER_PITCH, self._options.espeak_pitch, 0)
        error = self._library.espeak_Synth(text, len(text) + 1, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        if error:
            raise StageFailed("tts", f"eSpeak NG returned error {error}")

    def _voice_for(self, request: SpeakRequest) -> str:
        """The name of the voice to take.

        Raises:
            StageFailed: the request wants one that is not there.
        """
        own = self._options.espeak_voice or VOICES.get(request.language, request.language)
        if not request.voice:
            return own
        names, variants = the_voices()
        name, plus, variant = request.voice.partition("+")
        # eSpeak NG itself would take a name for a path, and pass over a variant that it does not know.
        if (name and name.lower() not in names) or (plus and variant not in variants):
            raise no_voice(request.voice, self.voices(request.language))
        return (name or own.partition("+")[0]) + plus + variant

    def _set_voice(self, voice: str) -> bool:
        return bool(self._library.espeak_SetVoiceByName(voice.encode()) == 0)


@functools.cache
def the_library() -> tuple[Any, int]:
    """The library and its sample rate in Hz: one for all, since to initialise it again crashes it now and then."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data_parent = str(Path(espeakng_loader.get_data_path()).parent).encode()
    sample_rate_hz = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, data_parent, INITIALIZE_DONT_EXIT)
    if sample_rate_hz <= 0:
        raise StageFailed("tts", f"eSpeak NG can't read its data below {data_parent.decode()}")
    return library, sample_rate_hz


@functools.cache
def the_voices() -> tuple[list[str], list[str]]:
    """The names of the voices, in lower case, and those of the variants that may stand behind a `+`."""
    import espeakng_loader

    data = Path(espeakng_loader.get_data_path())
    names = sorted(file.name.lower() for file in (data / "lang").rglob("*") if file.is_file())
    return names, sorted(file.name for file in (data / "voices" / "!v").iterdir())


def _family(voice: str) -> str:
    return voice.partition("-")[0]


def _words(events: Any) -> tuple[WordStart, ...]:
    """The words among the events of a chunk."""
    words = []
    for event in events or ():
        if event.type == LIST_TERMINATED:
            break
        if event.type == WORD:
            words.append(WordStart(event.text_position - 1, float(event.audio_position)))
    return tuple(words)

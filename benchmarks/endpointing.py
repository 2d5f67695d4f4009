"""How endpoint decisions trade false cut-offs for delay: fixed waits, and waits that a turn detector judges.

Made utterances with pauses inside go through the real VAD; every decision is then replayed at every silence in them.
The delay is that of the decision after the last sound; the time that STT takes for the words is not in it.
"""

import argparse
import ctypes
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from benchmarks.clips import SPEECH_PEAK, noise, to_int16
from benchmarks.tables import table
from benchmarks.units import SAMPLE_RATE_HZ, WINDOW_SAMPLES, percentile

WINDOW_MS = WINDOW_SAMPLES * 1000 / SAMPLE_RATE_HZ
SOFT_END_WINDOWS = 3
"""The detectors judge a silence of 96 ms."""
SPEECH_FROM, SILENCE_BELOW = 0.3, 0.15
"""The VAD's probabilities, as in the service's settings."""
LEAD_MS, TAIL_MS = 300, 1600

VOICES = {
    "en": ("en-us", "en-us+f2", "en-gb-x-rp", "en-us+m3", "en-us+f4", "en-us+m7"),
    "fr": ("fr", "fr+f2"),
    "es": ("es", "es+f4"),
    "zh": ("cmn", "cmn+f2"),
    "ja": ("ja", "ja+f2"),
    "ko": ("ko", "ko+f2"),
}
RATES = (150, 175, 165, 190)

# A number in braces is a pause in ms. More than half of the beginnings end in words that the rules' tables do not have.
UTTERANCES = {
    "en": (
        "My sister {400} moved to Canada {350} three years ago.",
        "Um {600} what time does the museum open?",
        "I need eggs, {300} milk, {350} butter, {300} and a loaf of bread.",
        "Could you play {500} the new song by Adele?",
        "My phone number is {400} five five five {450} one two three four.",
        "Yes.",
        "No thanks.",
        "Tomorrow morning {350} I have a meeting with my boss.",
        "If it rains on Sunday {450} we will stay at home.",
        "The train from Boston {500} was almost an hour late.",
        "Please turn off the lights {300} in the kitchen {250} and the hall.",
        "I don't know.",
        "Where did you buy those shoes?",
        "Set an alarm {600} for half past six.",
        "He told me that {350} the restaurant {200} was already closed.",
        "Well, {700} I am not really sure {500} but I think it was red.",
        "Can you tell me {400} how far it is to the airport?",
        "Thank you very much.",
        "I have two brothers {400} and a little sister.",
        "Remind me {450} to call my mother {900} when I get home.",
        "Because {1000} nobody asked me.",
        "We walked along the river {550} until it got dark.",
        "How much is it?",
        "My favourite colours are green {450} and purple.",
        "The password is {300} seven {250} nine two {350} six.",
    ),
    "fr": (
        "Je voudrais {450} un café s'il vous plaît.",
        "Où se trouve la gare?",
        "Demain matin {400} j'ai un rendez-vous avec {500} le médecin.",
        "Mon frère {350} habite à Lyon depuis deux ans.",
    ),
    "es": (
        "Quiero reservar {450} una mesa para {350} cuatro personas.",
        "¿Qué hora es?",
        "Mi hermana {400} trabaja en un hospital.",
        "No me gusta {300} porque {600} es demasiado caro.",
    ),
    "zh": (
        "我想预订 {400} 明天晚上的座位。",
        "你叫什么名字？",
        "我昨天去了超市 {450} 买了很多水果。",
        "因为 {600} 今天下雨了。",
    ),
    "ja": (
        "あしたの かいぎは {450} なんじからですか。",
        "ありがとうございます。",
        "きのう {350} ともだちと {500} えいがを みました。",
        "えきまで {400} あるいて じゅっぷんです。",
    ),
    "ko": (
        "내일 회의는 {450} 몇 시에 시작해요?",
        "오늘은 날씨가 좋네요.",
        "어제 {350} 친구하고 {500} 영화를 봤어요.",
        "배가 고픈데 {600} 뭐 먹을까요?",
    ),
}

FIXED_MS = (200, 250, 400, 600, 800)
ADAPTIVE_MS = ((200, 1200), (200, 800), (200, 1000), (300, 1200), (200, 1600))
"""The shortest and the longest wait. The rows that take a detector apart have the first pair."""

_SYNCHRONOUS_TEXT, _SSML = 1, 0x10
_MARK = 3
_RATE = 1


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Clip:
    """An utterance as a microphone hears it: int16 at 16 kHz, with noise before and after.

    begun: from which sample on how much of it has been said. ends: the sample after its last sound.
    """

    language: str
    audio: np.ndarray
    begun: Sequence[tuple[int, str]]
    ends: int


@dataclass(frozen=True)
class Silence:
    """A silence as the VAD hears it, long enough to be judged.

    windows: its length until speech goes on; None where it does not, at the true end.
    late_ms: from the true end of speech to the window that begins it.
    pcm, said: the utterance so far when it is judged.
    """

    clip: int
    language: str
    windows: int | None
    late_ms: float
    pcm: bytes
    said: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this part."""
    parser.add_argument("--no_stt", action="store_true", help="leave out PocketSphinx, which takes longest")


def run(arguments: argparse.Namespace) -> int:
    """Replay and print."""
    _say("speaking")
    clips = [clip for language in UTTERANCES for clip in _clips(language)]
    _say("listening")
    silences = list(_silences(clips))
    english = [silence for silence in silences if silence.language == "en"]
    others = [silence for silence in silences if silence.language != "en"]
    for title, some in (("English", english), ("French, Spanish, Chinese, Japanese, Korean", others)):
        said = [silence.said for silence in some]
        rows = _fixed(some, FIXED_MS)
        rows += _adaptive("rules, true words", some, said, ADAPTIVE_MS)
        rows += _adaptive("rules, true words and a full stop", some, [f"{text}." for text in said], ADAPTIVE_MS)
        rows += _adaptive("rules, melody alone", some, [""] * len(some), ADAPTIVE_MS[:1])
        rows += _adaptive("rules, true words alone", some, said, ADAPTIVE_MS[:1], melody=False)
        _print(title, some, rows)
    if not arguments.no_stt:
        _say("transcribing")
        some = [silence for silence in english if silence.clip % 2 == 0]
        heard, took_ms = _heard(some)
        rows = _fixed(some, FIXED_MS)
        rows += _adaptive("rules, true words", some, [silence.said for silence in some], ADAPTIVE_MS)
        rows += _adaptive("rules, as PocketSphinx hears it", some, heard, ADAPTIVE_MS)
        _print(f"English, every second utterance; PocketSphinx takes {took_ms:.0f} ms (median)", some, rows)
    return 0


def _print(title: str, silences: Sequence[Silence], rows: Sequence[Sequence[object]]) -> None:
    header = ["decision", "wait, ms", "utterances cut, %", "pauses cut, %", "delay p50, ms", "delay p90, ms"]
    print(f"{title}: {_content(silences)}\n\n{table(header, rows)}\n", flush=True)


def _content(silences: Sequence[Silence]) -> str:
    from speech_to_speech.turn.rules.words import LANGUAGES, Ending

    inside = [silence for silence in silences if silence.windows is not None]
    lacking = (Ending.FILLER, Ending.OPEN, Ending.STRANDED, Ending.WEAK)
    listed = sum(LANGUAGES[silence.language].ending(silence.said) in lacking for silence in inside)
    return (
        f"{len({silence.clip for silence in silences})} utterances with {len(inside)} silences inside, "
        f"of {32 * min(s.windows or 999 for s in inside)} to {32 * max(s.windows or 0 for s in inside)} ms; "
        f"{listed} of these follow a listed word"
    )


def _fixed(silences: Sequence[Silence], waits_ms: Sequence[int]) -> list[list[object]]:
    return [["fixed", f"{wait_ms}", *_figures(silences, [wait_ms] * len(silences))] for wait_ms in waits_ms]


def _adaptive(
    name: str,
    silences: Sequence[Silence],
    texts: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    melody: bool = True,
) -> list[list[object]]:
    from speech_to_speech.turn.base import TurnRequest
    from speech_to_speech.turn.rules.backend import complete

    judged = [
        complete(TurnRequest(silence.pcm if melody else b"", text, silence.language))
        for silence, text in zip(silences, texts, strict=True)
    ]
    return [
        [
            name,
            f"{shortest}-{longest}",
            *_figures(silences, [longest - probability * (longest - shortest) for probability in judged]),
        ]
        for shortest, longest in pairs
    ]


def _figures(silences: Sequence[Silence], waits_ms: Sequence[float]) -> list[object]:
    """Utterances cut and pauses cut, in percent; delay after the true end, median and p90, in ms."""
    cut, pauses, delays = [], 0, []
    for silence, wait_ms in zip(silences, waits_ms, strict=True):
        waited = math.ceil(wait_ms / WINDOW_MS)
        if silence.windows is None:
            delays.append(silence.late_ms + waited * WINDOW_MS)
            continue
        pauses += 1
        if silence.windows >= waited:
            cut.append(silence.clip)
    utterances = len({silence.clip for silence in silences})
    shares = [f"{100 * len(set(cut)) / utterances:.0f}", f"{100 * len(cut) / pauses:.0f}"]
    return [*shares, f"{percentile(delays, 50):.0f}", f"{percentile(delays, 90):.0f}"]


def _clips(language: str) -> Iterator[Clip]:
    for number, text in enumerate(UTTERANCES[language]):
        voices = VOICES[language]
        yield _clip(text, language, voices[number % len(voices)], RATES[number % len(RATES)], seed=number)


def _clip(text: str, language: str, voice: str, words_per_minute: int, seed: int) -> Clip:
    """Spoken in one piece, so with the melody of the whole sentence, and then pulled apart at the pauses."""
    pauses_ms = [int(pause) for pause in re.findall(r"{(\d+)}", text)]
    pieces = re.split(r"\s*{\d+}\s*", text)
    marked = "".join(f' <mark name="{number}"/>{piece}' for number, piece in enumerate(pieces))
    speech, marks = _speak(marked, voice, words_per_minute)
    if len(marks) == len(pieces):
        parts = [speech[begin:end] for begin, end in zip(marks, [*marks[1:], len(speech)], strict=True)]
    else:  # eSpeak loses the marks in Korean: a comma has about the melody of what goes on
        parts = [_speak(piece + ",", voice, words_per_minute)[0] for piece in pieces[:-1]]
        parts.append(_speak(pieces[-1], voice, words_per_minute)[0])
    joined, begun, at, said = [np.zeros(LEAD_MS * 16, np.float32)], [(0, "")], LEAD_MS * 16, ""
    for piece, part, pause_ms in zip(pieces, map(_faded, parts), [*pauses_ms, TAIL_MS], strict=True):
        said = f"{said} {piece}".strip()
        begun.append((at, _words(said)))
        ends = at + len(part)
        joined += [part, np.zeros(pause_ms * 16, np.float32)]
        at = ends + pause_ms * 16
    whole = np.concatenate(joined)
    return Clip(language, to_int16(whole + noise(len(whole), seed)), begun, ends)


def _words(text: str) -> str:
    """As a transcript without marks and capitals has them, such as that of PocketSphinx."""
    return re.sub(r"\s+", " ", re.sub(r"[^\w\s'-]", "", text)).strip().lower()


def _faded(speech: np.ndarray) -> np.ndarray:
    """Without the silence around it, and without clicks where it was cut."""
    loud = np.flatnonzero(np.abs(speech) > 0.01 * SPEECH_PEAK)
    cut = speech[loud[0] : loud[-1] + 1].copy()
    ramp = np.linspace(0, 1, 160, dtype=np.float32)
    cut[:160] *= ramp
    cut[-160:] *= ramp[::-1]
    return cut


def _speak(ssml: str, voice: str, words_per_minute: int) -> tuple[np.ndarray, list[int]]:
    """Speech at 16 kHz, and the samples at which its marks are."""
    from benchmarks.espeak import _library

    library, rate_hz = _library()
    blocks: list[np.ndarray] = []
    marks: list[int] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        number = 0
        while events[number].type:
            if events[number].type == _MARK:
                marks.append(events[number].sample)
            number += 1
        return 0

    callback = _CALLBACK(receive)  # this name keeps the callback until the synthesis is over, else C calls freed memory
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice!r}")
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    data = ssml.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 1, 0, _SYNCHRONOUS_TEXT | _SSML, None, None)
    speech = np.concatenate(blocks).astype(np.float32) / 32768
    speech = np.asarray(soxr.resample(speech, rate_hz, SAMPLE_RATE_HZ), np.float32)
    return speech * (SPEECH_PEAK / np.abs(speech).max()), [mark * SAMPLE_RATE_HZ // rate_hz for mark in marks]


def _silences(clips: Sequence[Clip]) -> Iterator[Silence]:
    """What the service's endpointing would count as silence within speech, and after it."""
    for number, (clip, probabilities) in enumerate(zip(clips, _probabilities(clips), strict=True)):
        first = next(at for at, probability in enumerate(probabilities) if probability >= SPEECH_FROM)
        began: int | None = None
        for at in range(first, len(probabilities) + 1):
            over = at == len(probabilities)
            if began is None:
                if not over and probabilities[at] < SILENCE_BELOW:
                    began = at
            elif over or probabilities[at] >= SPEECH_FROM:
                if at - began >= SOFT_END_WINDOWS:
                    yield _silence(number, clip, began, None if over else at - began)
                began = None


def _silence(number: int, clip: Clip, began: int, windows: int | None) -> Silence:
    judged = (began + SOFT_END_WINDOWS) * WINDOW_SAMPLES
    said = [text for sample, text in clip.begun if sample <= began * WINDOW_SAMPLES][-1]
    late_ms = (began * WINDOW_SAMPLES - clip.ends) * 1000 / SAMPLE_RATE_HZ
    return Silence(number, clip.language, windows, late_ms, clip.audio[:judged].tobytes(), said)


def _probabilities(clips: Sequence[Clip]) -> Iterator[list[float]]:
    from speech_to_speech.vad.base import VadRequest, VadResult
    from speech_to_speech.vad.silero import SileroVad
    from speech_to_speech.workers.model import ListJob

    vad = SileroVad(SileroVad.Options())
    vad.load()
    for clip in clips:
        state, probabilities = None, []
        for begin in range(0, len(clip.audio) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES):
            window = clip.audio[begin : begin + WINDOW_SAMPLES].tobytes()
            job: ListJob[VadRequest, VadResult] = ListJob(VadRequest([window], [state]))
            vad.run([job])
            probabilities.append(job.outputs[0].probabilities[0])
            state = job.outputs[0].states[0]
        yield probabilities


def _heard(silences: Sequence[Silence]) -> tuple[list[str], float]:
    """What PocketSphinx hears up to each silence, and the median time that it takes for that in ms."""
    from speech_to_speech.frames import SpeechRequest, Transcript
    from speech_to_speech.stt.pocketsphinx import PocketSphinx
    from speech_to_speech.workers.model import ListJob

    stt = PocketSphinx(PocketSphinx.Options())
    stt.load()
    texts, took_ms = [], []
    for silence in silences:
        job: ListJob[SpeechRequest, Transcript] = ListJob(SpeechRequest(silence.pcm, "en"))
        start = time.monotonic()
        stt.run([job])
        took_ms.append((time.monotonic() - start) * 1000)
        texts.append(job.outputs[0].text)
    return texts, percentile(took_ms, 50)


def _say(what: str) -> None:
    print(f"endpointing: {what} ...", file=sys.stderr, flush=True)

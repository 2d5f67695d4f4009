"""The embedded backends: eSpeak NG, ELIZA, PocketSphinx."""

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from speech_to_speech.audio.samples import Resampler, to_float
from speech_to_speech.errors import SettingsError, StageFailed
from speech_to_speech.frames import (
    AudioChunk,
    ChatRequest,
    Message,
    SpeakRequest,
    SpeechRequest,
    Transcript,
    pcm_bytes,
    pcm_ms,
)
from speech_to_speech.llm.eliza import Eliza
from speech_to_speech.stt.pocketsphinx import PocketSphinx
from speech_to_speech.tts.espeak import BUFFER_MS, ESpeak
from speech_to_speech.workers.model import In, Out

SENTENCES = {
    "en": "Good morning, how are you?",
    "fr": "Bonjour, comment allez-vous ?",
    "es": "Buenos días, ¿cómo está usted?",
    "zh": "早上好，你好吗？",
    "ja": "おはようございます、お元気ですか？",
    "ko": "좋은 아침입니다, 잘 지내세요?",
    "no": "God morgen, hvordan har du det?",  # whose voice has another name
}
HELP, HAPPY = "I need some help with my computer.", "I am happy to see you."
LONG_TEXT = "This is one of very many sentences. " * 400


class WatchedJob:
    """A job that keeps what it is given, and can be cancelled by what comes."""

    def __init__(self, request: In, cancel_when: Callable[[list[Out]], bool] = lambda outputs: False) -> None:
        self.request = request
        self.outputs: list[Out] = []
        self.error: Exception | None = None
        self.cancelled = False
        self.emitted = threading.Event()
        self._cancel_when = cancel_when

    def emit(self, output: Out) -> None:
        self.outputs.append(output)
        self.emitted.set()
        self.cancelled = self.cancelled or self._cancel_when(self.outputs)

    def fail(self, error: Exception) -> None:
        self.error = error


@pytest.fixture(scope="module")
def espeak() -> ESpeak:
    model = ESpeak(ESpeak.Options())
    model.load()
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def eliza() -> Eliza:
    model = Eliza(Eliza.Options())
    model.load()
    model.warm_up()
    return model


@pytest.fixture
def pocketsphinx() -> PocketSphinx:
    """A fresh one for each test: its noise and what it knows of the microphone depend on what it heard before."""
    model = PocketSphinx(PocketSphinx.Options())
    model.load()
    model.warm_up()
    return model


def say(espeak: ESpeak, text: str, language: str = "en", voice: str = "") -> list[AudioChunk]:
    job = WatchedJob(SpeakRequest(text, language, voice))
    espeak.run([job])
    assert job.error is None
    return job.outputs


def sound(chunks: Sequence[AudioChunk]) -> bytes:
    return b"".join(chunk.pcm for chunk in chunks)


def at_16_khz(chunks: Sequence[AudioChunk]) -> bytes:
    resampler = Resampler()
    return b"".join(resampler.push(chunk) for chunk in chunks) + resampler.finish()


# eSpeak NG.


@pytest.mark.parametrize("language", SENTENCES)
def test_espeak_speaks_each_language(espeak: ESpeak, language: str) -> None:
    chunks = say(espeak, SENTENCES[language], language)
    (rate_hz,) = {chunk.sample_rate_hz for chunk in chunks}
    assert rate_hz == 22_050
    assert 700 < pcm_ms(len(sound(chunks)), rate_hz) < 5000
    assert np.abs(to_float(sound(chunks))).max() > 0.1


def test_espeak_speaks_each_language_in_its_own_way(espeak: ESpeak) -> None:
    assert len({sound(say(espeak, "Paris, 1234", language)) for language in SENTENCES}) == len(SENTENCES)


def test_espeak_says_the_same_again_after_another_language(espeak: ESpeak) -> None:
    first = sound(say(espeak, SENTENCES["en"]))
    say(espeak, SENTENCES["ko"], "ko")
    again = sound(say(espeak, SENTENCES["en"]))
    assert pcm_ms(len(again), 22_050) == pytest.approx(pcm_ms(len(first), 22_050), abs=60)


def test_espeak_gives_audio_in_chunks(espeak: ESpeak) -> None:
    chunks = say(espeak, SENTENCES["en"])
    assert len(chunks) > 5
    assert max(pcm_ms(len(chunk.pcm), chunk.sample_rate_hz) for chunk in chunks) <= BUFFER_MS + 1


def test_an_unknown_language_fails_that_job_only(espeak: ESpeak) -> None:
    jobs = [WatchedJob(SpeakRequest("Hello.", language)) for language in ("en", "xx", "en")]
    espeak.run(jobs)
    assert [bool(job.outputs) for job in jobs] == [True, False, True]
    assert [job.error is None for job in jobs] == [True, False, True]
    assert isinstance(jobs[1].error, StageFailed)
    assert "'xx'" in str(jobs[1].error)


@pytest.mark.parametrize(
    "text", ["<b>&amp;</b>", "a\0b", "¡¿", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]
)
def test_espeak_survives_odd_text(espeak: ESpeak, text: str) -> None:
    say(espeak, text)
    assert say(espeak, "Hello.")


def test_a_cancel_within_a_chunk_stops_espeak_there(espeak: ESpeak) -> None:
    job = WatchedJob(SpeakRequest(LONG_TEXT, "en"), cancel_when=lambda outputs: len(outputs) == 3)
    espeak.run([job])
    assert len(job.outputs) == 3


def test_a_cancel_from_another_thread_stops_espeak(espeak: ESpeak) -> None:
    job = WatchedJob(SpeakRequest(LONG_TEXT, "en"))
    speaking = threading.Thread(target=espeak.run, args=([job],))
    speaking.start()
    assert job.emitted.wait(10)
    job.cancelled = True
    made = len(job.outputs)
    speaking.join(10)
    assert not speaking.is_alive()
    # What was already being made counts.
    assert len(job.outputs) <= made + 2


def test_espeak_speaks_on_after_a_cancel(espeak: ESpeak) -> None:
    cancelled = WatchedJob(SpeakRequest(LONG_TEXT, "en"), cancel_when=lambda outputs: True)
    following = WatchedJob(SpeakRequest(SENTENCES["en"], "en"))
    espeak.run([cancelled, following])
    assert pcm_ms(len(sound(following.outputs)), 22_050) > 700


@pytest.mark.alone
def test_a_job_cancelled_in_the_line_is_not_spoken(espeak: ESpeak) -> None:
    job = WatchedJob(SpeakRequest(LONG_TEXT, "en"))
    job.cancelled = True
    started = time.monotonic()
    espeak.run([job])
    assert len(job.outputs) <= 1
    assert time.monotonic() - started < 1


def test_two_espeaks_on_two_threads_do_not_mix(espeak: ESpeak) -> None:
    other = ESpeak(ESpeak.Options(espeak_rate=300))
    other.load()
    jobs = [WatchedJob(SpeakRequest(SENTENCES["en"] * 5, "en")) for _ in range(2)]
    threads = [
        threading.Thread(target=model.run, args=([job],)) for model, job in zip((espeak, other), jobs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    slow_ms, fast_ms = (pcm_ms(len(sound(job.outputs)), 22_050) for job in jobs)
    assert 1.2 < slow_ms / fast_ms < 2.5


def test_rate_and_pitch_change_the_voice(espeak: ESpeak) -> None:
    plain = say(espeak, SENTENCES["en"])
    for options in (ESpeak.Options(espeak_rate=300), ESpeak.Options(espeak_pitch=90)):
        model = ESpeak(options)
        model.load()
        assert sound(say(model, SENTENCES["en"])) != sound(plain)


def test_a_voice_overrides_the_language() -> None:
    model = ESpeak(ESpeak.Options(espeak_voice="en-us+f3"))
    model.load()
    assert sound(say(model, "Hello.", "en")) != b""
    assert sound(say(model, "Hello.", "xx")) != b""


def test_a_voice_that_does_not_exist_is_a_bad_setting() -> None:
    model = ESpeak(ESpeak.Options(espeak_voice="nobody"))
    with pytest.raises(SettingsError, match=r"^espeak_voice: eSpeak NG has no voice 'nobody'$"):
        model.load()


def pitch_hz(pcm: bytes) -> float:
    """How high a voice is: the median over the windows in which it has a tone."""
    samples, size, (shortest, longest) = to_float(pcm), 1024, (22_050 // 400, 22_050 // 60)
    found = []
    for start in range(0, len(samples) - size, size):
        window = samples[start : start + size]
        alike = np.correlate(window, window, "full")[size - 1 :]
        period = shortest + int(np.argmax(alike[shortest:longest]))
        if alike[0] > 1 and alike[period] > 0.5 * alike[0]:
            found.append(22_050 / period)
    return float(np.median(found))


def test_requests_of_one_batch_have_voices_of_their_own(espeak: ESpeak) -> None:
    """eSpeak NG never says a thing twice in quite the same way: what is heard is the pitch and the pace."""
    jobs = [
        WatchedJob(SpeakRequest(SENTENCES["en"], "en", voice)) for voice in ("", "EN-US+f3", "en-gb-scotland", "+f3")
    ]
    espeak.run(jobs)
    assert [job.error for job in jobs] == [None] * 4
    own, woman, scot, variant = (sound(job.outputs) for job in jobs)
    assert pitch_hz(woman) == pytest.approx(2 * pitch_hz(own), rel=0.1)
    assert len(scot) == pytest.approx(0.92 * len(own), rel=0.02)
    assert pitch_hz(variant) == pytest.approx(pitch_hz(woman), rel=0.1)
    again = sound(say(espeak, SENTENCES["en"]))
    assert pitch_hz(again) == pytest.approx(pitch_hz(own), rel=0.1)
    assert len(again) == pytest.approx(len(own), rel=0.01)


def test_a_variant_goes_behind_the_voice_of_the_options() -> None:
    model = ESpeak(ESpeak.Options(espeak_voice="en-gb-scotland+m3"))
    model.load()
    own, woman = (sound(say(model, SENTENCES["en"], "en", voice)) for voice in ("", "+f3"))
    assert pitch_hz(woman) == pytest.approx(2 * pitch_hz(own), rel=0.1)
    american = sound(say(model, SENTENCES["en"], "en", "en-us+f3"))
    assert len(woman) < 0.95 * len(american)


@pytest.mark.parametrize("voice", ["nobody", "en-us+nobody", "nobody+f3", "+", "en-us+", "../voices/!v/f3", "a" * 1000])
def test_a_voice_that_is_not_there_fails_that_job_only(espeak: ESpeak, voice: str) -> None:
    jobs = [WatchedJob(SpeakRequest("Hello.", "fr", each)) for each in ("fr-be", voice, "")]
    espeak.run(jobs)
    assert [bool(job.outputs) for job in jobs] == [True, False, True]
    assert isinstance(jobs[1].error, StageFailed)
    assert jobs[1].error.message == (
        f"there is no voice {voice[:40]!r}; there are fr, fr-be, fr-ch, +Alex, +Alicia, +Andrea, +Andy, +Annie, "
        "+AnxiousAndy, +Demonic, +Denis, +Diogo, ..."
    )


@pytest.mark.parametrize("language", SENTENCES)
def test_espeak_speaks_with_each_voice_that_it_names(espeak: ESpeak, language: str) -> None:
    voices = espeak.voices(language)
    assert {"+f3", "+whisper"} < set(voices)
    assert not voices[0].startswith("+")
    for voice in voices:
        assert sound(say(espeak, "1", language, voice))


@pytest.mark.parametrize(
    "options", [{"espeak_rate": 79}, {"espeak_rate": 451}, {"espeak_pitch": -1}, {"espeak_pitch": 100}]
)
def test_espeak_options_have_ranges(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is allowed, not"):
        ESpeak.Options(**options)  # type: ignore[arg-type]


# ELIZA.


def ask(eliza: Eliza, *contents: str) -> str:
    job = WatchedJob(ChatRequest(tuple(Message("user", content) for content in contents), "en"))
    eliza.run([job])
    return "".join(job.outputs)


@pytest.mark.parametrize("question", ["I need some help", "hello", "What is this?", "你好"])
def test_eliza_answers_whatever_she_is_asked(eliza: Eliza, question: str) -> None:
    assert any(letter.isalpha() for letter in ask(eliza, question))


def test_eliza_takes_up_what_was_said(eliza: Eliza) -> None:
    assert "a dog" in ask(eliza, "i need a dog")


def test_eliza_answers_the_last_message(eliza: Eliza) -> None:
    assert "a cat" in ask(eliza, "i need a dog", "i need a cat")


def test_eliza_answers_in_deltas_that_make_the_text(eliza: Eliza) -> None:
    job = WatchedJob(ChatRequest((Message("user", "i need a dog"),), "en"))
    eliza.run([job])
    assert len(job.outputs) > 2
    text = "".join(job.outputs)
    assert text == " ".join(text.split())


def test_eliza_stops_when_cancelled(eliza: Eliza) -> None:
    first = WatchedJob(ChatRequest((Message("user", "i need a dog"),), "en"), cancel_when=lambda outputs: True)
    second = WatchedJob(ChatRequest((Message("user", "i need a dog"),), "en"))
    eliza.run([first, second])
    assert len(first.outputs) == 1
    assert len(second.outputs) > 2


# PocketSphinx.


def hear(pocketsphinx: PocketSphinx, pcm: bytes) -> str:
    job = WatchedJob(SpeechRequest(pcm, "en"))
    pocketsphinx.run([job])
    assert job.error is None
    (transcript,) = job.outputs
    assert isinstance(transcript, Transcript)
    assert transcript.language == "en"
    return transcript.text


def test_pocketsphinx_hears_words(pocketsphinx: PocketSphinx, espeak: ESpeak) -> None:
    text = hear(pocketsphinx, at_16_khz(say(espeak, HELP)))
    assert "computer" in text.split()


@pytest.mark.parametrize("ms", [0, 1, 20, 500, 2000])
def test_silence_has_no_words(pocketsphinx: PocketSphinx, ms: float) -> None:
    assert hear(pocketsphinx, bytes(pcm_bytes(ms))) == ""


@pytest.mark.parametrize("floor", [0.0, 0.003])
def test_what_is_fainter_than_the_noise_floor_has_no_words(floor: float) -> None:
    model = PocketSphinx(PocketSphinx.Options(pocketsphinx_noise_floor=floor))
    model.load()
    faint = np.random.default_rng(0).uniform(-floor, floor, 16_000) * 32767
    assert hear(model, faint.astype("<i2").tobytes()) == ""


def test_an_utterance_does_not_leak_into_the_next(pocketsphinx: PocketSphinx, espeak: ESpeak) -> None:
    assert "computer" in hear(pocketsphinx, at_16_khz(say(espeak, HELP)))
    assert "computer" not in hear(pocketsphinx, at_16_khz(say(espeak, HAPPY)))


def test_a_cancelled_utterance_is_not_decoded(pocketsphinx: PocketSphinx, espeak: ESpeak) -> None:
    job = WatchedJob(SpeechRequest(at_16_khz(say(espeak, HELP)), "en"))
    job.cancelled = True
    pocketsphinx.run([job])
    assert job.outputs == []


def test_words_do_not_depend_on_who_spoke_before(pocketsphinx: PocketSphinx, espeak: ESpeak) -> None:
    pcm = at_16_khz(say(espeak, HELP))
    first = hear(pocketsphinx, pcm)
    hear(pocketsphinx, at_16_khz(say(espeak, HAPPY)))
    assert hear(pocketsphinx, pcm) == first


def test_the_noise_floor_has_a_range() -> None:
    with pytest.raises(ValueError, match=r"0 to 0\.1 is allowed, not 0\.5"):
        PocketSphinx.Options(pocketsphinx_noise_floor=0.5)

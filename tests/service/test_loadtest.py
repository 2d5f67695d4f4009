"""The stand-ins of the load test: replies that can be checked by ear."""

import time

import numpy as np
import pytest

from speech_to_speech.audio.samples import Resampler, Samples, to_float, to_pcm
from speech_to_speech.frames import (
    SAMPLE_RATE_HZ,
    AudioChunk,
    ChatRequest,
    Message,
    SpeakRequest,
    SpeechRequest,
    Transcript,
    pcm_ms,
)
from speech_to_speech.loadtest import (
    DEFAULT_HZ,
    GAP_MS,
    TONE_MS,
    LoadtestLlm,
    LoadtestStt,
    LoadtestTts,
    occupy,
    pitch_hz,
    pitch_in,
    tone,
)
from speech_to_speech.tts.espeak import ESpeak
from speech_to_speech.workers.model import ListJob

SENTENCES = [
    "Where did I leave my keys?",
    "Please tell me what the weather will be like tomorrow in the afternoon.",
    "One two three four five six seven eight nine ten.",
]
PITCHES_HZ = [330.0, 512.3, 700.0, 997.1, 1600.0, 2345.6, 3200.0]


@pytest.fixture(scope="module")
def espeak() -> ESpeak:
    model = ESpeak(ESpeak.Options())
    model.load()
    return model


def say(espeak: ESpeak, text: str) -> Samples:
    job = ListJob[SpeakRequest, AudioChunk](SpeakRequest(text, "en"))
    espeak.run([job])
    resampler = Resampler()
    return to_float(b"".join(resampler.push(chunk) for chunk in job.outputs) + resampler.finish())


def sine(hz: float, samples: int, amplitude: float) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(samples) / SAMPLE_RATE_HZ)).astype(np.float32)


def speech_with_tone(espeak: ESpeak, text: str, hz: float) -> Samples:
    """What a caller of the load test sends: a faint tone under speech, and the silence that ends the utterance."""
    speech = say(espeak, text)
    return speech * 0.5 + sine(hz, len(speech), 0.04)


@pytest.mark.parametrize("hz", PITCHES_HZ)
@pytest.mark.parametrize("text", SENTENCES, ids=len)
def test_the_pitch_of_a_faint_tone_in_speech_is_found(espeak: ESpeak, text: str, hz: float) -> None:
    assert pitch_hz(speech_with_tone(espeak, text, hz)) == pytest.approx(hz, abs=1.5)


@pytest.mark.parametrize("hz", PITCHES_HZ)
def test_the_pitch_is_found_in_an_utterance_with_silence_around(espeak: ESpeak, hz: float) -> None:
    mixed = speech_with_tone(espeak, SENTENCES[1], hz)
    utterance = np.concatenate([np.zeros(3000, np.float32), mixed, np.zeros(4000, np.float32)])
    assert pitch_hz(utterance) == pytest.approx(hz, abs=1.5)


@pytest.mark.parametrize("text", [*SENTENCES, "Yes.", "I am well.", "What do you think?"])
def test_plain_speech_has_the_default_pitch(espeak: ESpeak, text: str) -> None:
    assert pitch_hz(say(espeak, text)) == DEFAULT_HZ


def test_silence_and_noise_have_the_default_pitch() -> None:
    assert pitch_hz(np.zeros(16_000, np.float32)) == DEFAULT_HZ
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    assert pitch_hz(noise) == DEFAULT_HZ


@pytest.mark.parametrize("samples", [1, 100, 511, 512, 513])
def test_a_very_short_utterance_has_some_pitch(samples: int) -> None:
    assert pitch_hz(sine(1000, samples, 0.1)) > 0


@pytest.mark.parametrize("hz", PITCHES_HZ)
def test_a_tone_has_its_pitch(hz: float) -> None:
    assert pitch_hz(to_float(tone(hz))) == pytest.approx(hz, abs=1.0)


def test_a_tone_is_as_long_as_said_and_fades() -> None:
    pcm = tone(1000)
    samples = to_float(pcm)
    assert pcm_ms(len(pcm)) == TONE_MS + GAP_MS
    assert abs(samples[0]) < 0.001
    assert not samples[-SAMPLE_RATE_HZ * GAP_MS // 1000 :].any()
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.01)


def test_the_pitch_is_read_from_a_text() -> None:
    assert pitch_in("You sent 997.1 hertz.") == 997.1
    assert pitch_in("A tone of 512 hertz.") == 512.0
    assert pitch_in("Nothing of the kind.") == DEFAULT_HZ


def test_the_stand_ins_hand_the_pitch_on(espeak: ESpeak) -> None:
    pcm = to_pcm(speech_with_tone(espeak, SENTENCES[0], 997.1))
    heard = ListJob[SpeechRequest, Transcript](SpeechRequest(pcm, "en"))
    LoadtestStt(LoadtestStt.Options()).run([heard])
    asked = ListJob[ChatRequest, str](ChatRequest((Message("user", heard.outputs[0].text),), "en"))
    LoadtestLlm(LoadtestLlm.Options()).run([asked])
    assert len(asked.outputs) == 2
    for sentence in asked.outputs:
        spoken = ListJob[SpeakRequest, AudioChunk](SpeakRequest(sentence, "en"))
        LoadtestTts(LoadtestTts.Options()).run([spoken])
        (chunk,) = spoken.outputs
        assert pitch_hz(to_float(chunk.pcm)) == pytest.approx(997.1, abs=2.5)


def test_every_job_of_a_batch_gets_its_own_reply() -> None:
    jobs = [ListJob[SpeakRequest, AudioChunk](SpeakRequest(f"It is {hz} hertz.", "en")) for hz in PITCHES_HZ]
    LoadtestTts(LoadtestTts.Options()).run(jobs)
    for hz, job in zip(PITCHES_HZ, jobs, strict=True):
        assert pitch_hz(to_float(job.outputs[0].pcm)) == pytest.approx(hz, abs=1.0)


def took_ms(base_ms: float, per_request_ms: float, batch: int) -> float:
    started = time.monotonic()
    occupy(base_ms, per_request_ms, [ListJob(None)] * batch)
    return (time.monotonic() - started) * 1000


def test_a_call_takes_its_time() -> None:
    assert took_ms(20, 0, 5) >= 20


def test_a_call_takes_more_time_for_more_requests() -> None:
    assert took_ms(5, 5, 4) >= 25


def test_a_call_takes_no_time_by_default() -> None:
    assert took_ms(0, 0, 64) < 20

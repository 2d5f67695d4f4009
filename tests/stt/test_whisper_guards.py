"""What of Whisper's texts is believed, and where long sound is cut: no model needed."""

import time

import numpy as np
import pytest
from service import noise, spoken

from speech_to_speech.audio.samples import Samples, to_float
from speech_to_speech.stt.whisper.audio import is_silent, lacks_speech, levels, windows
from speech_to_speech.stt.whisper.guards import (
    REPETITIVE,
    believed,
    compression_ratio,
    is_hallucination,
    unlooped,
)
from speech_to_speech.tts.espeak import VOICES

THANKS = {
    "en": ["Thank you.", "Thanks for watching!"],
    "fr": ["Merci.", "Sous-titres réalisés par la communauté d'Amara.org"],
    "es": ["Gracias.", "¡Gracias por ver el vídeo!"],
    "zh": ["谢谢大家。", "字幕由Amara.org社区提供"],
    "ja": ["ありがとうございました。", "ご視聴ありがとうございました。"],
    "ko": ["감사합니다.", "시청해 주셔서 감사합니다."],
}
SENTENCES = [(language, sentence) for language, sentences in THANKS.items() for sentence in sentences]


def hiss(seconds: float, level: float) -> Samples:
    return to_float(noise(seconds * 1000, level))


def hum(seconds: float, level: float) -> Samples:
    time_s = np.arange(int(seconds * 16_000)) / 16_000
    return (level * (np.sin(2 * np.pi * 50 * time_s) + 0.5 * np.sin(2 * np.pi * 150 * time_s))).astype(np.float32)


# Energy.


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(48_000, np.float32)])
def test_nothing_is_silent(samples: Samples) -> None:
    assert is_silent(samples)
    assert lacks_speech(samples)


def test_a_quiet_room_is_silent_and_a_quiet_speaker_is_not() -> None:
    assert is_silent(hiss(3, 0.001))
    speech = to_float(spoken("What should I cook for dinner?"))
    assert not is_silent(0.02 * speech)
    assert not is_silent(speech[4000:4100])


@pytest.mark.parametrize("level", [0.003, 0.02, 0.2])
def test_hiss_and_hum_have_no_speech_in_them_however_loud(level: float) -> None:
    for sound in (hiss(2, level), hum(2, level)):
        assert not is_silent(sound)
        assert lacks_speech(sound)


def test_clicks_and_knocks_have_no_speech_in_them() -> None:
    clicks, knock = hiss(2, 0.001), hiss(2, 0.001)
    clicks[::4000] = 0.8
    knock[8000:8400] += hiss(0.025, 0.5)
    assert lacks_speech(clicks)
    assert lacks_speech(knock)


@pytest.mark.parametrize(("language", "sentence"), SENTENCES)
def test_speech_varies_also_without_a_pause_and_in_some_noise(language: str, sentence: str) -> None:
    speech = to_float(spoken(sentence, VOICES[language]))
    room = hiss(len(speech) / 16_000, 0.03)[: len(speech)]
    assert not lacks_speech(speech)
    assert not lacks_speech(speech + room)
    assert not lacks_speech(np.concatenate([hiss(1, 0.002), 0.1 * speech, hiss(1, 0.002)]))


def test_levels_are_of_20_ms_and_the_rest_counts_by_itself() -> None:
    sound = np.concatenate([np.full(320, 0.5), np.zeros(320), np.full(80, 0.25)]).astype(np.float32)
    assert levels(sound) == pytest.approx([0.5, 0.0, 0.25])


# Known sentences.


@pytest.mark.parametrize(("language", "sentence"), SENTENCES)
def test_a_known_sentence_counts_as_heard_if_somebody_spoke(language: str, sentence: str) -> None:
    speech = to_float(spoken(sentence, VOICES[language]))
    assert believed(sentence, speech, no_speech=0.3, sureness=0.0) == sentence


@pytest.mark.parametrize(("language", "sentence"), SENTENCES)
def test_a_known_sentence_is_dropped_if_the_model_or_the_energy_says_nobody_spoke(language: str, sentence: str) -> None:
    speech = to_float(spoken(sentence, VOICES[language]))
    assert believed(sentence, speech, no_speech=0.7, sureness=-0.1) == ""
    assert believed(sentence, hiss(2, 0.02), no_speech=0.0, sureness=0.0) == ""


def test_another_sentence_takes_the_model_and_the_energy_to_be_dropped() -> None:
    text = "How far away is the moon?"
    assert believed(text, hiss(2, 0.02), no_speech=0.9, sureness=-0.1) == ""
    assert believed(text, hiss(2, 0.02), no_speech=0.5, sureness=-0.1) == text
    assert believed(text, to_float(spoken(text)), no_speech=0.9, sureness=-0.1) == text


def test_a_text_is_dropped_if_the_model_hears_no_speech_and_is_unsure_of_it() -> None:
    speech = to_float(spoken("How far away is the moon?"))
    text = "How far away is the moon?"
    assert believed(text, speech, no_speech=0.61, sureness=-1.01) == ""
    assert believed(text, speech, no_speech=0.59, sureness=-1.01) == text
    assert believed(text, speech, no_speech=0.61, sureness=-0.99) == text


def test_known_sentences_are_known_in_any_dress() -> None:
    assert is_hallucination(" THANK YOU ")
    assert is_hallucination("Thank you. Thank you. Thanks for watching!")
    assert is_hallucination("ご視聴ありがとうございました")
    assert not is_hallucination("Thank you for the music.")
    assert not is_hallucination("Thank you. How far away is the moon?")
    assert not is_hallucination("")
    assert not is_hallucination("...")


# Loops.


@pytest.mark.parametrize(
    ("loop", "kept"),
    [
        ("I am here. " * 30, "I am here."),
        ("So I said that " + "and then " * 40, "So I said that and then"),
        ("Well, " + "no, " * 60 + "that is all.", "Well, no, that is all."),
        ("ありがとう" * 30, "ありがとう"),
        ("a" * 200, "a"),
        ("one two " * 30 + "then " + "three four " * 30, "one two then three four"),
    ],
)
def test_a_phrase_said_over_and_over_is_kept_once(loop: str, kept: str) -> None:
    assert compression_ratio(loop.strip()) > REPETITIVE
    assert unlooped(loop.strip()) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "No, no, no, no, no.",
        "One two three, one two three, one two three.",
        "It is ready in half an hour, and if you like you can make tomato soup with bread while you wait for it.",
        "오늘 저녁에는, 따뜻한 김치찌개를 추천해요. 밥과 함께 먹으면 아주 맛있어요.",
    ],
)
def test_what_people_say_is_no_loop(text: str) -> None:
    assert unlooped(text) == text


def test_the_longest_text_that_a_model_can_write_takes_no_time() -> None:
    text = "abcdefghij klmnopqrst uvwxyz " * 100
    started = time.process_time()
    assert unlooped(text) == "abcdefghij klmnopqrst uvwxyz"
    assert time.process_time() - started < 1


# Windows.


def test_what_fits_is_not_cut() -> None:
    speech = to_float(spoken("How far away is the moon?"))
    (only,) = windows(speech, len(speech))
    assert only is speech
    (empty,) = windows(np.zeros(0, np.float32), 64_000)
    assert len(empty) == 0


@pytest.mark.parametrize("length", [64_001, 70_000, 100_000, 128_000, 130_000, 1_000_000])
def test_windows_are_short_enough_and_lose_nothing(length: int) -> None:
    sound = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    parts = windows(sound, 64_000)
    assert np.array_equal(np.concatenate(parts), sound)
    assert max(map(len, parts)) <= 64_000
    assert min(map(len, parts)) >= 8_000


def test_a_cut_is_in_a_pause() -> None:
    phrases = [to_float(spoken(text)) for text in ("How far away is the moon?", "What should I cook for dinner?")]
    gap = hiss(0.4, 0.001)
    sound = np.concatenate([phrases[0], gap, phrases[1], gap, phrases[0], gap, phrases[1]])
    starts = np.cumsum([len(part) for part in windows(sound, 64_000)])[:-1]
    ends = np.cumsum([len(phrases[0]), len(gap), len(phrases[1]), len(gap), len(phrases[0]), len(gap)])
    pauses = list(zip(ends[::2], ends[1::2], strict=True))
    assert len(starts) >= 1
    for start in starts:
        assert any(begin <= start <= end for begin, end in pauses), (start, pauses)

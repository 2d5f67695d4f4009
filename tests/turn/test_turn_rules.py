"""Turn detection by rules: what is complete, what is a pause in the middle, by words and by melody."""

import numpy as np
import pytest
from service import noise, spoken

from speech_to_speech.frames import SAMPLE_RATE_HZ, pcm_bytes
from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.turn.rules.backend import RulesDetector
from speech_to_speech.turn.rules.prosody import Prosody, prosody
from speech_to_speech.turn.rules.words import LANGUAGES
from speech_to_speech.workers.model import ListJob

LIKELY, UNLIKELY = 0.7, 0.3


def finished(text: str, language: str = "en", pcm: bytes = b"") -> float:
    """The one probability that the detector emits."""
    rules = RulesDetector(RulesDetector.Options())
    rules.load()
    job: ListJob[TurnRequest, float] = ListJob(TurnRequest(pcm, text, language))
    rules.run([job])
    (probability,) = job.outputs
    return probability


def voice(from_hz: float, to_hz: float, ms: float = 800) -> bytes:
    """A voice whose pitch glides, and the silence of a quiet room."""
    pitch = np.geomspace(from_hz, to_hz, pcm_bytes(ms) // 2)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 8))
    return (harmonics * 4000).astype("<i2").tobytes() + noise(100)


OPEN = {
    "en": (
        "i would like to",
        "we met at the",
        "it was cold and",
        "um",
        "she said, you know",
        "my name is",
        "tell me",
        "i'm",
    ),
    "fr": ("je voudrais un", "il pleut et", "euh", "on se voit à", "parce que", "je cherche l'", "c'est"),
    "es": ("quiero un", "llueve y", "eh", "vamos a", "no puedo porque", "es"),
    "zh": ("我想问一下因为", "但是", "嗯", "我住在", "然后", "如果"),
    "ja": ("明日の会議は", "行きたいんですけど", "えーと", "駅まで", "雨が降っていて", "疲れたから"),
    "ko": ("내일 회의는", "배가 고픈데", "음", "밥을 먹고", "비가 와서", "배가 고프니까", "그리고"),
}
COMPLETE = {
    "en": (
        "yes",
        "no thanks",
        "hello",
        "where are you",
        "could you repeat that please",
        "what time is it",
        "i think so",
    ),
    "fr": ("oui", "non merci", "bonjour", "où est la gare", "un café s'il vous plaît", "est-ce que tu viens demain"),
    "es": ("sí", "no gracias", "hola", "qué hora es", "un café por favor", "dónde está el hotel"),
    "zh": ("好的", "不用了", "你好", "你好吗", "现在几点了", "我们走吧"),
    "ja": ("はい", "いいえ", "こんにちは", "何時ですか", "駅へ行きます", "教えてください", "昨日行きました"),
    "ko": ("네", "아니요", "안녕하세요", "몇 시에 시작합니까", "밥을 먹었어요", "어디에 가세요", "학교에 갑니다"),
}


@pytest.mark.parametrize(("language", "text"), [(language, text) for language in OPEN for text in OPEN[language]])
def test_after_a_word_that_needs_another_the_speaker_goes_on(language: str, text: str) -> None:
    assert finished(text, language) < UNLIKELY


@pytest.mark.parametrize(
    ("language", "text"), [(language, text) for language in COMPLETE for text in COMPLETE[language]]
)
def test_answers_questions_and_final_words_are_complete(language: str, text: str) -> None:
    assert finished(text, language) > LIKELY


@pytest.mark.parametrize(
    ("language", "half", "whole"),
    [
        ("en", "my number is five five", "my number is five five five one two three four"),
        ("en", "the code is 4 5", "the code is 4 5 1 2"),
        ("en", "call me, phone number 555-12", "call me, phone number 555-1234"),
        ("fr", "mon numéro est zéro six", "mon numéro est zéro six un deux trois quatre cinq six"),
        ("es", "mi número es seis uno", "mi número es seis uno dos tres cuatro cinco seis"),
        ("zh", "我的电话号码是一三八", "我的电话号码是一三八零零一二三四"),
        ("ja", "電話番号は090", "電話番号は090-1234-5678"),
        ("ko", "제 번호는 공일공", "제 번호는 공일공 일이삼사 오육칠팔"),
    ],
)
def test_a_dictated_number_is_complete_with_its_last_digit(language: str, half: str, whole: str) -> None:
    assert finished(half, language) < UNLIKELY
    assert finished(whole, language) >= 0.5


@pytest.mark.parametrize("text", ["i am five", "we need two", "it was in 1984", "meet me at room 5"])
def test_a_number_that_nobody_dictates_is_no_half_number(text: str) -> None:
    assert finished(text) >= 0.5


def test_tens_alone_may_be_followed_by_a_unit() -> None:
    assert finished("it costs twenty") < 0.5 < finished("it costs twenty three")


@pytest.mark.parametrize(
    "text", ["who are you talking to", "i know who that is", "what is this for?", "where is it from"]
)
def test_a_preposition_at_the_end_of_a_question_is_not_missing_anything(text: str) -> None:
    assert finished(text) > 0.5


def test_a_condition_wants_its_consequence() -> None:
    assert finished("if it rains tomorrow") < UNLIKELY
    assert finished("if it rains tomorrow we can all go to the cinema") > 0.5
    assert finished("when will you be here") > LIKELY, "a question, not a condition"
    assert finished("我们走", "zh") > finished("如果下雨", "zh")


def test_marks_count_where_the_transcript_has_them() -> None:
    plain = finished("my sister lives in Rome")
    assert finished("My sister lives in Rome,") < UNLIKELY
    assert finished("My sister lives in Rome...") < UNLIKELY
    assert finished("My sister lives in Rome…") < UNLIKELY
    assert plain < finished("My sister lives in Rome.") < finished("Does she live in Rome?")
    assert finished("私の妹は、", "ja") < UNLIKELY
    assert finished("你去那个大商店？", "zh") > LIKELY


def test_a_full_stop_does_not_complete_what_is_open() -> None:
    assert finished("I would like to.") < UNLIKELY
    assert finished("Um.") < UNLIKELY


def test_case_quotes_noises_and_apostrophes_do_not_matter() -> None:
    assert finished("I Would Like TO") == finished("i would like to")
    assert finished("I’m") == finished("i'm")
    assert finished("[NOISE] yes <sil>") == finished("(laughs) Yes") == finished("“yes”") == finished("yes")
    assert finished("몇 시에 시작합니까", "ko") == finished("몇 시에 시작합니까", "ko")


@pytest.mark.parametrize("text", ["", "   ", "...", "[NOISE]", "—", "?!", "'"])
def test_no_words_are_no_evidence(text: str) -> None:
    assert finished(text) == 0.5


def test_words_without_a_cue_lean_to_neither_side() -> None:
    assert UNLIKELY < finished("my sister") < LIKELY


def test_another_language_goes_by_marks_alone() -> None:
    assert finished("ich möchte und", "de") == 0.5
    assert finished("Wie geht es dir?", "de") > LIKELY


@pytest.mark.parametrize("language", [*LANGUAGES, "de", ""])
@pytest.mark.parametrize(
    "text", ["", "…", "a", "5", "了", "か", "요", "🙂", "-", "'", "a" * 10_000, "5 " * 1000, "\x00"]
)
def test_whatever_the_text_it_is_a_probability(text: str, language: str) -> None:
    assert 0 < finished(text, language) < 1


@pytest.mark.parametrize("speaker_hz", [90.0, 130.0, 220.0])
def test_a_falling_voice_has_finished_a_rising_one_goes_on(speaker_hz: float) -> None:
    falls = finished("", pcm=voice(speaker_hz * 1.2, speaker_hz * 0.85))
    level = finished("", pcm=voice(speaker_hz, speaker_hz))
    rises = finished("", pcm=voice(speaker_hz * 0.85, speaker_hz * 1.2))
    assert falls > 0.55 > level > 0.4 > rises


def test_a_rising_question_may_be_complete() -> None:
    rising = voice(120, 180)
    assert finished("do you live in rome", pcm=rising) > finished("my sister lives in rome", pcm=rising)
    assert finished("do you live in rome", pcm=rising) >= finished("do you live in rome", pcm=voice(120, 120)) - 0.1


def test_the_words_say_more_than_the_melody() -> None:
    assert finished("i would like to", pcm=voice(180, 110)) < UNLIKELY
    assert finished("yes", pcm=voice(110, 180)) > LIKELY


def test_synthetic_speech_falls_at_a_full_stop_and_not_at_a_comma() -> None:
    ends = prosody(spoken("I would like to book a table.") + noise(100))
    goes_on = prosody(spoken("I would like to book a table,") + noise(100))
    assert ends.level_st < goes_on.level_st
    assert ends.slope_st_per_s < 0 < goes_on.slope_st_per_s


def test_the_pitch_is_measured_in_semitones() -> None:
    octave = prosody(voice(110, 220))
    assert octave.slope_st_per_s == pytest.approx(12 / 0.8, rel=0.1)
    assert prosody(voice(200, 200)).level_st == pytest.approx(0, abs=0.1)


def test_a_fading_voice_is_heard() -> None:
    samples = np.frombuffer(voice(120, 120), dtype="<i2")[: pcm_bytes(800) // 2]
    faded = (samples * np.linspace(1, 0.05, len(samples))).astype("<i2").tobytes()
    assert prosody(faded).fade_db > prosody(samples.tobytes()).fade_db + 6


def test_only_the_tail_is_heard() -> None:
    tail = noise(900) + voice(150, 120)
    assert prosody(voice(300, 80, ms=9000) + tail) == prosody(tail)


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(2), bytes(100), bytes(64_000), noise(1000), b"\xff\x7f" * 16_000])
def test_audio_without_a_voice_has_no_melody(pcm: bytes) -> None:
    heard = prosody(pcm)
    assert (heard.level_st, heard.slope_st_per_s) == (0, 0)
    assert finished("", pcm=bytes(32_000)) == 0.5
    assert prosody(bytes(32_000)) == Prosody()


def test_a_batch_is_judged_job_by_job_and_a_cancelled_one_left_out() -> None:
    rules = RulesDetector(RulesDetector.Options())
    rules.load()
    rules.warm_up()
    jobs = [ListJob(TurnRequest(b"", text, "en")) for text in ("yes", "i would like to", "yes")]
    jobs[2].cancelled = True
    rules.run(jobs)
    assert [len(job.outputs) for job in jobs] == [1, 1, 0]
    assert jobs[0].outputs[0] > LIKELY > UNLIKELY > jobs[1].outputs[0]


def test_it_wants_the_words() -> None:
    assert RulesDetector.needs_text

"""Whisper through transformers, with a small trained model of the real class: the words that it hears."""

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import numpy as np
import pytest
import torch
from service import LIMIT_S, eventually, noise, spoken
from whispers import (
    ALL,
    PHRASES,
    RATES,
    TINY,
    CancelledJob,
    FailableJob,
    copied,
    heard,
    job,
    loaded,
    said,
    steps_of,
    windows_of,
)

from speech_to_speech.audio.samples import to_float, to_pcm
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import SpeechRequest, Transcript, pcm_bytes
from speech_to_speech.languages import AUTO, NAMES, SIX
from speech_to_speech.stt.whisper.backend import Whisper
from speech_to_speech.stt.whisper.decoding import Decoder, Window
from speech_to_speech.tts.espeak import VOICES
from speech_to_speech.workers.worker import Worker

watching_steps = contextlib.contextmanager(steps_of)


@pytest.fixture(scope="module")
def whisper() -> Whisper:
    return loaded()


# Words and languages.


def test_every_phrase_is_understood_in_one_call_of_mixed_languages(whisper: Whisper) -> None:
    mixed = random.Random(1).sample(ALL, len(ALL))
    transcripts = heard(whisper, [(said(phrase, language), language) for language, phrase in mixed])
    assert transcripts == [Transcript(phrase, language) for language, phrase in mixed]


def test_the_language_is_heard_in_each_utterance(whisper: Whisper) -> None:
    mixed = random.Random(2).sample(ALL, len(ALL))
    transcripts = heard(whisper, [(said(phrase, language), AUTO) for language, phrase in mixed])
    assert transcripts == [Transcript(phrase, language) for language, phrase in mixed]


def test_languages_that_are_known_and_those_to_be_detected_share_a_call(whisper: Whisper) -> None:
    asked = [(language, phrase, language if number % 2 else AUTO) for number, (language, phrase) in enumerate(ALL[::3])]
    transcripts = heard(whisper, [(said(phrase, language), ask) for language, phrase, ask in asked])
    assert transcripts == [Transcript(phrase, language) for language, phrase, _ in asked]


def test_the_encoder_runs_once_for_a_batch_also_to_detect_languages(whisper: Whisper) -> None:
    batches = []
    encoder = whisper.decoder.model.model.encoder
    handle = encoder.register_forward_hook(lambda module, given, result: batches.append(len(given[0])))
    heard(whisper, [(said(PHRASES[language][0], language), AUTO) for language in SIX])
    handle.remove()
    assert batches == [len(SIX)]


def test_all_of_whispers_languages_are_known_by_their_iso_codes(whisper: Whisper) -> None:
    assert whisper.vocabulary.languages.keys() == NAMES.keys() == Whisper.languages
    tokenizer_names = {token: code for code, token in whisper.vocabulary.languages.items()}
    assert len(tokenizer_names) == len(NAMES)
    jobs = [FailableJob(SpeechRequest(said("How far away is the moon?", "en"), code)) for code in ("jv", "haw", "yue")]
    whisper.run(jobs)
    assert [each.error for each in jobs] == [None, None, None]
    assert [each.outputs[0].language for each in jobs] == ["jv", "haw", "yue"]


def test_an_unknown_language_fails_its_own_request_only(whisper: Whisper) -> None:
    good, bad = FailableJob(SpeechRequest(said(*ALL[0][::-1]), "en")), FailableJob(SpeechRequest(bytes(3200), "xx"))
    whisper.run([bad, good])
    assert isinstance(bad.error, StageFailed)
    assert str(bad.error) == "stt: there is no language 'xx'"
    assert bad.outputs == []
    assert good.outputs == [Transcript(ALL[0][1], "en")]


def test_half_a_sample_fails_its_own_request_only(whisper: Whisper) -> None:
    good, bad = FailableJob(SpeechRequest(said(*ALL[0][::-1]), "en")), FailableJob(SpeechRequest(bytes(3201), "en"))
    whisper.run([bad, good])
    assert isinstance(bad.error, StageFailed)
    assert good.outputs == [Transcript(ALL[0][1], "en")]


# Batches.


def tokens_of(decoder: Decoder, requests: list[tuple[np.ndarray, str | None]]) -> list[tuple[list[int], str | None]]:
    found = windows_of(requests)
    decoder.transcribe(found, lambda window: None)
    return [(window.tokens, window.speech.language) for window in found]


def test_batched_equals_single_token_by_token(whisper: Whisper) -> None:
    """In float32, in mixed order, of mixed lengths and languages, the language given or not."""
    chance = random.Random(3)
    requests: list[tuple[np.ndarray, str | None]] = []
    for language, phrase in ALL:
        pcm = said(phrase, language, chance.choice(RATES), chance.randrange(600), chance.randrange(900))
        requests.append((to_float(pcm), chance.choice([language, None])))
    for cut_ms in (30, 200, 700):  # nobody understands such short pieces
        requests.append((to_float(spoken(ALL[5][1], "fr"))[: 16 * cut_ms], None))
    chance.shuffle(requests)
    single = [tokens_of(whisper.decoder, [request])[0] for request in requests]
    assert tokens_of(whisper.decoder, requests) == single
    fives = [requests[start : start + 5] for start in range(0, len(requests), 5)]
    assert [each for some in fives for each in tokens_of(whisper.decoder, some)] == single
    assert all(tokens for tokens, _ in single)


def test_it_finds_the_tokens_that_transformers_own_generate_finds(whisper: Whisper) -> None:
    requests = [(to_float(said(phrase, language)), language) for language, phrase in ALL]
    features = whisper.decoder.extractor(
        [samples for samples, _ in requests], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    ids = whisper.decoder.model.generate(
        features, language=[f"<|{language}|>" for _, language in requests], task="transcribe", max_length=None
    )
    end = whisper.vocabulary.end
    expected = [[token for token in row if token != end] for row in ids.tolist()]
    assert [tokens for tokens, _ in tokens_of(whisper.decoder, requests)] == expected


def test_a_short_text_does_not_wait_for_the_longest(whisper: Whisper) -> None:
    steps: list[int] = []
    at: dict[str, int] = {}

    class NotingJob(FailableJob):
        def emit(self, output: Transcript) -> None:
            at[output.text] = len(steps)
            super().emit(output)

    by_length = sorted(ALL, key=lambda pair: len(whisper.vocabulary.tokenizer(pair[1]).input_ids))
    chosen = [by_length[-1], by_length[0]]
    with watching_steps(whisper, steps):
        whisper.run([NotingJob(SpeechRequest(said(phrase, language), language)) for language, phrase in chosen])
    assert at.keys() == {phrase for _, phrase in chosen}
    assert at[by_length[0][1]] < at[by_length[-1][1]] == len(steps)


# Long, short and silent.


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_long_utterance_is_heard_in_windows_and_joined(whisper: Whisper, language: str) -> None:
    gap = noise(1200, 0.0005)  # so long a gap leaves each window the one phrase that the model was trained on
    order = [0, 2, 1, 3, 0]
    pcm = gap.join(spoken(PHRASES[language][number], VOICES[language]) for number in order)
    assert len(pcm) > 2 * pcm_bytes(4000)
    space = " " if language == "en" else ""
    expected = space.join(PHRASES[language][number] for number in order)
    assert heard(whisper, [(pcm, AUTO), (said(PHRASES["ko"][1], "ko"), AUTO)]) == [
        Transcript(expected, language),
        Transcript(PHRASES["ko"][1], "ko"),
    ]


def test_more_windows_than_a_batch_takes_are_heard_in_several_calls(whisper: Whisper) -> None:
    long = noise(1200, 0.0005).join([spoken(PHRASES["en"][0])] * 6)
    transcripts = heard(whisper, [(long, "en")] * 5)
    assert transcripts == [Transcript(" ".join([PHRASES["en"][0]] * 6), "en")] * 5


@pytest.mark.parametrize("language", ["en", AUTO])
def test_silence_has_no_words_and_costs_no_call(whisper: Whisper, language: str) -> None:
    steps: list[int] = []
    silent = [b"", bytes(2), bytes(64_000), noise(2000, 0.001), bytes(pcm_bytes(9000))]
    with watching_steps(whisper, steps):
        assert heard(whisper, [(pcm, language) for pcm in silent]) == [Transcript("", language)] * len(silent)
    assert steps == []


def hiss() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.02, 40_000)


def hum() -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * 120 * np.arange(40_000) / 16_000)


def knock() -> np.ndarray:
    return np.where(np.arange(40_000) // 400 == 40, 25 * hiss(), 0.05 * hiss())


@pytest.mark.parametrize("sound", [hiss, hum, knock])
def test_a_sound_that_is_no_speech_has_no_words(whisper: Whisper, sound: Callable[[], np.ndarray]) -> None:
    pcm = to_pcm(sound().astype(np.float32))
    assert heard(whisper, [(pcm, "en"), (pcm, AUTO)]) == [Transcript("", "en"), Transcript("", AUTO)]


def test_silence_in_a_batch_leaves_the_others_alone(whisper: Whisper) -> None:
    requests = [(bytes(3200), AUTO), (said(*ALL[9][::-1]), AUTO), (b"", "fr")]
    assert heard(whisper, requests) == [Transcript("", AUTO), Transcript(ALL[9][1], "es"), Transcript("", "fr")]


@pytest.mark.parametrize("samples", [1, 7, 159, 160, 400, 1600])
def test_a_very_short_sound_is_no_problem(whisper: Whisper, samples: int) -> None:
    (transcript,) = heard(whisper, [(to_pcm(np.full(samples, 0.3, np.float32)), "en")])
    assert transcript.language == "en"


def test_a_language_is_not_told_where_none_is_likely(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    pcm = said(PHRASES["fr"][0], "fr")
    monkeypatch.setattr("speech_to_speech.stt.whisper.backend.SURE_OF_LANGUAGE", 1.01)
    assert heard(whisper, [(pcm, AUTO), (pcm, "fr")]) == [
        Transcript(PHRASES["fr"][0], AUTO),
        Transcript(PHRASES["fr"][0], "fr"),
    ]


# Cancel.


def test_a_request_that_nobody_waits_for_is_left_out_of_the_call(whisper: Whisper) -> None:
    steps: list[int] = []
    gone = CancelledJob(SpeechRequest(said(*ALL[0][::-1]), "en"), looks=0)
    left = job(said(*ALL[1][::-1]), "en")
    with watching_steps(whisper, steps):
        whisper.run([gone, left])
    assert gone.outputs == []
    assert left.outputs == [Transcript(ALL[1][1], "en")]
    assert set(steps) == {1}
    with watching_steps(whisper, steps):
        steps.clear()
        whisper.run([gone])
    assert steps == []


@pytest.mark.parametrize("looks", [3, 5, 8])
def test_a_call_that_nobody_waits_for_stops_at_the_next_token(whisper: Whisper, looks: int) -> None:
    steps: list[int] = []
    jobs = [CancelledJob(SpeechRequest(said(phrase, "en"), "en"), looks) for phrase in PHRASES["en"]]
    with watching_steps(whisper, steps):
        whisper.run(jobs)
    assert [each.outputs for each in jobs] == [[], [], [], []]
    # Cancels are looked for once before the call, once before its batch, and twice a token.
    assert len(steps) <= 2 + (looks - 1) // 2


def test_a_request_that_is_cancelled_midway_leaves_the_others_alone(whisper: Whisper) -> None:
    gone = CancelledJob(SpeechRequest(said(*ALL[0][::-1]), "en"), looks=6)
    left = [job(said(phrase, language), language) for language, phrase in ALL[1:6]]
    whisper.run([left[0], gone, *left[1:]])
    assert gone.outputs == []
    assert [each.outputs for each in left] == [[Transcript(phrase, language)] for language, phrase in ALL[1:6]]


# The model's input, and what the model says of itself.


@pytest.mark.parametrize("lengths", [[1], [159, 160], [400], [16_000, 3], [63_000, 100], [63_600], [63_999], [64_000]])
def test_the_spectrograms_are_those_of_the_whole_window(whisper: Whisper, lengths: list[int]) -> None:
    chance = np.random.default_rng(0)
    windows = [chance.normal(0, 0.1 / (number + 1), length) for number, length in enumerate(lengths)]
    sounds = [window.astype(np.float32) for window in windows]
    expected = whisper.decoder.extractor(sounds, sampling_rate=16_000, return_tensors="pt").input_features
    torch.testing.assert_close(whisper.decoder.network.features(sounds), expected, atol=2e-5, rtol=0)


def test_the_sureness_of_a_text_is_the_mean_log_probability_of_its_tokens(whisper: Whisper) -> None:
    decoder, vocabulary = whisper.decoder, whisper.vocabulary
    language, phrase = ALL[6]
    (window,) = windows_of([(to_float(said(phrase, language)), language)])
    decoder.transcribe([window], lambda window: None)
    prompt = [vocabulary.start, *vocabulary.prompt(language, "transcribe", timestamps=False)]
    ids = torch.tensor([[*prompt, *window.tokens, vocabulary.end]])
    features = decoder.extractor([window.samples], sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        output = decoder.model(features, decoder_input_ids=ids[:, :-1])
        encoded = decoder.model.model.encoder(features).last_hidden_state[0]
        found = decoder.sureness(torch.tensor(prompt[1:]), window.tokens, encoded)
    expected = output.logits[0].log_softmax(-1)[len(prompt) - 1 :].gather(1, ids[0, len(prompt) :, None]).mean()
    assert found == pytest.approx(float(expected), abs=1e-4)
    assert window.no_speech == pytest.approx(float(output.logits[0, 0].softmax(-1)[vocabulary.no_speech]), rel=1e-3)


def test_what_the_model_holds_for_no_speech_and_is_unsure_of_is_not_transcribed(
    whisper: Whisper, tmp_path: Path
) -> None:
    no_speech = whisper.vocabulary.no_speech
    folder = copied(tmp_path / "taught", generation_config={"suppress_tokens": [no_speech]})  # real checkpoints do so
    taught = loaded(folder)
    decoder = taught.decoder
    pcm = said(*ALL[0][::-1])
    assert heard(taught, [(pcm, "en")]) == [Transcript(ALL[0][1], "en")]

    def judged() -> Window:
        (window,) = windows_of([(to_float(pcm), "en")])
        decoder.transcribe([window], lambda window: None)
        return window

    # By hand the model is taught that <|nospeech|> follows the first token of this sound.
    states: list[torch.Tensor] = []
    handle = decoder.model.proj_out.register_forward_pre_hook(lambda module, given: states.append(given[0]))
    assert judged().no_speech < 0.6
    handle.remove()
    first = states[0].flatten()
    with torch.no_grad():
        decoder.model.proj_out.weight[no_speech] = 1000 * first / first.norm()
    sure = judged()
    assert sure.no_speech > 0.6
    assert -1.0 < sure.sureness < 0.0
    assert heard(taught, [(pcm, "en")]) == [Transcript(ALL[0][1], "en")]
    # The model is also taught to find any word about as likely as any other.
    with torch.no_grad():
        for parameter in decoder.model.model.decoder.layer_norm.parameters():
            parameter *= 0.02
    unsure = judged()
    assert unsure.no_speech > 0.6
    assert unsure.sureness < -1.0
    assert heard(taught, [(pcm, "en"), (pcm, AUTO)]) == [Transcript("", "en"), Transcript("", AUTO)]


def test_a_model_whose_numbers_overflow_says_so() -> None:
    whisper = loaded()
    with torch.no_grad():
        whisper.decoder.model.model.encoder.layer_norm.weight[0] = float("inf")
    broken = FailableJob(SpeechRequest(said(*ALL[0][::-1]), AUTO))
    whisper.run([broken])
    assert isinstance(broken.error, StageFailed)
    assert "bfloat16" in str(broken.error)
    assert broken.outputs == []


# On a worker.


@pytest.mark.anyio
async def test_what_waits_goes_into_one_call_on_the_workers_thread() -> None:
    batches: list[int] = []
    all_wait = threading.Event()

    def on_batch(stage: str, size: int) -> None:
        batches.append(size)
        assert all_wait.wait(LIMIT_S)

    whisper = Whisper(Whisper.Options(stt_model_name=str(TINY), stt_device="cpu"))
    worker = Worker("stt", whisper, timeout_s=60.0, on_batch=on_batch)
    await worker.start()
    found: dict[str, Transcript] = {}

    async def ask(language: str, phrase: str) -> None:
        found[phrase] = await worker.call(SpeechRequest(said(phrase, language), AUTO))

    async with anyio.create_task_group() as conversations:
        conversations.start_soon(ask, *ALL[0])
        await eventually(lambda: batches, "the first call")
        for language, phrase in ALL[1:]:
            conversations.start_soon(ask, language, phrase)
        await eventually(lambda: worker.waiting == len(ALL) - 1, "the others wait")
        all_wait.set()
    assert found == {phrase: Transcript(phrase, language) for language, phrase in ALL}
    assert batches == [1, Whisper.batch_limit, len(ALL) - 1 - Whisper.batch_limit]
    await worker.close()

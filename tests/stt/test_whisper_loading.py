"""Whisper's options and checkpoints: what is taken, what is refused and with which words."""

from pathlib import Path
from typing import Any

import pytest
import torch
from whispers import ALL, PHRASES, TINY, FailableJob, copied, heard, load_fails, loaded, said, windows_of

from speech_to_speech.audio.samples import to_float
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.languages import AUTO
from speech_to_speech.stt.whisper.backend import Whisper
from speech_to_speech.stt.whisper.setup import working_bytes
from speech_to_speech.stt.whisper.tokens import is_english_only

# Options.


def test_the_defaults_are_those_of_the_original() -> None:
    options = Whisper.Options()
    assert options == Whisper.Options(
        stt_model_name="distil-whisper/distil-large-v3",
        stt_device="cuda",
        stt_torch_dtype="float16",
        stt_compile_mode=None,
        stt_gen_max_new_tokens=128,
        stt_gen_num_beams=1,
        stt_gen_return_timestamps=False,
        stt_gen_task="transcribe",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stt_model_name", " "),
        ("stt_device", "gpu"),
        ("stt_device", "cuda:"),
        ("stt_torch_dtype", "int8"),
        ("stt_compile_mode", "fastest"),
        ("stt_gen_max_new_tokens", 0),
        ("stt_gen_max_new_tokens", 449),
        ("stt_gen_num_beams", 0),
        ("stt_gen_num_beams", 17),
        ("stt_gen_task", "summarise"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_option(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: [^\n]+$"):
        Whisper.Options(**{name: value})  # type: ignore[arg-type]


def test_beams_are_not_compiled() -> None:
    with pytest.raises(ValueError, match="stt_compile_mode: beams can't be compiled"):
        Whisper.Options(stt_compile_mode="default", stt_gen_num_beams=2)


@pytest.mark.parametrize(
    ("name", "english_only"),
    [
        ("openai/whisper-tiny.en", True),
        ("openai/whisper-medium.en@main", True),
        ("/models/whisper-base.en/", True),
        ("distil-whisper/distil-large-v3", True),
        ("distil-whisper/distil-small.en", True),
        ("/cache/models--distil-whisper--distil-large-v3/snapshots/0a1b", True),
        ("openai/whisper-large-v3-turbo", False),
        ("eustlb/distil-large-v3-fr", False),
        (str(TINY), False),
    ],
)
def test_names_of_english_only_checkpoints_are_known(name: str, english_only: bool) -> None:
    assert is_english_only(name) is english_only
    languages = Whisper.languages_with(Whisper.Options(stt_model_name=name))
    assert languages == ({"en"} if english_only else Whisper.languages)


# Checkpoints.


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with CUDA")
def test_no_cuda_is_said() -> None:
    assert load_fails(stt_device="cuda").startswith("stt_device: this machine has no CUDA device")


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path) -> None:
    assert load_fails(stt_model_name=str(tmp_path / "nowhere")).startswith("stt_model_name: ")


def test_a_model_of_another_kind_is_said(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=8
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    message = load_fails(stt_model_name=str(tmp_path))
    assert message.startswith("stt_model_name: ")
    assert "is a llama model, a Whisper is needed" in message


def test_broken_weights_are_said(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert load_fails(stt_model_name=str(folder)).startswith("stt_model_name: ")


def test_a_folder_without_a_tokenizer_is_said(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert load_fails(stt_model_name=str(folder)).startswith("stt_model_name: ")


def test_a_tokenizer_without_whispers_tokens_is_said(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text().replace("<|notimestamps|>", "<|something|>"))
    assert "its tokenizer has no <|notimestamps|>" in load_fails(stt_model_name=str(folder))


def test_the_memory_of_a_batch_is_counted() -> None:
    from transformers import WhisperConfig

    turbo = WhisperConfig(d_model=1280, decoder_layers=4, encoder_layers=32, encoder_ffn_dim=5120)
    assert working_bytes(turbo, 2, rows=16, cached_rows=0) == pytest.approx(0.86e9, rel=0.01)
    assert working_bytes(turbo, 2, rows=16, cached_rows=16) == pytest.approx(1.35e9, rel=0.01)


# English-only checkpoints.


@pytest.fixture(scope="module")
def dot_en(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    """As openai/whisper-tiny.en is: no languages and no tasks."""
    folder = copied(tmp_path_factory.mktemp("models") / "small", generation_config={"is_multilingual": False})
    return loaded(folder)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    """As distil-whisper/distil-large-v3 is: the tokens of all languages, but trained on English only."""
    folder = tmp_path_factory.mktemp("hub") / "distil-whisper"
    folder.mkdir()
    return loaded(copied(folder / "distil-tiny"))


def test_an_english_only_checkpoint_has_no_language_in_its_prompt(dot_en: Whisper) -> None:
    vocabulary = dot_en.vocabulary
    assert vocabulary.english_only
    assert vocabulary.prompt("en", "transcribe", timestamps=False) == [vocabulary.no_timestamps]
    assert vocabulary.prompt("en", "transcribe", timestamps=True) == []
    (transcript,) = heard(dot_en, [(said(*ALL[0][::-1]), "en")])
    assert transcript.language == "en"


def test_an_english_only_checkpoint_without_a_prompt_transcribes_with_timestamps(tmp_path: Path) -> None:
    folder = copied(tmp_path / "small", generation_config={"is_multilingual": False})
    whisper = loaded(folder, stt_gen_return_timestamps=True)
    (window,) = windows_of([(to_float(said(*ALL[0][::-1])), "en")])
    whisper.decoder.transcribe([window], lambda window: None)
    assert window.tokens[0] > whisper.vocabulary.no_timestamps


def test_a_distilled_checkpoint_keeps_the_language_in_its_prompt(distilled: Whisper) -> None:
    vocabulary = distilled.vocabulary
    assert vocabulary.english_only
    assert vocabulary.languages["en"] in vocabulary.prompt("en", "transcribe", timestamps=False)


def test_auto_is_english_for_one_that_knows_nothing_else(dot_en: Whisper, distilled: Whisper) -> None:
    pcm = said(PHRASES["en"][2], "en")
    assert heard(distilled, [(pcm, AUTO), (pcm, "en")]) == [Transcript(PHRASES["en"][2], "en")] * 2
    (transcript,) = heard(dot_en, [(pcm, AUTO)])
    assert transcript.language in ("en", AUTO)
    assert (transcript.language == "en") == bool(transcript.text)


@pytest.mark.parametrize("model", ["dot_en", "distilled"])
def test_another_language_is_refused_and_the_log_says_what_knows_it(
    model: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    whisper: Whisper = request.getfixturevalue(model)
    caplog.clear()
    bad = FailableJob(SpeechRequest(said(PHRASES["fr"][0], "fr"), "fr"))
    good = FailableJob(SpeechRequest(said(PHRASES["en"][0], "en"), "en"))
    whisper.run([bad, good])
    assert isinstance(bad.error, StageFailed)
    assert str(bad.error) == "stt: the model that listens does not understand French"
    assert len(good.outputs) == 1
    assert "understands English only; French was asked for: choose another" in caplog.text


def test_nothing_is_translated_by_one_that_knows_english_only(tmp_path: Path) -> None:
    folder = copied(tmp_path / "small", generation_config={"is_multilingual": False})
    message = load_fails(stt_model_name=str(folder), stt_gen_task="translate")
    assert message.startswith("stt_gen_task: ")


def test_a_language_that_this_checkpoint_lacks_is_said(tmp_path: Path) -> None:
    """As Cantonese for all before large-v3."""
    folder = copied(tmp_path / "older")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text().replace("<|yue|>", "<|none|>"))
    whisper = loaded(folder)
    bad = FailableJob(SpeechRequest(said(*ALL[0][::-1]), "yue"))
    whisper.run([bad])
    assert isinstance(bad.error, StageFailed)
    assert str(bad.error) == "stt: the model that listens does not understand Cantonese"
    assert heard(whisper, [(said(*ALL[0][::-1]), AUTO)]) == [Transcript(ALL[0][1], "en")]


# Options that change the decoding.


@pytest.mark.parametrize(
    "options",
    [
        {"stt_gen_num_beams": 3},
        {"stt_torch_dtype": "bfloat16"},
        {"stt_torch_dtype": "float16"},
        {"stt_torch_dtype": "auto"},
        {"stt_gen_max_new_tokens": 40},
    ],
    ids=str,
)
def test_the_words_are_right_whatever_the_options(options: dict[str, Any]) -> None:
    whisper = loaded(**options)
    on_the_cpu = torch.bfloat16 if options.get("stt_torch_dtype") == "bfloat16" else torch.float32
    assert whisper.decoder.model.dtype == on_the_cpu
    some = ALL[1::4]
    requests = [(said(phrase, language), AUTO) for language, phrase in some]
    assert heard(whisper, requests) == [Transcript(phrase, language) for language, phrase in some]


def test_beams_find_what_transformers_own_generate_finds() -> None:
    whisper = loaded(stt_gen_num_beams=3)
    requests = [(to_float(said(phrase, language)), language) for language, phrase in ALL[::3]]
    found = windows_of(requests)
    whisper.decoder.transcribe(found, lambda window: None)
    features = whisper.decoder.extractor(
        [samples for samples, _ in requests], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    ids = whisper.decoder.model.generate(
        features, language=[f"<|{language}|>" for _, language in requests], task="transcribe", num_beams=3
    )
    end = whisper.vocabulary.end
    assert [window.tokens for window in found] == [[token for token in row if token != end] for row in ids.tolist()]
    assert all(window.complete for window in found)


def test_a_beam_search_that_nobody_waits_for_stops_at_the_next_token() -> None:
    whisper = loaded(stt_gen_num_beams=3)
    steps: list[int] = []
    (window,) = windows_of([(to_float(said(*ALL[0][::-1])), "en")])
    window.speech.cancelled = lambda: len(steps) >= 3
    decoder = whisper.decoder.model.model.decoder
    decoder.register_forward_hook(lambda *_: steps.append(1))
    whisper.decoder.transcribe([window], lambda window: pytest.fail("nobody waits for it"))
    assert len(steps) == 3


def test_timestamps_do_not_show_in_the_text() -> None:
    whisper = loaded(stt_gen_return_timestamps=True)
    vocabulary = whisper.vocabulary
    requests = [(to_float(said(phrase, language)), language) for language, phrase in ALL[::5]]
    found = windows_of(requests)
    whisper.decoder.transcribe(found, lambda window: None)
    for window in found:
        assert window.tokens[0] > vocabulary.no_timestamps
        words = [token for token in window.tokens if token < vocabulary.end]
        assert vocabulary.text(window.tokens) == vocabulary.tokenizer.decode(words).strip()
    assert any(vocabulary.text(window.tokens) for window in found)
    for transcript in heard(whisper, [(said(phrase, language), language) for language, phrase in ALL[::5]]):
        assert "<|" not in transcript.text


def test_a_text_is_cut_at_the_token_limit_and_the_log_says_so_without_it(caplog: pytest.LogCaptureFixture) -> None:
    whisper = loaded(stt_gen_max_new_tokens=3)
    (transcript,) = heard(whisper, [(said(*ALL[0][::-1]), "en")])
    assert 0 < len(transcript.text) < len(ALL[0][1])
    assert ALL[0][1].startswith(transcript.text)
    (record,) = caplog.records
    assert "cut at 3 tokens; stt_gen_max_new_tokens is the limit" in record.getMessage()
    assert transcript.text not in record.getMessage()


def test_translation_is_asked_for_in_the_prompt() -> None:
    whisper = loaded(stt_gen_task="translate")
    (transcript,) = heard(whisper, [(said(*ALL[4][::-1]), "fr")])
    assert transcript.language == "fr"
    token = whisper.vocabulary.tokenizer.convert_tokens_to_ids("<|translate|>")
    assert token in whisper.vocabulary.prompt("fr", "translate", timestamps=False)

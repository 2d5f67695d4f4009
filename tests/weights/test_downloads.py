"""What the backends say that they need from the hub."""

import json
from pathlib import Path

import pytest

from speech_to_speech.commands.download_items import Item, ask_all, items_of
from speech_to_speech.config.registry import BACKENDS
from speech_to_speech.config.settings import load_settings
from speech_to_speech.stt.faster_whisper.files import SIZES
from speech_to_speech.tts.melo.backend import VOICES
from speech_to_speech.tts.melo.models import BERTS, CHECKPOINTS
from speech_to_speech.tts.parler.backend import TOKENIZER, tokenizer_of_descriptions
from speech_to_speech.weights.downloads import Download
from speech_to_speech.weights.hub import model as hub_model
from speech_to_speech.weights.hub.places import Cache, Folder, RemoteFile
from speech_to_speech.workers.model import import_target

OURS = {key: backend for key, backend in BACKENDS.items() if backend.target.startswith("speech_to_speech.")}


def needed(*flags: str) -> dict[str, tuple[str, ...]]:
    """Repositories and patterns, by name."""
    items, _ = items_of(load_settings(flags, {}))
    return {item.name: item.download.patterns for item in items}


@pytest.mark.usefixtures("seeming_environments")
def test_the_profiles_with_models() -> None:
    assert needed("--profile", "cpu", "--tts", "espeak") == {
        "Systran/faster-whisper-base": (),
        "HuggingFaceTB/SmolLM2-360M-Instruct": (),
    }
    english = needed("--profile", "l4")
    models = ["distil-whisper/distil-large-v3", "meta-llama/Meta-Llama-3.1-8B-Instruct", "myshell-ai/MeloTTS-English"]
    assert list(english)[:3] == models
    any_language = needed("--profile", "l4", "--language", "auto")
    assert list(any_language)[:2] == ["openai/whisper-large-v3-turbo", models[1]]
    assert {*CHECKPOINTS.values(), *BERTS.values()} <= any_language.keys()


def test_every_backend_that_says_so_names_models_of_its_own_options() -> None:
    classes = {key: import_target(backend.target) for key, backend in OURS.items()}
    names = {name for (_, name), model_class in classes.items() if hasattr(model_class, "downloads")}
    assert names == {
        *("smart_turn", "whisper", "faster-whisper", "transformers", "kokoro", "facebookMMS", "parler", "melo"),
    }
    for model_class in classes.values():
        for download in getattr(model_class, "downloads", lambda _: ())(model_class.Options()):
            assert download.flag in model_class.Options.__dataclass_fields__


def test_a_size_of_faster_whisper_is_its_repository() -> None:
    flags = ("--profile", "loadtest", "--stt", "faster-whisper", "--faster_whisper_stt_model_name")
    assert needed(*flags, "large-v3-turbo") == {SIZES["large-v3-turbo"]: ()}


def test_mms_needs_the_voices_that_are_loaded_ahead() -> None:
    flags = ("--profile", "loadtest", "--tts", "facebookMMS")
    assert needed(*flags, "--language", "de") == {"facebook/mms-tts-deu": ()}
    ahead = ("--language", "auto", "--facebook_mms_languages", "en, fr,en")
    assert needed(*flags, *ahead) == {"facebook/mms-tts-eng": (), "facebook/mms-tts-fra": ()}
    assert needed(*flags, *ahead, "--model_name", "me/voice") == {"me/voice": ()}


def test_smart_turn_needs_one_file() -> None:
    flags = ("--profile", "loadtest", "--turn", "smart_turn")
    assert needed(*flags) == {"pipecat-ai/smart-turn-v3": ("smart-turn-v3.2-cpu.onnx",)}


@pytest.mark.usefixtures("seeming_environments")
def test_melo_needs_a_checkpoint_and_a_bert_of_each_language_and_all_tokenizers() -> None:
    assert VOICES.keys() == CHECKPOINTS.keys() == BERTS.keys()
    found = needed("--profile", "loadtest", "--tts", "melo", "--language", "fr")
    assert found[CHECKPOINTS["fr"]] == ("config.json", "checkpoint.pth")
    assert found[BERTS["fr"]] == ()
    assert {name for name, patterns in found.items() if "tokenizer*" in patterns} == {*BERTS.values()} - {BERTS["fr"]}
    assert len(found) == 1 + len(BERTS)


def test_what_a_library_takes_by_itself_goes_into_the_cache(tmp_path: Path) -> None:
    for by_library, place in ((True, Cache), (False, Folder)):
        item = Item("tts mine", Download("org/name", "mine", by_library=by_library))
        item.locate(tmp_path)
        assert isinstance(item.model.place, place)
    item = Item("tts mine", Download("org/name@v1", "mine"))
    item.locate(tmp_path)
    assert isinstance(item.model.place, Cache)  # a folder does not tell its model's revision


def test_parlers_tokenizer_of_descriptions() -> None:
    config = {"vocab_size": 90, "text_encoder": {"vocab_size": 90, "_name_or_path": "a/t5"}}
    assert tokenizer_of_descriptions(config, ()) == ()
    config["vocab_size"] = 99
    assert tokenizer_of_descriptions(config, ()) == (Download("a/t5", "tts_model_name", TOKENIZER),)
    assert tokenizer_of_descriptions(config, ["description_tokenizer/spiece.model"]) == ()
    assert tokenizer_of_descriptions({}, ()) == ()


def test_what_a_models_configuration_names_is_asked_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"vocab_size": 99, "text_encoder": {"vocab_size": 90, "_name_or_path": "a/t5"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    plan = hub_model.Plan("0" * 40, (RemoteFile("spiece.model", 5),))
    monkeypatch.setattr(hub_model.HubModel, "plan", lambda self, *, patient: plan)
    monkeypatch.setattr(hub_model.HubModel, "require_access", lambda self, plan: None)
    items = [Item("tts parler", Download(str(tmp_path), "tts_model_name", names=tokenizer_of_descriptions))]
    ask_all(items, tmp_path / "folder")
    assert [(item.name, item.remaining_bytes) for item in items] == [(str(tmp_path), 0), ("a/t5", 5)]

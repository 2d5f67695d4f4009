"""Names that users of other services know."""

from typing import Any

import pytest
from test_settings import json_file, load, message_of

from speech_to_speech.config.profiles import PROFILES

__all__ = ["json_file"]  # a fixture


pytestmark = pytest.mark.usefixtures("seeming_environments")


def test_the_environment_of_an_endpoint() -> None:
    settings = load(PROFILE="l4", LM_MODEL_NAME="org/model", CHAT_SIZE="4")
    assert (settings.options["llm"].lm_model_name, settings.chat_size) == ("org/model", 4)


def test_a_backend_is_chosen_by_its_name() -> None:
    settings = load(PROFILE="l4", ASR_MODEL="faster-whisper", LLM_MODEL="eliza", TTS_MODEL="espeak")
    assert (settings.stt, settings.llm, settings.tts) == ("faster-whisper", "eliza", "espeak")


def test_a_model_of_the_chosen_backend_by_its_own() -> None:
    settings = load(PROFILE="l4", ASR_MODEL="openai/whisper-small", LLM_MODEL="org/model")
    assert settings.options["stt"].stt_model_name == "openai/whisper-small"
    assert settings.options["llm"].lm_model_name == "org/model"


def test_a_preset_is_a_backend_and_a_model() -> None:
    settings = load(PROFILE="l4", LLM_MODEL="phi3")
    assert (settings.llm, settings.options["llm"].lm_model_name) == ("transformers", "microsoft/Phi-3-mini-4k-instruct")
    settings = load(PROFILE="l4", LLM_MODEL="gpt4omini")
    assert (settings.llm, settings.options["llm"].open_api_model_name) == ("open_api", "gpt-4o-mini")


def test_what_is_said_closer_to_the_service_counts_more() -> None:
    assert load(PROFILE="l4", LM_MODEL_NAME="a/b", S2S_LM_MODEL_NAME="c/d").options["llm"].lm_model_name == "c/d"
    assert load("--lm_model_name", "e/f", PROFILE="l4", LM_MODEL_NAME="a/b").options["llm"].lm_model_name == "e/f"
    assert load("--tts", "espeak", PROFILE="l4", TTS_MODEL="loadtest").tts == "espeak"


def test_a_flag_counts_more_than_another_name_of_it_in_the_environment() -> None:
    settings = load("--language", "en", "--profile", "loadtest", S2S_LANGUAGE="es", S2S_TTS_LANGUAGE="fr")
    assert settings.language == "en"


def test_a_key_is_not_shown_when_it_is_wrong(json_file: Any) -> None:
    path = json_file({"profile": "loadtest", "llm": "open_api", "open_api_api_key": ["sk-secret"]})
    assert "secret" not in message_of(path)
    assert "secret" not in message_of("--llm", "open_api", "--open_api_api_key=", "sk-secret")


@pytest.mark.parametrize("flag", ["--stt=whisper", "--tts=facebookMMS", "--stt=faster-whisper"])
@pytest.mark.parametrize("profile", ["tiny", "cpu"])
def test_a_profile_for_a_cpu_has_whatever_is_chosen_on_it(profile: str, flag: str) -> None:
    settings = load("--profile", profile, flag)
    chosen = [vars(options) for options in settings.options.values()]
    devices = {value for options in chosen for name, value in options.items() if name.endswith("_device")}
    assert devices == {"cpu"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TTS_MODEL": "chatterbox"}, "tts: 'chatterbox' is no backend ("),
        ({"LLM_MODEL": "gpt5"}, "llm: 'gpt5' is no backend ("),
        ({"LM_MODEL_NAME": "a/b", "LLM_MODEL": "c/d"}, "LM_MODEL_NAME: 'c/d' is chosen already, by another variable"),
        ({"CHAT_SIZE": "many"}, "chat_size: input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_named(environment: dict[str, str], expected: str) -> None:
    assert message_of(PROFILE="l4", **environment).startswith(expected)


def test_a_backend_without_models_to_choose_says_so() -> None:
    message = message_of(PROFILE="embedded", LM_MODEL_NAME="org/model")
    assert message.endswith("and no model that eliza could load")


@pytest.mark.parametrize(
    ("flag", "value", "name"),
    [
        ("open_api_chat_size", "7", "chat_size"),
        ("open_api_init_chat_prompt", "7", "init_chat_prompt"),
        ("tts_language", "fr", "language"),
        ("faster_whisper_stt_gen_language", "fr", "language"),
    ],
)
def test_flags_of_the_backends_that_are_the_services(flag: str, value: str, name: str) -> None:
    assert str(getattr(load(f"--{flag}", value, "--profile", "loadtest"), name)) == value


# Profiles.


def test_the_l4_profile_hears_english_with_a_model_for_it() -> None:
    assert load("--profile", "l4").options["stt"].stt_model_name == "distil-whisper/distil-large-v3"


@pytest.mark.parametrize("language", ["fr", "auto"])
def test_and_other_languages_with_one_that_knows_them(language: str) -> None:
    settings = load("--profile", "l4", "--language", language)
    assert settings.options["stt"].stt_model_name == "openai/whisper-large-v3-turbo"


def test_a_given_model_stays_whatever_the_language() -> None:
    settings = load("--profile", "l4", "--language", "fr", "--stt_model_name", "a/b")
    assert settings.options["stt"].stt_model_name == "a/b"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profiles_options_of_backends_that_are_not_chosen_are_left_out(profile: str) -> None:
    settings = load("--profile", profile, "--stt", "loadtest", "--llm", "loadtest", "--tts", "loadtest")
    assert (settings.stt, settings.llm, settings.tts) == ("loadtest", "loadtest", "loadtest")


def test_but_those_that_are_given_are_refused() -> None:
    assert message_of("--profile", "l4", "--stt", "loadtest", "--stt_device", "cpu").startswith("unknown option")


# Languages.


def test_a_language_that_a_backend_does_not_know_is_refused() -> None:
    assert message_of("--language", "fr") == "language: stt pocketsphinx knows en, but not 'fr'"
    message = message_of("--profile", "loadtest", "--tts", "espeak", "--language", "xx")
    assert message.startswith("language: tts espeak knows af, am, ")
    assert " more, but not 'xx'" in message


def test_what_is_heard_may_be_any() -> None:
    assert load("--language", "auto").language == "auto"

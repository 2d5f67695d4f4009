"""Where settings come from, and what is wrong with them."""

import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from speech_to_speech.config import registry
from speech_to_speech.config.profiles import PROFILES
from speech_to_speech.config.registry import STAGES, Backend, find, register_model
from speech_to_speech.config.settings import NAMES, Settings, describe, load_settings
from speech_to_speech.errors import BackendMissing, SettingsError

OWN_BACKEND = """
from dataclasses import dataclass, field

from speech_to_speech.config.registry import register_model


@register_model("stt", "mine")
class Mine:
    worker = "thread"
    batch_limit = 1

    @dataclass(frozen=True)
    class Options:
        mine_depth: int = field(default=3, metadata={"help": "how deep"})

        def __post_init__(self) -> None:
            if self.mine_depth > 9:
                raise ValueError(f"mine_depth: 9 is allowed at most, not {self.mine_depth}")

    def __init__(self, options):
        self.options = options
"""


def load(*arguments: str, **environment: str) -> Settings:
    return load_settings(arguments, environment)


def message_of(*arguments: str, **environment: str) -> str:
    """What is wrong with some settings; always one line."""
    with pytest.raises(SettingsError) as raised:
        load(*arguments, **environment)
    message = str(raised.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture
def json_file(tmp_path: Path) -> Any:
    def write(content: object) -> str:
        path = tmp_path / "settings.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def own_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a backend, in the working directory; its name."""
    monkeypatch.setattr(registry, "BACKENDS", dict(registry.BACKENDS))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "own_models", None)  # monkeypatch removes the module at the end
    del sys.modules["own_models"]
    (tmp_path / "own_models.py").write_text(OWN_BACKEND)
    return "own_models"


# Precedence.


def test_without_anything_the_defaults_are_those_of_the_embedded_profile() -> None:
    settings = load()
    assert (settings.profile, settings.host, settings.port) == ("embedded", "127.0.0.1", 8000)
    assert [getattr(settings, stage) for stage in STAGES] == ["silero", "pocketsphinx", "eliza", "espeak"]


def test_a_profile_overrides_the_default() -> None:
    assert load().min_silence_ms == 250
    assert load("--profile", "loadtest").min_silence_ms == 200


def test_the_environment_overrides_the_profile() -> None:
    assert load("--profile", "loadtest", S2S_MIN_SILENCE_MS="300").min_silence_ms == 300


def test_a_flag_overrides_the_environment() -> None:
    assert load("--min_silence_ms", "400", S2S_MIN_SILENCE_MS="300").min_silence_ms == 400


def test_a_json_file_overrides_the_environment(json_file: Any) -> None:
    path = json_file({"min_silence_ms": 400})
    assert load(path, S2S_MIN_SILENCE_MS="300", S2S_THRESH="0.4").min_silence_ms == 400
    assert load(path, S2S_MIN_SILENCE_MS="300", S2S_THRESH="0.4").thresh == 0.4


@pytest.mark.parametrize("source", ["flag", "environment", "plain environment", "json"])
def test_the_profile_can_come_from_anywhere(source: str, json_file: Any) -> None:
    settings = {
        "flag": lambda: load("--profile", "loadtest"),
        "environment": lambda: load(S2S_PROFILE="loadtest"),
        "plain environment": lambda: load(PROFILE="loadtest"),
        "json": lambda: load(json_file({"profile": "loadtest"})),
    }[source]()
    assert (settings.profile, settings.stt) == ("loadtest", "loadtest")


def test_the_prefixed_variable_overrides_the_plain_one() -> None:
    assert load(PORT="1").port == 1
    assert load(PORT="1", S2S_PORT="2").port == 2


def test_an_empty_plain_variable_is_as_none() -> None:
    assert load(PORT="", HOST="", PROFILE="").port == 8000


def test_variables_of_other_programs_are_left_alone() -> None:
    assert load(THRESH="7", LANGUAGE="en_GB:en", MODELS="x") == load()


def test_flags_can_be_written_with_an_equals_sign_and_dashes() -> None:
    assert load("--min-silence-ms=300", "--espeak-rate", "200").min_silence_ms == 300


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2S_CHAT_SIZE", "7")
    assert load_settings([]).chat_size == 7


def test_options_of_a_backend_are_its_own_dataclass() -> None:
    settings = load("--espeak_rate", "200", S2S_ESPEAK_PITCH="60")
    assert settings.options["tts"].espeak_rate == 200
    assert settings.options["tts"].espeak_pitch == 60
    assert set(settings.options) == {*STAGES, "turn"}


def test_a_list_is_comma_separated(json_file: Any) -> None:
    origins = ("https://a.example", "https://b.example")
    assert load("--allowed_origins", "https://a.example, https://b.example,").allowed_origins == origins
    assert load(json_file({"allowed_origins": list(origins)})).allowed_origins == origins
    assert load("--allowed_origins", "").allowed_origins == ()


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().port = 1  # type: ignore[misc]


def test_a_service_without_a_turn_detector_has_no_options_for_one() -> None:
    assert set(load("--turn", "none").options) == set(STAGES)


@pytest.mark.usefixtures("seeming_environments")
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid(profile: str) -> None:
    assert load("--profile", profile).profile == profile


# The token.


def test_the_token_comes_from_the_environment() -> None:
    assert load(S2S_API_TOKEN="secret").api_token == "secret"
    assert load().api_token is None
    assert load(S2S_API_TOKEN="").api_token is None


def test_the_token_is_not_shown() -> None:
    settings = load(S2S_API_TOKEN="secret")
    assert "secret" not in repr(settings)
    assert "secret" not in describe(settings)


def test_the_token_can_not_be_a_flag() -> None:
    assert "unknown option --api_token" in message_of("--api_token", "secret")


def test_the_token_can_not_be_in_a_file(json_file: Any) -> None:
    assert "unknown option --api_token" in message_of(json_file({"api_token": "secret"}))


def test_internal_fields_are_no_options() -> None:
    assert "unknown option --options" in message_of("--options", "x")


# One line says what is wrong, and what is allowed.


@pytest.mark.parametrize("source", ["flag", "environment", "json"])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("profile", "fast", "profile: unknown profile 'fast'; there are embedded, loadtest"),
        ("stt", "ears", "stt: unknown backend 'ears'; there are faster-whisper, loadtest, pocketsphinx, "),
        ("llm", "brain", "llm: unknown backend 'brain'; there are eliza, loadtest, open_api, "),
        ("tts", "mouth", "tts: unknown backend 'mouth'; there are espeak, facebookMMS, kokoro, loadtest, melo, parler"),
        ("nonsense", "1", "unknown option --nonsense; there are --allowed_origins, "),
        ("tresh", "1", "unknown option --tresh (did you mean --thresh?); there are "),
        ("port", "http", "port: input should be a valid integer"),
        ("port", "70000", "port: input should be less than or equal to 65535, not '70000'"),
        ("port", "-1", "port: input should be greater than or equal to 0, not '-1'"),
        ("port", "", "port: input should be a valid integer"),
        ("thresh", "high", "thresh: input should be a valid number"),
        ("thresh", "1", "thresh: input should be less than 1, not '1'"),
        ("thresh", "0", "thresh: input should be greater than 0, not '0'"),
        ("thresh", "nan", "thresh: "),
        ("min_silence_ms", "-5", "min_silence_ms: input should be greater than 0, not '-5'"),
        ("min_silence_ms", "inf", "min_silence_ms: "),
        ("max_speech_ms", "nan", "max_speech_ms: "),
        ("chat_size", "0", "chat_size: input should be greater than or equal to 1, not '0'"),
        ("chat_size", "2.5", "chat_size: input should be a valid integer"),
        ("language", "english", "language: an ISO 639 code such as en, or auto, is expected, not 'english'"),
        ("log_level", "loud", "log_level: input should be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("stt_worker", "fork", "stt_worker: input should be 'thread' or 'process', not 'fork'"),
        ("espeak_rate", "10", "espeak_rate: 80 to 450 is allowed, not 10"),
        ("espeak_rate", "fast", "espeak_rate: input should be a valid integer"),
        ("loadtest_stt_ms", "1", "unknown option --loadtest_stt_ms"),
        ("models", "no_such_module", "models: can't import 'no_such_module': ModuleNotFoundError: "),
    ],
)
def test_a_bad_setting_is_named_wherever_it_comes_from(
    source: str, name: str, value: str, expected: str, json_file: Any
) -> None:
    if source == "flag":
        message = message_of(f"--{name}", value)
    elif source == "environment":
        message = message_of(**{f"S2S_{name.upper()}": value})
    else:
        message = message_of(json_file({name: value}))
    assert message.startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"port": None}, "port: "),
        ({"port": True}, "port: input should be a valid integer, not True"),
        ({"port": 80.5}, "port: "),
        ({"port": [80]}, "port: "),
        ({"thresh": True}, "thresh: "),
        ({"host": 3}, "host: input should be a valid string, not 3"),
        ({"stt": 3}, "stt: unknown backend '3'"),
        ({"profile": 3}, "profile: unknown profile 3"),
        ({"profile": ["embedded"]}, "profile: unknown profile ['embedded']"),
        ({"models": 3}, "models: "),
        ({"models": [""]}, "models: can't import ''"),
        ({"log_level": "loud\nand clear"}, "log_level: "),
    ],
)
def test_a_value_of_the_wrong_type_in_a_file_is_named(content: object, expected: str, json_file: Any) -> None:
    assert message_of(json_file(content)).startswith(expected)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"port": 1'])
def test_a_file_that_is_no_json_object_is_named(content: str, json_file: Any) -> None:
    path = json_file(content)
    assert path in message_of(path)


def test_a_file_that_is_not_there_is_named() -> None:
    assert "not_there.json" in message_of("not_there.json")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes(b'{"host": "\xff"}')
    assert "settings.json" in message_of(str(tmp_path / "settings.json"))


def test_a_file_beside_flags_is_refused(json_file: Any) -> None:
    assert "unexpected argument" in message_of(json_file({"port": 1}), "--port", "2")


@pytest.mark.parametrize("arguments", [["word"], ["-p", "1"], ["--port"], ["--port", "1", "2"], ["--"], ["--=1"]])
def test_a_malformed_command_line_is_refused(arguments: list[str]) -> None:
    message_of(*arguments)


def test_a_backend_whose_package_is_missing_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = Backend("stt", "absent", "absent:Absent", ("json", "no_such_package"), "pip install absent")
    monkeypatch.setitem(registry.BACKENDS, ("stt", "absent"), missing)
    with pytest.raises(BackendMissing, match=r"^stt absent needs no_such_package: pip install absent$"):
        load("--stt", "absent")


# Backends of the user's own.


def test_a_backend_of_the_users_own_can_be_chosen(own_backend: str) -> None:
    settings = load("--models", own_backend, "--stt", "mine", "--mine_depth", "4")
    assert settings.options["stt"].mine_depth == 4
    assert "--mine_depth" in describe(settings)
    assert find("stt", "mine").model_class()(settings.options["stt"]).options.mine_depth == 4


def test_options_of_the_users_own_are_checked(own_backend: str) -> None:
    chosen = ("--models", own_backend, "--stt", "mine")
    assert message_of(*chosen, "--mine_depth", "deep").startswith("mine_depth: input should be a valid integer")
    assert message_of(*chosen, "--mine_depth", "10") == "mine_depth: 9 is allowed at most, not 10"


def test_a_module_registers_only_what_it_names(own_backend: str) -> None:
    expected = "stt: unknown backend 'other'; there are faster-whisper, loadtest, mine, pocketsphinx, "
    assert message_of("--models", own_backend, "--stt", "other").startswith(expected)
    assert "mine" not in message_of("--models", own_backend, "--tts", "other")


@pytest.mark.parametrize("code", ["1 / 0", "import no_such_package", "def", "raise OSError('two\\nlines')"])
def test_a_module_that_fails_is_named(own_backend: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "own_models.py").write_text(code)
    assert message_of("--models", own_backend).startswith("models: can't import 'own_models': ")


def test_a_stage_that_does_not_exist_can_not_be_registered() -> None:
    with pytest.raises(SettingsError, match="unknown stage 'ears'; there are vad, stt, llm, tts"):
        register_model("ears", "mine")


# Help.


def test_help_names_every_setting_and_option() -> None:
    text = describe(load())
    for name in (*NAMES, "espeak_rate", "pocketsphinx_noise_floor"):
        assert f"--{name} " in text
    assert "--loadtest_stt_ms" not in text
    assert "--loadtest_stt_ms" in describe(load("--profile", "loadtest"))


def test_every_default_is_valid_for_its_own_setting() -> None:
    settings = load()
    arguments = []
    for name in NAMES:
        value = getattr(settings, name)
        if value not in (None, ()):
            arguments += [f"--{name}", str(value)]
    assert load(*arguments) == settings


@pytest.mark.usefixtures("seeming_environments")
def test_every_registered_backend_has_options_and_a_module() -> None:
    for (stage, name), backend in registry.BACKENDS.items():
        assert (backend.stage, backend.name) == (stage, name)
        if backend.target.startswith("speech_to_speech."):
            assert importlib.util.find_spec(backend.target.partition(":")[0]) is not None
            assert dataclasses.is_dataclass(backend.model_class().Options)


def test_the_working_directory_is_searched_once(own_backend: str) -> None:
    load("--models", own_backend)
    load("--models", own_backend)
    assert sys.path.count(os.getcwd()) == 1

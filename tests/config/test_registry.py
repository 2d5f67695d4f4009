"""Which backends there are, and what is said of one that is not installed."""

import importlib
import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from speech_to_speech.config import registry
from speech_to_speech.config.registry import BACKENDS, SILERO, Backend, extra, find, names, register_model
from speech_to_speech.errors import BackendMissing, SettingsError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PACKAGES = {
    "faster_whisper": "faster-whisper",
    "espeakng_loader": "espeakng-loader",
    "huggingface_hub": "huggingface-hub",
}  # the packages whose modules have other names


def requirements(name: str) -> set[str]:
    """The packages that an extra brings, those of the extras that it names too."""
    found = set()
    for requirement in EXTRAS[name]:
        if match := re.fullmatch(rf"{PROJECT['name']}\[([\w,-]+)\]", requirement):
            found |= {package for other in match[1].split(",") for package in requirements(other)}
        else:
            found.add(re.split(r"[<>=\[ ;]", requirement)[0])
    return found


@pytest.mark.parametrize(
    ("name", "checkout", "image"),
    [
        ("embedded", "make install", "make image-cpu"),
        ("l4", "make install-l4", "make image"),
        ("cpu", "make install-cpu", "make image EXTRAS=cpu ENVIRONMENTS= PROFILE=cpu"),
        ("loadtest", None, None),
    ],
)
def test_a_profile_names_the_command_that_installs_all_of_it(
    name: str, checkout: str | None, image: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry.of_profile(name) == checkout
    monkeypatch.setattr(registry, "IMAGE", "embedded")
    assert registry.of_profile(name) == image


def test_in_an_image_the_command_makes_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "IMAGE", "l4,mp3")
    monkeypatch.setattr(registry, "IMAGE_ENVIRONMENTS", "melo")
    assert registry.extra("kokoro") == "make image EXTRAS=l4,mp3,kokoro"
    expected = 'make image EXTRAS=l4,mp3,parler ENVIRONMENTS="melo parler"'
    assert registry.extra_and_environment("parler") == expected


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: f"{backend.stage} {backend.name}")
def test_the_command_of_a_backend_installs_what_it_needs(backend: Backend) -> None:
    if backend.needs and backend.install != SILERO:
        match = re.fullmatch(r"make install(?:-([\w-]+))?", backend.install)
        assert match, backend.install
        assert {PACKAGES.get(package, package) for package in backend.needs} <= requirements(match[1] or "embedded")


def test_without_a_checkout_pip_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech_to_speech.config.registry.CHECKOUT", False)
    assert extra("mms") == f"pip install '{PROJECT['name']}[mms]'"


@pytest.mark.parametrize("profile", ["embedded", "tiny", "cpu", "l4"])
def test_a_profile_has_an_extra_that_brings_all_its_backends(profile: str) -> None:
    from speech_to_speech.config.profiles import PROFILES

    needed = {
        PACKAGES.get(package, package)
        for stage in ("stt", "llm", "tts")
        for package in find(stage, str(PROFILES[profile][stage])).needs
    }
    assert needed <= requirements(profile)


def test_the_tests_have_every_backends_packages() -> None:
    missing = {package for backend in BACKENDS.values() for package in backend.missing}
    assert missing == set()


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: f"{backend.stage} {backend.name}")
def test_a_backend_is_a_class_in_a_module_that_is_there(backend: Backend) -> None:
    module, _, name = backend.target.partition(":")
    assert importlib.util.find_spec(module) is not None
    assert getattr(importlib.import_module(module), name).__name__ == name


def test_what_is_missing_is_said_with_the_command() -> None:
    backend = Backend("tts", "parrot", "fakes:NoisyTts", ("json", "no_such_a", "no_such_b"), extra("parrot"))
    assert backend.missing == ("no_such_a", "no_such_b")
    with pytest.raises(BackendMissing) as missing:
        backend.model_class()
    assert str(missing.value) == "tts parrot needs no_such_a, no_such_b: make install-parrot"


def test_an_unknown_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError) as refused:
        find("stt", "ears")
    assert str(refused.value) == f"stt: unknown backend 'ears'; there are {', '.join(names('stt'))}"


def test_details_of_a_backend_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BACKENDS", dict(BACKENDS))

    @register_model("stt", "own", runs_on=("CPU",), licence="MIT", weights_licence="CC-BY-4.0", checkpoint="org/own")
    class Own:
        pass

    backend = find("stt", "own")
    assert backend.target == f"{__name__}:{Own.__qualname__}"
    assert (backend.runs_on, backend.licence, backend.weights_licence) == (("CPU",), "MIT", "CC-BY-4.0")
    assert backend.checkpoint == "org/own"


def test_a_stage_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^unknown stage 'ear'; there are vad, stt, llm, tts, turn$"):
        register_model("ear", "own")


@pytest.mark.parametrize("name", EXTRAS)
def test_make_knows_every_extra(name: str) -> None:
    """What it would run is a script that a shell can read."""
    told = subprocess.run(["make", "-n", f"install-{name}"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f".[{name}]" in told.stdout
    subprocess.run(["sh", "-n"], input=told.stdout, text=True, check=True)

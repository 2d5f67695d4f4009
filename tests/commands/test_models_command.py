"""`speech-to-speech models`."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import COMMAND, assert_refused, run

from speech_to_speech.commands.models import (
    HEADER,
    WIDTH,
    checkpoint_languages,
    in_order,
    licences,
    models,
    row,
    some_languages,
    table,
)
from speech_to_speech.config.registry import BACKENDS, STAGES, TURN, Backend
from speech_to_speech.languages import NAMES, SIX

OURS = {key: backend for key, backend in BACKENDS.items() if backend.target.startswith("speech_to_speech.")}
HEAVY = ("torch", "transformers", "huggingface_hub", "faster_whisper", "ctranslate2", "openai", "kokoro", "nltk", "av")


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], dict[str, object]]:
    return {(entry["stage"], entry["name"]): entry for entry in json.loads(models(["--json"]))}


def test_every_backend_is_there_stage_by_stage(rows: dict[tuple[str, str], dict[str, object]]) -> None:
    assert rows.keys() == BACKENDS.keys()
    stages = [stage for stage, _ in rows]
    assert list(dict.fromkeys(stages)) == [STAGES[0], TURN, *STAGES[1:]]
    assert stages == sorted(stages, key=lambda stage: (STAGES[0], TURN, *STAGES[1:]).index(stage))


def test_what_has_to_be_known_of_a_backend_is_there(rows: dict[tuple[str, str], dict[str, object]]) -> None:
    for entry in map(rows.__getitem__, OURS):
        assert entry["runs_on"], entry
        assert entry["licence"], entry
        assert entry["weights_licence"], entry
        assert entry["languages"] is None or set(entry["languages"]) <= set(NAMES), entry  # type: ignore[arg-type]
        assert entry["installed"] or str(entry["install"]).startswith("make install"), entry


def test_what_is_special_about_some(rows: dict[tuple[str, str], dict[str, object]]) -> None:
    assert rows["stt", "whisper"]["languages"] == in_order(NAMES)
    assert rows["stt", "whisper"]["checkpoint"] == "distil-whisper/distil-large-v3"
    assert rows["stt", "whisper"]["checkpoint_languages"] == ["en"]
    assert rows["tts", "facebookMMS"]["weights_licence"] == "CC-BY-NC-4.0"
    assert rows["tts", "espeak"]["licence"] == "GPL-3.0"
    assert rows["stt", "pocketsphinx"]["languages"] == ["en"]
    assert rows["llm", "open_api"]["runs_on"] == ["any server"]
    assert rows["llm", "transformers"]["languages"] is None


def test_the_table_fits_and_has_a_line_for_each(rows: dict[tuple[str, str], dict[str, object]]) -> None:
    lines = models([]).splitlines()
    assert lines[0].split("  ")[0] == HEADER[0]
    assert max(map(len, lines)) <= WIDTH
    backends = [tuple(line.split()[:2]) for line in lines[1:] if not line.startswith(" ")]
    assert backends == list(rows)


def test_what_is_not_installed_has_the_command_under_it() -> None:
    missing = Backend("tts", "other", "fakes:NoisyTts", ("no_such_package",), "pip install it", ("CPU",), "MIT")
    present = Backend("tts", "here", "fakes:NoisyTts", (), "pip install that", ("CPU",), "MIT")
    lines = table([plain(missing), plain(present)]).splitlines()
    assert [line.split() for line in lines] == [
        ["stage", "backend", "installed", "runs", "on", "languages", "licence"],
        ["tts", "other", "no", "CPU", "any", "MIT"],
        ["pip", "install", "it"],
        ["tts", "here", "yes", "CPU", "any", "MIT"],
    ]


def plain(backend: Backend) -> dict[str, object]:
    """A row without the backend's class."""
    return {
        "stage": backend.stage,
        "name": backend.name,
        "installed": not backend.missing,
        "install": backend.install,
        "runs_on": list(backend.runs_on),
        "languages": None,
        "licence": backend.licence,
        "weights_licence": backend.licence,
        "checkpoint": "",
        "checkpoint_languages": None,
    }


def test_languages_are_counted_and_the_first_few_shown() -> None:
    assert some_languages(None) == "any"
    assert some_languages(["en"]) == "en"
    assert some_languages(SIX) == " ".join(SIX)
    assert some_languages([*SIX, "de"]) == "7: en fr es zh ja ko ..."
    assert in_order({"de", "ko", "en", "zz"}) == ["en", "ko", "de", "zz"]


def test_the_weights_have_a_licence_of_their_own_only_if_it_is_another() -> None:
    assert licences({"licence": "MIT", "weights_licence": "MIT"}) == "MIT"
    assert licences({"licence": "MIT", "weights_licence": "GPL-3.0"}) == "MIT, weights GPL-3.0"
    assert licences({"licence": "", "weights_licence": ""}) == "-"


def test_a_model_that_knows_all_of_its_backends_languages_is_not_remarked_on() -> None:
    class Polyglot:
        languages = frozenset({"en", "fr"})

        class Options:
            pass

        @classmethod
        def languages_with(cls, options: object) -> frozenset[str]:
            return cls.languages

    assert checkpoint_languages(Polyglot) is None


# As a command.

OWN = """
from dataclasses import dataclass, field
from speech_to_speech.config.registry import register_model

@register_model("tts", "parrot", runs_on=("CPU",), licence="MIT")
class Parrot:
    languages = frozenset({"fr"})

    @dataclass(frozen=True)
    class Options:
        parrot_model_name: str = "org/parrot"
"""


@pytest.mark.parametrize("how", ["flag", "equals", "environment"])
def test_a_backend_of_ones_own_is_listed(tmp_path: Path, how: str) -> None:
    (tmp_path / "parrots.py").write_text(OWN)
    arguments = {"flag": ["--models", "parrots"], "equals": ["--models=parrots"], "environment": []}[how]
    more = {"S2S_MODELS": "parrots"} if how == "environment" else {}
    result = run("models", "--json", *arguments, PYTHONPATH=str(tmp_path), **more)
    assert result.returncode == 0, result.stderr
    (parrot,) = [entry for entry in json.loads(result.stdout) if entry["name"] == "parrot"]
    assert (parrot["stage"], parrot["languages"], parrot["licence"]) == ("tts", ["fr"], "MIT")
    assert (parrot["checkpoint"], parrot["installed"], parrot["runs_on"]) == ("org/parrot", True, ["CPU"])


def test_unknown_arguments_are_one_line() -> None:
    assert_refused(run("models", "--yaml"), "models: unexpected argument '--yaml'", "--json")
    assert_refused(run("models", "--models"), "models: unexpected argument '--models'")
    assert_refused(run("models", "--models", "no_such_module"), "can't import 'no_such_module'")


def test_help_is_printed() -> None:
    result = run("models", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "speech-to-speech models [--json]" in result.stdout


def test_nothing_heavy_is_imported() -> None:
    code = f"""
import sys
from speech_to_speech.commands.models import models
models([])
print([name for name in {HEAVY} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout == "[]\n"


def test_it_takes_less_than_a_second_of_computing() -> None:
    """Of the processor's time, as others may be at work here."""
    code = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""
    times = []
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", code, *COMMAND, "models"], capture_output=True, check=True)
        times.append(float(result.stdout))
    assert min(times) < 1.0


def test_looking_for_packages_is_quick() -> None:
    started = time.process_time()
    assert all(isinstance(backend.missing, tuple) for backend in BACKENDS.values())
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: f"{backend.stage} {backend.name}")
def test_a_row_can_be_made_of_every_backend(backend: Backend) -> None:
    entry = row(backend)
    assert json.loads(json.dumps(entry)) == entry

"""docs/backends.md against the code."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from speech_to_speech.commands.models import ORDER, licences, row, some_languages
from speech_to_speech.config.profiles import PROFILES
from speech_to_speech.config.registry import BACKENDS
from speech_to_speech.config.settings import NAMES
from speech_to_speech.llm.transformers.kv_cache import GPU_GB
from speech_to_speech.weights import checkpoints
from speech_to_speech.weights.hub import model as hub_model
from speech_to_speech.workers.model import import_target

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "backends.md").read_text()
PROSE = " ".join(DOC.split())
OURS = {key: backend for key, backend in BACKENDS.items() if backend.target.startswith("speech_to_speech.")}
OPTIONS = {
    key: [field.name for field in dataclasses.fields(import_target(backend.target).Options)]
    for key, backend in OURS.items()
}


def table(*header: str) -> list[list[str]]:
    """The rows of the one table with this header."""
    found = re.findall(rf"^\| {re.escape(' | '.join(header))} \|\n\|[-|]+\|\n((?:\|.*\|\n?)+)", DOC, re.MULTILINE)
    assert len(found) == 1, header
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].strip().splitlines()]


def documented(entry: dict[str, Any]) -> list[str]:
    """The line that a backend has in the table of the page."""
    cells = [entry["stage"], f"`{entry['name']}`", ", ".join(entry["runs_on"]), some_languages(entry["languages"])]
    return [*cells, licences(entry), entry["checkpoint"] or "-"]


def test_the_table_of_backends_is_that_of_the_code() -> None:
    backends = sorted(OURS.values(), key=lambda backend: ORDER.index(backend.stage))
    expected = [documented(row(backend)) for backend in backends if backend.name != "loadtest"]
    assert table("stage", "backend", "runs on", "languages", "licence", "default model") == expected


def test_every_flag_in_the_page_exists() -> None:
    flags = set(re.findall(r"--([a-z]\w+)", DOC))
    allowed = {*NAMES, *(option for options in OPTIONS.values() for option in options), "help"}
    allowed |= {"again", "extra"}  # of `speech-to-speech env`, and the first word of one of pip's
    allowed |= {"folder", "dry"}  # of `scripts/download_models.py`, the second the first word of its flag
    assert len(flags) > 40
    assert flags - allowed == set()


@pytest.mark.parametrize("backend", OPTIONS, ids=" ".join)
def test_every_flag_of_a_backend_is_in_the_page(backend: tuple[str, str]) -> None:
    assert [option for option in OPTIONS[backend] if not re.search(rf"`--{option}\b", PROSE)] == []


def test_settings_and_profiles_named_in_the_page_exist() -> None:
    assert set(re.findall(r"--profile (\w+)", DOC)) == set(PROFILES)
    chosen = set(re.findall(r"--(stt|llm|tts) ([\w-]+)", DOC))
    assert chosen
    assert chosen <= OURS.keys()
    assert {
        cell.strip("`")
        for cell, *_ in table("profile", "packages", "download of models", "memory with models", "notes")
    } == (PROFILES.keys() - {"loadtest"})


def test_the_sizes_are_of_the_models_that_the_profiles_load() -> None:
    models = " ".join(name for name, *_ in table("model", "parameters", "download", "as loaded", "licence"))
    loaded = [str(PROFILES[profile]["lm_model_name"]) for profile in ("cpu", "l4")]
    loaded += [str(PROFILES["l4"]["stt_model_name"]), "hexgrad/Kokoro-82M", "facebook/mms-tts-eng"]
    loaded += [f"Systran/faster-whisper-{PROFILES['cpu']['faster_whisper_stt_model_name']}"]
    assert [name for name in loaded if name not in models] == []


def test_the_arithmetic_of_the_cache_is_right() -> None:
    arithmetic = re.search(r"2 x (\d+) layers x (\d+) heads x (\d+) x (\d+) bytes = ([\d,]+) bytes a token", DOC)
    layers, heads, dimension, size, token = (int(text.replace(",", "")) for text in arithmetic.groups())
    assert 2 * layers * heads * dimension * size == token
    default, tokens = re.search(r"(\d) GB have room for ([\d,]+) tokens", DOC).groups()
    assert float(default) == GPU_GB
    assert int(tokens.replace(",", "")) == int(GPU_GB * 1e9 / token)
    for length, small, large in table("tokens a conversation", "answered at the same moment with 2 GB", "with 3 GB"):
        count = int(length.split()[0].replace(",", ""))
        assert (int(small), int(large)) == (int(2e9 / token / count), int(3e9 / token / count))


def test_what_is_on_the_gpu_adds_up() -> None:
    rows = table("on the GPU", "GB", "known how")
    *used, (_, left, _), _ = [(name, float(size.strip("*")), note) for name, size, note in rows]
    assert left == pytest.approx(24 - sum(size for _, size, _ in used), abs=0.05)


def test_the_bounds_of_downloads_are_those_of_the_code() -> None:
    assert f"does not answer within {hub_model.ANSWER_TIMEOUT_S:g} s" in PROSE
    assert f"how far it is every {hub_model.LOG_INTERVAL_S:g} s" in PROSE
    assert f"refuses connections is given up after {sum(hub_model.RETRY_PAUSES_S):g} s" in PROSE
    assert f"after at most {hub_model.STALL_LIMIT_S / 60:g} minutes" in PROSE


def test_the_helpers_and_files_it_names_exist() -> None:
    helpers = re.search(r"has what that takes: (.+?), with an example", PROSE)[1]
    assert set(re.findall(r"`(\w+)`", helpers)) == set(checkpoints.__all__)
    assert [path for path in re.findall(r"`(speech_to_speech/[\w/]+\.py)`", DOC) if not (ROOT / path).is_file()] == []
    assert [path for path in re.findall(r"\]\(([\w.-]+\.md)", DOC) if not (ROOT / "docs" / path).is_file()] == []

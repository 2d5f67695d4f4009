"""Folders that have models of the hub, as they are mounted into a container: `MODEL_FOLDERS` and `REPOSITORY`."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import Service

from speech_to_speech.config.settings import load_settings
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.errors import CheckpointError
from speech_to_speech.service.models import Models
from speech_to_speech.weights.hub import fetch as hub
from speech_to_speech.weights.hub.folders import FOLDERS_VARIABLE, OWN_VARIABLE

NAME, FLAG = "org/tiny", "stt_model_name"
TINY = Path(__file__).parents[2] / "tiny_models"
NOBODY = "http://127.0.0.1:9"  # the discard service, which nobody runs


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(OWN_VARIABLE, raising=False)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one that `MODEL_FOLDERS` names."""
    path = tmp_path / "repository"
    path.mkdir()
    monkeypatch.setenv(FOLDERS_VARIABLE, str(path))
    return path


def model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(100))
    return folder


def fetched(name: str = NAME) -> Path:
    return hub.fetch(name, flag=FLAG)


def refused(caplog: pytest.LogCaptureFixture, name: str = NAME) -> list[str]:
    """The warnings of a `fetch` that goes on to the hub, which can't be asked here."""
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        fetched(name)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_model_in_its_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = model(folder / NAME)
    with caplog.at_level(logging.INFO):
        assert fetched() == there
    assert caplog.messages == [f"{FLAG}: {NAME} is taken from {there}"]


def test_the_folder_is_the_model_of_which_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model(folder)
    assert refused(caplog) == []  # the folder may be of any model
    monkeypatch.setenv(OWN_VARIABLE, "org/other")
    assert refused(caplog) == []
    monkeypatch.setenv(OWN_VARIABLE, NAME)
    assert fetched() == folder


def test_the_first_folder_that_has_it_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("missing", "first", "second")]
    monkeypatch.setenv(FOLDERS_VARIABLE, ":".join(map(str, names)))
    for path in names[1:]:
        model(path / NAME)
    assert fetched() == tmp_path / "first" / NAME


def test_nothing_is_looked_up_without_the_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model(folder / NAME)
    monkeypatch.delenv(FOLDERS_VARIABLE)
    assert refused(caplog) == []


def lacks_a_part(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    (folder / "model-00001-of-00002.safetensors").write_bytes(bytes(100))
    return "lacks model-00002-of-00002.safetensors"


def lacks_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "has no weights"


def has_pointers(folder: Path) -> str:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    return "has pointers of git-lfs for model.safetensors"


@pytest.mark.parametrize("damage", [lacks_a_part, lacks_weights, has_pointers])
@pytest.mark.parametrize("is_own", [False, True], ids=["among others", "its own"])
def test_a_folder_with_a_part_is_passed_over_with_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: object, is_own: bool
) -> None:
    there = model(folder if is_own else folder / NAME)
    if is_own:
        monkeypatch.setenv(OWN_VARIABLE, NAME)
    problem = damage(there)
    assert refused(caplog) == [f"{FLAG}: {NAME} is not taken from {there}, which {problem}"]


def test_an_incomplete_folder_does_not_hide_a_complete_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDERS_VARIABLE, f"{tmp_path}/a:{tmp_path}/b")
    lacks_weights(model(tmp_path / "a" / NAME))
    model(tmp_path / "b" / NAME)
    assert fetched() == tmp_path / "b" / NAME


def test_a_revision_comes_from_the_hub(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model(folder / NAME)
    assert refused(caplog, f"{NAME}@v1") == []


def test_a_name_does_not_lead_out_of_the_folder(folder: Path) -> None:
    model(folder.parent)
    model(folder)
    for name in ("a/..", "./..", "../x"):
        with pytest.raises(CheckpointError):
            fetched(name)


def test_some_files_of_a_repository(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = folder / NAME
    there.mkdir(parents=True)
    (there / "tokenizer.json").write_text("{}")
    assert hub.fetch_files(NAME, ("tokenizer*", "spiece.model"), flag=FLAG) == there
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
        hub.fetch_files(NAME, ("spiece.model",), flag=FLAG)
    assert f"{FLAG}: {NAME} is not taken from {there}, which has no spiece.model" in caplog.messages


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as a platform mounts it, if mounting is allowed here; else without the right to write."""
    mounts = ["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)]
    if os.geteuid() == 0 and shutil.which("mount") and not subprocess.run(mounts[0], check=False).returncode:
        try:
            subprocess.run(mounts[1], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (folder / "file").touch()
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            yield
        finally:
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755)


MOUNTED = ("--profile", "tiny", "--stt_model_name", "me/whisper", "--lm_model_name", "org/llama")


@pytest.fixture
def mounted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The endpoint's own model is in the folder itself, another one in a folder of it."""
    shutil.copytree(TINY / "whisper", folder, dirs_exist_ok=True)
    shutil.copytree(TINY / "llama", folder / "org" / "llama")
    monkeypatch.setenv(OWN_VARIABLE, "me/whisper")
    with read_only(folder):
        yield folder


def check_mounted(folder: Path, log: str) -> None:
    assert f"stt_model_name: me/whisper is taken from {folder}\n" in log
    assert f"lm_model_name: org/llama is taken from {folder / 'org' / 'llama'}\n" in log
    assert "not taken" not in log


@pytest.mark.anyio
async def test_models_are_loaded_from_a_mounted_repository_without_a_hub(
    mounted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = Models(load_settings(MOUNTED, {}), Metrics())
    try:
        with caplog.at_level(logging.INFO):
            await models.load()
    finally:
        await models.close()
    check_mounted(mounted, caplog.text)


@pytest.mark.long
def test_the_service_starts_from_a_mounted_repository_without_a_hub(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    monkeypatch.setenv("HF_HOME", str(mounted / "no cache"))
    with Service(*MOUNTED[2:], profile="tiny") as service:
        check_mounted(mounted, service.log())

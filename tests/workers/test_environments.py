"""Environments of backends: made, listed, found to be stale or half made, removed."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from service import wait_until

from speech_to_speech.commands import cli
from speech_to_speech.commands.environments import env, environments
from speech_to_speech.config.registry import find
from speech_to_speech.errors import BackendMissing, EnvironmentFailed, SettingsError
from speech_to_speech.workers.environments import making
from speech_to_speech.workers.environments.environment import FOLDER_VARIABLE, MARKER, Environment
from speech_to_speech.workers.environments.making import create, remove

SMALL = "uv-no-such-dependency==0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environments"))
    return tmp_path / "environments"


def environment(tmp_path: Path, requirements: str = "# nothing\n") -> Environment:
    file = tmp_path / "tiny.txt"
    file.write_text(requirements)
    return Environment.of(file)


def test_it_is_missing_then_ready_then_stale_then_broken(tmp_path: Path, folder: Path) -> None:
    tiny = environment(tmp_path)
    assert tiny.state == "missing"
    assert tiny.problem == (f"the environment tiny was not made ({folder / 'tiny'}): speech-to-speech env create tiny")
    said: list[str] = []
    create(tiny, said.append)
    assert tiny.state == "ready"
    assert tiny.problem is None
    assert said == [f"making {folder / '.tiny.new'}", "installing what tiny.txt names"]
    prefix = subprocess.run([tiny.python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True)
    assert Path(prefix.stdout.strip()) == folder / "tiny"
    assert tiny.made is not None
    assert 1000 < tiny.made.bytes < 1e6

    tiny.requirements.write_text("# something else\n")
    assert tiny.state == "stale"
    assert "made for other requirements" in str(tiny.problem)
    create(tiny, said.append)
    assert tiny.state == "ready"

    tiny.python.unlink()
    assert tiny.state == "broken"
    assert "is gone" in str(tiny.problem)


def test_another_minor_version_of_python_makes_it_stale(tmp_path: Path, folder: Path) -> None:
    tiny = environment(tmp_path)
    create(tiny, str)
    marker = json.loads((tiny.folder / MARKER).read_text())
    (tiny.folder / MARKER).write_text(json.dumps({**marker, "python": "3.9"}))
    assert tiny.state == "stale"


def test_without_a_marker_it_was_not_finished(tmp_path: Path, folder: Path) -> None:
    tiny = environment(tmp_path)
    tiny.folder.mkdir(parents=True)
    assert tiny.state == "unfinished"
    assert "was not finished" in str(tiny.problem)
    (tiny.folder / MARKER).write_text("{")
    assert tiny.state == "unfinished"


def test_what_cant_be_installed_leaves_nothing_behind(tmp_path: Path, folder: Path) -> None:
    tiny = environment(tmp_path)
    create(tiny, str)
    tiny.requirements.write_text(SMALL)
    with pytest.raises(EnvironmentFailed, match=r"env tiny: can't install the packages: .*no-such-dependency"):
        create(tiny, str)
    assert sorted(path.name for path in folder.iterdir()) == [".tiny.lock", "tiny"]
    assert tiny.state == "stale"  # the old environment works as it did
    assert tiny.python.exists()


def test_a_folder_that_cant_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(EnvironmentFailed, match=r"^env tiny: can't write to .*file"):
        create(environment(tmp_path), str)


MAKING = """
import sys
from speech_to_speech.workers.environments.environment import Environment
from speech_to_speech.workers.environments.making import create
create(Environment.of(sys.argv[1]), lambda line: print(line, flush=True))
"""


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_creation_that_was_killed_is_begun_again_and_two_at_once_are_refused(tmp_path: Path, folder: Path) -> None:
    tiny = environment(tmp_path)
    command = [sys.executable, "-c", MAKING, str(tiny.requirements)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("making")
        with pytest.raises(EnvironmentFailed, match="another process is making it"):
            create(tiny, str)
        with pytest.raises(EnvironmentFailed, match="there is none"):
            remove(tiny)
        wait_until((folder / ".tiny.new").exists, "it has begun")
        os.killpg(first.pid, signal.SIGKILL)
    wait_until(lambda: is_free(folder / ".tiny.lock"), "the last process of the group has ended")
    assert (folder / ".tiny.new").exists()
    assert tiny.state == "missing"
    create(tiny, str)
    assert tiny.state == "ready"
    assert not (folder / ".tiny.new").exists()


def test_an_extension_for_cuda_is_removed_if_the_torch_there_has_none(tmp_path: Path, folder: Path) -> None:
    tiny = environment(tmp_path)
    create(tiny, str)
    packages = making.site_packages(tiny)
    extension = packages / making.AUDIO_EXTENSION
    extension.parent.mkdir(parents=True)
    (packages / "torch").mkdir()
    for cuda, stays in (("'12.8'", True), ("None", False)):
        extension.touch()
        (packages / "torch" / "__init__.py").write_text(f"class version:\n    cuda = {cuda}\n")
        said: list[str] = []
        notes = making.mend(tiny, said.append)
        assert extension.exists() is stays
        assert notes == said
        assert bool(notes) is not stays


# The command.


def test_the_list_has_ours(folder: Path) -> None:
    lines = env(["list"]).splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith((" ", "name"))] == [
        ["melo", "missing"],
        ["parler", "missing"],
    ]
    assert "speech-to-speech env create parler" in env(["list"])


@pytest.mark.parametrize("name", ["parler", "melo"])
def test_every_package_of_ours_is_pinned(name: str) -> None:
    lines = environments()[name].requirements.read_text().splitlines()
    loose = [line for line in lines if line and not line.startswith("#") and "==" not in line and "@" not in line]
    assert loose == []


def test_a_backend_without_its_environment_names_the_command(folder: Path) -> None:
    with pytest.raises(BackendMissing, match=r"^tts parler: the environment parler was not made .* env create parler$"):
        find("tts", "parler").model_class()
    assert not find("tts", "parler").installed


def test_the_service_does_not_start_without_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--tts", "parler"]) == 2
    assert "speech-to-speech env create parler" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["create", "bark"], "there is no environment 'bark'; there are melo, parler"),
        (["make", "parler"], "unexpected arguments 'make parler'"),
        (["create"], "unexpected arguments 'create'"),
    ],
)
def test_bad_arguments(arguments: list[str], line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match=line):
        env(arguments)
    assert cli.main(["env", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_backend_of_ones_own(folder: Path) -> None:
    listed = subprocess.run(
        [Path(sys.executable).with_name("speech-to-speech"), "env", "list", "--models", "own_voice"],
        cwd=Path(__file__).parents[1] / "support",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "own_voice  missing" in listed.stdout


def test_removing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["env", "remove", "parler"]) == 2
    assert "env parler: there is none" in capsys.readouterr().err
    (folder / "parler").mkdir(parents=True)
    assert cli.main(["env", "remove", "parler"]) == 0
    assert not (folder / "parler").exists()

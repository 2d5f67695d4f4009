"""`scripts/download_models.py` against a hub on the loopback address."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub, environment, fetch
from service import wait_until

from speech_to_speech.tts.melo.models import BERTS, CHECKPOINTS
from speech_to_speech.weights.hub import fetch as hub_module
from speech_to_speech.weights.hub.folders import FOLDERS_VARIABLE, lack_of

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, str(ROOT / "scripts" / "download_models.py")]
WHISPER, LLAMA = "org/whisper", "org/llama"
TINY = ("--profile", "tiny", "--stt_model_name", WHISPER, "--lm_model_name", LLAMA)
NOBODY = "http://127.0.0.1:9"  # the discard service, which nobody runs
MB = 1_000_000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with copies of two of the tiny models."""
    folders = {f"org/{name}": tmp_path / "models" / name for name in ("whisper", "llama")}
    for folder in folders.values():
        shutil.copytree(ROOT / "tiny_models" / folder.name, folder)
    with FakeHub(folders) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(hub: FakeHub | str, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    address = hub if isinstance(hub, str) else hub.address
    return subprocess.run(
        [*SCRIPT, *arguments],
        env=environment(address, home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def complaints(result: subprocess.CompletedProcess[str]) -> list[str]:
    """What went wrong: no trace, and no token in it."""
    assert "Traceback" not in result.stderr
    assert TOKEN not in result.stderr + result.stdout
    prefix = "download_models: "
    return [line.removeprefix(prefix) for line in result.stderr.splitlines() if line.startswith(prefix)]


def cells(result: subprocess.CompletedProcess[str], name: str) -> str:
    """The line of the table for a model, its spaces made one."""
    return next(" ".join(line.split()) for line in result.stdout.splitlines() if line.startswith(f"{name} "))


def make_large(hub: FakeHub, size: int = 15 * MB) -> Path:
    weights = hub.folders[LLAMA] / "model.safetensors"
    weights.write_bytes(secrets.token_bytes(size))
    return weights


def partials(folder: Path) -> list[Path]:
    return [*folder.rglob("*.partial")]


# Downloads that succeed.


def test_a_dry_run_tells_sizes_and_downloads_nothing(hub: FakeHub, home: Path) -> None:
    heavy = "[name for name in ('torch', 'transformers') if name in sys.modules]"
    code = f"import sys; from speech_to_speech.commands.download import main; print(main(sys.argv[1:]), {heavy})"
    command = [sys.executable, "-c", code, *TINY, "--dry-run"]
    result = subprocess.run(command, env=environment(hub.address, home), capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 []"
    assert cells(result, WHISPER) == f"{WHISPER} stt whisper 6 2.3 MB 2.3 MB the cache"
    assert cells(result, LLAMA) == f"{LLAMA} llm transformers 6 1.7 MB 1.7 MB the cache"
    assert "in all 4.0 MB, of which 4.0 MB are to be downloaded" in result.stdout
    assert f"{home}/hub has " in result.stdout
    assert "nothing to download for vad silero, tts espeak, turn rules" in result.stdout
    assert hub.downloads() == []
    assert not home.exists()


def test_into_the_cache_where_a_service_finds_it(hub: FakeHub, home: Path) -> None:
    result = run(hub, home, *TINY)
    assert (result.returncode, complaints(result)) == (0, [])
    for name in (WHISPER, LLAMA):
        fetched = fetch(name, NOBODY, home, HF_HUB_OFFLINE="1")
        assert fetched.files.keys() == hub.files(name).keys()
        assert f"  {name}: {fetched.folder}" in result.stdout
    assert partials(home) == []
    hub.requests.clear()
    again = run(hub, home, *TINY)
    assert again.returncode == 0
    assert "of which 0 bytes are to be downloaded" in again.stdout
    assert hub.downloads() == []
    assert run(hub, home, *TINY, f"--folder={home / 'folder'}").returncode == 0
    assert (home / "folder" / LLAMA / "model.safetensors").is_file()
    assert "model.safetensors" not in hub.downloads()  # the file was copied
    offline = run(NOBODY, home, *TINY, HF_HUB_OFFLINE="1")
    assert (offline.returncode, complaints(offline)) == (0, [])
    unreachable = run(NOBODY, home, *TINY)
    assert unreachable.returncode == 0
    assert all(line.endswith("; the copy that is there will do") for line in complaints(unreachable))


def test_into_a_folder_that_a_service_can_mount(
    hub: FakeHub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with models"
    result = run(hub, home, *TINY, f"--folder={folder}")
    assert (result.returncode, complaints(result)) == (0, [])
    assert f"a service finds it with MODEL_FOLDERS={folder}" in result.stdout
    assert not home.exists()
    monkeypatch.setenv(FOLDERS_VARIABLE, str(folder))
    assert hub_module.fetch(LLAMA, flag="lm_model_name") == folder / LLAMA
    for name, file in hub.files(LLAMA).items():
        assert (folder / LLAMA / name).read_bytes() == file.read_bytes()
    (hub.folders[LLAMA] / "model.safetensors").write_bytes(secrets.token_bytes(2 * MB))
    hub.requests.clear()
    assert run(hub, home, *TINY, "--folder", str(folder)).returncode == 0
    assert hub.downloads() == ["model.safetensors"]
    assert (
        fetch(LLAMA, NOBODY, home, MODEL_FOLDERS=str(folder)).files["model.safetensors"]
        == (hub.folders[LLAMA] / "model.safetensors").read_bytes()
    )


@pytest.mark.parametrize("into", ["cache", "folder"])
def test_what_was_stopped_goes_on_where_it_was(hub: FakeHub, home: Path, tmp_path: Path, into: str) -> None:
    weights = make_large(hub)
    hub.bytes_per_s = 15 * MB
    flags = (*TINY, "--folder", str(tmp_path / "folder")) if into == "folder" else TINY
    place = tmp_path / "folder" if into == "folder" else home
    started = subprocess.Popen(
        [*SCRIPT, *flags], env=environment(hub.address, home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with started as process:
        wait_until(lambda: any(path.stat().st_size >= 10 * MB for path in partials(place)), "a part of the weights")
        process.send_signal(signal.SIGINT if into == "cache" else signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "download_models: stopped\n" in log
    assert f"  complete: {WHISPER}\n" in log
    assert f"  incomplete: {LLAMA}, " in log
    assert "of 15.1 MB, in " in log
    assert log.endswith("the same command goes on from there\n")
    hub.bytes_per_s = 0
    hub.requests.clear()
    result = run(hub, home, *flags)
    assert result.returncode == 0
    assert "of which 4.5 MB are to be downloaded" in result.stdout  # the library writes 10 MiB at a time
    spans = [span for method, path, span in hub.requests if method == "GET" and path.endswith("model.safetensors")]
    assert [int(span.removeprefix("bytes=").rstrip("-")) >= 10 * MB for span in spans if span] == [True]
    assert any(path.read_bytes() == weights.read_bytes() for path in place.rglob("model.safetensors"))
    assert partials(place) == []


def test_a_connection_that_breaks_off_is_made_again(hub: FakeHub, home: Path) -> None:
    weights = make_large(hub)
    hub.cut_after, hub.cuts = 12 * MB, 1
    assert run(hub, home, *TINY).returncode == 0
    assert any(path.read_bytes() == weights.read_bytes() for path in home.rglob("model.safetensors"))


def test_what_has_other_bytes_than_the_hub_says_is_removed(hub: FakeHub, home: Path) -> None:
    make_large(hub, 3 * MB)
    stopped = home / "hub" / "models--org--llama" / "blobs"
    stopped.mkdir(parents=True)
    digest = hashlib.sha256((hub.folders[LLAMA] / "model.safetensors").read_bytes()).hexdigest()
    (stopped / f"{digest}.partial").write_bytes(bytes(MB))  # the part is of another file
    result = run(hub, home, *TINY)
    assert result.returncode == 1
    assert complaints(result) == [
        f"lm_model_name: model.safetensors of {LLAMA} came damaged and was removed; start again"
    ]
    assert run(hub, home, *TINY).returncode == 0


def test_models_inside_their_packages_need_nothing(home: Path) -> None:
    result = run(NOBODY, home, "--profile", "embedded")
    assert (result.returncode, result.stderr) == (0, "")
    assert "nothing to download for vad silero, stt pocketsphinx, llm eliza, tts espeak, turn rules" in result.stdout


def test_models_are_named_by_environment_variables_as_for_the_service(hub: FakeHub, home: Path) -> None:
    result = run(
        hub, home, "--dry-run", PROFILE="tiny", LM_MODEL_NAME=LLAMA, S2S_STT_MODEL_NAME=str(hub.folders[WHISPER])
    )
    assert result.returncode == 0
    assert cells(result, LLAMA).startswith(f"{LLAMA} llm transformers 6 ")
    assert cells(result, str(hub.folders[WHISPER])).endswith(f"nothing is in {hub.folders[WHISPER]}")


def add_model(hub: FakeHub, name: str, **files: str) -> None:
    """A repository with weights that are none, a tokenizer, and these files (`_` for the `.`)."""
    folder = hub.folders[WHISPER].parent / name.replace("/", "--")
    folder.mkdir()
    files = {"config_json": "{}", "tokenizer_json": "{}", "model_safetensors": name, "checkpoint_pth": name} | files
    for file, text in files.items():
        (folder / file.replace("_", ".")).write_text(text)
    hub.folders[name] = folder


@pytest.mark.usefixtures("seeming_environments")
def test_a_tokenizer_that_a_models_configuration_names(hub: FakeHub, home: Path, tmp_path: Path) -> None:
    config = {"model_type": "parler_tts", "vocab_size": 9, "text_encoder": {"vocab_size": 8, "_name_or_path": "org/t5"}}
    add_model(hub, "org/parler", config_json=json.dumps(config))
    add_model(hub, "org/t5", spiece_model="")
    flags = ("--profile", "loadtest", "--tts", "parler", "--tts_model_name", "org/parler", "--folder", str(tmp_path))
    result = run(hub, home, *flags)
    assert (result.returncode, complaints(result)) == (0, [])
    assert (tmp_path / "org" / "parler" / "model.safetensors").is_file()
    assert {file.name for file in (tmp_path / "org" / "t5").iterdir()} == {".cache", "spiece.model", "tokenizer.json"}
    hub.gated.add("org/t5")
    (line,) = complaints(run(hub, home, *flags[:-1], str(tmp_path / "another")))
    assert line.startswith("tts_model_name: org/t5 is gated: ask for access at ")


@pytest.mark.usefixtures("seeming_environments")
def test_what_a_library_takes_by_itself_goes_into_the_cache(hub: FakeHub, home: Path, tmp_path: Path) -> None:
    for name in (*CHECKPOINTS.values(), *BERTS.values()):
        add_model(hub, name)
    flags = ("--profile", "loadtest", "--tts", "melo", "--melo_languages", "en", "--folder", str(tmp_path / "folder"))
    result = run(hub, home, *flags)
    assert (result.returncode, complaints(result)) == (0, [])
    assert "what a library takes by itself goes into the cache" in result.stdout
    assert not (tmp_path / "folder").exists()
    found = {
        name: {file.name for file in snapshot(home, name).iterdir()} for name in hub.folders if name in result.stdout
    }
    assert found.pop(CHECKPOINTS["en"]) == {"config.json", "checkpoint.pth"}
    assert found.pop(BERTS["en"]) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert found == {name: {"config.json", "tokenizer.json"} for name in BERTS.values() if name != BERTS["en"]}


def snapshot(home: Path, name: str) -> Path:
    """Where the hub's library looks for a model's `main`."""
    folder = home / "hub" / f"models--{name.replace('/', '--')}"
    return folder / "snapshots" / (folder / "refs" / "main").read_text()


# Refusals: one line for each model, before anything is downloaded.


def test_gated_and_missing_models_are_all_told_before_the_first_is_downloaded(hub: FakeHub, home: Path) -> None:
    hub.gated.add(LLAMA)
    result = run(hub, home, *TINY)
    assert result.returncode == 2
    assert complaints(result) == [
        f"lm_model_name: {LLAMA} is gated: ask for access at {hub.address}/{LLAMA}, then set HF_TOKEN or run "
        "`hf auth login`"
    ]
    flags = ("--profile", "tiny", "--stt_model_name", "org/gone", "--lm_model_name", LLAMA)
    gone, gated = complaints(run(hub, home, *flags, HF_TOKEN=TOKEN))
    assert gone.startswith(f"stt_model_name: there is no model 'org/gone' at {hub.address} and no such folder; check")
    assert gated == f"lm_model_name: {LLAMA} is gated and your token has no access: ask for it at {hub.address}/{LLAMA}"
    assert hub.downloads() == []


def test_a_private_model_needs_the_token(hub: FakeHub, home: Path) -> None:
    hub.private.add(WHISPER)
    result = run(hub, home, *TINY, "--dry-run")
    assert result.returncode == 2
    (line,) = complaints(result)
    assert line.endswith("check --stt_model_name (if it is private, set HF_TOKEN)")
    assert run(hub, home, *TINY, "--dry-run", HF_TOKEN=TOKEN).returncode == 0


def test_a_wrong_token_is_told_once(hub: FakeHub, home: Path) -> None:
    wrong = run(hub, home, *TINY, HF_TOKEN="hf_" + "s3cr3t" * 4)
    assert wrong.returncode == 2
    assert complaints(wrong) == [
        f"stt_model_name, lm_model_name: {hub.address} refuses the token; check HF_TOKEN, or run `hf auth login`"
    ]
    assert "s3cr3t" not in wrong.stderr + wrong.stdout


def test_offline_and_not_there(home: Path) -> None:
    result = run(NOBODY, home, *TINY, HF_HUB_OFFLINE="1")
    assert result.returncode == 2
    assert complaints(result)[0].startswith(f"stt_model_name: HF_HUB_OFFLINE is set and not all of {WHISPER} is in")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--profile", "huge"), "unknown profile 'huge'; there are embedded"),
        (("--profile", "tiny", "--folders", "x"), "unknown option --folders"),
        (("--folder",), "the folder to download to is expected"),
        (("--folder", __file__), "the folder to download to is expected, not "),
        (("--profile", "tiny", "--lm_model_name", "llama"), "no such folder 'llama', and no name on the hub"),
    ],
    ids=["profile", "flag", "no folder", "a file", "no name"],
)
def test_settings_that_are_none(home: Path, flags: tuple[str, ...], words: str) -> None:
    result = run(NOBODY, home, *flags)
    assert result.returncode == 2
    (line,) = complaints(result)
    assert words in line


# The disk.


@pytest.mark.parametrize("into", ["cache", "folder"])
def test_too_little_room_for_what_the_hub_tells(hub: FakeHub, home: Path, tmp_path: Path, into: str) -> None:
    hub.sizes["model.safetensors"] = 10**16  # each of the two has this size
    flags = ("--folder", str(tmp_path / "folder")) if into == "folder" else ()
    result = run(hub, home, *TINY, *flags)
    assert result.returncode == 2
    (line,) = complaints(result)
    assert line.startswith("20000000 GB are to be downloaded and ")
    assert line.endswith("choose a --folder on another disk" if flags else "set HF_HOME to a folder on another disk")
    assert hub.downloads() == []


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes, in memory."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_gets_full_on_the_way(hub: FakeHub, home: Path, tmp_path: Path) -> None:
    weights = make_large(hub)
    hub.sizes["model.safetensors"] = 6 * MB  # the hub tells too small a size, so that the download begins
    disk = tmp_path / "disk"
    with small_disk(disk, 13 * MB):
        flags = ("--profile", "tiny", "--lm_model_name", LLAMA, "--folder", str(disk / "models"))
        result = run(hub, home, *flags)
        assert result.returncode == 1
        assert complaints(result) == [
            f"lm_model_name: the disk is full while {LLAMA} is downloaded; make room, or choose a --folder on another "
            "disk"
        ]
        assert f"  incomplete: {LLAMA}, " in result.stderr
        assert result.stderr.endswith("the same command goes on from there\n")
        assert lack_of(disk / "models" / LLAMA) == "has no weights"  # a service takes no such folder for a model
        subprocess.run(["mount", "-o", f"remount,size={40 * MB}", str(disk)], check=True)
        del hub.sizes["model.safetensors"]
        hub.requests.clear()
        assert run(hub, home, *flags).returncode == 0
        assert any(span for _, path, span in hub.requests if path.endswith("model.safetensors"))
        assert (disk / "models" / LLAMA / "model.safetensors").read_bytes() == weights.read_bytes()

"""Models by name: `fetch` against a hub on the loopback address, in processes of their own (its library reads the
environment once)."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest
from fake_hub import TOKEN, FakeHub, environment, fetch
from service import wait_until

from speech_to_speech.weights.hub import fetch as hub_module
from speech_to_speech.weights.hub import model as hub_model

NAME = "org/tiny"
MB = 1_000_000
NOBODY = "http://127.0.0.1:9"  # the discard service, which nobody runs
SECRET = "hf_" + "s3cr3t" * 4


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A repository as they are: the weights three times over, and pictures."""
    folder = tmp_path / "model"
    (folder / "original").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "whisper"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(secrets.token_bytes(3 * MB))
    for name in ("pytorch_model.bin", "flax_model.msgpack", "model.onnx", "original/weights.pth", "README.md"):
        (folder / name).write_bytes(b"not wanted")
    return folder


@pytest.fixture
def hub(model: Path) -> Iterator[FakeHub]:
    with FakeHub({NAME: model}) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


WANTED = {"config.json", "tokenizer.json", "model.safetensors"}


# Downloads that succeed.


def test_a_model_is_downloaded_without_what_is_not_read(hub: FakeHub, model: Path, home: Path) -> None:
    fetched = fetch(NAME, hub.address, home)
    assert fetched.files == {name: (model / name).read_bytes() for name in WANTED}
    assert set(hub.downloads()) == WANTED
    assert "downloading org/tiny: 3 files, 3.0 MB, to " in fetched.log


def test_what_is_in_the_cache_is_not_downloaded_again(hub: FakeHub, home: Path) -> None:
    first = fetch(NAME, hub.address, home)
    hub.requests.clear()
    again = fetch(NAME, hub.address, home)
    assert again.folder == first.folder
    assert hub.downloads() == []
    assert [path for _, path, _ in hub.requests if "resolve" in path] == []


def test_a_changed_model_is_downloaded_where_it_changed(hub: FakeHub, model: Path, home: Path) -> None:
    first = fetch(NAME, hub.address, home)
    (model / "tokenizer.json").write_text('{"new": 1}')
    hub.requests.clear()
    second = fetch(NAME, hub.address, home)
    assert second.folder != first.folder
    assert second.files["tokenizer.json"] == b'{"new": 1}'
    assert "model.safetensors" not in hub.downloads()


def test_a_revision_and_a_commit_can_be_named(hub: FakeHub, home: Path) -> None:
    commit = hub.commit(NAME)
    assert fetch(f"{NAME}@main", hub.address, home).files.keys() == WANTED
    hub.requests.clear()
    fetched = fetch(f"{NAME}@{commit}", hub.address, home)
    assert fetched.files.keys() == WANTED
    assert hub.requests == []  # a commit can't change


def test_offline_the_cache_serves(hub: FakeHub, home: Path) -> None:
    first = fetch(NAME, hub.address, home)
    hub.requests.clear()
    assert fetch(NAME, hub.address, home, HF_HUB_OFFLINE="1").folder == first.folder
    assert hub.requests == []


def test_a_private_model_is_had_with_a_token(hub: FakeHub, home: Path) -> None:
    hub.private.add(NAME)
    fetched = fetch(NAME, hub.address, home, HF_TOKEN=TOKEN)
    assert fetched.files.keys() == WANTED
    assert hub.tokens - {""} == {TOKEN}
    assert TOKEN not in fetched.log


def test_a_download_that_breaks_off_goes_on_where_it_was(hub: FakeHub, model: Path, home: Path) -> None:
    (model / "model.safetensors").write_bytes(secrets.token_bytes(25 * MB))
    hub.cut_after, hub.cuts = 12 * MB, 1
    fetched = fetch(NAME, hub.address, home)
    assert fetched.files["model.safetensors"] == (model / "model.safetensors").read_bytes()
    ranges = [span for method, path, span in hub.requests if method == "GET" and path.endswith("model.safetensors")]
    assert len(ranges) == 2
    assert ranges[0] is None
    assert int(ranges[1].removeprefix("bytes=").rstrip("-")) >= 10 * MB


def test_a_server_error_that_passes_is_waited_for(hub: FakeHub, home: Path) -> None:
    hub.status, hub.failures = 503, 1
    assert fetch(NAME, hub.address, home, {"RETRY_PAUSES_S": [0.1, 0.1]}).files.keys() == WANTED


def test_the_log_says_how_far_a_download_is(hub: FakeHub, model: Path, home: Path) -> None:
    (model / "model.safetensors").write_bytes(secrets.token_bytes(25 * MB))
    hub.bytes_per_s = 12 * MB
    log = fetch(NAME, hub.address, home, {"LOG_INTERVAL_S": 0.2}).log
    assert "stt_model_name: 10.5 MB of 25.0 MB" in log  # the library writes 10 MiB at a time
    assert "stt_model_name: downloaded org/tiny in" in log
    assert "%|" not in log  # the log has no progress bar


# Refusals: one line that names the fix.


def refused(fetched: fake_hub.Fetched, *words: str) -> str:
    assert fetched.error is not None
    assert fetched.error.startswith("stt_model_name: ")
    assert "\n" not in fetched.error
    for word in words:
        assert word in fetched.error
    return fetched.error


def test_a_model_that_does_not_exist(hub: FakeHub, home: Path) -> None:
    words = ("there is no model 'no/such'", "check --stt_model_name")
    refused(fetch("no/such", hub.address, home), *words, "set HF_TOKEN")
    refused(fetch("no/such", hub.address, home, HF_TOKEN=TOKEN), *words, "your token has no access")


def test_a_gated_model_without_a_token(hub: FakeHub, home: Path) -> None:
    hub.gated.add(NAME)
    refused(
        fetch(NAME, hub.address, home), f"gated: ask for access at {hub.address}/{NAME}", "HF_TOKEN", "hf auth login"
    )


def test_a_gated_model_with_a_token_that_has_no_access(hub: FakeHub, home: Path) -> None:
    hub.gated.add(NAME)
    refused(fetch(NAME, hub.address, home, HF_TOKEN=TOKEN), f"your token has no access: ask for it at {hub.address}")


@pytest.mark.parametrize("token", [SECRET, f"{SECRET}\u00e9", f"{SECRET}\x01x"], ids=["wrong", "accent", "control"])
def test_a_wrong_token_is_refused_and_never_shown(hub: FakeHub, home: Path, token: str) -> None:
    fetched = fetch(NAME, hub.address, home, HF_TOKEN=token)
    assert SECRET not in refused(fetched, "check HF_TOKEN")
    assert SECRET not in fetched.log


def test_a_revision_that_does_not_exist(hub: FakeHub, home: Path) -> None:
    refused(fetch(f"{NAME}@v9", hub.address, home), "org/tiny has no revision 'v9'")


def test_a_repository_without_weights(hub: FakeHub, model: Path, home: Path) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        (model / name).unlink()
    refused(fetch(NAME, hub.address, home), "no weights for PyTorch")


def test_a_repository_that_lacks_a_part_of_its_weights(hub: FakeHub, model: Path, home: Path) -> None:
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    refused(fetch(NAME, hub.address, home), "lacks model-00002-of-00002.safetensors")


@pytest.mark.parametrize("name", ["tiny", "./no/folder", "/no/folder", "a/b/c", "../x/y", "~/no/such", "org/ti ny", ""])
def test_what_is_neither_a_folder_nor_a_name(name: str) -> None:
    with pytest.raises(hub_module.CheckpointError, match=r"^stt_model_name: no such folder .* organisation/name$"):
        hub_module.fetch(name, flag="stt_model_name")


def test_a_name_that_no_hub_has(home: Path) -> None:
    refused(fetch("a--b/c", NOBODY, home), "'a--b/c' is no name on the hub")


@pytest.mark.parametrize("limits", [{"RETRY_PAUSES_S": [0.1, 0.1]}, pytest.param({}, marks=pytest.mark.long)])
def test_a_hub_that_fails(hub: FakeHub, home: Path, limits: dict[str, object]) -> None:
    hub.status = 500
    fetched = fetch(NAME, hub.address, home, limits)
    refused(fetched, f"{hub.address} answered with status 500")
    assert len([path for _, path, _ in hub.requests if path.startswith("/api/models")]) == 3
    assert fetched.took_s < 15


def test_what_answers_is_no_hub(hub: FakeHub, home: Path) -> None:
    hub.status = 200
    refused(fetch(NAME, hub.address, home), f"what {hub.address} answers is not what a model hub would")


def test_too_many_requests(hub: FakeHub, home: Path) -> None:
    hub.status = 429
    refused(fetch(NAME, hub.address, home, {"RETRY_PAUSES_S": [0.1]}), "too many requests")


def test_a_hub_that_refuses_connections(home: Path) -> None:
    fetched = fetch(NAME, NOBODY, home, {"RETRY_PAUSES_S": [0.1, 0.1]})
    refused(fetched, f"can't reach {NOBODY}", "Connection refused", "check the network and HF_ENDPOINT")
    assert fetched.took_s < 15


def know_its_users(home: Path) -> None:
    """Spare the library its first request, which waits 3 s for a list of programs that may use it."""
    home.mkdir(exist_ok=True)
    (home / ".agent_harnesses.json").write_text('{"standardEnvVars": [], "harnesses": {}}')


def test_a_hub_that_accepts_connections_and_does_not_answer(hub: FakeHub, home: Path) -> None:
    know_its_users(home)
    hub.hangs = True
    fetched = fetch(NAME, hub.address, home, {"ANSWER_TIMEOUT_S": 1.0})
    refused(fetched, f"{hub.address} does not answer")
    assert 1.0 <= fetched.took_s < 15


@pytest.mark.long
def test_a_hub_that_is_silent_is_given_up_in_time(hub: FakeHub, home: Path) -> None:
    hub.hangs = True
    fetched = fetch(NAME, hub.address, home)
    refused(fetched, f"{hub.address} does not answer")
    assert hub_model.ANSWER_TIMEOUT_S <= fetched.took_s < 25


def test_a_hub_that_stops_in_the_middle(hub: FakeHub, home: Path) -> None:
    hub.stalls_after = 1 * MB
    fetched = fetch(NAME, hub.address, home, {"STALL_LIMIT_S": 1.0})
    refused(fetched, f"{hub.address} sent nothing for 1 s")
    assert fetched.took_s < 15


def test_offline_and_not_in_the_cache(home: Path) -> None:
    refused(fetch(NAME, NOBODY, home, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE is set", "not all of org/tiny", str(home))


def test_a_password_in_the_hubs_address_is_not_shown(home: Path) -> None:
    fetched = fetch(NAME, "http://user:p4ss@127.0.0.1:9", home, {"RETRY_PAUSES_S": []})
    refused(fetched, "can't reach http://127.0.0.1:9")
    assert "p4ss" not in fetched.error + fetched.log


def test_a_disk_that_is_too_small(hub: FakeHub, home: Path) -> None:
    hub.sizes["model.safetensors"] = 10**16
    refused(fetch(NAME, hub.address, home), "takes 10000000 GB", "make room, or set HF_HOME")


def test_a_cache_that_can_not_be_written(hub: FakeHub, home: Path) -> None:
    home.write_text("a file where the folder should be")
    refused(fetch(NAME, hub.address, home), "can't write to the cache", "set HF_HOME to a folder of your own")


# The copy in the cache helps.


@pytest.mark.parametrize("trouble", ["500", "hang", "gone", "gated", "refused"])
def test_the_copy_in_the_cache_is_used_with_a_warning(hub: FakeHub, home: Path, trouble: str) -> None:
    know_its_users(home)
    first = fetch(NAME, hub.address, home)
    address = hub.address
    match trouble:
        case "500":
            hub.status = 500
        case "hang":
            hub.hangs = True
        case "gone":
            hub.private.add(NAME)
        case "gated":
            (hub.folders[NAME] / "new.json").write_text("{}")
            hub.gated.add(NAME)
        case "refused":
            address = NOBODY
    again = fetch(NAME, address, home, {"ANSWER_TIMEOUT_S": 1.0})
    assert again.folder == first.folder
    (warning,) = [line for line in again.log.splitlines() if line.startswith("WARNING:")]
    assert warning.startswith("WARNING:speech_to_speech.weights.hub.model:stt_model_name: ")
    assert warning.endswith("; the copy in the cache is used")


def test_half_a_copy_is_not_used(hub: FakeHub, model: Path, home: Path) -> None:
    hub.stalls_after = 1 * MB
    assert fetch(NAME, hub.address, home, {"STALL_LIMIT_S": 1.0}).error is not None
    assert fetch(NAME, hub.address, home, HF_HUB_OFFLINE="1").error is not None
    hub.stalls_after = None
    assert fetch(NAME, hub.address, home).files["model.safetensors"] == (model / "model.safetensors").read_bytes()


def test_a_failed_update_leaves_the_old_copy_for_offline_use(hub: FakeHub, model: Path, home: Path) -> None:
    first = fetch(NAME, hub.address, home)
    (model / "model.safetensors").write_bytes(secrets.token_bytes(3 * MB))
    hub.stalls_after = 1 * MB
    during = fetch(NAME, hub.address, home, {"STALL_LIMIT_S": 1.0})
    assert during.folder == first.folder
    assert "the copy in the cache is used" in during.log
    assert fetch(NAME, hub.address, home, HF_HUB_OFFLINE="1").folder == first.folder


def test_a_process_that_downloads_can_be_stopped(hub: FakeHub, home: Path) -> None:
    hub.bytes_per_s = 0.1 * MB
    code = """
import threading, time
from speech_to_speech.weights.hub.fetch import fetch
threading.Thread(target=fetch, args=("org/tiny",), kwargs={"flag": "x"}, daemon=True).start()
try:
    time.sleep(60)
except KeyboardInterrupt:
    pass
"""
    with subprocess.Popen([sys.executable, "-c", code], env=environment(hub.address, home)) as process:
        wait_until(lambda: any(path.endswith("model.safetensors") for path in hub.downloads()), "the download")
        process.send_signal(signal.SIGINT)
        stopped = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - stopped < 10

"""scripts/create_endpoint.py: waiting for an endpoint; changing, showing, pausing and deleting one that is there."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import fake_endpoints
import pytest
from endpoint_support import (
    BIN,
    CREATE,
    ENDPOINTS,
    IMAGE,
    MINE,
    OWN_TOKEN,
    PASSWORD,
    Run,
    problems,
)
from fake_endpoints import TOKEN, URL, USER, FakeEndpoints, Fault

# Waiting.


def test_wait_shows_the_progress(platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE, "--wait", "60")
    assert done.code == 0, done.err
    shown = [line.split("s  ", 1)[1] for line in done.out.splitlines() if "s  my-voice" in line]
    assert shown == [
        "my-voice: pending, Endpoint waiting to be scheduled",
        "my-voice: initializing, Endpoint is initializing",
        "my-voice: running, Endpoint is ready",
    ]
    assert f"url:     {URL}\n" in done.out
    assert (
        f'HF_TOKEN="$({BIN}hf auth token --quiet)" {BIN}python audio_streaming_client.py --api_url {URL}\n' in done.out
    )
    assert f"pause my-voice --namespace {USER}" in done.out


def test_wait_survives_an_outage(platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("GET", 404, path=MINE), Fault("GET", 503, times=problems.TRIES + 1, path=MINE)]
    done = run(*CREATE, "--wait", "60")
    assert done.code == 0, done.err
    assert "the platform answered 503; see" in done.err


@pytest.mark.parametrize("state", ["failed", "updateFailed"])
def test_wait_for_what_fails(state: str, platform: FakeEndpoints, run: Run) -> None:
    platform.states = (("pending", ""), (state, "Image can't be pulled: unauthorized"))
    done = run(*CREATE, "--wait")
    assert done.code == 1
    assert "my-voice did not start: Image can't be pulled: unauthorized; its log: https://" in done.problem
    assert "the endpoint my-voice exists (not running) and may cost money" in done.err
    assert f"`{BIN}python scripts/create_endpoint.py delete my-voice --namespace {USER}`" in done.err


def test_wait_too_long(platform: FakeEndpoints, run: Run) -> None:
    platform.states = (("pending", ""), ("initializing", ""))
    done = run(*CREATE, "--wait", "0.1")
    assert done.code == 1
    assert "does not run yet after 0 s (initializing)" in done.problem
    assert "exists (not running) and may cost money" in done.err


def test_wait_for_what_is_deleted(platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("GET", 404, path=MINE, times=2)]
    done = run(*CREATE, "--wait")
    assert done.code == 1
    assert "my-voice was deleted while it started" in done.problem
    assert "exists" not in done.err


def test_wait_for_what_is_paused(platform: FakeEndpoints, run: Run) -> None:
    platform.states = (("paused", ""),)
    done = run(*CREATE, "--wait")
    assert done.code == 1
    assert (
        f"is paused, so it does not start: `{BIN}python scripts/create_endpoint.py resume my-voice --namespace {USER}`"
        in (done.problem)
    )


def test_scaled_to_zero_is_ready(platform: FakeEndpoints, run: Run) -> None:
    platform.states = (("scaledToZero", ""),)
    done = run(*CREATE, "--wait")
    assert done.code == 0
    assert "the first connection starts it" in done.out


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(sent: signal.Signals, platform: FakeEndpoints, tmp_path: Path) -> None:
    """A process of its own, so that the signals and the command line are the real ones."""
    platform.states = (("initializing", "Endpoint is initializing"),)
    with subprocess.Popen(
        fake_endpoints.command(platform.address, *CREATE, "--wait"),
        env=fake_endpoints.environment(platform.address, tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "initializing, Endpoint" in line:
                break
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "create_endpoint: interrupted\nthe endpoint my-voice exists (not running) and may cost money: `" in err
    assert f"`{BIN}python scripts/create_endpoint.py delete my-voice" in err
    assert TOKEN not in out + err
    assert "Traceback" not in err


# An endpoint that exists already.


def test_update(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.make("my-voice")
    platform.max_gpus = 1  # the account's one GPU is the endpoint's own
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    done = run(*CREATE, "--update", "--wait", "--registry-user", "me", "--scale-to-zero", "30")
    assert done.code == 0, done.err
    assert platform.whats("POST", "PUT") == [f"PUT {MINE}"]
    [body] = platform.bodies("PUT")
    assert body["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 30}
    assert body["model"]["image"]["custom"]["url"] == IMAGE
    assert body["model"]["image"]["custom"]["credentials"] == {"username": "me", "password": PASSWORD}
    assert body["model"]["secrets"] == {"HF_TOKEN": TOKEN}
    assert "my-voice: updating" in done.out
    assert "my-voice: running" in done.out


def test_update_of_none_creates(platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE, "--update")
    assert (done.code, platform.whats("POST", "PUT")) == (0, [f"POST {ENDPOINTS}"])
    assert "there is no endpoint my-voice yet: it is created" in done.err


def test_update_is_tried_again(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("PUT", 503, times=2)]
    assert run(*CREATE, "--update").code == 0
    assert len(platform.whats("PUT")) == 3


def test_update_that_fails_says_what_is_there(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("PUT", 400, message="no")]
    done = run(*CREATE, "--update")
    assert done.code == 1
    assert "the endpoint my-voice exists (it was running) and may cost money" in done.err


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--type authenticated", "--type authenticated: my-voice has private, and an update can't change that"),
        ("--region eu-west-1", "--region eu-west-1: my-voice has us-east-1"),
    ],
)
def test_update_of_what_can_not_be_changed(flags: str, problem: str, platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    done = run(*CREATE, "--update", *flags.split())
    assert (done.code, platform.whats("PUT")) == (2, [])
    assert problem in done.problem


def test_update_opens_nothing(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice", type="public")
    done = run(*CREATE, "--update")
    assert (done.code, platform.whats("PUT")) == (2, [])
    assert "add --secret S2S_API_TOKEN" in done.problem


def test_update_keeps_the_registry_reachable(platform: FakeEndpoints, run: Run) -> None:
    endpoint = platform.make("my-voice")
    endpoint["model"]["image"]["custom"]["credentials"] = {"username": "me"}
    assert "--registry-user" in run(*CREATE, "--update").problem


def test_status(platform: FakeEndpoints, run: Run) -> None:
    endpoint = platform.make("my-voice")
    endpoint["model"]["secrets"] = {"HF_TOKEN": "configured", "S2S_API_TOKEN": OWN_TOKEN}
    done = run("status", "my-voice")
    assert done.code == 0
    assert done.out.splitlines() == [
        f"my-voice of {USER}: running (may cost money)",
        "type:    private",
        "runs on: aws us-east-1 nvidia-l4 x1",
        "replicas: 0 to 1, to zero after 15 minutes",
        "image:   ghcr.io/me/old:1",
        f"url:     {URL}",
        f'client:  HF_TOKEN="$({BIN}hf auth token --quiet)" S2S_API_TOKEN="$S2S_API_TOKEN" '
        f"{BIN}python audio_streaming_client.py --api_url {URL}",
        "         with S2S_API_TOKEN set in your shell to the service's own token",
    ]


def test_status_of_a_paused_one(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice", "paused", namespace="team")
    done = run("status", "my-voice", "--namespace", "team")
    assert "my-voice of team: paused (costs nothing now)" in done.out
    assert "url:     not known before it runs" in done.out


def test_pause_and_resume(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    for _ in range(2):  # a second time is no error
        done = run("pause", "my-voice")
        assert done.code == 0, done.err
        assert (
            f"my-voice is paused; it costs nothing until it is resumed: `{BIN}python scripts/create_endpoint.py re"
            in done.out
        )
    done = run("resume", "my-voice", "--wait")
    assert done.code == 0, done.err
    assert "my-voice: running, Endpoint is ready" in done.out
    assert run("resume", "my-voice").code == 0


def test_pause_whose_answer_is_lost(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("POST", 0, done=True)]
    done = run("pause", "my-voice")
    assert done.code == 0, done.err
    assert platform.endpoints[USER, "my-voice"]["status"]["state"] == "paused"


def test_pause_refused(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("POST", 400, message="not now")]
    done = run("pause", "my-voice")
    assert done.code == 1
    assert "the platform answered 400: not now" in done.problem


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 2)])
def test_delete_asks(
    answer: str, code: int, platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.make("my-voice")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    done = run("delete", "my-voice")
    assert done.code == code
    assert "delete my-voice of somebody (running) for good? [y/N]" in done.out
    assert (platform.endpoints == {}) == (code == 0)


def test_delete_without_asking(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("DELETE", 502, done=True)]  # the second try finds nothing
    done = run("delete", "my-voice", "--yes")
    assert (done.code, platform.endpoints) == (0, {})
    assert "my-voice is deleted" in done.out

"""scripts/create_endpoint.py against a management API on the loopback address: what it asks for, and what it
says about the service then."""

import json
import os
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
    SECRETS,
    Run,
)
from fake_endpoints import READER, SCRIPT, TOKEN, URL, USER, FakeEndpoints

# The request.


def test_request_with_defaults(platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE)
    assert done.code == 0, done.err
    assert platform.whats() == [f"GET {MINE}", f"GET /v2/provider/{USER}", f"POST {ENDPOINTS}"]
    mine = [asked for asked in platform.asked if asked.path != "/api/agent-harnesses"]  # that path is huggingface_hub's
    assert {asked.headers.get("authorization") for asked in mine} == {f"Bearer {TOKEN}"}
    assert platform.bodies("POST") == [
        {
            "name": "my-voice",
            "type": "private",
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {
                "accelerator": "gpu",
                "instanceType": "nvidia-l4",
                "instanceSize": "x1",
                "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15},
            },
            "model": {
                "repository": "hf-internal-testing/tiny-random-gpt2",
                "revision": None,
                "framework": "custom",
                "task": "custom",
                "image": {"custom": {"url": IMAGE, "healthRoute": "/health", "port": 80}},
                "env": {"PROFILE": "l4", "PORT": "80"},
                "secrets": {"HF_TOKEN": TOKEN},
            },
        }
    ]
    assert "nvidia-l4 x1: 0.8 USD an hour" in done.err
    assert f"may cost money from now on: `{BIN}python scripts/create_endpoint.py status my-voice" in done.out


def test_request_with_everything(
    platform: FakeEndpoints, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text(f"{OWN_TOKEN}\n")
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    more = ["--namespace", "team", "--type", "public", "--region", "eu-west-1", "--port", "8080", "--max-replica", "2"]
    more += ["--repository", "me/weights", "--scale-to-zero", "never"]
    more += ["--env", "S2S_CHAT_SIZE=4", "--env", "LM_MODEL_NAME=me/weights"]
    more += ["--registry-user", "me", "--secret", f"S2S_API_TOKEN=@{tmp_path / 'own'}", "--no-hf-token"]
    assert run(*CREATE, *more).code == 0
    assert "GET /api/whoami-v2" not in [asked.what for asked in platform.asked]
    [body] = platform.bodies("POST")
    assert body["type"] == "public"
    assert body["provider"] == {"vendor": "aws", "region": "eu-west-1"}
    assert body["compute"]["scaling"] == {"minReplica": 1, "maxReplica": 2, "scaleToZeroTimeout": None}
    assert body["model"]["repository"] == "me/weights"
    assert body["model"]["env"] == {
        "PROFILE": "l4",
        "S2S_CHAT_SIZE": "4",
        "LM_MODEL_NAME": "me/weights",
        "PORT": "8080",
        "REPOSITORY": "me/weights",
    }
    assert body["model"]["secrets"] == {"S2S_API_TOKEN": OWN_TOKEN}
    credentials = {"username": "me", "password": PASSWORD}
    image = {"url": IMAGE, "healthRoute": "/health", "port": 8080, "credentials": credentials}
    assert body["model"]["image"] == {"custom": image}


def test_cpu(platform: FakeEndpoints, run: Run) -> None:
    on_cpu = ("--profile", "cpu", "--accelerator", "cpu", "--instance-type", "intel-spr", "--instance-size", "x2")
    assert run(*CREATE, *on_cpu).code == 0
    assert platform.bodies("POST")[0]["compute"]["accelerator"] == "cpu"


def test_token_of_the_login(platform: FakeEndpoints, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert run(*CREATE).code == 0
    assert platform.asked[-1].headers["authorization"] == f"Bearer {TOKEN}"
    assert platform.bodies("POST")[0]["model"]["secrets"] == {"HF_TOKEN": TOKEN}


def test_another_token_for_the_service(platform: FakeEndpoints, run: Run, tmp_path: Path) -> None:
    (tmp_path / "read").write_text(READER)
    assert run(*CREATE, "--secret", f"HF_TOKEN=@{tmp_path / 'read'}").code == 0
    assert platform.bodies("POST")[0]["model"]["secrets"] == {"HF_TOKEN": READER}


def test_dry_run_sends_nothing_and_hides_secrets(
    platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2S_API_TOKEN", OWN_TOKEN)
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    more = ("--secret", "S2S_API_TOKEN", "--registry-user", "me")
    done = run(*CREATE, *more, "--dry-run")
    assert (done.code, platform.asked) == (0, [])
    method_and_url, body = done.out.split("\n", 1)
    assert method_and_url == f"POST {platform.address}/v2/endpoint/YOUR-ACCOUNT"
    shown = json.loads(body)
    assert run(*CREATE, *more).code == 0
    [sent] = platform.bodies("POST")
    assert sent["model"]["secrets"] == {"S2S_API_TOKEN": OWN_TOKEN, "HF_TOKEN": TOKEN}
    sent["model"]["secrets"] = {"S2S_API_TOKEN": "***", "HF_TOKEN": "***"}
    sent["model"]["image"]["custom"]["credentials"]["password"] = "***"
    assert shown == sent


def test_dry_run_without_a_login(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = run(*CREATE, "--namespace", "team", "--update", "--dry-run")
    assert done.code == 0
    assert done.out.startswith(f"PUT {platform.address}/v2/endpoint/team/my-voice\n")
    assert "no login" in done.err


# What the script says about the client.


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [
        ("private", False, f'HF_TOKEN="$({BIN}hf auth token --quiet)" {BIN}python '),
        (
            "authenticated",
            True,
            f'HF_TOKEN="$({BIN}hf auth token --quiet)" S2S_API_TOKEN="$S2S_API_TOKEN" {BIN}python ',
        ),
        ("public", True, f'client:  S2S_API_TOKEN="$S2S_API_TOKEN" {BIN}python '),
    ],
)
def test_client_command(
    kind: str, own: bool, expected: str, platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2S_API_TOKEN", OWN_TOKEN)
    done = run(*CREATE, "--type", kind, "--wait", *(("--secret", "S2S_API_TOKEN") if own else ()))
    assert done.code == 0, done.err
    assert f"{expected}audio_streaming_client.py --api_url {URL}" in done.out


def test_client_sends_both_tokens_to_such_an_address() -> None:
    """What the printed command relies on: the client's own rule for which token goes where."""
    from speech_to_speech.client.address import auth_headers, websocket_url

    tokens = {"HF_TOKEN": TOKEN, "S2S_API_TOKEN": PASSWORD}
    headers = auth_headers(websocket_url(URL, paced=True), None, tokens)
    assert headers == [f"Authorization: Bearer {TOKEN}", f"X-API-Key: {PASSWORD}"]


# A process of its own.


def test_debug_log_has_no_secrets(platform: FakeEndpoints, tmp_path: Path) -> None:
    environment = fake_endpoints.environment(
        platform.address, tmp_path, HF_DEBUG="1", HF_HUB_VERBOSITY="debug", S2S_API_TOKEN=OWN_TOKEN
    )
    result = subprocess.run(
        fake_endpoints.command(platform.address, *CREATE, "--secret", "S2S_API_TOKEN"),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert platform.bodies("POST")[0]["model"]["secrets"]["S2S_API_TOKEN"] == OWN_TOKEN
    assert not [secret for secret in SECRETS if secret in result.stdout + result.stderr]


def test_without_the_library(tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not installed')")
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "status", "my-voice"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "create_endpoint: huggingface_hub 2.4 or newer is needed: pip install -U huggingface_hub"
    ]

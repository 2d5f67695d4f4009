"""scripts/create_endpoint.py: what it refuses before anything is asked."""

import pytest
from endpoint_support import CREATE, IMAGE, PASSWORD, Run
from fake_endpoints import TOKEN, FakeEndpoints
from huggingface_hub import constants


@pytest.mark.parametrize("name", ["My-Voice", "a" * 33, "-voice", "voice-", "my_voice", "..", ""])
@pytest.mark.parametrize("verb", ["create", "delete"])
def test_names(verb: str, name: str, platform: FakeEndpoints, run: Run) -> None:
    done = run(verb, *(("--image", IMAGE) if verb == "create" else ()), "--", name)
    assert (done.code, platform.asked) == (2, [])
    assert f"{name!r} is no name for an endpoint: lower case letters, digits and '-' are allowed, 32 at" in done.problem


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--profile l5", "unknown profile 'l5'; there are embedded,"),
        (
            "--accelerator cpu",
            "--profile l4 needs a GPU (stt_device, lm_device, melo_device), which --accelerator cpu has",
        ),
        ("--type protected", "--type protected: protected is gone; there are private (you, or"),
        ("--type open", "--type open: there are private (you, or"),
        ("--type public", "S2S_API_TOKEN in the environment and --secret S2S_API_TOKEN"),
        ("--image me/image", "name a tag (:TAG) or digest"),
        ("--image docker.io/ME/s2s:1", "registries take names in lower case only"),
        ("--image docker.io/me/s2s:", "a tag is :TAG"),
        ("--image docker.io/me/s2s@sha256:abc", "a digest @sha256: and 64 digits"),
        ("--image image:1", "it is on this machine only; push it"),
        ("--image https://ghcr.io/me/s2s:1", "without https://"),
        ("--image localhost:5000/me/s2s:1", "it is on this machine only; push it"),
        ("--image ghcr.io:443/me/s2s", "name a tag (:TAG) or digest"),
        ("--env PORT=8000", "--port 80 and PORT=8000 do not match"),
        ("--port 8000 --env PORT=80", "--port 8000 and PORT=80 do not match"),
        ("--port 8000 --env S2S_PORT=80", "--port 8000 and S2S_PORT=80 do not match"),
        ("--port 0", "--port 0: between 1 and 65535"),
        ("--env HOST=127.0.0.1", "HOST=127.0.0.1: the platform could not reach the service"),
        ("--env S2S_CHAT_SIZ=4", "unknown option --chat_siz (did you mean --chat_size?)"),
        ("--env S2S_CHAT_SIZE=many", "chat_size: input should be a valid integer"),
        ("--env S2S_MELO_SPEAKER=EN-XX", "the service would not start"),
        ("--env S2S_STT=whispr", "unknown backend 'whispr'"),
        ("--env S2S_MODELS=my_models --env S2S_LEAD_MS=x", "lead_ms: input should be a valid number"),
        ("--env PROFILE=cpu", "--env PROFILE: use --profile"),
        ("--env CHAT_SIZE", "--env NAME=VALUE is expected"),
        ("--env CHAT_SIZE=2 --env CHAT_SIZE=3", "--env CHAT_SIZE is given twice"),
        (f"--env HF_TOKEN={TOKEN}", "--env HF_TOKEN looks like a secret"),
        (f"--env EXTRA={TOKEN}", "--env EXTRA looks like a secret"),
        (
            f"--secret S2S_API_TOKEN={PASSWORD}",
            "a value here shows in process lists and the shell's history; --secret S2S",
        ),
        ("--secret S2S_API_TOKEN", "there is no S2S_API_TOKEN in the environment"),
        ("--secret S2S_API_TOKEN=@missing", "can't read missing: No such file"),
        (f"--registry-password {PASSWORD}", "unknown option --registry-password; secrets go by --secret NAME"),
        (f"--token={TOKEN}", "unknown option --token; secrets go by"),
        (PASSWORD, "there is an argument too many"),
        ("--registry-user me", "REGISTRY_PASSWORD in the environment, or a file"),
        ("--registry-password-file x", "--registry-password-file needs --registry-user"),
        ("--repository weights", "OWNER/NAME"),
        ("--namespace a/b", "'a/b' is no name of a user"),
        ("--scale-to-zero soon", "whole minutes from 1, or never"),
        ("--min-replica 1 --scale-to-zero 15", "leave one of them out"),
        ("--min-replica 0 --scale-to-zero never", "--min-replica 0 needs --scale-to-zero"),
        ("--min-replica 2 --max-replica 1", "--min-replica 2 and --max-replica 1"),
        ("--wait soon", "a number of seconds is expected"),
        ("--wait nan", "a number of seconds is expected"),
    ],
)
def test_bad_input(arguments: str, problem: str, platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE, *arguments.split())
    assert (done.code, done.out, platform.asked) == (2, "", [])
    assert problem in done.problem


def test_wrong_secret_setting_is_not_shown(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2S_LEAD_MS", PASSWORD)
    done = run(*CREATE, "--secret", "S2S_LEAD_MS")
    assert (done.code, platform.asked) == (2, [])
    assert "lead_ms: input should be a valid number" in done.problem
    assert "***" in done.problem


def test_settings_of_a_backend_that_is_in_the_container_only(
    platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)  # no package is installed
    assert run(*CREATE, "--env", "S2S_MELO_SPEAKER_ID=EN-US").code == 2
    assert run(*CREATE, "--env", "S2S_LM_MODEL_NAME=me/model").code == 0


def test_own_models_are_not_checked(platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE, "--env", "S2S_MODELS=my_models", "--env", "S2S_STT=mine", "--env", "S2S_MINE_SIZE=3")
    assert done.code == 0
    assert "S2S_MODELS names modules of the container's own" in done.err


def test_no_token(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = run(*CREATE)
    assert (done.code, platform.asked) == (2, [])
    assert "there is no token: run `hf auth login`, or set HF_TOKEN" in done.problem
    assert "inference.endpoints.write" in done.problem


def test_token_with_strange_characters(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}…")
    assert run(*CREATE).code == 2
    assert platform.asked == []


def test_offline(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in run("status", "my-voice").problem

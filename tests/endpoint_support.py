"""What the tests of scripts/create_endpoint.py share: the script itself, in a process that knows nothing of this
machine and asks a management API on the loopback address."""

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from fake_endpoints import READER, SCRIPT, TOKEN, USER, FakeEndpoints
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

sys.path.append(str(SCRIPT.parent))
create_endpoint = importlib.import_module("create_endpoint")
BIN = importlib.import_module("endpoint.advice").BIN
problems = importlib.import_module("endpoint.problems")
waiting = importlib.import_module("endpoint.waiting")

IMAGE = "ghcr.io/me/speech-to-speech:1.0"
OWN_TOKEN = 'the-service\'s-own-"token"'
PASSWORD = "registry-pass-phrase"
SECRETS = (TOKEN, READER, OWN_TOKEN, PASSWORD, json.dumps(OWN_TOKEN)[1:-1], TOKEN[3:])
CREATE = ("create", "my-voice", "--image", IMAGE)
ENDPOINTS = f"/v2/endpoint/{USER}"
MINE = f"{ENDPOINTS}/my-voice"


def forget_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the variables and the login that a test sets; and the script does not wait for long."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "S2S_", "REGISTRY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Else the library's first request in a process is one of its own, so the order of the tests would matter.
    known = tmp_path / "agent_harnesses.json"
    known.write_text(json.dumps({"standardEnvVars": [], "harnesses": {}}))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(known))
    monkeypatch.setattr(problems, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(waiting, "POLL_S", 0.01)


@contextlib.contextmanager
def asked_platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoints]:
    """A platform that the script asks in this process."""
    with FakeEndpoints() as fake:
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{fake.address}/v2")
        monkeypatch.setattr(constants, "ENDPOINT", fake.address)
        yield fake
        set_client_factory(default_client_factory)


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def problem(self) -> str:
        """The one line of what went wrong; what is left over may follow it."""
        lines = [line for line in self.err.splitlines() if line.startswith("create_endpoint: ")]
        assert len(lines) == 1, self.err
        return lines[0]


class Run(Protocol):
    def __call__(self, *arguments: str) -> Done: ...


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """The script's main function. No secret is ever in what it prints."""

    def run(*arguments: str) -> Done:
        code = create_endpoint.main(arguments)
        done = Done(code, *capsys.readouterr())
        assert not [secret for secret in SECRETS if secret in done.out + done.err]
        return done

    return run

"""The script in a process that knows nothing of this machine and asks a management API on the loopback address."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint_support import SECRETS, Done, Run, create_endpoint, problems, waiting
from fake_endpoints import TOKEN, FakeEndpoints
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the variables and the login that a test sets; and the script does not wait for long."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING", "S2S_", "REGISTRY_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Without this file the library's first request in a process is one of its own, and the order of the tests would
    # matter.
    known = tmp_path / "agent_harnesses.json"
    known.write_text(json.dumps({"standardEnvVars": [], "harnesses": {}}))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(known))
    monkeypatch.setattr(problems, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(waiting, "POLL_S", 0.01)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoints]:
    """A platform that the script asks in this process."""
    with FakeEndpoints() as fake:
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{fake.address}/v2")
        monkeypatch.setattr(constants, "ENDPOINT", fake.address)
        yield fake
        set_client_factory(default_client_factory)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The script's main function. No secret is ever in what it prints."""

    def run(*arguments: str) -> Done:
        code = create_endpoint.main(arguments)
        done = Done(code, *capsys.readouterr())
        assert not [secret for secret in SECRETS if secret in done.out + done.err]
        return done

    return run

"""scripts/create_endpoint.py: what the platform refuses, and faults that pass."""

import email.utils
import time

import pytest
from endpoint_support import (
    BIN,
    CREATE,
    ENDPOINTS,
    MINE,
    OWN_TOKEN,
    Run,
    problems,
)
from fake_endpoints import READER, TOKEN, USER, FakeEndpoints, Fault
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

# Refusals of the platform.


def test_wrong_token(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongTokenThatIsNoSecret")
    done = run(*CREATE)
    assert done.code == 1
    assert "the token is wrong or has expired; set HF_TOKEN or run `hf auth login`" in done.problem
    assert [asked.what for asked in platform.asked] == ["GET /api/whoami-v2"]


def test_token_without_the_right(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    done = run(*CREATE)
    assert done.code == 1
    assert f"has no right to manage endpoints of {USER}: take a fine-grained token with the right inf" in done.problem
    assert "settings/billing" in done.problem


def test_token_of_an_organization(platform: FakeEndpoints, run: Run) -> None:
    platform.account = {"type": "org", "name": "team"}
    assert "--namespace" in run("status", "my-voice").problem


def test_no_such_endpoint(platform: FakeEndpoints, run: Run) -> None:
    for verb in ("status", "pause", "resume", "delete"):
        done = run(verb, "my-voice")
        assert done.code == 1
        assert f"there is no endpoint my-voice of {USER}; check its name and --namespace" in done.problem


def test_no_such_namespace(platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE, "--namespace", "nobody")
    assert (done.code, platform.endpoints) == (1, {})
    assert "there is no account nobody for endpoints; check --namespace" in done.problem


def test_existing_endpoint(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    done = run(*CREATE)
    assert (done.code, platform.whats("POST", "PUT")) == (1, [])
    assert "there is an endpoint my-voice of somebody already: add --update to change it, or take" in done.problem


def test_endpoint_that_came_meanwhile(platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("POST", 409, message="exists")]
    done = run(*CREATE)
    assert (done.code, len(platform.whats("POST"))) == (1, 1)
    assert "add --update" in done.problem


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            "--instance-type nvidia-l44",
            "--instance-type: aws us-east-1 gpu has no 'nvidia-l44' (did you mean nvidia-l4?)",
        ),
        ("--instance-size x3", "--instance-size: aws us-east-1 nvidia-l4 has no 'x3'"),
        ("--region mars-1", "--region: aws has no 'mars-1'; there are us-east-1, eu-west-1"),
        ("--vendor ibm", "--vendor: the platform has no 'ibm'; there are aws"),
        ("--instance-type nvidia-a100", "is not available now; available of aws: us-east-1 nvidia-l4 x1,"),
        ("--instance-size x4", "the quota for nvidia-l4 is used up (0 of 2, 4 needed): pause or delete another"),
        ("--min-replica 3", "the quota for nvidia-l4 is used up (0 of 2, 3 needed)"),
    ],
)
def test_hardware(arguments: str, problem: str, platform: FakeEndpoints, run: Run) -> None:
    done = run(*CREATE, *arguments.split())
    assert (done.code, platform.endpoints, platform.whats("POST")) == (2, {}, [])
    assert problem in done.problem


@pytest.mark.parametrize(
    ("status", "message", "problem"),
    [
        (
            400,
            "Instance compute 'gpu' - 'nvidia-l4' not found",
            "check --vendor, --region, --accelerator, --instance-type",
        ),
        (400, "Quota exceeded for nvidia-l4", "your quota is used up: pause or delete an endpoint"),
        (402, "No payment method", "the account needs a way to pay"),
        (403, "Forbidden", "the account needs a way to pay"),
        (418, "I am a teapot", "the platform answered 418: I am a teapot"),
    ],
)
def test_refused_by_the_platform(status: int, message: str, problem: str, platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("POST", status, message=message), Fault("GET", 403, path="/provider/", message="no")]
    done = run(*CREATE)
    assert (done.code, len(platform.whats("POST"))) == (1, 1)
    assert "the hardware was not checked: the platform answered 403" in done.err
    assert message in done.problem
    assert problem in done.problem
    assert "exist" not in done.err


def test_secrets_that_the_platform_repeats(platform: FakeEndpoints, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2S_API_TOKEN", OWN_TOKEN)
    echo = f"bad \x1b[31m{'x' * 290}{OWN_TOKEN} {TOKEN}"
    platform.faults = [Fault("POST", 400, message=echo)]
    done = run(*CREATE, "--secret", "S2S_API_TOKEN")
    assert done.code == 1
    assert "*** hf_***" in done.problem or "*** ***" in done.problem
    assert "\x1b" not in done.err


# Faults that pass.


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_reading_is_tried_again(status: int, platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("GET", status, times=3)]
    done = run("status", "my-voice")
    assert done.code == 0, done.err
    assert done.err.count("; again in 0 s") == 3


def test_tries_are_bounded(platform: FakeEndpoints, run: Run) -> None:
    platform.make("my-voice")
    platform.faults = [Fault("GET", 503, times=99, path=MINE, message="maintenance")]
    done = run("status", "my-voice")
    assert (done.code, len(platform.whats())) == (1, problems.TRIES)
    assert "the platform answered 503: maintenance; see https://status.huggingface.co" in done.problem


def test_retry_after_is_respected(platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("POST", 429, headers={"Retry-After": "1"})]
    start_s = time.monotonic()
    assert run(*CREATE).code == 0
    assert time.monotonic() - start_s >= 1
    assert len(platform.whats("POST")) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "3600"},
        {"Retry-After": email.utils.formatdate(time.time() + 3600, usegmt=True)},
        {"RateLimit": '"api";r=0;t=3599'},
    ],
)
def test_nobody_waits_for_an_hour(headers: dict[str, str], platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("GET", 429, times=99, headers=headers)]
    done = run("status", "my-voice")
    assert (done.code, len(platform.asked)) == (1, 1)
    assert "too many requests from this account: try again in 3" in done.problem


@pytest.mark.parametrize("status", [500, 502, 504, 0])
def test_lost_answer_of_a_creation(status: int, platform: FakeEndpoints, run: Run) -> None:
    """What was created in spite of the answer is found, and not created again."""
    platform.faults = [Fault("POST", status, done=True)]
    done = run(*CREATE, "--wait")
    assert done.code == 0, done.err
    assert "looking whether my-voice was created all the same" in done.err
    assert len(platform.whats("POST")) == 1


@pytest.mark.parametrize("status", [500, 0])
def test_lost_creation(status: int, platform: FakeEndpoints, run: Run) -> None:
    """After a look that finds nothing it is asked for again."""
    platform.faults = [Fault("POST", status)]
    assert run(*CREATE).code == 0
    looked = [f"POST {ENDPOINTS}", f"GET {MINE}", f"POST {ENDPOINTS}"]
    assert platform.whats()[-3:] == looked


def test_creation_that_never_works(platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("POST", 503, times=99)]
    done = run(*CREATE)
    assert (done.code, len(platform.whats("POST")), platform.endpoints) == (1, problems.TRIES, {})
    assert "my-voice was not created" in done.problem


def test_unknown_whether_created(platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [
        Fault("GET", 404, path=MINE),
        Fault("POST", 0, done=True),
        Fault("GET", 503, times=99, path=MINE),
    ]
    done = run(*CREATE)
    assert done.code == 1
    assert "the connection to the platform failed" in done.problem
    assert f"the endpoint my-voice may exist all the same, and cost money: look with `{BIN}python" in done.err
    assert f"delete my-voice --namespace {USER}`" in done.err


def test_nobody_listens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", "http://127.0.0.1:9/v2")
    done = run("status", "my-voice", "--namespace", "team")
    assert done.code == 1
    assert "the connection to the platform failed" in done.problem
    assert "check the network, proxy settings and http://127.0.0.1:9/v2" in done.problem
    set_client_factory(default_client_factory)


@pytest.mark.parametrize("status", [200, 302])
def test_answer_of_another_server(status: int, platform: FakeEndpoints, run: Run) -> None:
    platform.faults = [Fault("GET", status, path=MINE, headers={"Location": f"{platform.address}/elsewhere"})]
    done = run("status", "my-voice")
    assert (done.code, len(platform.whats())) == (1, 1)
    assert "the platform's answer can't be read; is there a proxy in between" in done.problem

"""The image of the embedded models: built for real, and talked to. `make test-image` runs these, which take minutes."""

import importlib.metadata
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from client_support import write_wav
from image_support import (
    BASE,
    HARDENED,
    IMAGE,
    ROOT,
    Container,
    build,
    files_of,
    inspect,
    missing,
    on_the_host,
    podman,
    run,
)
from packaging.utils import canonicalize_name
from service import eventually, noise, spoken, wait_until

from speech_to_speech.audio.samples import to_float

pytestmark = [
    pytest.mark.skipif("TEST_IMAGE" not in os.environ, reason="takes minutes: make test-image"),
    pytest.mark.timeout(900),  # the first test builds the image
]

SIZE_LIMIT_MB = 250  # the size without the base and Python
START_LIMIT_S = 5.0
REBUILD_LIMIT_S = 20.0
QUESTION = "I need some help with my computer"
LOW_PORTS = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=0")  # Docker sets this by itself


@dataclass(frozen=True)
class Built:
    context: Path
    secret: str


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The image, of a clean copy of this checkout; a token was its secret while it was built."""
    assert not missing(), f"not installed (Debian packages): {' '.join(missing())}"
    folder = tmp_path_factory.mktemp("image")
    context = folder / "checkout"
    files = run("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, context / name)
    secret = f"hf_{secrets.token_hex(17)}"
    (folder / "token").write_text(secret)
    (context / ".env").write_text(f"HF_TOKEN={secret}\n")
    run(str(ROOT / "scripts" / "make_base_image.sh"), BASE, limit_s=600)
    taken_s = build(context, secrets=[f"id=hf_token,src={folder / 'token'}"])
    print(f"built in {taken_s:.0f} s")
    return Built(context, secret)


@pytest.fixture(scope="module")
def service(built: Built) -> Iterator[Container]:
    with on_the_host() as container:
        wait_until(lambda: container.health()[0] == 200, "health 200")
        yield container


# The image's content.


def test_it_is_small(built: Built) -> None:
    build(built.context, "localhost/speech-to-speech:python", target="python")
    megabytes = (inspect(IMAGE)["Size"] - inspect("localhost/speech-to-speech:python")["Size"]) / 1e6
    print(f"{megabytes:.0f} MB over the base and Python")
    assert 50 < megabytes <= SIZE_LIMIT_MB


def test_it_says_how_it_is_run(built: Built) -> None:
    config = inspect(IMAGE)["Config"]
    assert config["User"] == "1000:1000"
    assert list(config["ExposedPorts"]) == ["80/tcp"]
    assert config["Entrypoint"] == ["/app/scripts/entrypoint.sh"]
    assert inspect(IMAGE)["Healthcheck"]["Test"] == ["CMD", "python", "scripts/healthcheck.py"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in config["Env"]
    assert "PROFILE=embedded" in config["Env"]


def test_nothing_is_left_of_building_it(built: Built) -> None:
    with files_of(IMAGE) as root:
        names = [path for path in root.rglob("*") if not path.is_symlink()]
        programs = {path.name for path in names if path.is_file() and path.stat().st_mode & 0o111}
        tools = re.compile(r"(.*-)?(cc|gcc|g\+\+|c\+\+|clang|ld|ld\.bfd|as|make|git|pip\d?|strip|setcap)(-?[\d.]+)?")
        assert not [name for name in programs if tools.fullmatch(name)]
        assert not list((root / "opt/venv").rglob("pip"))
        for folder in ("root", "run/secrets", "var/cache/apt", "var/lib/apt/lists", "tmp", "cache"):
            kept = [path for path in (root / folder).rglob("*") if path.is_file()] if (root / folder).exists() else []
            assert not [path for path in kept if path.name not in (".bashrc", ".profile")], folder
        assert not [path for path in names if path.is_dir() and path.name in (".cache", ".git", "tests")]
        assert not (root / "app/.env").exists()


def test_what_is_installed_is_what_the_lock_says(built: Built) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lock = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    with files_of(IMAGE) as root:
        found = importlib.metadata.distributions(path=[str(next(root.glob("opt/venv/lib/python3*/site-packages")))])
        installed = {canonicalize_name(package.name): package.version for package in found}
    assert len(installed) > 20
    assert installed.pop("speech-to-speech-service")
    assert {name: lock.get(name) for name in installed} == installed


def test_no_secret_is_in_it(built: Built) -> None:
    assert built.secret not in json.dumps(inspect(IMAGE))
    assert built.secret not in run("podman", "history", "--no-trunc", "--format", "json", IMAGE).stdout
    with files_of(IMAGE) as root:
        found = run("grep", "--recursive", "--fixed-strings", "-l", built.secret, str(root), check=False, limit_s=120)
    assert (found.returncode, found.stdout) == (1, "")


def test_a_change_of_the_code_is_built_quickly(built: Built) -> None:
    changed = built.context / "speech_to_speech" / "audio" / "samples.py"
    changed.write_text(f"{changed.read_text()}\nCHANGED = {secrets.token_hex(8)!r}\n")
    taken_s = build(built.context, "localhost/speech-to-speech:changed")
    print(f"built again in {taken_s:.1f} s")
    assert taken_s < REBUILD_LIMIT_S


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"EXTRAS": "embedded,kokro"}, "EXTRAS: there is no 'kokro'; there are "),
        ({"ENVIRONMENTS": "melno"}, "ENVIRONMENTS: there is no 'melno'; there are melo, parler"),
        ({"PROFILE": "big"}, "PROFILE: there is no 'big'; there are "),
        ({"BAKE_MODELS": "l4 big"}, "BAKE_MODELS: there is no 'big'; there are "),
    ],
)
def test_an_argument_that_names_nothing_ends_the_build(built: Built, arguments: dict[str, str], line: str) -> None:
    with pytest.raises(AssertionError, match=line):
        build(built.context, "localhost/speech-to-speech:none", **arguments)


def test_the_arguments_of_a_build_are_in_its_image(built: Built) -> None:
    """Also where all else is taken from the cache."""
    build(built.context, "localhost/speech-to-speech:other", PROFILE="loadtest")
    assert "PROFILE=loadtest" in inspect("localhost/speech-to-speech:other")["Config"]["Env"]
    assert "PROFILE=embedded" in inspect(IMAGE)["Config"]["Env"]


# The image at work.


def test_health_is_503_and_then_200(built: Built) -> None:
    with on_the_host() as container:
        seen = []
        while not seen or seen[-1][1] != 200:
            [elapsed_s, status] = container.elapsed_s(), container.health()[0]
            if not seen or seen[-1][1] != status:
                seen.append((elapsed_s, status))
            assert elapsed_s < 60, container.log()
        assert [status for _, status in seen if status] == [503, 200]
        print(f"health 200 after {seen[-1][0]:.1f} s")
        assert seen[-1][0] < START_LIMIT_S


def test_a_spoken_question_has_a_spoken_answer(service: Container, tmp_path: Path) -> None:
    question = write_wav(tmp_path / "question.wav", [np.frombuffer(spoken(QUESTION) + noise(300), np.int16)])
    reply = tmp_path / "reply.wav"
    client = (sys.executable, "audio_streaming_client.py", "--api_url", f"http://127.0.0.1:{service.port}")
    files = ("--input", str(question), "--output", str(reply))
    done = subprocess.run([*client, *files], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "computer" in done.stdout.partition("reply:")[0]
    sound = to_float(reply.read_bytes()[44:])
    assert len(sound) > 16_000
    assert np.sqrt(np.mean(np.square(sound))) > 0.01


def test_it_is_not_root_and_may_not_do_anything(service: Container) -> None:
    status = Path(f"/proc/{service.pid}/status").read_text()
    assert re.search(r"^Uid:\s+1000\s+1000\s+1000\s+1000$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.findall(r"^Cap(?:Inh|Prm|Eff|Bnd|Amb):\s+(\w+)$", status, re.MULTILINE) == ["0" * 16] * 5
    assert service.within("touch", "/cache/file").returncode != 0


@pytest.mark.anyio
async def test_sigterm_lets_a_reply_finish(built: Built) -> None:
    with on_the_host() as container:
        wait_until(lambda: container.health()[0] == 200, "health 200")
        async with container.talk(paced=1) as talk:
            await talk.send(spoken(QUESTION) + noise(700))
            first = b""
            while not first:
                message = await talk.websocket.recv()
                first = message if isinstance(message, bytes) else b""
            podman("kill", "--signal", "TERM", container.id)
            reply = await talk.reply()
            [ended] = reply.of("turn_ended")
            assert ended["outcome"] == "spoken"
            assert len(first) + len(reply.audio) == 32 * ended["reply_ms"]
            assert (await talk.closed(5.0))[0] == 1012
        assert container.wait() == 0
        await eventually(lambda: "Traceback" not in container.log(), "no trace")


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.4, 0.8])
def test_sigterm_while_it_starts_ends_it(after_s: float) -> None:
    with on_the_host() as container:
        time.sleep(after_s)
        podman("kill", "--signal", "TERM", container.id)
        assert container.wait(10.0) == 0


# The port.


def test_the_default_port_where_the_runtime_allows_it() -> None:
    with Container((*HARDENED, *LOW_PORTS)) as container:
        assert container.listening_port() == 80
        wait_until(container.healthy, "the health check")


def test_the_default_port_where_only_the_file_may() -> None:
    with Container(("--read-only",)) as container:
        assert container.listening_port() == 80
        wait_until(container.healthy, "the health check")
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert re.search(r"^Uid:\s+1000\s", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0{13}400$", status, re.MULTILINE)  # the right to listen on low ports, and no more


def test_the_default_port_where_nobody_may() -> None:
    with Container(HARDENED) as container:
        assert container.listening_port() == 8080
        wait_until(container.healthy, "the health check")
        assert "may not listen on port 80, so the service is on port 8080" in container.log()


def test_a_port_that_was_asked_for_and_can_not_be_had() -> None:
    with Container(HARDENED, environment={"PORT": "81"}) as container:
        assert container.wait() == 2
        [line] = container.log().splitlines()
        assert line.startswith("entrypoint: this container may not listen on PORT 81; ")


# Settings.


def test_the_profile_is_respected(built: Built) -> None:
    with on_the_host(PROFILE="loadtest") as container:
        wait_until(lambda: container.health()[0] == 200, "health 200")
        assert container.health()[1]["profile"] == "loadtest"


def test_flags_go_behind_the_image(built: Built) -> None:
    with Container(HARDENED, ("--chat_size", "many"), environment={"PORT": "8000"}) as container:
        assert container.wait() == 2
        assert "chat_size" in container.log()


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PROFILE": "big"}, r"profile: unknown profile 'big'; there are .*l4.*"),
        (
            {"PROFILE": "tiny"},
            r"stt whisper needs torch, transformers: make image EXTRAS=embedded,transformers; all that profile "
            r"tiny needs: make image EXTRAS=tiny ENVIRONMENTS= PROFILE=tiny",
        ),
        ({"PORT": "eighty"}, r"port: .*eighty.*"),
        ({"S2S_CHAT_SIZ": "3"}, r"unknown option --chat_siz .did you mean --chat_size.*"),
    ],
)
def test_a_wrong_setting_is_one_line(built: Built, environment: dict[str, str], line: str) -> None:
    with Container(HARDENED, environment={"PORT": "8000", **environment}) as container:
        assert container.wait() == 2
        last = container.log().splitlines()[-1]
        assert re.fullmatch(rf"speech-to-speech: {line}", last), container.log()
        assert "Traceback" not in container.log()

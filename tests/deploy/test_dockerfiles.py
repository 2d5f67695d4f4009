"""The files that the images are built and run from, as far as they can be judged without building."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from speech_to_speech.config.registry import all_installed
from speech_to_speech.config.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted(ROOT.glob("dockerfiles/*/Dockerfile"))
COMPOSE = ("docker-compose.yml", "docker-compose.vllm.yml")
PLAIN = {"PATH": "/usr/local/bin:/usr/bin:/bin"}  # make, which may have started the tests, has variables that count
SECRET = re.compile(r"token|secret|password|api_key", re.IGNORECASE)

each_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and arguments of each, on one line, without comments."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in whole if line.strip())]


def test_there_are_two() -> None:
    assert [path.parent.name for path in DOCKERFILES] == ["arm64", "pytorch"]


@each_dockerfile
def test_every_stage_stands_on_the_base_image(path: Path) -> None:
    stages = {"${BASE_IMAGE}"}
    first = instructions(path)[0]
    assert re.fullmatch(r"BASE_IMAGE=\S+", first[1])
    for name, rest in instructions(path):
        if name == "FROM":
            base, stage = re.fullmatch(r"(\S+) AS (\w+)", rest).groups()
            assert base in stages
            stages.add(stage)
        for source in re.findall(r"--from=(\S+)", rest):
            assert source in stages
    assert len(stages) > 3


@each_dockerfile
def test_no_secret_is_an_argument_or_in_the_environment(path: Path) -> None:
    for name, rest in instructions(path):
        if name in ("ARG", "ENV", "LABEL"):
            assert not SECRET.search(rest), rest


@each_dockerfile
def test_the_service_is_the_first_process_and_not_root(path: Path) -> None:
    every = instructions(path)
    last = every[max(index for index, (name, _) in enumerate(every) if name == "FROM") :]
    assert [rest for name, rest in last if name == "USER"] == ["1000:1000"]
    assert [rest for name, rest in last if name == "ENTRYPOINT"] == ['["/app/scripts/entrypoint.sh"]']
    assert any(name == "HEALTHCHECK" for name, _ in last)


@each_dockerfile
def test_what_is_copied_is_there_and_in_the_build_context(path: Path) -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, rest in instructions(path):
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in let_in, source


@pytest.mark.parametrize("files", [COMPOSE[:1], COMPOSE], ids=["alone", "vllm"])
def test_the_service_takes_the_settings_of_docker_compose(files: tuple[str, ...]) -> None:
    environment: dict[str, str] = {}
    for file in files:
        given: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())["services"]["speech-to-speech"]["environment"]
        environment |= {name: default(value) for name, value in given.items() if value is not None}
    with all_installed():  # the image has other packages than this machine
        settings = load_settings([], environment)
    assert (settings.profile, settings.stt) == ("l4", "whisper")
    assert settings.llm == ("open_api" if len(files) == 2 else "transformers")


def default(value: str) -> str:
    """`${NAME:-default}` where NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_make_shows_no_secret() -> None:
    secret = "hf_theValueOfTheToken"
    environment = {**PLAIN, "HF_TOKEN": secret, "S2S_API_TOKEN": secret}
    for target in ("image", "image-cpu", "run-image", "push", "endpoint"):
        done = subprocess.run(
            ["make", "--dry-run", target, "NAME=mine"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert secret not in done.stdout + done.stderr
    assert (
        "--secret id=hf_token,env=HF_TOKEN"
        in subprocess.run(
            ["make", "--dry-run", "image"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("EXTRAS=l4,kokro", "EXTRAS: there is no 'kokro'; there are "),
        ("ENVIRONMENTS=melno", "ENVIRONMENTS: there is no 'melno'; there are melo, parler"),
        ("PROFILE=big", "PROFILE: there is no 'big'; there are "),
        ("BAKE_MODELS=l4 big", "BAKE_MODELS: there is no 'big'; there are "),
        ("IMAGE=docker.io/YOU/speech-to-speech", "IMAGE=docker.io/YOU/speech-to-speech: in lower case, please"),
    ],
)
def test_make_refuses_what_there_is_not_before_it_builds(argument: str, line: str) -> None:
    command = ["make", "image", "DOCKER=false", f"PYTHON={sys.executable}", argument]
    done = subprocess.run(command, cwd=ROOT, env=PLAIN, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).startswith(line)


def test_make_says_how_to_get_an_image_that_is_not_there() -> None:
    command = ["make", "run-image", "DOCKER=false", "IMAGE=me/voice"]
    done = subprocess.run(command, cwd=ROOT, env=PLAIN, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert re.match(r"there is no image me/voice:[\d.]+ here: make image IMAGE=me/voice\n", done.stdout)


def test_what_the_page_quotes_is_said() -> None:
    """The first column of its table of troubles has words that somebody meets; they have to be those that are said."""
    page = (ROOT / "docs/deploy.md").read_text()
    rows = page.partition("## Troubleshooting")[2].partition("\n## ")[0].splitlines()
    quoted = [words for row in rows if row.startswith("|") for words in re.findall(r"`([^`]+)`", row.split("|")[1])]
    files = [*ROOT.glob("*.py"), *ROOT.glob("s*/**/*.py"), *ROOT.glob("scripts/*.sh"), ROOT / "Makefile"]
    sources = "\n".join(file.read_text() for file in files)
    assert len(quoted) > 10
    status = re.compile(r"(the service answered) \d+")
    system = ("PORT", "Read-only file system")
    assert [words for words in quoted if status.sub(r"\1", words) not in sources and words not in system] == []

"""Builds the image and runs it without Docker or a registry: mmdebstrap makes the base, buildah builds, podman runs."""

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from open_api_support import free_port
from service import Address, wait_until

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = "dockerfiles/pytorch/Dockerfile"
BASE = "localhost/speech-to-speech-base:bookworm"
IMAGE = "localhost/speech-to-speech:test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # a proxy's, where there is one between here and PyPI
PROGRAMS = ("buildah", "mmdebstrap", "podman", "runc")
BUILD_LIMIT_S = 600.0

# The container may do nothing that it need not. The limits are those of a process that is allowed as much.
HARDENED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4000:4000")


def missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def run(*command: str, limit_s: float = 60.0, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit_s, stdin=subprocess.DEVNULL, check=False
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"[
        -8000:
    ]
    return done


def podman(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run("podman", "--runtime", shutil.which("runc") or "runc", *arguments, **options)


def build(context: Path, tag: str = IMAGE, *, secrets: Sequence[str] = (), target: str = "", **arguments: str) -> float:
    """Build a checkout; the seconds that it took."""
    certificates = [f"id=ca,src={CERTIFICATES}"] if CERTIFICATES.exists() else []
    more = [argument for secret in (*certificates, *secrets) for argument in ("--secret", secret)]
    more += ["--target", target] if target else []
    more += [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    begun = time.monotonic()
    run(
        *("buildah", "bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--layers"),
        *("--build-arg", f"BASE_IMAGE={BASE}", *more, "-f", str(context / DOCKERFILE), "-t", tag, str(context)),
        limit_s=BUILD_LIMIT_S,
    )
    return time.monotonic() - begun


def inspect(image: str) -> dict[str, Any]:
    [found] = json.loads(run("podman", "image", "inspect", image).stdout)
    return dict(found)


@contextlib.contextmanager
def files_of(image: str) -> Iterator[Path]:
    """The folder in which the image's files can be read."""
    container = run("buildah", "from", "--pull-never", image).stdout.strip()
    try:
        yield Path(run("buildah", "mount", container).stdout.strip())
    finally:
        run("buildah", "rm", container)


@dataclass
class Container(Address):
    """The image, running. Without a `port` it has a network of its own, which only `fetch` reaches."""

    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] | None = None
    port: int = 0

    def __enter__(self) -> Self:
        environment = {**({"PORT": str(self.port)} if self.port else {}), **(self.environment or {})}
        settings = [argument for name, value in environment.items() for argument in ("--env", f"{name}={value}")]
        network = "host" if self.port else "none"
        self.started = time.monotonic()
        self.id = podman(
            *("run", "--detach", "--no-healthcheck", "--network", network, *LIMITS, *settings, *self.options),
            *(IMAGE, *self.arguments),
        ).stdout.strip()
        return self

    def __exit__(self, *_: object) -> None:
        podman("rm", "--force", "--time", "0", self.id, check=False)

    @property
    def pid(self) -> int:
        return int(podman("inspect", "--format", "{{.State.Pid}}", self.id).stdout)

    def log(self) -> str:
        done = podman("logs", self.id)
        return done.stdout + done.stderr

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def wait(self, limit_s: float = 30.0) -> int:
        """Its exit code."""
        return int(podman("wait", self.id, limit_s=limit_s).stdout)

    def within(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the container."""
        return podman("exec", self.id, *command, check=False)

    def healthy(self) -> bool:
        """What the image's own health check says."""
        return self.within("python", "scripts/healthcheck.py").returncode == 0

    def listening_port(self) -> int:
        """Where the service says that it listens."""
        found = wait_until(lambda: re.search(r"listening on http://\S+:(\d+)", self.log()), "the service")
        return int(found[1])


def on_the_host(**environment: str) -> Container:
    """A container that may do as little as possible, on a free port of this machine."""
    return Container(HARDENED, environment={"HOST": "127.0.0.1", **environment}, port=free_port())

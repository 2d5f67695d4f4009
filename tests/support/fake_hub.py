"""A model hub on the loopback address: as much of the Hugging Face hub's HTTP interface as `huggingface_hub` uses to
look a model up and to download its files. What it refuses, and how, is what the real one answers."""

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from loopback import LoopbackServer

TOKEN = "hf_testTokenThatIsNoSecret"
CHUNK = 64 * 1024


class FakeHub(LoopbackServer):
    """Serves the models in `folders` (by their names) at `address` until the context ends.

    `gated` and `private` names want the token; `status` answers everything with this status; `hangs` accepts
    connections and never answers; `cut_after` bytes each answer's body breaks off, `cuts` times; `stalls_after` bytes
    it goes no further. `sizes` are told instead of the real ones, by file.
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self.sizes: dict[str, int] = {}
        self.tags: dict[str, str] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.members = {TOKEN}
        self.status: int | None = None
        self.failures = 10**9  # how many requests have that status
        self.hangs = False
        self.cut_after: int | None = None
        self.cuts = 0
        self.stalls_after: int | None = None
        self.bytes_per_s = 0.0
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and range of each."""
        self.tokens: set[str] = set()
        self.stopped = threading.Event()
        super().__init__(Handler, hub=self)

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        super().__exit__(*error)

    def commit(self, name: str) -> str:
        """The commit that a model is at: it changes with its files."""
        digest = hashlib.sha1()
        for path, file in self.files(name).items():
            digest.update(f"{path} {digest_of(file)}".encode())
        return digest.hexdigest()

    def files(self, name: str) -> dict[str, Path]:
        folder = self.folders[name]
        return {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}

    def downloads(self) -> list[str]:
        """The paths of the files that were fetched."""
        return [path.split("/", 5)[5] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]


def is_large(path: str) -> bool:
    """The hub keeps it apart, by its SHA-256: there that is what .gitattributes says."""
    return path.endswith((".safetensors", ".bin", ".pth", ".onnx"))


def digest_of(file: Path) -> str:
    """A large file's SHA-256; of another the SHA-1, as git has it."""
    status = file.stat()
    return _digest(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache
def _digest(file: Path, changed_ns: int, size: int) -> str:
    return (hashlib.sha256 if is_large(file.name) else hashlib.sha1)(file.read_bytes()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: ClassVar[FakeHub]
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # of a process that has ended meanwhile
            super().handle()

    def do_HEAD(self) -> None:
        self._handle(with_body=False)

    def do_GET(self) -> None:
        self._handle(with_body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.hub.tokens.add(token)
        if self.hub.hangs:
            self.hub.stopped.wait()
            self.close_connection = True
        elif self.hub.status is not None and self.hub.failures > 0:
            self.hub.failures -= 1
            self._refuse(self.hub.status, "", "Something is broken here")
        elif token and token not in self.hub.members:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._model(name, revision or "main", token)
        elif "/resolve/" in path:
            name, _, rest = path[1:].partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._file(name, revision, file, token, with_body=with_body)
        else:
            self._refuse(404, "", "Not here")

    def _admits(self, name: str, revision: str, token: str) -> bool:
        hub = self.hub
        if name not in hub.folders or (name in hub.private and not token):
            if token:
                self._refuse(404, "RepoNotFound", "Repository not found")
            else:
                self._refuse(401, "RepoNotFound", "Repository not found")
            return False
        if revision not in ("main", hub.commit(name), *hub.tags):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return False
        return True

    def _model(self, name: str, revision: str, token: str) -> None:
        if not self._admits(name, revision, token):
            return
        sizes = {path: file.stat().st_size for path, file in self.hub.files(name).items()} | self.hub.sizes
        siblings: list[dict[str, object]] = []
        for path, size in sizes.items():
            siblings.append({"rfilename": path, "size": size})
            if path in self.hub.files(name) and is_large(path):
                siblings[-1]["lfs"] = {
                    "sha256": digest_of(self.hub.files(name)[path]),
                    "size": size,
                    "pointerSize": 134,
                }
        self._send(200, {"id": name, "sha": self.hub.commit(name), "siblings": siblings, "tags": []})

    def _file(self, name: str, revision: str, file: str, token: str, *, with_body: bool) -> None:
        if not self._admits(name, revision, token):
            return
        if name in self.hub.gated:
            what = "awaiting a review from the repo authors" if token else "restricted"
            self._refuse(403 if token else 401, "GatedRepo", f"Access to model {name} is {what}")
            return
        if file not in self.hub.files(name):
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        content = self.hub.files(name)[file].read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", self.hub.commit(name))
        self.send_header("ETag", f'"{digest_of(self.hub.files(name)[file])}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self._body(content[start:])

    def _body(self, content: bytes) -> None:
        hub = self.hub
        cut = hub.cut_after if hub.cuts > 0 and len(content) > (hub.cut_after or 0) else None
        for start in range(0, len(content), CHUNK):
            if cut is not None and start >= cut:
                hub.cuts -= 1
                self.close_connection = True
                return
            if hub.stalls_after is not None and start >= hub.stalls_after:
                hub.stopped.wait()
                self.close_connection = True
                return
            self.wfile.write(content[start : start + CHUNK])
            if hub.bytes_per_s:
                time.sleep(CHUNK / hub.bytes_per_s)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            if text:
                self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def environment(address: str, home: Path, **more: str) -> dict[str, str]:
    """What a child process needs to use this hub and a cache of its own, and nothing of this machine's."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "S2S_", "TRANSFORMERS_", "HUGGING")) and not name.lower().endswith("_proxy")
    }
    return inherited | {"HF_ENDPOINT": address, "HF_HOME": str(home)} | more


@dataclass
class Fetched:
    """What `fetch` did in a process of its own."""

    folder: Path | None
    error: str | None
    log: str
    took_s: float

    @property
    def files(self) -> dict[str, bytes]:
        assert self.folder is not None, self.error
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


FETCH = """
import json, logging, sys
logging.basicConfig(level="DEBUG")
from speech_to_speech.weights.hub import fetch as hub
from speech_to_speech.weights.hub import model as hub_model
from speech_to_speech.errors import CheckpointError
for name, value in json.loads(sys.argv[2]).items():
    setattr(hub_model, name, value)
try:
    print(json.dumps({"folder": str(hub.fetch(sys.argv[1], flag="stt_model_name")), "error": None}))
except CheckpointError as error:
    print(json.dumps({"folder": None, "error": str(error)}))
"""


def fetch(name: str, address: str, home: Path, limits: dict[str, object] | None = None, **more: str) -> Fetched:
    """`hub.fetch(name)` in a process that knows this hub; `limits` replace the module's constants."""
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", FETCH, name, json.dumps(limits or {})],
        env=environment(address, home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    took_s = time.monotonic() - started
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    return Fetched(told["folder"] and Path(told["folder"]), told["error"], result.stderr, took_s)

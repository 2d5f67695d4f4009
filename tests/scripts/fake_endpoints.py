"""The management API of Inference Endpoints on the loopback address, as far as `huggingface_hub` uses it,
and the hub's whoami. Its states go on with each look at them; what it refuses, and how, a test can say."""

import contextlib
import json
import os
import re
import socket
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

from loopback import LoopbackServer

TOKEN = "hf_writerTokenThatIsNoSecret"
READER = "hf_readerTokenThatIsNoSecret"
USER = "somebody"
URL = "https://abc123.us-east-1.aws.endpoints.huggingface.cloud"
WHEN = "2026-11-21T10:00:00.263078506Z"
STARTING = (
    ("pending", "Endpoint waiting to be scheduled"),
    ("initializing", "Endpoint is initializing"),
    ("initializing", "Endpoint is initializing"),
    ("running", "Endpoint is ready"),
)
SCRIPT = Path(__file__).parents[2] / "scripts" / "create_endpoint.py"


@dataclass
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None

    @property
    def what(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """What is answered instead: a status, or 0 for a connection that breaks. `done`: but it is carried out."""

    method: str
    status: int
    times: int = 1
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    path: str = ""


class FakeEndpoints(LoopbackServer):
    """Serves at `address` until the context ends.

    `states` are those of an endpoint after it was created, changed or resumed: one for each look, the last remains.
    """

    def __init__(self) -> None:
        self.states: tuple[tuple[str, str], ...] = STARTING
        self.endpoints: dict[tuple[str, str], dict[str, Any]] = {}
        self.ahead: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.max_gpus = 2
        self.account = {"type": "user", "name": USER, "orgs": [{"name": "team"}]}
        self.lock = threading.Lock()
        super().__init__(Handler, platform=self)

    def whats(self, *methods: str) -> list[str]:
        """Method and path of what was asked, of the management API only."""
        return [a.what for a in self.asked if a.path.startswith("/v2/") and a.method in (methods or (a.method,))]

    def bodies(self, method: str) -> list[dict[str, Any]]:
        return [asked.body for asked in self.asked if asked.method == method and asked.body is not None]

    def make(self, name: str, state: str = "running", namespace: str = USER, **changes: Any) -> dict[str, Any]:
        """An endpoint that is there already."""
        request = {
            "name": name,
            "type": "private",
            "compute": {
                "accelerator": "gpu",
                "instanceType": "nvidia-l4",
                "instanceSize": "x1",
                "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15},
            },
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "model": {
                "repository": "a/b",
                "framework": "custom",
                "task": "custom",
                "revision": None,
                "image": {"custom": {"url": "ghcr.io/me/old:1", "port": 80, "healthRoute": "/health"}},
                "env": {},
                "secrets": {},
            },
        }
        return self._keep(namespace, request | changes, ((state, ""),))

    def _keep(
        self, namespace: str, request: dict[str, Any], states: tuple[tuple[str, str], ...] | None = None
    ) -> dict[str, Any]:
        model = dict(request["model"])
        model["secrets"] = dict.fromkeys(model.get("secrets", {}), "configured")
        status = {"createdAt": WHEN, "updatedAt": WHEN, "private": None, "readyReplica": 0, "targetReplica": 1}
        endpoint = {**request, "model": model, "accountId": None, "healthRoute": "/health", "status": status}
        self.endpoints[namespace, request["name"]] = endpoint
        self.ahead[namespace, request["name"]] = list(states or self.states)
        return self.look(namespace, request["name"])

    def look(self, namespace: str, name: str) -> dict[str, Any]:
        """The endpoint, whose state goes on."""
        endpoint, ahead = self.endpoints[namespace, name], self.ahead[namespace, name]
        state, message = ahead[0]
        if len(ahead) > 1:
            ahead.pop(0)
        endpoint["status"] |= {"state": state, "message": message}
        if state in ("running", "scaledToZero"):
            endpoint["status"]["url"] = URL
        return endpoint

    # The routes. Each gives a status and a JSON value.

    def create(self, namespace: str, body: dict[str, Any]) -> tuple[int, object]:
        name, compute, provider = body["name"], body["compute"], body["provider"]
        if (namespace, name) in self.endpoints:
            return 409, {"error": f"Endpoint {name} already exists"}
        if not re.fullmatch("[a-z0-9-]{1,32}", name):
            return 400, {"error": "Invalid endpoint name"}
        known = [
            hardware
            for vendor in self.providers()["vendors"]
            for region in vendor["regions"]
            for hardware in region["computes"]
            if (vendor["name"], region["name"]) == (provider["vendor"], provider["region"])
        ]
        wanted = [compute[key] for key in ("accelerator", "instanceType", "instanceSize")]
        if wanted not in [
            [hardware[key] for key in ("accelerator", "instanceType", "instanceSize")] for hardware in known
        ]:
            where = " - ".join(repr(part) for part in provider.values())
            return 400, {"error": f"400: Instance compute {' - '.join(map(repr, wanted))} in {where} not found"}
        return 202, self._keep(namespace, body)

    def update(self, namespace: str, name: str, body: dict[str, Any]) -> tuple[int, object]:
        before = self.endpoints[namespace, name]
        changed = {key: {**before[key], **body.get(key, {})} for key in ("compute", "model")}
        return 200, self._keep(namespace, {**before, **changed}, (("updating", ""), ("running", "")))

    def switch(self, namespace: str, name: str, verb: str) -> tuple[int, object]:
        state = self.endpoints[namespace, name]["status"]["state"]
        if verb == "pause":
            if state == "paused":
                return 400, {"error": "Endpoint is already paused"}
            self.ahead[namespace, name] = [("paused", "")]
        elif state == "running":
            return 400, {"error": "Endpoint is already running"}
        else:
            self.ahead[namespace, name] = list(self.states)
        return 200, self.look(namespace, name)

    def providers(self) -> dict[str, Any]:
        used = sum(e["compute"]["accelerator"] == "gpu" for e in self.endpoints.values())

        def hardware(accelerator: str, kind: str, size: str, price: float, status: str = "available") -> dict[str, Any]:
            count = int(size[1:])
            quota = (self.max_gpus, used) if accelerator == "gpu" else (64, 0)
            return {
                "id": f"aws-us-east-1-{kind}-{size}",
                "accelerator": accelerator,
                "instanceType": kind,
                "instanceSize": size,
                "architecture": kind,
                "numAccelerators": count,
                "numCpus": 8,
                "memoryGb": 30.0,
                "gpuMemoryGb": 24 * count if accelerator == "gpu" else None,
                "pricePerHour": price,
                "status": status,
                "quota": {"maxAccelerators": quota[0], "usedAccelerators": quota[1]},
            }

        here = [
            hardware("gpu", "nvidia-l4", "x1", 0.8),
            hardware("gpu", "nvidia-l4", "x4", 3.8),
            hardware("gpu", "nvidia-a100", "x1", 2.5, "not_available"),
            hardware("cpu", "intel-spr", "x2", 0.07),
        ]
        elsewhere = [hardware("gpu", "nvidia-l4", "x1", 0.9)]
        regions = [{"name": "us-east-1", "computes": here}, {"name": "eu-west-1", "computes": elsewhere}]
        return {"vendors": [{"name": "aws", "regions": regions}]}


class Handler(BaseHTTPRequestHandler):
    platform: ClassVar[FakeEndpoints]
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body of an answer in one packet

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the process that asks may have ended
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        platform = self.platform
        with platform.lock:
            platform.asked.append(Asked(self.command, self.path, headers, json.loads(body) if body else None))
            fault = next(
                (f for f in platform.faults if f.times > 0 and f.method == self.command and f.path in self.path), None
            )
            if fault is not None:
                fault.times -= 1
            status, value = self._answer(body) if fault is None or fault.done else (fault.status, None)
        if fault is None:
            self._send(status, value, {})
        elif fault.status:
            self._send(fault.status, {"error": fault.message} if fault.message else None, fault.headers)
        else:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self, body: bytes) -> tuple[int, object]:
        platform, token = self.platform, (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            return 401, {"error": "Invalid credentials in Authorization header"}
        if self.path == "/api/whoami-v2":
            return 200, platform.account
        if token == READER:
            return 403, {"error": "Missing permissions: inference.endpoints.write"}
        if match := re.fullmatch("/v2/provider/([^/]+)", self.path):
            return 200, platform.providers()
        match = re.fullmatch("/v2/endpoint/([^/]+)(?:/([^/]+))?(?:/(pause|resume))?", self.path)
        if match is None or match[1] not in (USER, "team"):
            return 404, {"error": "Not found"}
        namespace, name, verb = match[1], match[2], match[3]
        if name is None:
            return platform.create(namespace, json.loads(body))
        if (namespace, name) not in platform.endpoints:
            return 404, {"error": "Endpoint not found"}
        if verb is not None:
            return platform.switch(namespace, name, verb)
        if self.command == "PUT":
            return platform.update(namespace, name, json.loads(body))
        if self.command == "DELETE":
            del platform.endpoints[namespace, name]
            return 202, {"message": "Endpoint is being deleted"}
        return 200, platform.look(namespace, name)

    def _send(self, status: int, value: object, headers: dict[str, str]) -> None:
        content = b"<html>\nnothing to read</html>" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Type", "text/html" if value is None else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


# The library has a variable for the hub's address, but none for that of the management API. START sets it in a new
# process.
START = """
import runpy, sys
from pathlib import Path
from huggingface_hub import constants
constants.INFERENCE_ENDPOINTS_ENDPOINT = sys.argv[1] + "/v2"
sys.argv = sys.argv[2:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(address: str, *arguments: str) -> list[str]:
    """The script as a process of its own that asks the platform at this address."""
    return [sys.executable, "-W", "error", "-c", START, address, str(SCRIPT), *arguments]


def environment(address: str, home: Path, **more: str) -> dict[str, str]:
    """What such a process needs, and nothing of this machine's."""
    own = ("HF_", "S2S_", "HUGGING", "REGISTRY_")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(own) and not name.lower().endswith("_proxy")
    }
    return inherited | {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_TOKEN": TOKEN} | more

"""What the tests of scripts/create_endpoint.py share: its modules, names and secrets."""

import importlib
import json
import sys
from dataclasses import dataclass
from typing import Protocol

from fake_endpoints import READER, SCRIPT, TOKEN, USER

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

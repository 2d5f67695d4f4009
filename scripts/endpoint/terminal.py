"""What is printed. All of it goes through here, so that no secret gets out."""

import json
import sys

from speech_to_speech.client.console import printable
from speech_to_speech.weights.hub.errors import TOKEN

SHORTEST = 4  # characters of a secret that can be looked for: shorter secrets are in many words
LONGEST = 2000  # characters of a remark: the platform's answer may be a page
MASK = "***"


class Terminal:
    """Results on stdout, everything else on stderr; the values in `secrets` are replaced wherever they stand."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()

    def say(self, text: str = "") -> None:
        print(self.masked(text), flush=True)

    def note(self, text: str) -> None:
        lines = self.masked(text).split("\n")
        print("\n".join(line[:LONGEST] for line in lines), file=sys.stderr, flush=True)

    def masked(self, text: str) -> str:
        """The text without secrets, and with no control characters but its line ends."""
        for secret in sorted(self.secrets, key=len, reverse=True):  # a secret may be part of a longer one
            for written in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}:
                text = text.replace(written, MASK) if len(secret) >= SHORTEST else text
        text = TOKEN.sub(f"hf_{MASK}", text)
        return "\n".join(line if line.isprintable() else printable(line, len(line)) for line in text.split("\n"))

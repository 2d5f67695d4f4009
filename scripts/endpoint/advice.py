"""The commands and addresses that a person needs next."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from huggingface_hub import InferenceEndpoint

from endpoint.problems import CONSOLE
from speech_to_speech.config.settings import TOKEN_VARIABLE


def _programs() -> str:
    """What stands before `python` and `hf` for those that this program runs with: nothing if the shell finds them."""
    folder = Path(sys.executable).parent
    if str(folder) in os.environ.get("PATH", "").split(os.pathsep):
        return ""
    return f"{folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}/"


BIN = _programs()
SCRIPT = f"{BIN}python scripts/create_endpoint.py"
BILLED = {"pending", "initializing", "updating", "updateFailed", "running", "failed"}


def command(verb: str, name: str, namespace: str) -> str:
    return f"{SCRIPT} {verb} {name} --namespace {namespace}"


def left_over(name: str, namespace: str, state: str) -> str:
    """What is to be known of an endpoint that exists when a command ends before its work is done."""
    how = ", ".join(f"`{command(verb, name, namespace)}`" for verb in ("status", "pause", "delete"))
    return f"the endpoint {name} exists ({state}) and may cost money: {how}"


def perhaps_left_over(name: str, namespace: str) -> str:
    """The same of one of which nobody knows whether it exists."""
    look, remove = (command(verb, name, namespace) for verb in ("status", "delete"))
    return f"the endpoint {name} may exist all the same, and cost money: look with `{look}`, remove it with `{remove}`"


def logs(name: str, namespace: str) -> str:
    return f"{CONSOLE}/{namespace}/endpoints/{name}/logs"


def message_of(endpoint: InferenceEndpoint) -> str:
    """What the platform says about the state, empty if nothing."""
    status = endpoint.raw["status"]
    return str(status.get("errorMessage") or status.get("message") or "").strip()


def client_command(endpoint: InferenceEndpoint, secret_names: Collection[str]) -> list[str]:
    """How to talk to an endpoint that has a URL; tokens come from the environment, so none is on a command line.

    The platform's proxy takes the Hugging Face token as bearer, the service its own as X-API-Key, and the client sends
    both.
    """
    to_set = []
    if endpoint.type != "public":
        to_set.append(f'HF_TOKEN="$({BIN}hf auth token --quiet)"')
    own = TOKEN_VARIABLE in secret_names
    if own:
        to_set.append(f'{TOKEN_VARIABLE}="${TOKEN_VARIABLE}"')
    lines = [" ".join([*to_set, f"{BIN}python audio_streaming_client.py --api_url", str(endpoint.url)])]
    if own:
        lines.append(f"with {TOKEN_VARIABLE} set in your shell to the service's own token")
    return lines

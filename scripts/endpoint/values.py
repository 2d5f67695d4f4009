"""The values of a command line that take more than a look: environment variables, secrets, passwords.

No secret is taken from the command line itself, where process lists and the shell's history show it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from endpoint.errors import BadInput

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_NAME = re.compile(r"(^|_)(TOKEN|KEY|PASSWORD|SECRET)$", re.IGNORECASE)
SECRET_VALUE = re.compile(r"hf_\w{20,}|sk-\w{20,}")
# Each of these variables has a flag of its own, so that what depends on the value can be checked.
OWN_FLAGS = {"PROFILE": "--profile", "S2S_PROFILE": "--profile", "REPOSITORY": "--repository"}


def environment(pairs: Sequence[str]) -> dict[str, str]:
    """The variables of `--env NAME=VALUE`.

    Raises:
        BadInput: one of them is no such pair, has a flag of its own, or looks like a secret.
    """
    variables: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and NAME.fullmatch(name)):
            raise BadInput("--env NAME=VALUE is expected, with a name of letters, digits and _")
        if name in OWN_FLAGS:
            raise BadInput(f"--env {name}: use {OWN_FLAGS[name]}")
        if SECRET_NAME.search(name) or SECRET_VALUE.search(value):
            raise BadInput(f"--env {name} looks like a secret, and anybody can read --env; use {how_secret(name)}")
        if variables.setdefault(name, value) != value:
            raise BadInput(f"--env {name} is given twice, with different values")
    return variables


def secrets(given: Sequence[str], environ: Mapping[str, str], login: str | None) -> dict[str, str]:
    """The values of `--secret NAME` (from the environment; HF_TOKEN also from the login) and `--secret NAME=@FILE`.

    Raises:
        BadInput: a value is on the command line, or there is none.
    """
    values: dict[str, str] = {}
    for item in given:
        name, equals, source = item.partition("=")
        if not NAME.fullmatch(name):
            raise BadInput("--secret NAME is expected, with a name of letters, digits and _")
        if equals and not source.startswith("@"):
            raise BadInput(
                f"--secret {name}=...: a value here shows in process lists and the shell's history; {how_secret(name)}"
            )
        if name in values:
            raise BadInput(f"--secret {name} is given twice")
        if equals:
            values[name] = read_secret(source[1:], f"--secret {name}")
        else:
            value = environ.get(name, "").strip() or (login if name == "HF_TOKEN" else None)
            if not value:
                raise BadInput(f"--secret {name}: there is no {name} in the environment; set it, or {how_secret(name)}")
            values[name] = value
    return values


def read_secret(path: str, flag: str) -> str:
    """A file's text without the white space around it.

    Raises:
        BadInput: it can't be read, or nothing is in it.
    """
    try:
        text = Path(path).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BadInput(f"{flag}: can't read {path}: {reason}") from None
    if not text:
        raise BadInput(f"{flag}: {path} is empty")
    return text


def how_secret(name: str) -> str:
    return f"--secret {name} (its value from the environment) or --secret {name}=@FILE"

"""The command line."""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from endpoint.errors import BadInput
from endpoint.request import TYPES
from endpoint.service_settings import IMAGE_PORT
from endpoint.values import how_secret

WAIT_S = 1800.0
SCALE_TO_ZERO_MIN = 15
SLIM_REPOSITORY = "hf-internal-testing/tiny-random-gpt2"
DEFAULTS = {
    "type": "private",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "gpu",
    "instance_type": "nvidia-l4",
    "instance_size": "x1",
}
SECRET_FLAG = re.compile("token|key|password|secret")
DESCRIPTION = "The service as a Hugging Face Inference Endpoint. It costs money while it runs."
USAGE = """python scripts/create_endpoint.py create NAME --image REGISTRY/IMAGE:TAG [options]
       python scripts/create_endpoint.py status|pause|resume|delete NAME [--namespace NAME]"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message} (--help lists the options)")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line.

    Raises:
        BadInput: it is wrong. What stood where no option takes it is not repeated: it may be a secret.
    """
    parser = Parser(prog="create_endpoint.py", usage=USAGE, description=DESCRIPTION, allow_abbrev=False)
    commands = parser.add_subparsers(
        dest="command", required=True, parser_class=Parser, prog=parser.prog, metavar="COMMAND", title="commands"
    )
    for name, text in (
        ("create", "make an endpoint, or change it (--update)"),
        ("status", "its state, URL and hardware"),
        ("pause", "stop it: it costs nothing until it is resumed"),
        ("resume", "start a paused one"),
        ("delete", "remove it for good, after asking"),
    ):
        command = commands.add_parser(name, help=text, description=f"{name}: {text}.", allow_abbrev=False)
        command.add_argument("name", metavar="NAME", help="lower case letters, digits and -, 32 at most")
        command.add_argument("--namespace", help="a user or an organization (default: the account logged in)")
        if name == "create":
            _add_create(command)
        if name in ("create", "resume"):
            _add_wait(command)
        if name == "delete":
            command.add_argument("--yes", action="store_true", help="do not ask")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [argument.partition("=")[0] for argument in unknown if re.match(r"--?[a-z]", argument)]
        what = f"unknown option {flags[0]}" if flags else "there is an argument too many"
        parser.error(f"{what}; secrets go by {how_secret('NAME')}" if SECRET_FLAG.search(what) else what)
    return options


def _add_wait(command: argparse.ArgumentParser) -> None:
    text = "show the progress until it runs, for so long at most (default %(const)g)"
    command.add_argument("--wait", nargs="?", type=_seconds, const=WAIT_S, metavar="SECONDS", help=text)


def _add_create(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--image", required=True, help="the container: REGISTRY/IMAGE:TAG or @sha256:..., linux/amd64")
    add("--profile", default="l4", help="of the service, its PROFILE (default %(default)s)")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable of the service; repeat it")
    text = "a secret variable: its value from the environment, or from a file; repeat it. HF_TOKEN, from the login, is "
    text += "always one unless there is --no-hf-token"
    add("--secret", action="append", default=[], metavar="NAME[=@FILE]", help=text)
    add("--no-hf-token", action="store_true", help="do not give the service the login's token")
    types = "; ".join(f"{name}: {who}" for name, who in TYPES.items())
    add("--type", help=f"who may connect ({types}); default {DEFAULTS['type']}")
    for name in ("vendor", "region", "accelerator", "instance-type"):
        add(f"--{name}", help=f"default {DEFAULTS[name.replace('-', '_')]}")
    add("--instance-size", help=f"default {DEFAULTS['instance_size']}; `hf endpoints hardware` lists what there is")
    text = "of the container, for the platform; it becomes the service's PORT too (default %(default)s)"
    add("--port", type=int, default=IMAGE_PORT, help=text)
    text = "the platform mounts a model repository at /repository, whatever the container is. The models are the "
    text += f"container's own, so any slim one does (default {SLIM_REPOSITORY}); one that is given becomes REPOSITORY, "
    text += "and the service takes the weights from /repository for the model of that name"
    add("--repository", help=text)
    text = "without a request for so long, no replica is left and nothing is paid; the next one waits for a start. "
    text += f"Or never (default {SCALE_TO_ZERO_MIN})"
    add("--scale-to-zero", metavar="MINUTES", help=text)
    add("--min-replica", type=int, help="default 0 with scale to zero, else 1")
    add("--max-replica", type=int, default=None, help="default 1, or the minimum")
    text = "for a private image; the password is REGISTRY_PASSWORD of the environment, or in a file"
    add("--registry-user", help=text)
    add("--registry-password-file", metavar="FILE", help="instead of the environment")
    add("--update", action="store_true", help="change the endpoint, if there is one, to what this command says")
    add("--dry-run", action="store_true", help="print the request, without the secrets, and send nothing")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:  # this form refuses NaN too
        raise argparse.ArgumentTypeError("a number of seconds is expected; NAME goes before it")
    return seconds

"""From the options of `create` to a request: what can be checked without the platform is checked here."""

import argparse
import re
from collections.abc import Mapping

from endpoint.command_line import DEFAULTS, SCALE_TO_ZERO_MIN, SLIM_REPOSITORY
from endpoint.errors import BadInput
from endpoint.request import TYPES, Request
from endpoint.service_settings import check_address, check_profile, check_settings
from endpoint.terminal import Terminal
from endpoint.values import environment, how_secret, read_secret, secrets
from speech_to_speech.config.settings import TOKEN_VARIABLE

LONGEST_NAME = 32  # characters
EXPIRING = "hf_oauth_"  # the beginning of tokens that expire


def check_names(name: str, namespace: str | None) -> None:
    """Refuse names that the platform refuses, or that would be another address.

    Raises:
        BadInput: one line with the rule.
    """
    if len(name) > LONGEST_NAME or not re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        raise BadInput(
            f"{name!r} is no name for an endpoint: lower case letters, digits and '-' are allowed, "
            f"{LONGEST_NAME} at most (these are {len(name)}), with no '-' at its ends"
        )
    if namespace is not None and not re.fullmatch(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", namespace):
        raise BadInput(f"--namespace: {namespace!r} is no name of a user or an organization")


def make_request(
    options: argparse.Namespace, token: str | None, environ: Mapping[str, str], terminal: Terminal
) -> Request:
    """The endpoint that the options of `create` ask for; the terminal gets to know its secrets, and remarks.

    `token` is that of the login, None if there is none.

    Raises:
        BadInput: one line with what is wrong and what to do.
    """
    chosen = {name: getattr(options, name) or default for name, default in DEFAULTS.items()}
    env = environment(options.env)
    check_profile(options.profile, chosen["accelerator"], env)
    if options.profile != "l4" and chosen["accelerator"] == "gpu":
        cheaper = "--accelerator cpu --instance-type intel-spr --instance-size x2 costs less"
        terminal.note(f"note: profile {options.profile} does not use the GPU: {cheaper}")
    if not 1 <= options.port <= 65535:
        raise BadInput(f"--port {options.port}: between 1 and 65535")
    if "S2S_PORT" not in env:  # even the default is said: the container then never takes another port
        env.setdefault("PORT", str(options.port))
    check_address(options.port, env)
    login = None if options.no_hf_token else token
    hidden = secrets(options.secret, environ, token)
    if login is not None and "HF_TOKEN" not in hidden:
        hidden["HF_TOKEN"] = login
        if login.startswith(EXPIRING):
            terminal.note(
                "note: the token of a login in the browser expires, and the service downloads its models at every "
                f"start; give it one that does not: {how_secret('HF_TOKEN')}"
            )
    terminal.secrets.update(hidden.values())
    if both := sorted(env.keys() & hidden.keys()):
        raise BadInput(f"{both[0]} is in --env and in --secret: keep one")
    if remark := check_settings(options.profile, env | hidden):
        terminal.note(f"note: {remark}")
    check_type(chosen["type"], TOKEN_VARIABLE in hidden)
    check_image(options.image)
    if options.repository is not None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", options.repository):
            raise BadInput(f"--repository {options.repository!r}: OWNER/NAME, as on huggingface.co, is expected")
        env["REPOSITORY"] = options.repository
    scale_to_zero_min, min_replica, max_replica = replicas(options)
    user, password = registry(options, environ)
    terminal.secrets.update(filter(None, [password]))
    return Request(
        name=options.name,
        namespace=options.namespace,
        image=options.image,
        port=options.port,
        profile=options.profile,
        repository=options.repository or SLIM_REPOSITORY,
        **chosen,
        min_replica=min_replica,
        max_replica=max_replica,
        scale_to_zero_min=scale_to_zero_min,
        env={"PROFILE": options.profile, **env},
        secrets=hidden,
        registry_user=user,
        registry_password=password,
        given=frozenset(name for name in DEFAULTS if getattr(options, name)),
    )


def check_type(name: str, has_token: bool) -> None:
    """Refuse a type that does not exist, and an endpoint that would be open to the world."""
    if name not in TYPES:
        gone = "protected is gone; " if name == "protected" else ""
        raise BadInput(f"--type {name}: {gone}there are " + "; ".join(f"{kind} ({who})" for kind, who in TYPES.items()))
    if name == "public" and not has_token:
        raise BadInput(
            f"--type public lets everybody in, at your cost: give the service a token of its own, {TOKEN_VARIABLE} in "
            f"the environment and --secret {TOKEN_VARIABLE}"
        )


def check_image(image: str) -> None:
    name = image.rpartition("/")[2]
    if not re.fullmatch(r"[a-z0-9][\w.:/@-]*", image) or "://" in image:
        raise BadInput(f"--image {image!r}: REGISTRY/IMAGE:TAG is expected, without https://")
    stem = image.removesuffix(name) + re.split("[:@]", name)[0]
    if stem != stem.lower():
        raise BadInput(f"--image {image}: registries take names in lower case only")
    if not re.fullmatch(r"[^:@]*(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?", name):
        raise BadInput(f"--image {image}: a tag is :TAG, a digest @sha256: and 64 digits")
    if "/" not in image or image.startswith(("localhost/", "localhost:", "127.")):
        raise BadInput(f"--image {image}: it is on this machine only; push it, and name it with its registry and owner")
    if ":" not in name and "@" not in name:
        raise BadInput(f"--image {image}: name a tag (:TAG) or digest (@sha256:...), so that it is known what runs")


def replicas(options: argparse.Namespace) -> tuple[int | None, int, int]:
    """Minutes until scale to zero (None: never), and the least and most replicas.

    The platform scales to zero only if the least is 0.
    """
    given, least = options.scale_to_zero, options.min_replica
    if given is None:
        given = "never" if least else str(SCALE_TO_ZERO_MIN)
    minutes = None
    if given != "never":
        if not (given.isdecimal() and 1 <= int(given) <= 10_000):
            raise BadInput(f"--scale-to-zero {given}: whole minutes from 1, or never")
        minutes = int(given)
    if least is None:
        least = 1 if minutes is None else 0
    if minutes is not None and least > 0:
        raise BadInput(f"--min-replica {least} keeps replicas, --scale-to-zero {minutes} none: leave one of them out")
    if minutes is None and least == 0:
        raise BadInput("--min-replica 0 needs --scale-to-zero MINUTES, not never")
    most = max(1, least) if options.max_replica is None else options.max_replica
    if least < 0 or most < max(1, least):
        raise BadInput(
            f"--min-replica {least} and --max-replica {most}: 0 or more, and the maximum 1 or more, not less"
        )
    return minutes, least, most


def registry(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """User and password of the image's registry, None if it needs none."""
    user, file = options.registry_user, options.registry_password_file
    if user is None:
        if file is not None:
            raise BadInput("--registry-password-file needs --registry-user")
        return None, None
    password = environ.get("REGISTRY_PASSWORD", "").strip()
    if file is not None:
        password = read_secret(file, "--registry-password-file")
    if not password:
        raise BadInput("--registry-user needs a password: REGISTRY_PASSWORD in the environment, or a file")
    return user, password

"""Make, watch and remove a Hugging Face Inference Endpoint that runs the service's container.

    python scripts/create_endpoint.py create my-voice --image ghcr.io/me/speech-to-speech:1.0 --wait
    python scripts/create_endpoint.py status|pause|resume|delete my-voice

Needs huggingface_hub (2.4 or newer) and a login: `hf auth login` or HF_TOKEN, with the right to manage endpoints. What
goes wrong is one line with what to do; if an endpoint is left that may cost money, another line says so. Exit codes: 0,
1 (refused or failed), 2 (cannot be done like this; nothing was changed), 130 (Ctrl-C). The parts are in
scripts/endpoint/.
"""

import argparse
import os
import signal
import sys
from collections.abc import Collection, Sequence

from endpoint.advice import BILLED, client_command, command, left_over, message_of, perhaps_left_over
from endpoint.checks import check_names, make_request
from endpoint.command_line import parse
from endpoint.dry_run import dry_run
from endpoint.errors import INTERRUPTED, BadInput, EndpointError, Gone
from endpoint.hardware import check_hardware
from endpoint.management import MaybeMade, Platform, exists
from endpoint.problems import RIGHT
from endpoint.request import Request
from endpoint.terminal import Terminal
from endpoint.waiting import wait
from huggingface_hub import InferenceEndpoint, constants, get_token
from huggingface_hub.errors import OIDCError

from speech_to_speech.weights.hub.errors import one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    terminal = Terminal()
    try:
        options = parse(arguments)
        check_names(options.name, options.namespace)
        token = login(terminal)
        if options.command == "create":
            create(options, token, terminal)
        else:
            COMMANDS[options.command](Platform(needed(token), options.namespace, terminal), options, terminal)
    except EndpointError as error:
        report(terminal, str(error), error)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        report(terminal, "interrupted", interrupt)
        return INTERRUPTED
    return 0


def report(terminal: Terminal, line: str, error: BaseException) -> None:
    """What ended the command, and below it what is left over."""
    terminal.note("\n".join([f"create_endpoint: {line}", *getattr(error, "__notes__", ())]))


def login(terminal: Terminal) -> str | None:
    """The token that huggingface_hub uses, from HF_TOKEN or the login; None if there is none."""
    try:
        token = get_token()
    except (OSError, ValueError, OIDCError) as error:
        raise BadInput(f"the token can't be read: {one_line(error)}; run `hf auth login`, or set HF_TOKEN") from None
    if token is not None:
        terminal.secrets.add(token)
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise BadInput("the token has characters that no token has; set HF_TOKEN again, or run `hf auth login`")
    return token


def needed(token: str | None) -> str:
    if token is None:
        raise BadInput(f"there is no token: run `hf auth login`, or set HF_TOKEN, with {RIGHT}")
    if constants.HF_HUB_OFFLINE:
        raise BadInput("HF_HUB_OFFLINE is set, and the platform is asked for everything: unset it")
    return token


def create(options: argparse.Namespace, token: str | None, terminal: Terminal) -> None:
    """Make an endpoint or, with --update, change the one there is."""
    request = make_request(options, token, os.environ, terminal)
    if options.dry_run:
        if token is None and "HF_TOKEN" not in request.secrets:
            terminal.note("note: there is no login, so no HF_TOKEN in the secrets")
        terminal.say(dry_run(request, options.update))
        return
    platform = Platform(needed(token), options.namespace, terminal)
    existing = platform.find(request.name)
    if existing is not None and not options.update:
        raise EndpointError(f"{exists(request.name, platform.namespace)} (it is {existing.status})")
    if existing is not None:
        check_update(existing, request)
    elif options.update:
        terminal.note(f"note: there is no endpoint {request.name} yet: it is created")
    show_price(platform, request, existing is not None, terminal)
    endpoint = change(platform, request, existing, terminal)
    verb = "created" if existing is None else "updated"
    terminal.say(f"{request.name} is {verb}: {request.type if existing is None else existing.type}, {request.hardware}")
    finish(platform, endpoint, options.wait, request.secrets, terminal)


def check_update(existing: InferenceEndpoint, request: Request) -> None:
    """Refuse what an update can't do, or would do unasked.

    Raises:
        BadInput: one line that says how it can be had.
    """
    provider = existing.raw.get("provider", {})
    now = {"type": existing.type, "vendor": provider.get("vendor"), "region": provider.get("region")}
    for name, value in now.items():
        if name in request.given and value != getattr(request, name):
            raise BadInput(
                f"--{name} {getattr(request, name)}: {request.name} has {value}, and an update can't change that; "
                "leave it out, or delete the endpoint and create it again"
            )
    if existing.type == "public" and "S2S_API_TOKEN" not in request.secrets:
        raise BadInput(
            f"{request.name} is public, and the update would take its own token away, which lets everybody in: add "
            "--secret S2S_API_TOKEN"
        )
    image = existing.raw["model"].get("image", {}).get("custom", {})
    if image.get("credentials") and request.registry_user is None:
        raise BadInput(f"the image of {request.name} has registry credentials, which the update needs: --registry-user")


def show_price(platform: Platform, request: Request, existing: bool, terminal: Terminal) -> None:
    """Check the hardware, if the platform says what it has."""
    try:
        listing = platform.hardware()
    except EndpointError as error:
        terminal.note(f"note: the hardware was not checked: {error}")
        return
    price = check_hardware(listing, request, existing)
    terminal.note(f"{request.hardware}: {price:g} USD an hour for each replica while it runs")


def change(
    platform: Platform, request: Request, existing: InferenceEndpoint | None, terminal: Terminal
) -> InferenceEndpoint:
    """Create or update it. Whatever ends that early says what is left."""
    try:
        return platform.create(request) if existing is None else platform.update(request)
    except (EndpointError, KeyboardInterrupt) as error:
        if existing is not None:
            error.add_note(left_over(request.name, platform.namespace, f"it was {existing.status}"))
        elif isinstance(error, MaybeMade | KeyboardInterrupt):
            error.add_note(perhaps_left_over(request.name, platform.namespace))
        raise


def finish(
    platform: Platform,
    endpoint: InferenceEndpoint,
    limit_s: float | None,
    secret_names: Collection[str],
    terminal: Terminal,
) -> None:
    """Wait if that is wished, and say how to go on."""
    name = endpoint.name
    if limit_s is not None:
        try:
            endpoint = wait(platform, endpoint, limit_s, terminal)
        except Gone:
            raise EndpointError(f"{name} was deleted while it started") from None
        except (EndpointError, KeyboardInterrupt) as error:
            error.add_note(left_over(name, platform.namespace, "not running"))
            raise
    else:
        terminal.say(
            f"it is {endpoint.status}; it may cost money from now on: `{command('status', name, platform.namespace)}`"
        )
    show_address(endpoint, secret_names, terminal)
    if limit_s is not None:
        terminal.say(f"stop:    {command('pause', name, platform.namespace)}")


def show_address(endpoint: InferenceEndpoint, secret_names: Collection[str], terminal: Terminal) -> None:
    if not endpoint.url:
        terminal.say("url:     not known before it runs")
        return
    terminal.say(f"url:     {endpoint.url}")
    first, *more = client_command(endpoint, secret_names)
    terminal.say(f"client:  {first}")
    for line in more:
        terminal.say(f"         {line}")
    if endpoint.status == "scaledToZero":
        terminal.say("         it is scaled to zero: the first connection starts it, and waits for that")


def status(platform: Platform, options: argparse.Namespace, terminal: Terminal) -> None:
    endpoint = platform.get(options.name)
    raw, message = endpoint.raw, message_of(endpoint)
    compute, provider = raw.get("compute", {}), raw.get("provider", {})
    place = [provider.get("vendor"), provider.get("region"), compute.get("instanceType"), compute.get("instanceSize")]
    scaling = compute.get("scaling", {})
    costs = "may cost money" if endpoint.status in BILLED else "costs nothing now"
    terminal.say(
        f"{endpoint.name} of {platform.namespace}: {endpoint.status}{f', {message}' if message else ''} ({costs})"
    )
    image = raw["model"].get("image", {}).get("custom", {}).get("url", "not a container of its own")
    zero = scaling.get("scaleToZeroTimeout")
    after = f", to zero after {zero} minutes" if zero and not scaling.get("minReplica") else ""
    terminal.say(f"type:    {endpoint.type}")
    terminal.say(f"runs on: {' '.join(str(part) for part in place if part)}")
    terminal.say(f"replicas: {scaling.get('minReplica')} to {scaling.get('maxReplica')}{after}")
    terminal.say(f"image:   {image}")
    show_address(endpoint, raw["model"].get("secrets") or (), terminal)


def pause(platform: Platform, options: argparse.Namespace, terminal: Terminal) -> None:
    endpoint = platform.pause(options.name)
    again = command("resume", options.name, platform.namespace)
    terminal.say(f"{options.name} is {endpoint.status}; it costs nothing until it is resumed: `{again}`")


def resume(platform: Platform, options: argparse.Namespace, terminal: Terminal) -> None:
    endpoint = platform.resume(options.name)
    finish(platform, endpoint, options.wait, endpoint.raw["model"].get("secrets") or (), terminal)


def delete(platform: Platform, options: argparse.Namespace, terminal: Terminal) -> None:
    endpoint = platform.get(options.name)
    if not options.yes:
        print(f"delete {options.name} of {platform.namespace} ({endpoint.status}) for good? [y/N] ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise BadInput(f"{options.name} is not deleted: nobody is there to ask; add --yes")
        if answer.strip().lower() not in ("y", "yes"):
            raise EndpointError(f"{options.name} is not deleted")
    platform.delete(options.name)
    terminal.say(f"{options.name} is deleted")


COMMANDS = {"status": status, "pause": pause, "resume": resume, "delete": delete}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM, too, ends with the message on what is left
    sys.exit(main())

"""The command `speech-to-speech`."""

import importlib.metadata
import signal
import sys
from collections.abc import Sequence

from speech_to_speech.commands.models import models
from speech_to_speech.config.settings import describe, load_settings
from speech_to_speech.errors import SettingsError

USAGE = """usage: speech-to-speech serve [settings.json | --name value ...]
       speech-to-speech serve --help [--profile NAME ...]
       speech-to-speech models [--json] [--models MODULES]
       speech-to-speech env list | create NAME | remove NAME
       speech-to-speech --version"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code. What is wrong with it is one line on stderr, and 2."""
    command, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    try:
        if command in ("--help", "-h"):
            print(USAGE)
        elif command == "--version":
            print(importlib.metadata.version("speech-to-speech-service"))
        elif command == "serve":
            return serve(rest)
        elif command == "models":
            print(USAGE if {"--help", "-h"}.intersection(rest) else models(rest))
        elif command == "env":
            from speech_to_speech.commands.environments import env

            print(env(rest))
        else:
            raise SettingsError(f"unknown command {command!r}; there are serve, models, env, --help, --version")
    except SettingsError as error:
        print(f"speech-to-speech: {error}", file=sys.stderr)
        return 2
    return 0


def serve(arguments: list[str]) -> int:
    # A container's first process gets no signal that it has no handler for, so entrypoint.sh starts the process with
    # SIGTERM blocked. The server puts a handler of its own in place of this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    wants_help = "--help" in arguments or "-h" in arguments
    settings = load_settings([argument for argument in arguments if argument not in ("--help", "-h")])
    if wants_help:
        print(USAGE, "", describe(settings), sep="\n")
        return 0
    from speech_to_speech.service.server import serve as serve_forever  # only this command needs the web stack

    return serve_forever(settings)

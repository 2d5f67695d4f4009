"""`speech-to-speech env`: make, list and remove the environments of backends."""

from collections.abc import Sequence

from speech_to_speech.config.registry import BACKENDS, import_models
from speech_to_speech.errors import SettingsError
from speech_to_speech.workers.environments.environment import FOLDER_VARIABLE, Environment
from speech_to_speech.workers.environments.making import create, remove

MODELS = "--models"
USAGE = f"""usage: speech-to-speech env list
       speech-to-speech env create NAME [--again] [pip's options]
       speech-to-speech env remove NAME

Environments are made in {FOLDER_VARIABLE}, by default in the service's own virtual environment.
{MODELS} MODULES names modules with backends of your own, as for serve.
Options behind the name go to pip: --index-url, --extra-index-url, --find-links, --no-cache-dir, ..."""


def env(arguments: Sequence[str]) -> str:
    """Do what the command line says; what is to be printed at the end.

    Raises:
        SettingsError: an argument is wrong.
        EnvironmentFailed: it could not be made or removed.
    """
    waiting = list(arguments)
    if MODELS in waiting[:-1]:
        at = waiting.index(MODELS)
        import_models(waiting[at + 1].split(","))
        del waiting[at : at + 2]
    match waiting:
        case ["list"]:
            return table()
        case ["create", name, *options]:
            environment = named(name)
            again = "--again" in options
            if environment.state == "ready" and not again:
                return f"{name} is ready ({environment.folder}); --again makes it anew"
            create(environment, say, pip_options=[option for option in options if option != "--again"])
            return f"{name} is ready ({environment.folder})"
        case ["remove", name]:
            remove(named(name))
            return f"{name} is removed"
        case [] | ["--help" | "-h"]:
            return USAGE
        case _:
            raise SettingsError(f"env: unexpected arguments {' '.join(arguments)!r}; see speech-to-speech env --help")


def environments() -> dict[str, Environment]:
    """All that backends name, by their names."""
    found = (backend.environment for backend in BACKENDS.values())
    return {environment.name: environment for environment in found if environment is not None}


def named(name: str) -> Environment:
    known = environments()
    if name not in known:
        raise SettingsError(f"env: there is no environment {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def table() -> str:
    """A line for each environment: its state, its size, who runs in it, where it is."""
    lines = [f"{'name':<10} {'state':<12} {'size':>8}  {'for':<12} folder"]
    for name, environment in sorted(environments().items()):
        made = environment.made
        size = f"{made.bytes / 1e9:.1f} GB" if made else "-"
        users = ", ".join(
            f"{backend.stage} {backend.name}"
            for backend in BACKENDS.values()
            if backend.environment is not None and backend.environment.name == name
        )
        lines.append(f"{name:<10} {environment.state:<12} {size:>8}  {users:<12} {environment.folder}")
        if problem := environment.problem:
            lines.append(f"{'':<10} {problem}")
        lines += [f"{'':<10} {note}" for note in (made.notes if made else [])]
    return "\n".join(lines)


def say(line: str) -> None:
    print(line, flush=True)

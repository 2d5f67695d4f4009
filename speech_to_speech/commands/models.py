"""`speech-to-speech models`: every backend that can be chosen, and what there is to know before choosing it.

Nothing of a backend is loaded or imported for that but its own module, so packages that are not installed don't matter.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from speech_to_speech.config.registry import BACKENDS, STAGES, TURN, Backend, import_models
from speech_to_speech.errors import SettingsError
from speech_to_speech.languages import NAMES, SIX
from speech_to_speech.workers.model import import_target

ORDER = (STAGES[0], TURN, *STAGES[1:])
WIDTH = 120  # columns
HEADER = ("stage", "backend", "installed", "runs on", "languages", "licence")
MODELS_VARIABLE = "S2S_MODELS"


def models(arguments: Sequence[str]) -> str:
    """What the command prints: a table, or JSON with `--json`. `--models a,b` names modules with further backends.

    Raises:
        SettingsError: an argument is unknown, or a module can't be imported.
    """
    modules = os.environ.get(MODELS_VARIABLE, "")
    as_json = False
    waiting = list(arguments)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if name == "--json" and not equals:
            as_json = True
        elif name == "--models" and (equals or waiting):
            modules = value if equals else waiting.pop(0)
        else:
            raise SettingsError(f"models: unexpected argument {name!r}; there are --json and --models MODULES")
    import_models(module.strip() for module in modules.split(",") if module.strip())
    rows = [row(backend) for backend in sorted(BACKENDS.values(), key=lambda backend: ORDER.index(backend.stage))]
    return json.dumps(rows, indent=2) if as_json else table(rows)


def row(backend: Backend) -> dict[str, Any]:
    """One backend. `languages` is null if it takes any, `checkpoint_languages` if its default model knows them all."""
    model_class = import_target(backend.target)
    languages = getattr(model_class, "languages", None)
    return {
        "stage": backend.stage,
        "name": backend.name,
        "installed": backend.installed,
        "install": backend.install,
        "runs_on": list(backend.runs_on),
        "languages": None if languages is None else in_order(languages),
        "licence": backend.licence,
        "weights_licence": backend.weights_licence or backend.licence,
        "checkpoint": backend.checkpoint or default_checkpoint(model_class),
        "checkpoint_languages": checkpoint_languages(model_class),
    }


def default_checkpoint(model_class: Any) -> str:
    """The model that its options name if nobody says another; empty if it has no such option."""
    fields = dataclasses.fields(model_class.Options)
    return next((str(f.default) for f in fields if f.name.endswith("model_name") and isinstance(f.default, str)), "")


def checkpoint_languages(model_class: Any) -> list[str] | None:
    """Those of its languages that its default model knows, if it says that these are fewer."""
    if not hasattr(model_class, "languages_with"):
        return None
    languages = model_class.languages_with(model_class.Options())
    return None if languages == model_class.languages else in_order(languages)


def in_order(languages: Iterable[str]) -> list[str]:
    """The six that everything is tried in first, then in the order of `languages.NAMES`."""
    rank = {code: number for number, code in enumerate((*SIX, *NAMES)[::-1])}
    return sorted(languages, key=lambda code: (-rank.get(code, -1), code))


def table(rows: Iterable[dict[str, Any]]) -> str:
    """A line for each backend; under it its default model, and how to install it if it is not."""
    cells = [
        (
            entry["stage"],
            entry["name"],
            "yes" if entry["installed"] else "no",
            " ".join(entry["runs_on"]) or "-",
            some_languages(entry["languages"]),
            licences(entry),
        )
        for entry in rows
    ]
    widths = [max(map(len, column)) for column in zip(HEADER, *cells, strict=True)]
    lines = [_line(HEADER, widths)]
    for entry, line in zip(rows, cells, strict=True):
        lines.append(_line(line, widths))
        indent = " " * (widths[0] + 2)
        if entry["checkpoint"]:
            only = entry["checkpoint_languages"]
            lines.append(f"{indent}  model {entry['checkpoint']}{f' ({some_languages(only)})' if only else ''}")
        if not entry["installed"]:
            lines.append(f"{indent}  {entry['install']}")
    return "\n".join(lines)


def some_languages(languages: Sequence[str] | None, most: int = len(SIX)) -> str:
    if languages is None:
        return "any"
    if len(languages) <= most:
        return " ".join(languages)
    return f"{len(languages)}: {' '.join(languages[:most])} ..."


def licences(entry: dict[str, Any]) -> str:
    code, weights = entry["licence"], entry["weights_licence"]
    return (code or "-") if code == weights else f"{code}, weights {weights}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

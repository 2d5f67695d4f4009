"""`scripts/download_models.py`: get what a service's settings need from the hub before the service starts."""

import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from speech_to_speech.commands.download_items import Item, ask_all, items_of, too_little_room
from speech_to_speech.config.registry import all_installed
from speech_to_speech.config.settings import Settings, load_settings
from speech_to_speech.errors import CheckpointError, SettingsError
from speech_to_speech.weights.hub.errors import endpoint, one_line
from speech_to_speech.weights.hub.folders import FOLDERS_VARIABLE
from speech_to_speech.weights.hub.model import LOG_INTERVAL_S, is_offline, quiet_libraries
from speech_to_speech.weights.hub.places import Folder, free_bytes
from speech_to_speech.weights.memory import shown_bytes

USAGE = """usage: download_models.py [--folder DIR] [--dry-run] [settings.json | --name value ...]

Download the models that the service would load with the same settings: flags, environment variables and profile are
those of `speech-to-speech serve`. Into the cache of the Hugging Face hub (HF_HOME), or, with --folder, into
DIR/organisation/name, where a service with MODEL_FOLDERS=DIR finds them. What is there is not downloaded again, and
what was stopped goes on where it was. Exit code 2 if not all can be had, 1 if it stopped on the way."""
TERMINAL_INTERVAL_S = 0.5
HEADER = ("model", "for", "files", "size", "to download", "into")


def main(arguments: Sequence[str]) -> int:
    """Run the command; the process's exit code."""
    if {"--help", "-h"}.intersection(arguments):
        _say(USAGE)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends the command as Ctrl-C does
    items: list[Item] = []
    try:
        folder, dry_run, rest = parse(arguments)
        with all_installed():  # the service may run where other packages are installed
            settings = load_settings(rest)
        return run(settings, items, folder, dry_run=dry_run)
    except SettingsError as error:
        _complain(str(error))
        return 2
    except (KeyboardInterrupt, OSError) as error:  # a folder may be unreadable, say
        _complain("stopped" if isinstance(error, KeyboardInterrupt) else one_line(error))
        _tell_what_is_there(items)
        return 1


def parse(arguments: Sequence[str]) -> tuple[Path | None, bool, list[str]]:
    """The folder, whether nothing is to be downloaded, and the arguments that are the service's.

    Raises:
        SettingsError: --folder has no value, or names a file.
    """
    named = None
    rest = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.partition("=")
        if name == "--folder":
            named = value if equals else waiting.pop(0) if waiting else ""
        elif argument != "--dry-run":
            rest.append(argument)
    folder = Path(named).expanduser() if named else None
    if named == "" or (folder is not None and folder.exists() and not folder.is_dir()):
        raise SettingsError("folder: the folder to download to is expected" + (f", not {named!r}" if named else ""))
    return folder, "--dry-run" in arguments, rest


def run(settings: Settings, items: list[Item], folder: Path | None, *, dry_run: bool) -> int:
    """Say what there is to do, and do it. `items` is filled with what the settings need.

    Raises:
        SettingsError: a backend can't be chosen.
    """
    found, without = items_of(settings)
    items += found
    _say(f"profile {settings.profile}, language {settings.language}")
    if without:
        _say(f"nothing to download for {', '.join(without)}: what they need comes with their packages")
    if not items:
        return 0
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SettingsError("huggingface_hub is not installed: pip install huggingface_hub")
    quiet_libraries()
    _note(f"asking {endpoint()}" if not is_offline() else "HF_HUB_OFFLINE is set, so the hub is not asked")
    ask_all(items, folder)
    _say(table(items))
    for item in items:
        if item.warning is not None:
            _complain(f"{item.warning}; the copy that is there will do")
    if problems := [*_problems(items), *too_little_room(items)]:
        for problem in problems:
            _complain(problem)
        _note("nothing was downloaded")
        return 2
    if any(item.model is not None and item.download.by_library for item in items) and folder is not None:
        _say("what a library takes by itself goes into the cache: it looks nowhere else")
    if dry_run:
        _note("nothing was downloaded: --dry-run")
        return 0
    return download_all(items, folder)


def table(items: Sequence[Item]) -> str:
    """A line for each model, then the sum, and what is free where they go."""
    rows = [HEADER, *map(_row, items)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if any(item.plan is not None for item in items):
        total = sum(item.plan.bytes for item in items if item.plan is not None)
        remaining = sum(item.remaining_bytes for item in items)
        lines.append(f"in all {shown_bytes(total)}, of which {shown_bytes(remaining)} are to be downloaded")
    roots = dict.fromkeys(item.model.place.root for item in items if item.model is not None)
    lines += [f"{root} has {shown_bytes(free_bytes(root))} free" for root in roots]
    return "\n".join(lines)


def _row(item: Item) -> tuple[str, ...]:
    name = item.name if not item.download.patterns else f"{item.name} (some files)"
    if item.problem is not None:
        return name, item.user, "-", "-", "can't be had", "-"
    if item.model is None or item.plan is None:
        return name, item.user, "-", "-", "nothing", f"is in {item.copy}"
    place = item.model.place
    into = str(place.folder) if isinstance(place, Folder) else "the cache"
    to_do = shown_bytes(item.remaining_bytes) if item.missing else "nothing"
    return name, item.user, str(len(item.plan.files)), shown_bytes(item.plan.bytes), to_do, into


def _problems(items: Sequence[Item]) -> list[str]:
    """Each problem once: that of a hub which can't be reached is the same for all, but for the option's name."""
    flags: dict[str, list[str]] = {}
    for item in items:
        if item.problem is not None:
            flag, _, problem = item.problem.partition(": ")
            if flag not in flags.setdefault(problem, []):
                flags[problem].append(flag)
    return [f"{', '.join(names)}: {problem}" for problem, names in flags.items()]


def download_all(items: Sequence[Item], folder: Path | None) -> int:
    """Download one after the other; 1 if it ends on the way, and then what is complete and what is not is told."""
    for number, item in enumerate(items, 1):
        if item.model is None or item.plan is None:
            item.done = True
            continue
        started = time.monotonic()
        display = Display(f"{number}/{len(items)} {item.name}")
        try:
            where = item.model.download(item.plan, display.tell, display.interval_s, resumes=True)
        except CheckpointError as error:
            display.clear()
            _complain(str(error))
            _tell_what_is_there(items)
            return 1
        display.clear()
        item.done, item.copy = True, where
        if item.missing:
            _note(f"{display.title}: complete after {time.monotonic() - started:.1f} s")
    _say("all is there:")
    for item in items:
        _say(f"  {item.name}: {item.copy}")
    if folder is not None:
        _say(f"a service finds it with {FOLDERS_VARIABLE}={folder.absolute()}")
    return 0


class Display:
    """How far a download is, on stderr: on a terminal one line that changes, else a line now and then."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._terminal = sys.stderr.isatty()
        self.interval_s = TERMINAL_INTERVAL_S if self._terminal else LOG_INTERVAL_S
        self._started_s = time.monotonic()
        self._first: int | None = None

    def tell(self, count: int, total: int) -> None:
        if self._first is None:
            self._first = count
        rate = (count - self._first) / max(time.monotonic() - self._started_s, 1e-3)
        line = f"{self.title}: {shown_bytes(count)} of {shown_bytes(total)}, {shown_bytes(int(rate))}/s"
        print(f"\r{line}\x1b[K" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _tell_what_is_there(items: Sequence[Item]) -> None:
    """After an end on the way: nothing half made is left unmentioned."""
    planned = [(item, item.model, item.plan) for item in items if item.model is not None and item.plan is not None]
    for item, model, plan in planned:
        there = plan.bytes - model.remaining_bytes(model.missing(plan))
        if item.done or not item.missing:
            _note(f"  complete: {item.name}")
        elif there:
            _note(
                f"  incomplete: {item.name}, {shown_bytes(there)} of {shown_bytes(plan.bytes)}, in {model.place.folder}"
            )
        else:
            _note(f"  not begun: {item.name}")
    _note("the same command goes on from there" if planned else "nothing was downloaded")


def _say(line: str) -> None:
    print(line, flush=True)  # a log, too, gets the line before what follows on stderr


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _complain(problem: str) -> None:
    _note(f"download_models: {problem}")

"""Refuse a build argument of the image that names what there is not; pip would only warn of an extra.

    python3 scripts/check_build_arguments.py EXTRAS=l4,mp3 "ENVIRONMENTS=melo" PROFILE=l4

Of the repository, only what these arguments are checked against has to be there.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def extras() -> Collection[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])


def environments() -> Collection[str]:
    return {file.stem for file in (ROOT / "speech_to_speech" / "workers" / "environments").glob("*.txt")}


def profiles() -> Collection[str]:
    sys.path.insert(0, str(ROOT))
    from speech_to_speech.config.profiles import PROFILES

    return set(PROFILES)


# The names that each argument may have, and what stands between two names.
CHECKS: dict[str, tuple[Callable[[], Collection[str]], str | None]] = {
    "EXTRAS": (extras, ","),
    "ENVIRONMENTS": (environments, None),
    "BAKE_MODELS": (profiles, None),
    "PROFILE": (profiles, "\n"),
}


def main(arguments: Sequence[str]) -> int:
    for argument in arguments:
        name, _, value = argument.partition("=")
        known, separator = CHECKS[name]
        for part in value.split(separator) if value else ():
            if part not in known():
                print(f"{name}: there is no {part!r}; there are {', '.join(sorted(known()))}", file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

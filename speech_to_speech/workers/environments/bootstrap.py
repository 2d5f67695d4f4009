"""Start the worker in an environment that has its own packages and not ours: a script for that environment's Python.

    python -I bootstrap.py NAME=PATH [NAME=PATH ...] -- ARGUMENTS

Each NAME is a module or a package that can be imported from PATH, and nothing else of PATH's folder, which may be the
service's site-packages, can. Then `speech_to_speech.workers.child` runs with the arguments.
"""

import importlib.abc
import importlib.util
import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class Only(importlib.abc.MetaPathFinder):
    """Finds some modules by their names, wherever they are."""

    def __init__(self, modules: Mapping[str, Path]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        found = self._modules.get(fullname)
        if found is None:
            return None
        if found.is_dir():
            return importlib.util.spec_from_file_location(
                fullname, found / "__init__.py", submodule_search_locations=[str(found)]
            )
        return importlib.util.spec_from_file_location(fullname, found)


def main() -> None:
    split = sys.argv.index("--")
    pairs = (argument.partition("=") for argument in sys.argv[1:split])
    sys.meta_path.insert(0, Only({name: Path(path) for name, _, path in pairs}))
    sys.argv = ["speech_to_speech.workers.child", *sys.argv[split + 1 :]]
    runpy.run_module("speech_to_speech.workers.child", run_name="__main__")


if __name__ == "__main__":
    main()

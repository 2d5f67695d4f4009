"""The files of this repository that some of them import, directly or not: what a slow test depends on.

    python3 scripts/inputs_of.py tests/tts/test_parler.py speech_to_speech/workers/child.py

Prints the files given and those, one a line. What is imported by a name in a string, as backends are, is not seen: give
it too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (ROOT, ROOT / "tests" / "support", ROOT / "scripts")
"""Where modules are looked for, beside the folder of the file that imports them."""


def inputs_of(*files: Path) -> set[Path]:
    """The files themselves, and all of the repository that they import."""
    found: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imported_by(file) if file.suffix == ".py" else ()
    return found


def imported_by(file: Path) -> Iterator[Path]:
    """The files of the repository that a file names in its imports, wherever they stand in it."""
    for node in executed(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from files_of(name.name, file)
        elif isinstance(node, ast.ImportFrom):
            package = f"{node.module}." if node.module else ""
            for name in node.names:
                yield from files_of(f"{package}{name.name}", file, level=node.level)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a syntax tree, without what is for type checkers only."""
    yield node
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        if not for_types:
            yield from executed(child)


def files_of(name: str, importer: Path, *, level: int = 0) -> Iterator[Path]:
    """The file of a module, or of the one that has this name, and those of the packages that it is in."""
    parts = name.split(".")
    folders = (importer.parents[level - 1],) if level else (*FOLDERS, importer.parent)
    for folder in folders:
        for count in range(1, len(parts) + 1):
            path = folder.joinpath(*parts[:count])
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file() and file.is_relative_to(ROOT):
                    yield file


if __name__ == "__main__":
    print(*sorted(str(file.relative_to(ROOT)) for file in inputs_of(*map(Path, sys.argv[1:]))), sep="\n")

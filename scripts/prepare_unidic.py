"""Make the folder of the Japanese dictionary that MeCab reads for MeloTTS.

    python scripts/prepare_unidic.py [--source unidic-lite|unidic] [--out fast_unidic/dictionary]

The package comes from PyPI, of the version in `fast_unidic/manifest.json`, into a temporary folder; the files of the
dictionary are checked against the digests there, and copied. What was there stays until that is done.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "fast_unidic" / "manifest.json"
# MeCab's files, and the licences. A source may have more, such as definitions to train with.
FILES = ("AUTHORS", "BSD", "COPYING", "char.bin", "dicrc", "matrix.bin", "mecabrc", "sys.dic", "unk.dic")
NEEDED = ("char.bin", "dicrc", "matrix.bin", "mecabrc", "sys.dic", "unk.dic")


class Refused(Exception):
    """The dictionary can't be made; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the folder of the Japanese dictionary.")
    parser.add_argument("--source", choices=("unidic-lite", "unidic"), default="unidic-lite", help="which UniDic")
    parser.add_argument("--out", type=Path, default=ROOT / "fast_unidic" / "dictionary", help="the folder to make")
    options = parser.parse_args(arguments)
    entry = json.loads(MANIFEST.read_text())[options.source]
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepare(options.source, entry, Path(folder), options.out)
    except (Refused, OSError) as error:
        print(f"prepare_unidic: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(source: str, entry: dict[str, Any], temporary: Path, out: Path) -> None:
    print(f"installing {source} {entry['version']} into a temporary folder", flush=True)
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(temporary),
        f"{source}=={entry['version']}",
    )
    found = temporary / source.replace("-", "_") / "dicdir"
    if source == "unidic":
        print("downloading the full dictionary", flush=True)
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            str(temporary),
            "requests",
            "tqdm",
            "wasabi",
            "plac",
        )
        run(sys.executable, "-m", "unidic", "download", environment={"PYTHONPATH": str(temporary)})
    new = out.with_name(f".{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        digests = copy(found, new)
        check(digests, entry["files"], source)
        made = {**entry, "package": source, "files": digests}
        (new / "manifest.json").write_text(json.dumps(made, indent=2) + "\n")
        shutil.rmtree(out, ignore_errors=True)
        new.rename(out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    size_mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"{out}: {entry['dictionary']}, {size_mb:.0f} MB, {entry['licence']}")


def copy(found: Path, new: Path) -> dict[str, str]:
    """The digests of what was copied."""
    digests = {}
    for name in FILES:
        if (found / name).is_file():
            shutil.copyfile(found / name, new / name)
            digests[name] = sha256(new / name)
    if missing := [name for name in NEEDED if name not in digests]:
        raise Refused(f"the package has no {', '.join(missing)}")
    return digests


def check(digests: dict[str, str], wanted: dict[str, str], source: str) -> None:
    if not wanted:
        print(f"no digests of {source} are known: {MANIFEST.name} of the folder has those found, compare them")
        return
    if wrong := [name for name, digest in wanted.items() if digests.get(name) != digest]:
        raise Refused(f"{', '.join(wrong)}: not the files of {MANIFEST}; nothing was changed")


def run(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise Refused(f"{' '.join(command[1:4])} failed: {lines[-1] if lines else done.returncode}")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())

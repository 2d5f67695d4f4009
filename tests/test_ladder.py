"""The ladder of packages: each imports only what lies below it. And importing is free."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import speech_to_speech

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "speech_to_speech"
sys.path.append(str(ROOT / "scripts"))

from inputs_of import executed, inputs_of  # noqa: E402 (of a folder that has to be on the path first)

LADDER = [
    {"errors", "frames", "languages", "text"},
    {"audio", "normalization", "workers"},
    {"config", "weights"},
    {"loadtest", "llm", "stt", "tts", "turn", "vad"},
    {"client", "conversation"},
    {"wire"},
    {"service"},
    {"commands"},
]
"""From the bottom: what stands on one rung imports nothing of its own rung but itself."""
READ_BY_THE_SERVICE = {"config", "weights"}
"""The conversation reads no settings and knows no checkpoints."""
PROTOCOL_WORDS = re.compile(r"\bDONE\b|(?i:websocket|\bmp3\b|\bquery\b)")
LIBRARIES = {
    "av",
    "ctranslate2",
    "espeakng_loader",
    "faster_whisper",
    "httpx2",
    "huggingface_hub",
    "kokoro",
    "nltk",
    "onnx",
    "onnxruntime",
    "openai",
    "pocketsphinx",
    "silero_vad",
    "sounddevice",
    "torch",
    "transformers",
    "unicode_rbnf",
}
"""What is heavy is imported when a model loads."""
WEB = {"starlette", "uvicorn"}
MODULES = sorted(module.name for module in pkgutil.walk_packages([str(PACKAGE)], "speech_to_speech."))
ENTRY_POINTS = ["webservice_starlette", "s2s_handler", "audio_streaming_client"]


def file_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(module: str) -> set[str]:
    """The modules that a file of the package names in its imports, wherever they stand in it."""
    found = set()
    for node in executed(ast.parse(file_of(module).read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return found


def ours(module: str) -> set[str]:
    return {name for name in imports_of(module) if name in MODULES}


def package_of(module: str) -> str:
    return module.split(".")[1]


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def loaded_by(*modules: str) -> set[str]:
    """What is in `sys.modules` of a process that imports these, beyond what was there before."""
    code = (
        "import importlib, json, sys\n"
        "before = set(sys.modules)\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)))


def test_every_package_stands_on_one_rung() -> None:
    packages = {package_of(module) for module in MODULES}
    assert sorted(package for rung in LADDER for package in rung) == sorted(packages)


def test_a_package_imports_only_what_lies_below_it() -> None:
    wrong = []
    for module in MODULES:
        package = package_of(module)
        rung = next(number for number, packages in enumerate(LADDER) if package in packages)
        below = {package}.union(*LADDER[:rung])
        wrong += [f"{module} imports {name}" for name in sorted(ours(module)) if package_of(name) not in below]
    assert wrong == []


def test_the_conversation_reads_no_settings_and_no_checkpoints() -> None:
    conversation = [module for module in MODULES if package_of(module) == "conversation"]
    assert {package_of(name) for module in conversation for name in ours(module)} & READ_BY_THE_SERVICE == set()


def test_the_conversation_knows_no_protocol() -> None:
    found = [
        f"{file.name}:{number}: {line.strip()}"
        for file in (PACKAGE / "conversation").rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if PROTOCOL_WORDS.search(line)
    ]
    assert found == []


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {module: ours(module) - {module} for module in MODULES}
    while leaves := [module for module, needs in graph.items() if not needs & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert graph == {}


def test_only_the_service_and_its_wires_know_the_web() -> None:
    web = {module for module in MODULES if roots(imports_of(module)) & WEB}
    assert {package_of(module) for module in web} == {"service", "wire"}
    assert not {module for module in MODULES if roots(imports_of(module)) & {*ENTRY_POINTS}}


def test_importing_everything_loads_no_library_of_a_model() -> None:
    assert roots(loaded_by(*MODULES, *ENTRY_POINTS)) & LIBRARIES == set()


def test_importing_the_client_loads_no_part_of_the_service() -> None:
    loaded = loaded_by("audio_streaming_client")
    assert roots(loaded) & {*WEB, *LIBRARIES} == set()
    own = {package_of(name) for name in loaded if name.startswith("speech_to_speech.")}
    assert own == {"audio", "client", "errors", "frames", "text"}


def test_reading_settings_loads_no_library_of_a_model_and_no_web_stack() -> None:
    code = (
        "import sys\n"
        "from speech_to_speech.config.settings import load_settings\n"
        "load_settings([], {})\n"
        "print('\\n'.join(sys.modules))"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split()
    assert roots(set(loaded)) & {*LIBRARIES, *WEB} == set()


def test_a_workers_process_needs_the_standard_library_and_a_few_modules() -> None:
    loaded = loaded_by("speech_to_speech.workers.child")
    own = {name for name in loaded if name.partition(".")[0] == "speech_to_speech"}
    few = ("", ".errors", ".frames", ".workers", ".workers.child", ".workers.child_output", ".workers.model")
    assert own <= {f"speech_to_speech{name}" for name in few}
    # `__mp_main__` is multiprocessing's other name for the main module.
    assert roots(loaded - own) - sys.stdlib_module_names == {"__mp_main__"}


# The names for users of the package.


def test_the_public_names_are_there_and_importing_the_package_loads_none_of_them() -> None:
    assert loaded_by("speech_to_speech") & set(MODULES) == set()
    for name in speech_to_speech.__all__:
        assert getattr(speech_to_speech, name).__name__ == name
    assert set(speech_to_speech.__all__) <= set(dir(speech_to_speech))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = speech_to_speech.no_such_name


def test_a_backend_needs_the_public_names_only(tmp_path: Path) -> None:
    (tmp_path / "my_backend.py").write_text(
        "from speech_to_speech import Transcript, register_model\n"
        "@register_model('stt', 'mine')\n"
        "class Mine:\n"
        "    pass\n"
    )
    code = "import my_backend; from speech_to_speech.config.registry import find; print(find('stt', 'mine').target)"
    told = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert told.strip() == "my_backend:Mine"


# What is computed from imports.


def test_what_a_file_depends_on_is_found_through_packages_and_helpers() -> None:
    names = {str(file.relative_to(ROOT)) for file in inputs_of(ROOT / "tests" / "workers" / "test_workers.py")}
    assert {"tests/support/working.py", "tests/support/fakes.py", "speech_to_speech/workers/process.py"} <= names
    assert "speech_to_speech/workers/__init__.py" in names
    assert "speech_to_speech/service/service.py" not in names


def test_the_image_has_what_making_an_environment_imports() -> None:
    lines = (ROOT / "dockerfiles" / "pytorch" / "Dockerfile").read_text().splitlines()
    stage = lines[next(at for at, line in enumerate(lines) if line.endswith("AS environments")) :]
    stage = stage[: next(at for at, line in enumerate(stage) if at and line.startswith("FROM"))]
    copied = [Path(source) for line in stage if line.startswith("COPY ") for source in line.split()[1:-1]]
    needed = {file.relative_to(ROOT) for file in inputs_of(PACKAGE / "commands" / "environments.py")}
    missing = [file for file in needed if not any(file == source or source in file.parents for source in copied)]
    assert missing == []

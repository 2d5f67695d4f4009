"""Importing is free, and goes one way."""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import speech_to_speech

PACKAGE = Path(speech_to_speech.__file__).parent
HEAVY = {"torch", "transformers", "onnxruntime", "pocketsphinx", "nltk", "espeakng_loader", "silero_vad", "sounddevice"}
HEAVY |= {
    "huggingface_hub",
    "onnx",
    "openai",
    "httpx2",
    "ctranslate2",
    "faster_whisper",
    "av",
    "unicode_rbnf",
    "kokoro",
}
MODULES = sorted(module.name for module in pkgutil.walk_packages([str(PACKAGE)], "speech_to_speech."))
ENTRY_POINTS = ["webservice_starlette", "s2s_handler", "audio_streaming_client"]


def loaded_by(*modules: str) -> set[str]:
    """What is in `sys.modules` of a process that imports these, beyond what was there before."""
    code = (
        "import importlib, json, sys\n"
        "before = set(sys.modules)\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)))


def imports_of(module: str) -> set[str]:
    """The modules that a file of the package names in its imports, wherever they stand in it."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
    return found


def ours(module: str) -> set[str]:
    return {name for name in imports_of(module) if name in MODULES}


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_importing_everything_loads_no_model_library() -> None:
    modules = [module for module in MODULES if not module.endswith("__main__")]
    assert roots(loaded_by(*modules, *ENTRY_POINTS)) & HEAVY == set()


def test_importing_the_client_loads_no_part_of_the_service() -> None:
    loaded = loaded_by("audio_streaming_client")
    assert roots(loaded) & {"starlette", "uvicorn", "onnxruntime", *HEAVY} == set()
    stages = {f"speech_to_speech.{name}" for name in ("conversation", "workers", "vad", "stt", "llm", "tts")}
    assert loaded & stages == set()


def test_reading_settings_loads_no_model_library_and_no_web_stack() -> None:
    code = (
        "import sys\n"
        "from speech_to_speech.config.settings import load_settings\n"
        "load_settings([], {})\n"
        "print('\\n'.join(sys.modules))"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split()
    assert roots(set(loaded)) & {*HEAVY, "starlette", "uvicorn"} == set()


def test_a_worker_process_imports_only_the_standard_library_and_a_few_modules() -> None:
    loaded = loaded_by("speech_to_speech.workers.child")
    own = {name for name in loaded if name.partition(".")[0] == "speech_to_speech"}
    few = ("workers", "workers.child", "workers.child_output", "workers.model", "errors", "frames")
    allowed = {f"speech_to_speech.{name}" for name in few}
    assert own <= {"speech_to_speech", *allowed}
    # `__mp_main__` is multiprocessing's other name for the main module.
    assert roots(loaded - own) - sys.stdlib_module_names == {"__mp_main__"}


@pytest.mark.parametrize("module", [f"speech_to_speech.{name}" for name in ("frames", "errors", "workers.model")])
def test_the_lowest_modules_import_nothing_of_ours(module: str) -> None:
    assert ours(module) == set()
    assert roots(imports_of(module)) <= sys.stdlib_module_names


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("speech_to_speech.wire")])
def test_wire_codecs_know_no_session_pipeline_or_service(module: str) -> None:
    allowed = {f"speech_to_speech.{name}" for name in ("audio.mp3_frames", "conversation.events", "errors", "frames")}
    assert {name for name in ours(module) if not name.startswith("speech_to_speech.wire.")} <= allowed
    assert roots(imports_of(module)) & {"starlette", "websockets", "uvicorn", "socket", "asyncio", "anyio"} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "speech_to_speech.commands.cli"])
def test_the_package_does_not_import_the_service(module: str) -> None:
    assert roots(imports_of(module)) & {*ENTRY_POINTS, "starlette", "uvicorn"} == set()


@pytest.mark.parametrize("stage", ["vad", "stt", "llm", "tts"])
def test_the_stages_do_not_know_each_other_or_the_session(stage: str) -> None:
    others = {"vad", "stt", "llm", "tts"} - {stage}
    forbidden = {f"speech_to_speech.{name}" for name in (*others, "conversation", "wire", "config.settings")}
    for module in MODULES:
        if module.startswith(f"speech_to_speech.{stage}."):
            found = {name for name in ours(module) if any(f"{name}.".startswith(f"{bad}.") for bad in forbidden)}
            assert found == set(), module


def test_the_pipeline_does_not_import_the_session() -> None:
    assert "speech_to_speech.conversation.session" not in ours("speech_to_speech.conversation.pipeline")


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {module: ours(module) for module in MODULES}
    while leaves := [module for module, needs in graph.items() if not needs & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert graph == {}


def test_backends_import_their_libraries_when_they_load() -> None:
    for module in MODULES:
        source = PACKAGE.joinpath(*module.split(".")[1:])
        path = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {name.name for node in top if isinstance(node, ast.Import) for name in node.names}
        names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
        assert roots(names) & HEAVY == set(), module

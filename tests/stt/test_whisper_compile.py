"""Whisper with torch.compile: what it needs of the machine, and that it hears the same."""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from whispers import ALL, TINY, heard, load_fails, loaded, said, windows_of

from speech_to_speech.audio.samples import to_float
from speech_to_speech.errors import SettingsError
from speech_to_speech.frames import Transcript
from speech_to_speech.languages import AUTO
from speech_to_speech.stt.whisper.backend import Whisper


def in_a_thread(call: Callable[[], Any]) -> Any:
    """As a worker does: everything on one thread of its own."""
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(call()))
    thread.start()
    thread.join()
    return outcome[0]


def all_tokens(whisper: Whisper, sizes: list[int]) -> list[list[list[int]]]:
    """For batches of these sizes."""
    found = []
    for size in sizes:
        batch = windows_of([(to_float(said(phrase, language)), None) for language, phrase in ALL[:size]])
        whisper.decoder.transcribe(batch, lambda window: None)
        found.append([window.tokens for window in batch])
    return found


# PyTorch's compiler imports a module of its own whose functions it has deprecated.
compiles = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


@pytest.fixture
def compiler(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """PyTorch's, with nothing compiled yet."""
    import torch._dynamo.utils
    import torch._inductor.config

    caplog.set_level(logging.WARNING, "torch.__trace")  # this logger writes down all its work if anybody may listen
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch._inductor.config.patch(compile_threads=1):  # no process may outlive the test
        yield


@compiles
def test_batches_that_are_filled_up_find_the_same_tokens() -> None:
    """All of compiling but the compiler: static caches, used again and again, and rows that nobody asked for."""
    sizes = [1, 3, 2, 7, 16, 5, 1, 12]
    expected = all_tokens(loaded(), sizes)
    with torch.compiler.set_stance("force_eager"):
        assert all_tokens(loaded(stt_compile_mode="default"), sizes) == expected


class OneByOne(Whisper):
    batch_limit = 1


@pytest.fixture(params=["eager", pytest.param("inductor", marks=pytest.mark.long)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of the graphs that are found: they are run as they are, or compiled by g++ for up to a minute."""
    if request.param == "eager":
        real = torch.compile
        monkeypatch.setattr(
            torch, "compile", lambda call, *, mode, dynamic: real(call, backend="eager", dynamic=dynamic)
        )


@compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is none")
@pytest.mark.timeout(400)  # g++ takes 48 s of one core, and 12 s if the code was compiled before
@pytest.mark.usefixtures("compiler", "backend")
def test_a_compiled_model_finds_the_same_tokens() -> None:
    """On a worker's thread: warm-up has compiled all that comes after it."""
    counters = torch._dynamo.utils.counters

    def run() -> tuple[int, int, list[Transcript]]:
        whisper = OneByOne(OneByOne.Options(stt_model_name=str(TINY), stt_device="cpu", stt_compile_mode="default"))
        whisper.load()
        whisper.warm_up()
        compiled = counters["stats"]["unique_graphs"]
        transcripts = heard(whisper, [(said(phrase, language), AUTO) for language, phrase in ALL[:8]])
        return compiled, counters["stats"]["unique_graphs"], transcripts

    after_warm_up, after_use, transcripts = in_a_thread(run)
    assert transcripts == [Transcript(phrase, language) for language, phrase in ALL[:8]]
    assert after_warm_up == after_use == 2  # the encoder and the step are one graph each
    assert not counters["graph_break"]


@pytest.mark.parametrize("variable", ["CXX", "PATH"])
def test_a_missing_compiler_is_said_before_anything_is_loaded(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    message = load_fails(stt_compile_mode="default", stt_model_name=str(tmp_path / "nowhere"))
    assert message.startswith("stt_compile_mode: torch.compile needs a compiler (")


@compiles
@pytest.mark.timeout(400)  # the machine may be busy
@pytest.mark.usefixtures("compiler")
def test_a_compiler_that_fails_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    whisper = OneByOne(OneByOne.Options(stt_model_name=str(TINY), stt_device="cpu", stt_compile_mode="default"))
    whisper.load()
    failing = torch._inductor.config.patch({"cpp.cxx": (None, "false")})
    with failing, pytest.raises(SettingsError, match=r"^stt_compile_mode: compiling failed, leave it out \([^\n]+$"):
        whisper.warm_up()

"""The status line."""

import io
import types

import pytest

from speech_to_speech.client import console as console_module
from speech_to_speech.client.console import Console, columns


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(console_module, "sys", types.SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("COLUMNS", "60")
    return terminal


@pytest.mark.parametrize("text", ["what time is it " * 20, "今何時ですか" * 20, "e\u0301" * 200])
def test_the_end_of_what_is_said_fits_in_one_line(text: str, terminal: Terminal) -> None:
    console = Console()
    console.status("hearing you", -120.0, text)
    shown = terminal.getvalue()
    assert shown.startswith(f"[{' ' * 20}] hearing you: ")
    assert shown.endswith(text.strip()[-1])
    assert 55 < columns(shown) < 60
    console.line("next")
    assert terminal.getvalue() == f"{shown}\r{' ' * columns(shown)}\r"


def test_control_characters_stay_out_of_it(terminal: Terminal) -> None:
    Console().status("paused", 0.0, "a\x1b[2Jb\n")
    assert terminal.getvalue() == f"[{'#' * 20}] paused: a [2Jb"


def test_without_text_there_is_only_the_state(terminal: Terminal) -> None:
    Console().status("listening", -120.0)
    assert terminal.getvalue() == f"[{' ' * 20}] listening"


def test_width_of_a_text() -> None:
    assert columns("abc") == 3
    assert columns("日本") == 4
    assert columns("e\u0301") == 1

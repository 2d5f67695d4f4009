"""The command line, as a process."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import COMMAND, SCRIPT, assert_refused, run


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_usage_is_printed(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: speech-to-speech serve")


def test_version_is_a_version() -> None:
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip().replace(".", "").isdigit()


def test_help_of_serve_lists_the_settings_of_the_chosen_profile() -> None:
    result = run("serve", "--help", "--profile", "loadtest")
    assert (result.returncode, result.stderr) == (0, "")
    assert "--min_silence_ms" in result.stdout
    assert "--loadtest_stt_ms" in result.stdout
    assert "--espeak_rate" not in result.stdout


def test_help_of_serve_shows_no_token() -> None:
    assert "secret" not in run("serve", "--help", S2S_API_TOKEN="secret").stdout


def test_an_unknown_command_is_one_line() -> None:
    assert_refused(run("sing"), "unknown command 'sing'", "serve")


def test_an_unknown_option_is_one_line() -> None:
    assert_refused(run("serve", "--tresh", "0.5"), "unknown option --tresh", "did you mean --thresh?")


def test_a_value_out_of_range_is_one_line() -> None:
    assert_refused(run("serve", "--thresh", "2"), "thresh: input should be less than 1, not '2'")


def test_a_bad_variable_is_one_line() -> None:
    assert_refused(run("serve", S2S_STT="ears"), "stt: unknown backend 'ears'", "pocketsphinx")


def test_a_bad_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"port": "http"}))
    assert_refused(run("serve", str(path)), "port: ")


def test_help_of_bad_settings_is_one_line() -> None:
    assert_refused(run("serve", "--help", "--profile", "fast"), "unknown profile 'fast'")


def test_a_models_module_that_fails_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken_models.py").write_text("1 / 0\n")
    result = run("serve", "--models", "broken_models", PYTHONPATH=str(tmp_path))
    assert_refused(result, "models: can't import 'broken_models'", "ZeroDivisionError")


@pytest.mark.parametrize(
    "command", [[*COMMAND, "serve"], SCRIPT], ids=["speech-to-speech serve", "webservice_starlette"]
)
def test_a_port_in_use_is_one_line(command: list[str], taken_port: int) -> None:
    result = run("--profile", "loadtest", "--port", str(taken_port), command=command)
    assert_refused(result, f"port: can't listen on 127.0.0.1:{taken_port}", "choose another --host or --port")


def test_a_host_that_does_not_resolve_is_one_line() -> None:
    assert_refused(run("serve", "--profile", "loadtest", "--host", "no host"), "host: can't resolve 'no host'")


def test_the_script_refuses_bad_settings_with_one_line() -> None:
    assert_refused(run("--thresh", "2", command=SCRIPT), "thresh: ")

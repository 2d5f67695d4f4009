"""The commands, as processes."""

import os
import subprocess
import sys

COMMAND = [sys.executable, "-c", "import sys; from speech_to_speech.commands.cli import main; sys.exit(main())"]
SCRIPT = [sys.executable, "-m", "webservice_starlette"]
LIMIT_S = 30


def run(*arguments: str, command: list[str] = COMMAND, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        n: v for n, v in os.environ.items() if not n.startswith("S2S_") and n not in ("PROFILE", "HOST", "PORT")
    }
    return subprocess.run(
        [*command, *arguments],
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one line on stderr, which has these words."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    (line,) = result.stderr.splitlines()
    assert line.startswith("speech-to-speech: ")
    for word in words:
        assert word in line

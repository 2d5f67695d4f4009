"""ONNX models: nothing is reported, nothing is written."""

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
from speech_to_speech.vad.silero import SileroVad
vad = SileroVad(SileroVad.Options())
vad.load()
vad.warm_up()
print("ready")
"""


def test_onnxruntime_keeps_no_record_of_this_machine(tmp_path: Path) -> None:
    """With its telemetry on it would keep the machine's id in the cache, and send it."""
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "ready\n", done.stderr
    assert list(tmp_path.rglob("*")) == []

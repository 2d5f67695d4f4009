"""What a Whisper needs of the machine besides its weights: memory to work in, and a compiler if it is compiled."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from speech_to_speech.errors import SettingsError

# The variable and the programs that Triton and Inductor look for on each device.
COMPILERS = {"cuda": ("CC", ("gcc", "clang")), "cpu": ("CXX", ("clang++" if sys.platform == "darwin" else "g++",))}


def working_bytes(config: Any, element_bytes: int, rows: int, cached_rows: int) -> int:
    """About how much memory a batch takes: the encoder's activations for `rows` windows, and the decoder's cache of its
    output for `cached_rows` (more of them with beams, or where each compiled size has its own).

    `config` is a WhisperConfig. For 16 rows of large-v3-turbo (4 decoder layers, 1500 positions of 1280) in float16
    that is 0.9 GB and 0.5 GB.
    """
    activations = rows * (2 * config.encoder_ffn_dim + 6 * config.d_model)
    cache = cached_rows * 2 * config.decoder_layers * config.d_model
    return int(element_bytes * config.max_source_positions * (activations + cache))


def require_compiler(device_type: str) -> None:
    """torch.compile writes C or C++ and has it compiled when it runs.

    Raises:
        SettingsError: there is no compiler, or Python's headers are missing.
    """
    variable, names = COMPILERS.get(device_type, COMPILERS["cpu"])
    if not any(map(shutil.which, os.environ.get(variable, "").split()[:1] or names)):
        raise SettingsError(
            f"stt_compile_mode: torch.compile needs a compiler ({' or '.join(names)}): apt install build-essential "
            "(Debian, Ubuntu), or leave stt_compile_mode out"
        )
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise SettingsError(
            "stt_compile_mode: torch.compile needs the headers of Python (Python.h): apt install python3-dev "
            "(Debian, Ubuntu), or leave stt_compile_mode out"
        )

"""Where models compute, as options name it; torch is not needed to check that."""

import os
import re

DTYPES = ("float16", "bfloat16", "float32")
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(name: str, *, flag: str) -> None:
    """Raise a ValueError if there is no device of that name anywhere; `checkpoints.choose_device` looks for it here."""
    if not DEVICE.fullmatch(name):
        raise ValueError(f"{flag}: auto, cpu, cuda, cuda:1 or mps is allowed, not {name!r}")


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Small ONNX models on the CPU, through onnxruntime."""

import os
from pathlib import Path
from typing import Any


def session(path: Path) -> Any:
    """An `onnxruntime.InferenceSession` of one thread: what runs here is too little work to share.

    onnxruntime reports its use to its makers from version 1.31 on, unless the environment forbids it before the import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

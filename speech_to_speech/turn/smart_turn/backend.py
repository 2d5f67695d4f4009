"""Smart Turn v3 (https://github.com/pipecat-ai/smart-turn, BSD-2-Clause) through onnxruntime.

A Whisper-tiny encoder with a classifier on top, 8 M parameters, trained on 23 languages, all of ours among them. It
hears the last 8 s and no words. Written after its published inference code, and untried on the real weights: the tests
run a stand-in of the same inputs and outputs.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech_to_speech.errors import BackendMissing, SettingsError
from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.turn.smart_turn.features import FRAMES, MEL_BANDS, log_mel
from speech_to_speech.weights import onnx
from speech_to_speech.weights.downloads import Download
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

INPUT = "input_features"


class SmartTurn:
    """One call for a batch; a model that was exported for single utterances is called for each."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 4  # a job takes tens of milliseconds on the model's one thread: more would only wait
    needs_text: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Options:
        smart_turn_model: str = field(
            default="pipecat-ai/smart-turn-v3",
            metadata={"help": "a .onnx file, or a repository of the Hugging Face hub (needs huggingface_hub)"},
        )
        smart_turn_file: str = field(
            default="smart-turn-v3.2-cpu.onnx",
            metadata={"help": "the file in that repository; not used with a .onnx file"},
        )

        def __post_init__(self) -> None:
            if self.smart_turn_model.endswith(".onnx") and not Path(self.smart_turn_model).is_file():
                raise ValueError(f"smart_turn_model: there is no file {self.smart_turn_model!r}")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._session: Any = None
        self._batches = True

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]:
        if options.smart_turn_model.endswith(".onnx"):
            return ()
        return (Download(options.smart_turn_model, "smart_turn_model", (options.smart_turn_file,)),)

    def load(self) -> None:
        """Read the model.

        Raises:
            BackendMissing: a repository was named, and huggingface_hub is not installed.
            SettingsError: there is no such file, it can't be had, or it is not such a model.
        """
        path = self._path()
        try:
            self._session = onnx.session(path)
        except Exception as error:  # onnxruntime has a type for each of its status codes, and no common one
            raise SettingsError(f"smart_turn_model: {path} is no ONNX model: {error}") from error
        self._batches = _takes_batches(self._session, path)

    def warm_up(self) -> None:
        for batch in (1, self.batch_limit):
            self.run([ListJob(TurnRequest(bytes(32_000), "", "en")) for _ in range(batch)])

    def run(self, jobs: Sequence[Job[TurnRequest, float]]) -> None:
        wanted = [job for job in jobs if not job.cancelled]
        for some in [wanted] if self._batches else [[job] for job in wanted]:
            if some:
                features = np.stack([log_mel(job.request.pcm) for job in some])
                output = self._session.run(None, {INPUT: features})[0]
                for job, probability in zip(some, output.reshape(len(some)).tolist(), strict=True):
                    job.emit(probability)

    def _path(self) -> Path:
        repository, file = self._options.smart_turn_model, self._options.smart_turn_file
        if repository.endswith(".onnx"):
            return Path(repository)
        if importlib.util.find_spec("huggingface_hub") is None:
            raise BackendMissing(
                f"smart_turn_model: {repository!r} is no .onnx file; "
                "to take it from the Hugging Face hub: pip install huggingface_hub"
            )
        from speech_to_speech.weights.hub.fetch import fetch_files

        (download,) = self.downloads(self._options)
        return fetch_files(download.name, download.patterns, flag=download.flag) / file


def _takes_batches(session: Any, path: Path) -> bool:
    """Whether the model takes several utterances at once.

    Raises:
        SettingsError: it takes or gives something else than Smart Turn v3.
    """
    inputs = [(each.name, each.type, list(each.shape)) for each in session.get_inputs()]
    outputs = [(each.type, list(each.shape)) for each in session.get_outputs()]
    fits_in = len(inputs) == 1 and inputs[0][:2] == (INPUT, "tensor(float)") and len(inputs[0][2]) == 3
    # Where an export left a size open, there is a name or None.
    fits_in = fits_in and all(
        size == want for size, want in zip(inputs[0][2][1:], (MEL_BANDS, FRAMES), strict=True) if isinstance(size, int)
    )
    fits_out = len(outputs) == 1 and outputs[0][0] == "tensor(float)" and outputs[0][1][1:] in ([], [1])
    if not (fits_in and fits_out):
        raise SettingsError(
            f"smart_turn_model: {path} is no Smart Turn v3. That takes {INPUT} [batch, {MEL_BANDS}, {FRAMES}] "
            f"and gives [batch, 1]; this takes {inputs} and gives {outputs}"
        )
    return not isinstance(inputs[0][2][0], int)

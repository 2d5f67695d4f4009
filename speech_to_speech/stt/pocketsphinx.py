"""PocketSphinx (https://github.com/cmusphinx/pocketsphinx, BSD) with the US English model inside its package.

Its decoder was trained on recordings and fails on digital silence, which synthetic speech and noise gates have, so
a little noise goes under its input. On unseen eSpeak sentences that took the word error rate from 0.64 to 0.22; with
the level and the mean set for each utterance by itself it is 0.15, and does not depend on who spoke before.
Its binding holds the interpreter lock while it decodes, hence the process of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import SpeechRequest, Transcript, pcm_bytes
from speech_to_speech.workers.model import Job, WorkerKind

LEVEL = 0.5  # an utterance's loudest sample is brought to this share of full scale
HIGHEST_GAIN = 20.0


class PocketSphinx:
    """Understands English only."""

    worker: ClassVar[WorkerKind] = "process"
    batch_limit: ClassVar[int] = 1
    languages: ClassVar[frozenset[str]] = frozenset({"en"})
    partial_interval_ms: ClassVar[float] = 0.0  # a partial transcript would hold up all others, and can't be cancelled

    @dataclass(frozen=True)
    class Options:
        pocketsphinx_noise_floor: float = field(
            default=0.002, metadata={"help": "amplitude of the noise under the input, full scale being 1"}
        )
        pocketsphinx_grammar: str | None = field(
            default=None, metadata={"help": "a JSGF grammar file: only its phrases are understood"}
        )

        def __post_init__(self) -> None:
            if not 0 <= self.pocketsphinx_noise_floor <= 0.1:
                raise ValueError(f"pocketsphinx_noise_floor: 0 to 0.1 is allowed, not {self.pocketsphinx_noise_floor}")
            if self.pocketsphinx_grammar is not None and not Path(self.pocketsphinx_grammar).is_file():
                raise ValueError(f"pocketsphinx_grammar: there is no file {self.pocketsphinx_grammar!r}")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._decoder: Any = None

    def load(self) -> None:
        from pocketsphinx import Decoder

        grammar = self._options.pocketsphinx_grammar
        # The mean taken off the features is that of the utterance itself ("batch"). By default the decoder goes on from
        # the mean of the utterance before, which somebody else has said.
        self._decoder = Decoder(loglevel="FATAL", cmn="batch", **({"jsgf": grammar, "lm": None} if grammar else {}))

    def warm_up(self) -> None:
        self._decode(bytes(pcm_bytes(500)))

    def run(self, jobs: Sequence[Job[SpeechRequest, Transcript]]) -> None:
        for job in jobs:
            if not job.cancelled:
                pcm = job.request.pcm
                job.emit(Transcript(self._decode(pcm) if self._is_audible(pcm) else "", "en"))

    def _decode(self, pcm: bytes) -> str:
        """The words. In one step, since the mean needs all of it: a cancel has to wait for the end."""
        self._decoder.reinit_feat()  # the features' first frames would otherwise be mixed with the last utterance's
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(self._prepared(pcm), no_search=False, full_utt=True)
        except RuntimeError as error:
            raise StageFailed("stt", f"pocketsphinx: {error}") from error
        finally:
            self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""

    def _is_audible(self, pcm: bytes) -> bool:
        """Louder than the noise that goes under it; the decoder hears words in noise alone."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
        return bool(np.abs(samples).max(initial=0.0) > self._options.pocketsphinx_noise_floor * 32768.0)

    def _prepared(self, pcm: bytes) -> bytes:
        """Brought to the level that the noise is made for, quiet microphones too, and the noise under it."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
        samples *= min(LEVEL * 32768.0 / np.abs(samples).max(initial=1.0), HIGHEST_GAIN)
        # The noise is the same every time, so that the same sound has the same words.
        noise = np.random.default_rng(0).normal(0.0, self._options.pocketsphinx_noise_floor * 32768.0, len(samples))
        return np.clip(samples + noise, -32768, 32767).astype("<i2").tobytes()

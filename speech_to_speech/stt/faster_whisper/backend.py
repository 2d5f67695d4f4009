"""Whisper through CTranslate2 (https://github.com/SYSTRAN/faster-whisper, MIT): quantised, fast on a CPU, no torch.

Its library makes the features and reads the checkpoint; the batches are put together here, since its own batched
pipeline has one language for all. CTranslate2 releases the interpreter lock, so a thread will do; it can't be stopped
in the middle of a window, so a cancel waits for the end of that.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from speech_to_speech.audio.samples import Samples
from speech_to_speech.errors import CheckpointError, SettingsError
from speech_to_speech.frames import SAMPLE_RATE_HZ, Transcript
from speech_to_speech.languages import AUTO, NAMES
from speech_to_speech.stt.faster_whisper.files import MODEL_FLAG, load_model, repository_of
from speech_to_speech.stt.faster_whisper.options import DEFAULT_THREADS, PROMPT_TOKENS, FasterWhisperOptions
from speech_to_speech.stt.whisper.guards import believed
from speech_to_speech.stt.whisper.request import SURE_OF_LANGUAGE, SttJob, audible_windows, joined, not_understood
from speech_to_speech.stt.whisper.tokens import WHISPER_NAMES
from speech_to_speech.weights.devices import cores
from speech_to_speech.weights.downloads import Download
from speech_to_speech.weights.hub.errors import one_line
from speech_to_speech.workers.model import WorkerKind

logger = logging.getLogger(__name__)

# On a CPU the encoder takes as long for a batch as for its windows one by one (measured with the sizes of `base`), so
# each window is answered as soon as it is heard.
CPU_ROWS = 1
ENGLISH_ONLY = re.compile(r"\.en$|^(faster-)?distil-", re.IGNORECASE)  # the Distil-Whispers were taught English only
OURS = {whisper: ours for ours, whisper in WHISPER_NAMES.items()}


class FasterWhisperRequest:
    """A request and what has been heard of it so far, window by window."""

    def __init__(self, job: SttJob, language: str | None, parts: Sequence[Samples]) -> None:
        self.job = job
        self.language = language
        self.sure = language is not None
        self.windows = [(self, samples) for samples in parts]
        self.ended = False
        self._texts: list[str] = []

    def fail(self, error: Exception) -> None:
        self.ended = True
        self.job.fail(error)

    def hear(self, text: str) -> None:
        """Add the text of the next window; after the last one comes the transcript."""
        self._texts.append(text)
        if len(self._texts) < len(self.windows):
            return
        whole = joined(self._texts)
        self.ended = True
        asked = self.job.request.language
        told = self.language if asked == AUTO and whole and self.sure and self.language is not None else asked
        self.job.emit(Transcript(whole, told))


Window = tuple[FasterWhisperRequest, Samples]


class FasterWhisper:
    """With the language `auto` it is detected for each utterance; the transcript's is `auto` again where that could not
    be told. As `stt whisper` does, and with the same guards: silence and noise have no words.
    """

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 16
    languages: ClassVar[frozenset[str]] = frozenset(NAMES)
    partial_interval_ms: ClassVar[float] = 0.0

    Options = FasterWhisperOptions

    def __init__(self, options: FasterWhisperOptions) -> None:
        self._options = options
        self._model: Any = None
        self._rows = CPU_ROWS
        self._english_only = False
        self._tokens: dict[str, int] = {}

    @classmethod
    def languages_with(cls, options: FasterWhisperOptions) -> frozenset[str]:
        """What a checkpoint of that name understands, as far as its name tells: ISO 639 codes."""
        return frozenset({"en"}) if is_english_only(options.faster_whisper_stt_model_name) else cls.languages

    @classmethod
    def downloads(cls, options: FasterWhisperOptions) -> tuple[Download, ...]:
        return (Download(repository_of(options.faster_whisper_stt_model_name), MODEL_FLAG),)

    def load(self) -> None:
        """Get the checkpoint, from the hub if it is not here, and put it on its device.

        Raises:
            CheckpointError: it can't be had, is broken or is no Whisper of CTranslate2, or there is no such device.
            SettingsError: an option does not go with the checkpoint.
        """
        from speech_to_speech.weights.checkpoints import fetch

        options = self._options
        name = options.faster_whisper_stt_model_name
        (download,) = self.downloads(options)
        folder = fetch(download.name, flag=download.flag)
        threads = options.faster_whisper_stt_cpu_threads or min(DEFAULT_THREADS, cores())
        self._model = load_model(
            name, folder, options.faster_whisper_stt_device, options.faster_whisper_stt_compute_type, threads
        )
        multilingual = self._model.model.is_multilingual
        self._english_only = not multilingual or is_english_only(name)
        if options.faster_whisper_stt_gen_task == "translate" and self._english_only:
            raise SettingsError(
                f"faster_whisper_stt_gen_task: {name} understands English only; leave faster_whisper_stt_gen_task out"
            )
        self._tokens = self._model.hf_tokenizer.get_vocab()
        needed = ["<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"]
        needed += [f"<|{options.faster_whisper_stt_gen_task}|>", "<|en|>"] if multilingual else []
        if missing := [token for token in needed if token not in self._tokens]:
            raise CheckpointError(
                f"faster_whisper_stt_model_name: the tokenizer.json of {name} has no {missing[0]}, so it is none of a "
                "Whisper; copy that of the model it was converted from"
            )
        self._rows = CPU_ROWS if self._model.model.device == "cpu" else self.batch_limit

    def warm_up(self) -> None:
        """Run once.

        Raises:
            CheckpointError: the checkpoint does not work, or the device, whose libraries are only looked for now.
        """
        empty = np.zeros(self._longest, np.float32)
        try:
            encoded = self._encode([empty] * self._rows)
            if not self._english_only:
                self._model.model.detect_language(encoded)
            self._generate(encoded, ["en"] * self._rows)
        except ValueError as error:
            raise CheckpointError(
                f"faster_whisper_stt_model_name: {self._options.faster_whisper_stt_model_name} and its "
                f"preprocessor_config.json don't fit each other: {one_line(error)}; copy that file of the model it was "
                "converted from"
            ) from error
        except RuntimeError as error:
            raise CheckpointError(
                f"faster_whisper_stt_device: CTranslate2 does not work on {self._model.model.device}: "
                f"{one_line(error)}; --faster_whisper_stt_device cpu"
            ) from error

    def run(self, jobs: Sequence[SttJob]) -> None:
        utterances = [utterance for job in jobs if not job.cancelled and (utterance := self._prepared(job))]
        waiting = [window for utterance in utterances for window in utterance.windows]
        while waiting:
            waiting = [(utterance, part) for utterance, part in waiting if not utterance.job.cancelled]
            batch, waiting = waiting[: self._rows], waiting[self._rows :]
            if batch := [window for window in batch if not window[0].ended]:
                self._transcribe(batch)

    def _prepared(self, job: SttJob) -> FasterWhisperRequest | None:
        """A request as windows; None if it has been answered already."""
        language = job.request.language
        if language != AUTO and not self._understands(language):
            job.fail(
                not_understood(
                    language,
                    checkpoint=self._options.faster_whisper_stt_model_name,
                    english_only=self._english_only,
                    flag="faster_whisper_stt_model_name",
                )
            )
            return None
        known = "en" if self._english_only else None if language == AUTO else language
        parts = audible_windows(job, self._longest)
        return FasterWhisperRequest(job, known, parts) if parts else None

    def _understands(self, language: str) -> bool:
        return language == "en" if self._english_only else language in NAMES and _token(language) in self._tokens

    def _transcribe(self, batch: Sequence[Window]) -> None:
        """Hear some windows in one call. Those of one utterance are in order."""
        encoded = self._encode([samples for _, samples in batch])
        if any(utterance.language is None for utterance, _ in batch):
            for (utterance, _), ranking in zip(batch, self._model.model.detect_language(encoded), strict=True):
                if utterance.language is None:
                    utterance.language, utterance.sure = _likeliest(ranking)
        languages = [utterance.language or "en" for utterance, _ in batch]
        for (utterance, samples), result in zip(batch, self._generate(encoded, languages), strict=True):
            try:
                utterance.hear(self._text(samples, result))
            except Exception as error:  # only this request fails
                utterance.fail(error)

    def _text(self, samples: Samples, result: Any) -> str:
        """What of a result is believed."""
        tokens = result.sequences_ids[0]
        if len(tokens) >= self._options.faster_whisper_stt_gen_max_new_tokens:
            what = (
                "the text of %.1f s of speech was cut at %d tokens; faster_whisper_stt_gen_max_new_tokens is the limit"
            )
            logger.warning(f"stt: {what}", len(samples) / SAMPLE_RATE_HZ, len(tokens))
        end = self._tokens["<|endoftext|>"]  # the special tokens and the timestamps come behind this one
        text = self._model.hf_tokenizer.decode([token for token in tokens if token < end])
        # The score is the mean over the tokens, and the end counts as one, too.
        sureness = result.scores[0] * len(tokens) / (len(tokens) + 1)
        return believed(text.strip().rstrip("\ufffd"), samples, result.no_speech_prob, sureness)

    @property
    def _longest(self) -> int:
        """How many samples a window may have: 30 s, in most checkpoints."""
        return int(self._model.feature_extractor.n_samples)

    def _encode(self, parts: Sequence[Samples]) -> Any:
        extractor = self._model.feature_extractor
        padded = [np.pad(samples, (0, self._longest - len(samples))) for samples in parts]
        features = [extractor(samples)[..., : extractor.nb_max_frames] for samples in padded]
        return self._model.encode(np.stack(features))

    def _generate(self, encoded: Any, languages: Sequence[str]) -> Any:
        options = self._options
        most = options.faster_whisper_stt_gen_max_new_tokens
        return self._model.model.generate(
            encoded,
            [self._prompt(language) for language in languages],
            beam_size=options.faster_whisper_stt_gen_beam_size,
            max_length=max(2 * most, most + PROMPT_TOKENS),  # CTranslate2 keeps half of the length for a prompt
            return_scores=True,
            return_no_speech_prob=True,
        )

    def _prompt(self, language: str) -> list[int]:
        options = self._options
        names = ["<|startoftranscript|>"]
        if self._model.model.is_multilingual:
            names += [_token(language), f"<|{options.faster_whisper_stt_gen_task}|>"]
        if not options.faster_whisper_stt_gen_return_timestamps:
            names.append("<|notimestamps|>")
        return [self._tokens[name] for name in names]


def is_english_only(name: str) -> bool:
    """A checkpoint of that name understands English and nothing else."""
    return ENGLISH_ONLY.search(Path(name).name) is not None


def _token(language: str) -> str:
    return f"<|{WHISPER_NAMES.get(language, language)}|>"


def _likeliest(ranking: Sequence[tuple[str, float]]) -> tuple[str, bool]:
    """The ISO 639 code of the likeliest token, which comes first, and whether it is a sure thing."""
    for token, probability in ranking:
        code = token.strip("<|>")
        if (language := OURS.get(code, code)) in NAMES:
            return language, probability >= SURE_OF_LANGUAGE
    return "en", False

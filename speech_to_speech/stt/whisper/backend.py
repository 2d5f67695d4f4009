"""Whisper and Distil-Whisper through transformers: many languages, several conversations in one call.

- https://huggingface.co/openai/whisper-large-v3-turbo (MIT): 99 languages and more.
- https://huggingface.co/distil-whisper/distil-large-v3 (MIT): English, with a decoder of two layers.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from speech_to_speech.audio.samples import Samples
from speech_to_speech.errors import CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import SAMPLE_RATE_HZ, Transcript
from speech_to_speech.languages import AUTO, NAMES
from speech_to_speech.stt.whisper.decoding import Decoder, Speech, Window
from speech_to_speech.stt.whisper.guards import NO_SPEECH, believed
from speech_to_speech.stt.whisper.request import SURE_OF_LANGUAGE, SttJob, audible_windows, joined, not_understood
from speech_to_speech.stt.whisper.setup import require_compiler, working_bytes
from speech_to_speech.stt.whisper.tokens import Vocabulary, is_english_only
from speech_to_speech.weights.devices import DTYPES, check_device
from speech_to_speech.weights.downloads import Download
from speech_to_speech.workers.model import WorkerKind

logger = logging.getLogger(__name__)

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
TASKS = ("transcribe", "translate")
MOST_TOKENS = 448  # the most tokens that a Whisper can write
MOST_BEAMS = 16
PROBLEM_LIMIT = 300  # characters of an error of the compiler


def import_whisper() -> None:
    """What decoding imports when it is first needed, other models loading at the time."""
    from transformers import (  # noqa: F401
        DynamicCache,
        EncoderDecoderCache,
        GenerationConfig,
        GenerationMixin,
        LogitsProcessorList,
        StaticCache,
        StoppingCriteriaList,
        WhisperTimeStampLogitsProcessor,
    )


class WhisperRequest(Speech):
    """A request and what has been heard of it so far, window by window."""

    def __init__(self, job: SttJob, language: str | None, parts: Sequence[Samples]) -> None:
        super().__init__(language, lambda: job.cancelled or self.ended)
        self.job = job
        self.windows = [Window(self, part) for part in parts]
        self.texts: dict[int, str] = {}
        self.ended = False

    def fail(self, error: Exception) -> None:
        self.ended = True
        self.job.fail(error)

    def hear(self, window: Window, text: str) -> None:
        """Note a window's text; after the last one comes the transcript."""
        self.texts[self.windows.index(window)] = text
        if len(self.texts) == len(self.windows):
            whole = joined(text for _, text in sorted(self.texts.items()))
            self.ended = True
            self.job.emit(Transcript(whole, self._language_told(whole)))

    def _language_told(self, text: str) -> str:
        asked = self.job.request.language
        if asked != AUTO:
            return asked
        spoken = min(window.no_speech for window in self.windows) <= NO_SPEECH
        sure = text and spoken and self.language_probability >= SURE_OF_LANGUAGE
        return self.language if sure and self.language is not None else AUTO


class Whisper:
    """Transcribes all requests of a batch in one call, whatever their languages, each answered when its text ends.

    With the language `auto` it is detected for each utterance. The transcript's language is `auto` again where that
    could not be told: nothing was said, or too little for any language to have a probability of 0.5.
    """

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 16
    languages: ClassVar[frozenset[str]] = frozenset(NAMES)
    # Partial transcripts are off by default: a GPU affords them, a CPU does not, and the class can't know the device.
    partial_interval_ms: ClassVar[float] = 0.0

    @dataclass(frozen=True)
    class Options:
        stt_model_name: str = field(
            default="distil-whisper/distil-large-v3", metadata={"help": "a Whisper on the hub, or a folder"}
        )
        stt_device: str = field(default="cuda", metadata={"help": "cpu, cuda, cuda:1, mps or auto"})
        stt_torch_dtype: str = field(
            default="float16", metadata={"help": f"{', '.join(DTYPES)}, auto; on a CPU float16 becomes float32"}
        )
        stt_compile_mode: str | None = field(
            default=None, metadata={"help": f"of torch.compile: {', '.join(COMPILE_MODES)}; starts slower, runs faster"}
        )
        stt_gen_max_new_tokens: int = field(
            default=128, metadata={"help": f"longest text of 30 s of speech, in tokens, up to {MOST_TOKENS}"}
        )
        stt_gen_num_beams: int = field(
            default=1, metadata={"help": f"beams, up to {MOST_BEAMS}: a little better for a lot more time"}
        )
        stt_gen_return_timestamps: bool = field(
            default=False, metadata={"help": "let the model tell times, which the text does not show"}
        )
        stt_gen_task: str = field(
            default="transcribe", metadata={"help": "transcribe, or translate what is said into English"}
        )

        def __post_init__(self) -> None:
            if not self.stt_model_name.strip():
                raise ValueError("stt_model_name: the name of a model or a folder is expected")
            check_device(self.stt_device, flag="stt_device")
            for name, allowed in (
                ("stt_torch_dtype", (*DTYPES, "auto")),
                ("stt_compile_mode", (None, *COMPILE_MODES)),
                ("stt_gen_task", TASKS),
            ):
                if getattr(self, name) not in allowed:
                    choices = ", ".join(choice for choice in allowed if choice is not None)
                    raise ValueError(f"{name}: there are {choices}, not {getattr(self, name)!r}")
            for name, most in (("stt_gen_max_new_tokens", MOST_TOKENS), ("stt_gen_num_beams", MOST_BEAMS)):
                if not 1 <= getattr(self, name) <= most:
                    raise ValueError(f"{name}: 1 to {most} is allowed, not {getattr(self, name)}")
            if self.stt_compile_mode is not None and self.stt_gen_num_beams > 1:
                raise ValueError("stt_compile_mode: beams can't be compiled; leave one of it and stt_gen_num_beams out")

    def __init__(self, options: Options) -> None:
        self._options = options
        self.vocabulary: Vocabulary
        self.decoder: Decoder

    @classmethod
    def languages_with(cls, options: Options) -> frozenset[str]:
        """What a checkpoint of that name understands, as far as its name tells: ISO 639 codes."""
        return frozenset({"en"}) if is_english_only(options.stt_model_name) else cls.languages

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]:
        return (Download(options.stt_model_name, "stt_model_name"),)

    def load(self) -> None:
        """Get the checkpoint, from the hub if it is not here, and put it on its device.

        Raises:
            CheckpointError: it can't be had, is broken, is no Whisper or does not fit, or there is no such device.
            SettingsError: an option does not go with the checkpoint or the machine.
        """
        from speech_to_speech.weights.checkpoints import (
            choose_device,
            choose_dtype,
            fetch,
            importing,
            load_pretrained,
            loading,
            require_memory,
        )

        with importing():
            from transformers import AutoConfig, AutoProcessor, WhisperForConditionalGeneration

            import_whisper()
        options, name = self._options, self._options.stt_model_name
        device = choose_device(options.stt_device, flag="stt_device")
        dtype = choose_dtype(options.stt_torch_dtype, device, flag="stt_torch_dtype")
        if options.stt_compile_mode is not None:
            require_compiler(device.type)
        (download,) = self.downloads(options)
        folder = fetch(download.name, flag=download.flag)
        with loading(name, "a Whisper model", flag="stt_model_name"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            if config.model_type != "whisper":
                raise CheckpointError(
                    f"stt_model_name: {name} is a {config.model_type} model, a Whisper is needed; choose another"
                )
            # Compiled batches of 1, 2, 4, ... keep a cache each: about twice the largest.
            copies = options.stt_gen_num_beams if options.stt_compile_mode is None else 2
            extra_bytes = working_bytes(config, dtype.itemsize, self.batch_limit, copies * self.batch_limit)
            require_memory(folder, device, dtype, flag="stt_model_name", extra_bytes=extra_bytes)
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            model = load_pretrained(
                WhisperForConditionalGeneration,
                folder,
                flag="stt_model_name",
                dtype=dtype,
                attn_implementation="sdpa",
            )
            self.vocabulary = Vocabulary(processor.tokenizer, model, name)
            model = model.to(device).eval()
        if options.stt_gen_task == "translate" and self.vocabulary.english_only:
            raise SettingsError(f"stt_gen_task: {name} understands English only; leave stt_gen_task out")
        logger.info(
            "stt: %s on %s in %s%s",
            name,
            device,
            str(dtype).removeprefix("torch."),
            ", English only" if self.vocabulary.english_only else "",
        )
        self.decoder = Decoder(
            model,
            processor.feature_extractor,
            self.vocabulary,
            task=options.stt_gen_task,
            timestamps=options.stt_gen_return_timestamps,
            max_new_tokens=options.stt_gen_max_new_tokens,
            num_beams=options.stt_gen_num_beams,
            compile_mode=options.stt_compile_mode,
            batch_limit=self.batch_limit,
        )

    def warm_up(self) -> None:
        """Run, and if so wished compile, what will come.

        Raises:
            CheckpointError: a whole batch does not fit into memory.
            SettingsError: torch.compile failed.
        """
        import torch

        try:
            self.decoder.warm_up()
        except torch.OutOfMemoryError as error:
            raise CheckpointError(
                f"stt_model_name: {self._options.stt_model_name} with {self.batch_limit} requests at once does not fit "
                "into GPU memory; choose a smaller --stt_model_name, or --profile cpu"
            ) from error
        except Exception as error:
            if self._options.stt_compile_mode is None:
                raise
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:PROBLEM_LIMIT]
            raise SettingsError(f"stt_compile_mode: compiling failed, leave it out ({problem})") from error

    def run(self, jobs: Sequence[SttJob]) -> None:
        utterances = [utterance for job in jobs if not job.cancelled and (utterance := self._prepared(job))]
        waiting = [window for utterance in utterances for window in utterance.windows]
        size = self.batch_limit if self._options.stt_compile_mode is not None else max(self.batch_limit, len(jobs))
        for start in range(0, len(waiting), size):
            if wanted := [window for window in waiting[start : start + size] if not window.speech.cancelled()]:
                self.decoder.transcribe(wanted, self._heard)

    def _prepared(self, job: SttJob) -> WhisperRequest | None:
        """A request as the decoder takes it; None if it has been answered already."""
        language = job.request.language
        if language == AUTO:
            known = "en" if self.vocabulary.english_only else None
        elif self.vocabulary.understands(language):
            known = language
        else:
            job.fail(
                not_understood(
                    language,
                    checkpoint=self._options.stt_model_name,
                    english_only=self.vocabulary.english_only,
                    flag="stt_model_name",
                )
            )
            return None
        parts = audible_windows(job, self.decoder.longest)
        return WhisperRequest(job, known, parts) if parts else None

    def _heard(self, window: Window) -> None:
        """A window's text is complete. What fails here is this request's alone."""
        utterance = window.speech
        assert isinstance(utterance, WhisperRequest)
        try:
            if math.isnan(window.no_speech):
                raise StageFailed("stt", "the model's numbers overflowed; try stt_torch_dtype bfloat16 or float32")
            if not window.complete:
                logger.warning(
                    "stt: the text of %.1f s of speech was cut at %d tokens; stt_gen_max_new_tokens is the limit",
                    len(window.samples) / SAMPLE_RATE_HZ,
                    len(window.tokens),
                )
            text = self.vocabulary.text(window.tokens)
            utterance.hear(window, believed(text, window.samples, window.no_speech, window.sureness))
        except Exception as error:
            utterance.fail(error)

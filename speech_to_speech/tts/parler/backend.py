"""Parler-TTS (https://github.com/huggingface/parler-tts, Apache-2.0): a voice that a sentence describes.

Its library pins transformers 4.46, so it runs in an environment of its own (`environments/parler.txt`); this module
imports nothing of the package that needs more than the standard library.
"""

import logging
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from speech_to_speech.errors import CheckpointError, SettingsError, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.tts.base import no_voice
from speech_to_speech.tts.parler.speakers import MULTILINGUAL, NOBODY, description_of, speakers_of
from speech_to_speech.weights.devices import DTYPES, check_device
from speech_to_speech.weights.downloads import Download
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

logger = logging.getLogger(__name__)

COMPILE_MODES = ("default", "reduce-overhead")
FRAMES_PER_CHARACTER = 6  # slow speech: 86 frames of audio codes a second, 15 characters
MOST_FRAMES = 4096
LARGEST_PAD = 12  # the largest power of two for prompts: 4096 tokens
# The multilingual checkpoints read descriptions with their text encoder's tokenizer: a folder beside the weights, or
# files of the encoder's own repository.
DESCRIPTIONS = "description_tokenizer"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "spiece.model")

SpeakJob = Job[SpeakRequest, AudioChunk]


class Parler:
    """One request at a time, as its streamer wants it; sound comes every `play_steps_s`, a cancel is seen at once."""

    worker: ClassVar[WorkerKind] = "process"
    batch_limit: ClassVar[int] = 1
    languages: ClassVar[frozenset[str]] = frozenset(MULTILINGUAL)

    @dataclass(frozen=True)
    class Options:
        tts_model_name: str = field(
            default="ylacombe/parler-tts-mini-jenny-30H", metadata={"help": "a Parler-TTS on the hub, or a folder"}
        )
        tts_device: str = field(default="cuda", metadata={"help": "cpu, cuda, cuda:1, mps or auto"})
        tts_torch_dtype: str = field(
            default="float16", metadata={"help": f"{', '.join(DTYPES)}, auto; on a CPU float16 becomes float32"}
        )
        tts_compile_mode: str | None = field(
            default=None, metadata={"help": f"of torch.compile: {', '.join(COMPILE_MODES)}; starts slower, runs faster"}
        )
        tts_gen_min_new_tokens: int = field(default=64, metadata={"help": "shortest sound, in frames, 86 to a second"})
        tts_gen_max_new_tokens: int = field(
            default=512, metadata={"help": "longest, in frames; a longer text is spoken in parts"}
        )
        description: str | None = field(
            default=None,
            metadata={"help": "how to speak, best with a speaker's name; by default the language's speaker"},
        )
        play_steps_s: float = field(default=1.0, metadata={"help": "sound in a chunk, in seconds, 0.2 to 10"})
        max_prompt_pad_length: int = field(
            default=8,
            metadata={"help": "when compiled, prompts are padded to 1, 2, 4, ... up to 2 to this power tokens"},
        )

        def __post_init__(self) -> None:
            if not self.tts_model_name.strip():
                raise ValueError("tts_model_name: the name of a model or a folder is expected")
            check_device(self.tts_device, flag="tts_device")
            for name, allowed in (
                ("tts_torch_dtype", (*DTYPES, "auto")),
                ("tts_compile_mode", (None, *COMPILE_MODES)),
            ):
                if getattr(self, name) not in allowed:
                    choices = ", ".join(choice for choice in allowed if choice is not None)
                    raise ValueError(f"{name}: there are {choices}, not {getattr(self, name)!r}")
            for name, least, most in (
                ("tts_gen_min_new_tokens", 0, self.tts_gen_max_new_tokens),
                ("tts_gen_max_new_tokens", 32, MOST_FRAMES),
                ("play_steps_s", 0.2, 10),
                ("max_prompt_pad_length", 1, LARGEST_PAD),
            ):
                if not least <= getattr(self, name) <= most:
                    raise ValueError(f"{name}: {least} to {most} is allowed, not {getattr(self, name)}")
            if self.description is not None and not self.description.strip():
                raise ValueError("description: a sentence is expected")

    def __init__(self, options: Options, folder: Path, descriptions: Path) -> None:
        """`folder` has the checkpoint, `descriptions` the tokenizer of what describes the voice: mostly the same."""
        self._options = options
        self._folder = folder
        self._tokenizer_of_descriptions = descriptions
        self._speakers = speakers_of(options.tts_model_name)
        self._model: Any
        self._device: Any
        self._prompt_tokenizer: Any
        self._description_tokenizer: Any
        self._streamer_class: Any

    @classmethod
    def languages_with(cls, options: Options) -> frozenset[str]:
        """What a checkpoint of that name speaks: ISO 639 codes."""
        return frozenset(speakers_of(options.tts_model_name))

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]:
        """The checkpoint, and the tokenizer of descriptions that its configuration may name."""
        return (Download(options.tts_model_name, "tts_model_name", names=tokenizer_of_descriptions),)

    @classmethod
    def prepare(cls, options: Options) -> tuple[Options, Path, Path]:
        """In the service's own environment, which can talk to the hub: what the constructor takes.

        Raises:
            CheckpointError: the checkpoint can't be had, or is no Parler-TTS.
        """
        from speech_to_speech.weights.checkpoints import fetch
        from speech_to_speech.weights.hub.fetch import fetch_files
        from speech_to_speech.weights.memory import read_json

        (download,) = cls.downloads(options)
        folder = fetch(download.name, flag=download.flag)
        config = read_json(folder / "config.json")
        if (kind := config.get("model_type")) != "parler_tts":
            raise CheckpointError(
                f"tts_model_name: {options.tts_model_name} is a {kind} model, a Parler-TTS is needed; choose another"
            )
        if (beside := folder / DESCRIPTIONS).is_dir():
            return options, folder, beside
        for named in tokenizer_of_descriptions(config, ()):
            return options, folder, fetch_files(named.name, named.patterns, flag=named.flag)
        return options, folder, folder

    def load(self) -> None:
        """Read the checkpoint and put it on its device.

        Raises:
            CheckpointError: it is broken, or there is no such device.
        """
        import torch
        from parler_tts import ParlerTTSForConditionalGeneration, ParlerTTSStreamer
        from transformers import AutoTokenizer, StaticCache

        from speech_to_speech.weights.checkpoints import choose_device, choose_dtype, loading, require_memory

        logging.getLogger("parler_tts").setLevel(logging.ERROR)  # parler_tts prints whole configurations as warnings
        options, name = self._options, self._options.tts_model_name
        self._device = choose_device(options.tts_device, flag="tts_device")
        dtype = choose_dtype(options.tts_torch_dtype, self._device, flag="tts_torch_dtype")
        with loading(name, "a Parler-TTS", flag="tts_model_name"):
            require_memory(self._folder, self._device, dtype, flag="tts_model_name")
            model = ParlerTTSForConditionalGeneration.from_pretrained(self._folder, torch_dtype=dtype)
            self._prompt_tokenizer = AutoTokenizer.from_pretrained(self._folder)
            self._description_tokenizer = AutoTokenizer.from_pretrained(self._tokenizer_of_descriptions)
            self._model = model.to(self._device).eval()
        self._streamer_class = streamer_class(ParlerTTSStreamer)
        if options.tts_compile_mode is not None:
            # parler-tts 0.2.3 asks for what transformers 4.46.1, its own pin, calls `batch_size`.
            StaticCache.max_batch_size = property(lambda cache: cache.batch_size)  # type: ignore[attr-defined]
            self._model.generation_config.cache_implementation = "static"
            self._model.forward = torch.compile(self._model.forward, mode=options.tts_compile_mode)
        logger.info("tts: %s on %s in %s", name, self._device, str(dtype).removeprefix("torch."))

    def warm_up(self) -> None:
        """Speak once; when compiled, once for each length of a prompt, twice for the graphs.

        Raises:
            SettingsError: torch.compile failed.
        """
        language = next(iter(self._speakers))
        if self._options.tts_compile_mode is None:
            self.run([ListJob(SpeakRequest("Ready.", language))])
            return
        try:
            for power in range(self._options.max_prompt_pad_length + 1):
                for _ in range(2):
                    job = ListJob[SpeakRequest, AudioChunk](SpeakRequest("", language))
                    self._speak(job, self._description(job.request), "a " * 2**power, least=0, most=32)
        except Exception as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise SettingsError(f"tts_compile_mode: compiling failed, leave it out ({problem})") from error

    def voices(self, language: str) -> Collection[str]:
        """The speakers that the checkpoint was taught by name; of one that is not published nobody is known."""
        return self._speakers.get(language, ())

    def run(self, jobs: Sequence[SpeakJob]) -> None:
        options = self._options
        for job in jobs:
            try:
                description = self._description(job.request)
            except StageFailed as error:
                job.fail(error)
                continue
            for part in parts(job.request.text, options.tts_gen_max_new_tokens // FRAMES_PER_CHARACTER):
                if not job.cancelled:
                    self._speak(job, description, part, options.tts_gen_min_new_tokens, options.tts_gen_max_new_tokens)

    def _description(self, request: SpeakRequest) -> str:
        """How a request is to be spoken: a speaker that it names comes before the options.

        Raises:
            StageFailed: the checkpoint does not know the speaker, or the language.
        """
        if request.language not in self._speakers:
            raise StageFailed("tts", f"this Parler-TTS has no voice for {request.language!r}")
        names = self._speakers[request.language]
        if not request.voice or not names:
            return self._options.description or description_of(next(iter(names), NOBODY))
        if request.voice not in names:
            raise no_voice(request.voice, names)
        return description_of(request.voice)

    def _speak(self, job: SpeakJob, description: str, text: str, least: int, most: int) -> None:
        import torch

        described = self._description_tokenizer(description, return_tensors="pt").to(self._device)
        prompt = self._prompt(text)
        encoder = self._model.audio_encoder.config
        frames = max(int(encoder.frame_rate * self._options.play_steps_s), self._model.decoder.num_codebooks + 6)
        streamer = self._streamer_class(self._model, self._device, frames, int(encoder.sampling_rate), job.emit)
        with torch.inference_mode():
            self._model.generate(
                input_ids=described.input_ids,
                attention_mask=described.attention_mask,
                prompt_input_ids=prompt.input_ids,
                prompt_attention_mask=prompt.attention_mask,
                streamer=streamer,
                stopping_criteria=[lambda tokens, scores: torch.full((len(tokens),), job.cancelled).to(tokens.device)],
                min_new_tokens=min(least, most),
                max_new_tokens=most,
            )

    def _prompt(self, text: str) -> Any:
        """The text's tokens; if the model is compiled, as many as one of the lengths that it was warmed up with."""
        if self._options.tts_compile_mode is None:
            return self._prompt_tokenizer(text, return_tensors="pt").to(self._device)
        longest = 2**self._options.max_prompt_pad_length
        count = len(self._prompt_tokenizer(text, truncation=True, max_length=longest).input_ids)
        length = 2 ** math.ceil(math.log2(count))
        padded = self._prompt_tokenizer(
            text, return_tensors="pt", padding="max_length", max_length=length, truncation=True
        )
        return padded.to(self._device)


def tokenizer_of_descriptions(config: Mapping[str, Any], files: Collection[str]) -> tuple[Download, ...]:
    """What a checkpoint with this configuration needs beside it, if it is not among its `files` (their paths): the
    tokenizer of its text encoder, if that is not its own."""
    encoder = config.get("text_encoder") or {}
    own = "_name_or_path" not in encoder or encoder.get("vocab_size") == config.get("vocab_size")
    if own or any(file.startswith(f"{DESCRIPTIONS}/") for file in files):
        return ()
    return (Download(encoder["_name_or_path"], "tts_model_name", TOKENIZER),)


def streamer_class(base: Any) -> Any:
    """The library's streamer, which hands on its audio instead of putting it into a queue."""

    class Streamer(base):  # type: ignore[misc]  # the base is known only at run time
        def __init__(self, model: Any, device: Any, play_steps: int, sample_rate_hz: int, emit: Any) -> None:
            super().__init__(model, device=device, play_steps=play_steps)
            self._sample_rate_hz = sample_rate_hz
            self._emit = emit

        def on_finalized_audio(self, audio: Any, stream_end: bool = False) -> None:
            if len(audio):
                pcm = (audio.clip(-1, 1) * 32767).astype("<i2").tobytes()
                self._emit(AudioChunk(pcm, self._sample_rate_hz))

    return Streamer


def parts(text: str, longest: int) -> list[str]:
    """The text in parts of about `longest` characters at most, cut behind a mark or a space."""
    found = []
    while len(text) > longest:
        cuts = [match.end() for match in re.finditer(r"[,;:.!?…、。]\s*|\s+", text[:longest])]
        marks = [match.end() for match in re.finditer(r"[,;:.!?…]\s+|[、。]", text[:longest])]
        cut = marks[-1] if marks and marks[-1] > longest // 2 else cuts[-1] if cuts else longest
        found.append(text[:cut].strip())
        text = text[cut:]
    return [part for part in (*found, text.strip()) if part]

"""Meta's MMS voices (https://arxiv.org/abs/2305.13516, CC-BY-NC 4.0) through transformers: one VITS per language."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from speech_to_speech.audio.samples import to_pcm
from speech_to_speech.errors import StageBusy, StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.tts.mms.languages import MMS_CODES
from speech_to_speech.tts.mms.voice import Voice
from speech_to_speech.tts.mms.voices import Voices
from speech_to_speech.weights import checkpoints
from speech_to_speech.weights.downloads import Download
from speech_to_speech.weights.memory import weights_bytes
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SpeakJob = Job[SpeakRequest, AudioChunk]

FIRST_WINDOW_MS = 250.0  # ms of audio; each further window is twice as long, since the audio before it is being played
LARGEST_WINDOW_MS = 1000.0  # a cancel is seen between two windows
POLL_S = 0.01  # how often new requests are looked for while all there are wait for a voice to load
MAX_WAITING = 16  # requests that may wait for voices to load, so that there is room for others in the batch


def help_text(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass
class Waiting:
    """A request whose voice is being loaded; `since_s` is monotonic time."""

    job: SpeakJob
    name: str
    since_s: float


@dataclass
class Speaking:
    """A sentence on its way: of its `latents`, shape [channels, frames], the first `spoken` frames are sound."""

    job: SpeakJob
    voice: Voice
    latents: "torch.Tensor"
    spoken: int
    window: int

    @property
    def frames(self) -> int:
        return self.latents.shape[1]

    @property
    def span(self) -> tuple[int, int]:
        """The frames that the vocoder has to see for the next window: from, to."""
        return (
            max(0, self.spoken - self.voice.vocoder.margin),
            min(self.frames, self.spoken + self.window + self.voice.vocoder.margin),
        )


class FacebookMms:
    """A voice for each of more than 60 languages. Sentences of a language share the model's calls; requests in a
    language that is not loaded yet wait for it while others are spoken. A language has one voice, so the voice that a
    request names is ignored."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 32
    continuous: ClassVar[bool] = True
    languages: ClassVar[frozenset[str]] = frozenset(MMS_CODES)

    @dataclass(frozen=True)
    class Options:
        model_name: str | None = field(
            default=None, metadata=help_text("one checkpoint (a hub's name or a folder) for all languages")
        )
        facebook_mms_prefix: str = field(
            default="facebook/mms-tts-",
            metadata=help_text("where the checkpoints are: MMS's code of the language is put behind it"),
        )
        facebook_mms_languages: str = field(
            default="en", metadata=help_text("languages to load ahead, comma-separated; the others load on demand")
        )
        facebook_mms_device: str = field(default="cuda", metadata=help_text("cuda, cuda:1, mps, cpu or auto"))
        facebook_mms_torch_dtype: str = field(
            default="float32", metadata=help_text("precision of the vocoder: float16, bfloat16, float32 or auto")
        )
        facebook_mms_memory_mb: float = field(
            default=1024.0, metadata=help_text("for all voices; beyond it the least recently used are dropped")
        )
        facebook_mms_load_wait_s: float = field(
            default=10.0, metadata=help_text("how long a request waits for a voice to load; less than tts_timeout_s")
        )
        facebook_mms_speaking_rate: float = field(default=1.0, metadata=help_text("0.5 is half as fast, 2 twice"))

        def __post_init__(self) -> None:
            for name, lowest, highest in (
                ("facebook_mms_memory_mb", 1.0, 1e6),
                ("facebook_mms_load_wait_s", 0.0, 3600.0),
                ("facebook_mms_speaking_rate", 0.25, 4.0),
            ):
                if not lowest <= getattr(self, name) <= highest:
                    raise ValueError(f"{name}: {lowest:g} to {highest:g} is allowed, not {getattr(self, name):g}")
            for language in self.ahead:
                if language not in MMS_CODES:
                    raise ValueError(
                        f"facebook_mms_languages: MMS has no voice for {language!r}; it has {', '.join(MMS_CODES)}"
                    )

        @property
        def ahead(self) -> list[str]:
            """The codes in `facebook_mms_languages`."""
            return [code.strip() for code in self.facebook_mms_languages.split(",") if code.strip()]

        @property
        def flag(self) -> str:
            """The option that says where the checkpoints are."""
            return "facebook_mms_prefix" if self.model_name is None else "model_name"

        def checkpoint(self, language: str) -> str:
            """The checkpoint for a language: a hub's name or a folder."""
            return self.model_name or self.facebook_mms_prefix + MMS_CODES.get(language, language)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._voices = Voices(self._fetch, self._measure, self._load, round(options.facebook_mms_memory_mb * 1e6))
        self._device: torch.device
        self._dtype: torch.dtype
        self._ahead: list[Voice] = []

    @classmethod
    def downloads(cls, options: Options) -> tuple[Download, ...]:
        """The voices that are loaded ahead."""
        names = dict.fromkeys(options.checkpoint(language) for language in options.ahead)
        return tuple(Download(name, options.flag) for name in names)

    def load(self) -> None:
        with checkpoints.importing():  # an import on the loader's thread would hold up what is spoken
            from transformers import VitsModel, VitsTokenizer  # noqa: F401

        options = self._options
        self._device = checkpoints.choose_device(options.facebook_mms_device, flag="facebook_mms_device")
        self._dtype = checkpoints.choose_dtype(
            options.facebook_mms_torch_dtype, self._device, flag="facebook_mms_torch_dtype"
        )
        self._ahead = [self._voices.load_ahead(download.name) for download in self.downloads(options)]

    def warm_up(self) -> None:
        for language, voice in zip(self._options.ahead, self._ahead, strict=False):
            self.run([ListJob(SpeakRequest(voice.sample, language))])

    def run(self, jobs: Sequence[SpeakJob]) -> None:
        self.run_continuously(jobs, lambda: ())

    def run_continuously(self, jobs: Sequence[SpeakJob], join: Callable[[], Sequence[SpeakJob]]) -> None:
        waiting: list[Waiting] = []
        speaking: list[Speaking] = []
        try:
            new = list(jobs)
            while new or waiting or speaking:
                now = time.monotonic()
                waiting += [Waiting(job, self._options.checkpoint(job.request.language), now) for job in new]
                ready, waiting = self._sort(waiting, now)
                for voice, its_jobs in ready:
                    speaking += self._begin(voice, its_jobs)
                speaking = self._speak_on(speaking)
                new = list(join())
                if waiting and not speaking and not new:
                    self._voices.wait(POLL_S)
                    new = list(join())
        finally:
            self._voices.want([])
            for sentence in speaking:
                self._voices.give_back(sentence.voice)

    def _sort(self, waiting: list[Waiting], now: float) -> tuple[list[tuple[Voice, list[SpeakJob]]], list[Waiting]]:
        """The requests whose voices are there, by voice (each taken once for each job), and those that still wait."""
        ready: dict[str, tuple[Voice, list[SpeakJob]]] = {}
        still: list[Waiting] = []
        for request in waiting:
            if request.job.cancelled:
                request.job.done()
                continue
            if self._options.model_name is None and request.job.request.language not in MMS_CODES:
                request.job.fail(StageFailed("tts", f"MMS has no voice for {request.job.request.language!r}"))
                continue
            try:
                voice = self._voices.take(request.name)
            except (StageBusy, StageFailed) as error:
                request.job.fail(error)
                continue
            if voice is not None:
                ready.setdefault(request.name, (voice, []))[1].append(request.job)
            elif len(still) >= MAX_WAITING or now - request.since_s >= self._options.facebook_mms_load_wait_s:
                request.job.fail(StageBusy("tts", "the voice of this language is still being loaded"))
            else:
                still.append(request)
        self._voices.want(list(dict.fromkeys(request.name for request in still)))
        return list(ready.values()), still

    def _begin(self, voice: Voice, jobs: list[SpeakJob]) -> list[Speaking]:
        """Sentences of one language, from texts to latents, in one call."""
        texts = []
        for job in jobs:
            try:
                tokens = voice.tokens(job.request.text)
            except Exception as error:
                self._voices.give_back(voice)
                job.fail(error)
                continue
            if tokens:
                texts.append((job, tokens))
            else:
                logger.info("a text of %d characters has none that the voice knows", len(job.request.text))
                self._voices.give_back(voice)
                job.done()
        if not texts:
            return []
        try:
            latents = voice.latents([tokens for _, tokens in texts], self._options.facebook_mms_speaking_rate)
        except Exception as error:
            for job, _ in texts:
                self._voices.give_back(voice)
                job.fail(error)
            return []
        window = self._window(voice, FIRST_WINDOW_MS)
        return [Speaking(job, voice, frames, 0, window) for (job, _), frames in zip(texts, latents, strict=True)]

    def _speak_on(self, speaking: list[Speaking]) -> list[Speaking]:
        """One window of each sentence, those of the same shape in one call; what is left of them afterwards."""
        alike: dict[tuple[int, int, int, int], list[Speaking]] = {}
        left = []
        for sentence in speaking:
            if sentence.job.cancelled:
                self._end(sentence)
                continue
            start, stop = sentence.span
            count = min(sentence.window, sentence.frames - sentence.spoken)
            shape = id(sentence.voice), sentence.spoken - start, count, stop - start
            alike.setdefault(shape, []).append(sentence)
        for (_, first, count, _), batch in alike.items():
            left += self._speak_batch(batch, first, count)
        return left

    def _speak_batch(self, batch: list[Speaking], first: int, count: int) -> list[Speaking]:
        import torch

        voice = batch[0].voice
        try:
            windows = torch.stack([sentence.latents[:, slice(*sentence.span)] for sentence in batch])
            waves = voice.vocoder.speak(windows, first, count)
        except Exception as error:
            for sentence in batch:
                self._voices.give_back(voice)
                sentence.job.fail(error)
            return []
        left = []
        for sentence, wave in zip(batch, waves, strict=True):
            sentence.job.emit(AudioChunk(to_pcm(wave), voice.sample_rate_hz))
            sentence.spoken += count
            sentence.window = min(2 * sentence.window, self._window(voice, LARGEST_WINDOW_MS))
            if sentence.spoken < sentence.frames:
                left.append(sentence)
            else:
                self._end(sentence)
        return left

    def _end(self, sentence: Speaking) -> None:
        self._voices.give_back(sentence.voice)
        sentence.job.done()

    @staticmethod
    def _window(voice: Voice, duration_ms: float) -> int:
        """So many milliseconds in frames."""
        return max(1, round(duration_ms * voice.sample_rate_hz / 1000 / voice.vocoder.frame_samples))

    # Loading the voices, on this thread or the loader's.

    def _fetch(self, name: str) -> Path:
        return checkpoints.fetch(name, flag=self._options.flag)

    @staticmethod
    def _measure(folder: Path) -> int:
        return weights_bytes(folder, 4)

    def _load(self, name: str, folder: Path) -> Voice:
        return Voice.load(folder, self._device, self._dtype, name=name, flag=self._options.flag)

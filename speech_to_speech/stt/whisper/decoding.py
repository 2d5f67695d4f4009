"""From sound to tokens: several windows of sound through one encoder pass, then token by token side by side.

The decoder's first step, on <|startoftranscript|> alone, says for each window how likely it holds no speech and, where
it is not known, the language; the prompt and the text go on from there with the same cache, so that nothing is computed
twice. Windows of different languages share a batch, since all prompts are equally long.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speech_to_speech.audio.samples import Samples
from speech_to_speech.frames import SAMPLE_RATE_HZ
from speech_to_speech.stt.whisper.guards import NO_SPEECH
from speech_to_speech.stt.whisper.model import Batch, WhisperModel
from speech_to_speech.stt.whisper.tokens import Vocabulary

if TYPE_CHECKING:
    import torch

WARM_UP_STEPS = 2
CUDA_GRAPH_CALLS = 3  # the first compiles, the second records, the third replays


class Speech:
    """What one request says. `cancelled` tells whether anybody waits for it."""

    def __init__(self, language: str | None, cancelled: Callable[[], bool] = lambda: False) -> None:
        self.language = language
        """An ISO 639 code; None until it has been detected."""
        self.language_probability = 1.0
        self.cancelled = cancelled


class Window:
    """A part of it that fits into the model at once: a row of a batch."""

    def __init__(self, speech: Speech, samples: Samples) -> None:
        self.speech = speech
        self.samples = samples
        self.tokens: list[int] = []
        """The tokens of the text, without those of the prompt and <|endoftext|>."""
        self.complete = False
        """The text ended by itself, and not at the token limit."""
        self.no_speech = 0.0
        """The probability that nobody speaks; not a number if the model's numbers overflowed."""
        self.sureness = 0.0
        """The average log-probability of the tokens; 0 unless `no_speech` is high."""


class Decoder:
    """A Whisper checkpoint that transcribes. Arguments are those of `WhisperModel`, and the options of `Whisper`."""

    def __init__(
        self,
        model: Any,
        extractor: Any,
        vocabulary: Vocabulary,
        *,
        task: str = "transcribe",
        timestamps: bool = False,
        max_new_tokens: int = 128,
        num_beams: int = 1,
        compile_mode: str | None = None,
        batch_limit: int = 16,
    ) -> None:
        self.model = model
        self.extractor = extractor
        self._vocabulary = vocabulary
        self._task = task
        self._timestamps = timestamps
        self._num_beams = num_beams
        prompt_length = 1 + len(vocabulary.prompt("en", task, timestamps=timestamps))
        self._max_new_tokens = min(max_new_tokens, model.config.max_target_positions - prompt_length)
        self.network = WhisperModel(
            model,
            extractor,
            length_limit=prompt_length + self._max_new_tokens,
            batch_limit=batch_limit,
            compile_mode=compile_mode,
        )
        self._compiled = compile_mode is not None
        model.generation_config.no_timestamps_token_id = vocabulary.no_timestamps
        self._never = self._penalty(model.generation_config.suppress_tokens)
        self._never_first = self._never + self._penalty(model.generation_config.begin_suppress_tokens)
        self.longest = self.network.longest

    def warm_up(self) -> None:
        """Run over the shapes that will come; without compiling, over the smallest and on a GPU the largest."""
        import torch

        sizes = self.network.sizes
        if not self._compiled:
            sizes = sizes[:1] if self.network.device.type == "cpu" else [sizes[0], sizes[-1]]
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
        with torch.no_grad():
            for rows in sizes:
                for _ in range(CUDA_GRAPH_CALLS if self._compiled else 1):
                    batch = self.network.listen([noise] * rows)
                    self.network.read(batch, self._start(rows))
                    prompts = self._prompts([Window(Speech("en"), noise)] * rows, batch)
                    for tokens in [prompts, *[self._start(rows)] * min(WARM_UP_STEPS, self._max_new_tokens - 1)]:
                        if tokens.shape[1]:
                            self.network.read(batch, tokens)
                if self._num_beams > 1:
                    self._search([], prompts, batch, WARM_UP_STEPS)

    def transcribe(self, windows: Sequence[Window], heard: Callable[[Window], None]) -> None:
        """Fill in what is heard in each window; `heard` is called for each as soon as its own text is complete.

        A window whose speech is cancelled is left out from the next token on, without a call of `heard`.
        """
        import torch

        with torch.no_grad():
            batch = self.network.listen([window.samples for window in windows])
            logits = self.network.read(batch, self._start(batch.rows))
            self._judge(logits, windows)
            prompts = self._prompts(windows, batch)
            rows = dict(enumerate(windows))

            def finish(row: int, tokens: list[int]) -> None:
                window = rows.pop(row)
                window.complete = self._vocabulary.end in tokens
                window.tokens = tokens[: tokens.index(self._vocabulary.end)] if window.complete else tokens
                if window.no_speech > NO_SPEECH:
                    window.sureness = self.sureness(prompts[row], window.tokens, batch.encoded[row])
                heard(window)

            for row in [row for row, window in rows.items() if math.isnan(window.no_speech)]:
                finish(row, [])
            if self._num_beams > 1:
                found = self._search(windows, prompts, batch, self._max_new_tokens)
                for row in _wanted(rows):
                    finish(row, found[row])
            else:
                if prompts.shape[1]:
                    logits = self.network.read(batch, prompts)
                self._follow(rows, prompts, logits, batch, finish)

    def _judge(self, logits: "torch.Tensor", windows: Sequence[Window]) -> None:
        """Read the first step's logits, float32 [rows, vocabulary]: is there speech, and in which language."""
        no_speech = logits.softmax(dim=-1)[:, self._vocabulary.no_speech].tolist()
        for window, probability in zip(windows, no_speech, strict=False):
            window.no_speech = probability
        unknown = dict.fromkeys(window.speech for window in windows if window.speech.language is None)
        if not unknown:
            return
        codes = list(self._vocabulary.languages)
        of_languages = logits[:, [self._vocabulary.languages[code] for code in codes]].softmax(dim=-1)
        for speech in unknown:  # a long utterance has the mean probability of its windows
            rows = [row for row, window in enumerate(windows) if window.speech is speech]
            probability, index = of_languages[rows].mean(dim=0).max(dim=0)
            speech.language, speech.language_probability = codes[int(index)], float(probability)

    def _follow(
        self,
        rows: dict[int, Window],
        prompts: "torch.Tensor",
        logits: "torch.Tensor",
        batch: Batch,
        finish: Callable[[int, list[int]], None],
    ) -> None:
        """Greedy decoding of `rows`; `finish` takes each out as its text is complete."""
        import torch

        ids = torch.cat([self._start(batch.rows), prompts], dim=1)
        rules = self._timestamp_rules(ids.shape[1])
        texts: dict[int, list[int]] = {row: [] for row in rows}
        for count in range(1, self._max_new_tokens + 1):
            scores = logits + (self._never if count > 1 else self._never_first)
            for rule in rules:
                scores = rule(ids, scores)
            chosen = scores.argmax(dim=-1, keepdim=True)
            ids = torch.cat([ids, chosen], dim=1)
            tokens = chosen[:, 0].tolist()  # here the host waits for the device
            for row in _wanted(rows):
                texts[row].append(tokens[row])
                if tokens[row] == self._vocabulary.end or count == self._max_new_tokens:
                    finish(row, texts[row])
            if not _wanted(rows):
                return
            logits = self.network.read(batch, chosen)

    def _search(
        self, windows: Sequence[Window], prompts: "torch.Tensor", batch: Batch, max_new_tokens: int
    ) -> list[list[int]]:
        """Beam search, by transformers: the tokens of the best text of each row."""
        import torch
        from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, StoppingCriteriaList
        from transformers.modeling_outputs import BaseModelOutput

        def stop(ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            unwanted = bool(windows) and all(window.speech.cancelled() for window in windows)
            return torch.full((len(ids),), unwanted, device=ids.device)

        ids = torch.cat([self._start(batch.rows), prompts], dim=1)
        config = GenerationConfig(
            num_beams=self._num_beams,
            max_length=ids.shape[1] + max_new_tokens,
            do_sample=False,
            eos_token_id=self._vocabulary.end,
            pad_token_id=self._vocabulary.end,
            decoder_start_token_id=self._vocabulary.start,
            suppress_tokens=self.model.generation_config.suppress_tokens,
            begin_suppress_tokens=self.model.generation_config.begin_suppress_tokens,
        )
        found = GenerationMixin.generate(
            self.model,
            generation_config=config,
            encoder_outputs=BaseModelOutput(last_hidden_state=batch.encoded),
            decoder_input_ids=ids,
            logits_processor=LogitsProcessorList(self._timestamp_rules(ids.shape[1])),
            stopping_criteria=StoppingCriteriaList([stop]),
        )
        rows: list[list[int]] = found[:, ids.shape[1] :].tolist()
        return rows

    def sureness(self, prompt: "torch.Tensor", tokens: list[int], encoded: "torch.Tensor") -> float:
        """The average log-probability of a text and its end, each token among those that are allowed, as in OpenAI's
        reference."""
        import torch

        targets = torch.tensor([*tokens, self._vocabulary.end], device=encoded.device)
        ids = torch.cat([self._start(1)[0], prompt, targets[:-1]])
        logits = self.network.read_all(ids[None], encoded[None])[0, len(prompt) :] + self._never
        return float(logits.log_softmax(dim=-1).gather(1, targets[:, None]).mean())

    def _start(self, rows: int) -> "torch.Tensor":
        import torch

        return torch.full((rows, 1), self._vocabulary.start, device=self.network.device)

    def _prompts(self, windows: Sequence[Window], batch: Batch) -> "torch.Tensor":
        """int64 [rows, n]: language and task of each window; rows beyond them have those of the first."""
        import torch

        prompts = [
            self._vocabulary.prompt(window.speech.language or "en", self._task, timestamps=self._timestamps)
            for window in windows
        ]
        prompts += prompts[:1] * (batch.rows - len(prompts))
        return torch.tensor(prompts, dtype=torch.int64, device=self.network.device)

    def _penalty(self, tokens: Sequence[int] | None) -> "torch.Tensor":
        """float32 [vocabulary]: minus infinity for tokens that are never to be chosen, 0 for the others."""
        import torch

        penalty = torch.zeros(self.model.config.vocab_size, device=self.network.device)
        penalty[list(tokens or ())] = -math.inf
        return penalty

    def _timestamp_rules(self, begin: int) -> list[Any]:
        """What keeps timestamps in pairs and in order, if there are any; texts begin at index `begin`."""
        from transformers import WhisperTimeStampLogitsProcessor

        if not self._timestamps:
            return []
        return [WhisperTimeStampLogitsProcessor(self.model.generation_config, begin_index=begin)]


def _wanted(rows: dict[int, Window]) -> list[int]:
    return [row for row, window in rows.items() if not window.speech.cancelled()]

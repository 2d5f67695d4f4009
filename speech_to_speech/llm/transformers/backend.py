"""Instruct models through transformers: any causal language model with a chat template, many conversations at once.

- https://huggingface.co/HuggingFaceTB/SmolLM-360M-Instruct (Apache-2.0), small enough for a CPU.
- https://huggingface.co/meta-llama/Meta-Llama-3.1-8B-Instruct (Llama 3.1 licence): for a GPU of 24 GB.
"""

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.llm.thoughts import Thoughts
from speech_to_speech.llm.transformers.detokenizer import Detokenizer
from speech_to_speech.llm.transformers.engine import Generation
from speech_to_speech.llm.transformers.loading import InstructModel, downloads, load_instruct_model
from speech_to_speech.llm.transformers.options import TransformersOptions
from speech_to_speech.weights.downloads import Download
from speech_to_speech.workers.model import Job, WorkerKind

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 3

LlmJob = Job[ChatRequest, str]


class Answer:
    """A job under way: its tokens become text as they come."""

    def __init__(self, job: LlmJob, generation: Generation, detokenizer: Detokenizer, opening: str) -> None:
        self.job = job
        self.generation = generation
        self._detokenizer = detokenizer
        self._thoughts = Thoughts()
        self._thoughts.push(opening)
        self._seen = 0

    def take(self) -> None:
        """Emit what is new, and tell the job how it ended."""
        tokens, self._seen = self.generation.tokens[self._seen :], len(self.generation.tokens)
        said = self._thoughts.push("".join(map(self._detokenizer.push, tokens)))
        if self.generation.ended:
            said += self._thoughts.push(self._detokenizer.finish()) + self._thoughts.finish()
        if said and not self.job.cancelled:
            self.job.emit(said)
        if self.generation.error is not None:
            logger.error("llm: the engine failed request %s: %s", self.generation.name, self.generation.error)
            self.job.fail(StageFailed("llm", "the model failed"))
        elif self.generation.ended:
            self.job.done()


class TransformersLlm:
    """Answers in any language that its checkpoint knows; requests join between two tokens, and leave there.

    Not tried, for want of a GPU: CUDA graphs, flash attention and quantised loading (docs/decisions/0007).
    """

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 32
    continuous: ClassVar[bool] = True
    languages: ClassVar[frozenset[str] | None] = None

    Options = TransformersOptions

    def __init__(self, options: TransformersOptions) -> None:
        self._options = options
        self._model: InstructModel
        self._answers: dict[Generation, Answer] = {}

    @classmethod
    def downloads(cls, options: TransformersOptions) -> tuple[Download, ...]:
        return downloads(options)

    def load(self) -> None:
        """Get the checkpoint, from the hub if it is not here, put it on its device and allocate its cache.

        Raises:
            CheckpointError: it can't be had, is broken, is no instruct model or does not fit.
        """
        self._model = load_instruct_model(self._options, self.batch_limit)

    def warm_up(self) -> None:
        """A few tokens of prompts of several lengths, alone and as many at once as there may be."""
        engine = self._model.engine
        engine.warm_up()
        lengths = (16, 64, 512) if self._model.on_gpu else (16, 64)
        tokens = self._prompt(Message("user", "1")) * max(lengths)
        for count, length in (*((1, length) for length in lengths), (self.batch_limit, 16)):
            prompt = tokens[: min(length, self._model.longest_prompt)]
            generations = [engine.add(prompt, temperature=number % 2) for number in range(count)]
            for _ in range(WARM_UP_STEPS):
                engine.step()
            for generation in generations:
                engine.cancel(generation)
            engine.step()
        engine.forget_prefixes()

    def run(self, jobs: Sequence[LlmJob]) -> None:
        """A batch that nobody joins."""
        self.run_continuously(jobs, lambda: ())

    def run_continuously(self, jobs: Sequence[LlmJob], join: Callable[[], Sequence[LlmJob]]) -> None:
        """Do these jobs and those that join them. A step is one token of each, or a part of a long prompt.

        Raises:
            StageFailed: the memory is full. Whatever it raises, the next call begins with an empty cache.
        """
        engine = self._model.engine
        try:
            self._begin(jobs)
            while engine.busy:
                self._begin(join())
                self._leave_out_cancelled()
                for generation in engine.step():
                    self._answers[generation].take()
                    if generation.ended:
                        del self._answers[generation]
        except BaseException as error:
            engine.discard()
            if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
                raise StageFailed("llm", "the memory is full; a smaller lm_kv_cache_gb leaves more") from error
            raise
        finally:
            self._answers.clear()

    def _begin(self, jobs: Sequence[LlmJob]) -> None:
        for job in jobs:
            try:
                prompt = self._prompt(*job.request.messages)
            except StageFailed as error:
                job.fail(error)
                continue
            wanted = job.request.sampling
            generation = self._model.engine.add(prompt, max_tokens=wanted.max_tokens, temperature=wanted.temperature)
            detokenizer = Detokenizer(self._model.tokenizer, self._model.silent_ids)
            self._answers[generation] = Answer(job, generation, detokenizer, self._model.prompts.opening)

    def _prompt(self, *messages: Message) -> list[int]:
        return self._model.prompts.tokens(messages, self._model.longest_prompt)

    def _leave_out_cancelled(self) -> None:
        for answer in [answer for answer in self._answers.values() if answer.job.cancelled]:
            self._model.engine.cancel(answer.generation)
            del self._answers[answer.generation]
            answer.job.done()

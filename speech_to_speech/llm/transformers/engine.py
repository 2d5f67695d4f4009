"""Continuous batching with transformers' own manager, its steps taken on the thread that calls (docs/decisions/0007).

The manager can run by itself, on a thread of its own. That thread keeps a process from ending and works on while nobody
looks; here each step is a call instead, so that the worker's thread sees cancels and new requests between two tokens.
"""

import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from speech_to_speech.errors import SettingsError
from speech_to_speech.llm.transformers import attention
from speech_to_speech.llm.transformers.kv_cache import CacheSize
from speech_to_speech.llm.transformers.sampling import Sampling, add_processors

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Generation:
    """A request in the engine: a prompt, and the tokens that follow it. `ended` comes with the last ones."""

    prompt: list[int]
    name: str
    pages: int
    """The pages that the request may come to fill."""
    max_new_tokens: int
    temperature: float
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    error: str | None = None


class Engine:
    """Generates for many requests at once. All calls are on one thread.

    A request is let in when the cache has room for all that it may come to, its longest answer included; until then it
    waits in line. Left to itself the manager lets in more, throws out what does not fit and computes it anew, which
    shows as a pause in a reply; and if the others are cancelled then, it never goes on.
    """

    def __init__(self, model: Any, size: CacheSize, sampling: Sampling, batch_limit: int) -> None:
        self.size = size
        self.tokens_computed = 0
        """Tokens of prompts and answers since the start. Tokens that requests share are not computed again."""
        self._model = model
        self._sampling = sampling
        self._batch_limit = batch_limit
        self._names = map(str, itertools.count())
        self._waiting: deque[Generation] = deque()
        self._running: dict[str, Generation] = {}
        self._cancels = False
        self._manager: Any = None
        self._processor: Any = None
        self._take_step: tuple[Any, ...] = ()  # the calls that the manager's own thread makes in turn

    def build(self) -> None:
        """Allocate the cache, if there is none.

        Raises:
            SettingsError: this transformers is not one that this was made for.
        """
        if self._processor is not None:
            return
        import torch
        from transformers import ContinuousBatchingConfig

        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.WARNING)  # the manager logs much in its own form
        try:
            with torch.inference_mode():
                self._create(ContinuousBatchingConfig)
        except (AttributeError, TypeError) as error:  # the manager's parts are not transformers' public face
            raise SettingsError(
                f"llm transformers: transformers {version('transformers')} batches in another way than it expects; "
                "pip install 'transformers>=5.23,<5.24'"
            ) from error

    def _create(self, config_class: Any) -> None:
        by_request = self._model.config._attn_implementation in ("sdpa", attention.NAME)
        if by_request:
            self._model.set_attn_implementation("sdpa")  # the manager does not know the name `attention.NAME`
        self._manager = self._model.init_continuous_batching(
            generation_config=self._sampling.config,
            continuous_batching_config=config_class(
                page_size=self.size.page,
                num_blocks=self.size.pages,
                max_batch_tokens=self.size.step_tokens,
                max_requests_per_batch=self._batch_limit,
                allow_block_sharing=True,
                safety_margin=0.0,  # every request that is let in has room
                use_async_batching=False,  # an asynchronous step would end with the tokens of the step before
                auto_switch_to_flash=False,  # the attention was chosen when the model was loaded
            ),
        )
        add_processors(self._manager.logit_processor, self._sampling)
        processor = self._manager._create_batch_processor()
        self._take_step = (processor.prepare_next_batch, processor._generation_step, processor.update_batch)
        self._manager.batch_processor = self._processor = processor
        if by_request:
            attention.register()
            self._model.set_attn_implementation(attention.NAME)

    def warm_up(self) -> None:
        """Capture CUDA graphs, where the attention allows them."""
        import torch

        self.build()
        with torch.inference_mode(), self._on_stream(torch):
            self._manager.warmup()

    def discard(self) -> None:
        """Give up the cache and all requests; the next one starts with a new cache."""
        self._manager = self._processor = None
        self._take_step = ()
        self._waiting.clear()
        self._running.clear()
        self._cancels = False

    def forget_prefixes(self) -> None:
        """Keep nothing of requests that have ended."""
        if self._processor is not None:
            self._processor.cache.evict_cached_blocks()

    @property
    def busy(self) -> bool:
        """A step has something to do."""
        return bool(self._running or self._waiting or self._cancels)

    @property
    def pages_taken(self) -> int:
        """Those that hold something of a request under way."""
        if self._processor is None:
            return 0
        tables = (allocator.block_table for allocator in self._processor.cache.cache_allocators.values())
        return len({page for table in tables for pages in table.values() for page in pages})

    def add(
        self, prompt: Sequence[int], *, max_tokens: int | None = None, temperature: float | None = None
    ) -> Generation:
        """A new request, of `size.request_tokens` at most with its answer.

        `max_tokens` makes the answer shorter than the options say, never longer; with a `temperature` of 0 it has the
        likeliest tokens. None: as the options say.
        """
        own = self._sampling
        longest = own.max_new_tokens if max_tokens is None else min(max_tokens, own.max_new_tokens)
        pages = -(-(len(prompt) + longest) // self.size.page)
        temperature = own.temperature if temperature is None else float(temperature)
        generation = Generation(list(prompt), next(self._names), pages, longest, temperature)
        self._waiting.append(generation)
        return generation

    def cancel(self, generation: Generation) -> None:
        """Its tokens are not wanted any more; from the next step on it is gone."""
        if generation in self._waiting:
            self._waiting.remove(generation)
        elif self._running.pop(generation.name, None) is not None:
            self._manager.cancel_request(generation.name)
            self._cancels = True

    def step(self) -> list[Generation]:
        """One token for each request whose prompt is computed. Those whose `tokens` are new, or that ended."""
        import torch

        self.build()
        with torch.inference_mode(), self._on_stream(torch):
            self._let_in()
            self._make_room()
            self._cancels = False
            prepare, generate, update = self._take_step
            if prepare():
                batch = self._processor.inputs_and_outputs
                self.tokens_computed += batch.total_seqlen_q
                self._processor.cache.spans = attention.spans_of(self._processor.cache, batch.requests_in_batch)
                generate(self._model)
                update()
            elif not self._processor.scheduler.active_requests:
                # After throwing a request out, the scheduler lets none in until one ends; a cancelled one never does.
                self._processor.scheduler.block_new_requests = False
            outputs = list(self._outputs())
            if not self.busy:
                self._processor.inputs_and_outputs.requests_in_batch = []  # the batch would keep ended requests
        return outputs

    def _let_in(self) -> None:
        taken = sum(generation.pages for generation in self._running.values())
        while self._waiting and (not self._running or taken + self._waiting[0].pages <= self.size.pages):
            generation = self._waiting.popleft()
            taken += generation.pages
            self._running[generation.name] = generation
            self._manager.add_request(
                generation.prompt,
                request_id=generation.name,
                max_new_tokens=generation.max_new_tokens,
                eos_token_id=list(self._sampling.eos_ids),
                streaming=True,
                temperature=generation.temperature,
            )

    def _make_room(self) -> None:
        """Give up what is kept of ended requests if a step could need it: the manager would rather let others wait."""
        cache = self._processor.cache
        if not cache.use_prefix_sharing:
            return
        (allocator,) = cache.cache_allocators.values()  # only one kind of attention shares pages
        page, needed = self.size.page, len(self._running)
        for generation in self._running.values():
            taken = len(allocator.block_table.get(generation.name, ()))
            needed += max(0, -(-len(generation.prompt) // page) - taken)
        needed = min(needed, len(self._running) + -(-self.size.step_tokens // page))
        free = int(cache.compute_free_capacity(relative=False)) // allocator.bytes_per_block
        if free < needed and cache.evict_cached_blocks():
            logger.debug("llm: the cache is full; what was kept of earlier prompts is given up")

    def _outputs(self) -> Iterator[Generation]:
        while (output := self._manager.get_result()) is not None:
            generation = self._running[output.request_id]
            generation.tokens = output.generated_tokens
            if output.is_finished():
                generation.ended, generation.error = True, output.error
                del self._running[generation.name]
            yield generation

    def _on_stream(self, torch: Any) -> contextlib.AbstractContextManager[Any]:
        """The manager computes on a stream of its own, and would not wait there for the inputs made on another."""
        stream = self._processor.inputs_and_outputs.compute_stream
        return contextlib.nullcontext() if stream is None else torch.cuda.stream(stream)

"""Random Llamas with tokenizers of one character per token, and requests that keep what they were told."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.llm.transformers.backend import TransformersLlm

TINY = Path(__file__).parents[2] / "tiny_models"
PHRASES: dict[str, list[dict[str, str]]] = json.loads((TINY / "phrases.json").read_text())

torch.set_num_threads(1)  # where tests run side by side, two threads of a model that wait for each other are far slower

BEGIN, END, OTHER_END = "<|begin|>", "<|end|>", "<|over|>"
LETTERS = [chr(code) for code in range(32, 127)]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('no such role') }}{% endif %}"
    "[{{ message['role'][0] }}]{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)
NO_SYSTEM = TEMPLATE.replace("['system', 'user', 'assistant']", "['user', 'assistant']")


@functools.cache
def letters(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Each printable ASCII character is a token."""
    specials = [BEGIN, END, OTHER_END, "?" * 3]
    vocabulary = {text: number for number, text in enumerate([*LETTERS, *specials])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="???"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, unk_token="???", chat_template=template
    )


def random_llama(
    folder: Path,
    *,
    seed: int = 0,
    template: str | None = TEMPLATE,
    ends: Sequence[int] | None = None,
    context: int = 512,
    generation: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A checkpoint whose answers are different for every prompt. `ends` are its generation config's eos ids."""
    tokenizer = letters(template)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            initializer_range=0.4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
            **config,
        )
    )
    model.generation_config = GenerationConfig(
        eos_token_id=list(ends) if ends is not None else tokenizer.eos_token_id, **(generation or {})
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def llm(folder: Path | str, **options: Any) -> TransformersLlm:
    """The backend with this checkpoint, loaded."""
    model = TransformersLlm(TransformersLlm.Options(**{"lm_model_name": str(folder), "lm_device": "cpu"} | options))
    model.load()
    return model


def generated(folder: Path, prompt: Sequence[int], **options: Any) -> list[int]:
    """What transformers' own `generate` makes of a prompt by itself."""
    defaults = {"do_sample": False, "max_new_tokens": 128, "eos_token_id": letters().eos_token_id}
    return list(_generated(folder, tuple(prompt), **(defaults | options)))


@functools.cache
def _generated(folder: Path, prompt: tuple[int, ...], **options: Any) -> tuple[int, ...]:
    tokens = _reference(folder).generate(torch.tensor([prompt]), **options)[0]
    return tuple(int(token) for token in tokens[len(prompt) :])


@functools.cache
def _reference(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def question(text: str, system: str = "Be brief.") -> ChatRequest:
    return ChatRequest((Message("system", system), Message("user", text)), "en")


class Asked:
    """A job that keeps its outputs and how it ended; after `leave_after` outputs nobody waits for it any more."""

    def __init__(
        self,
        request: ChatRequest,
        leave_after: int | None = None,
        on_output: Callable[["Asked"], None] | None = None,
    ) -> None:
        self.request = request
        self.cancelled = leave_after == 0
        self.outputs: list[str] = []
        self.ends = 0
        self.error: Exception | None = None
        self._leave_after = leave_after
        self._on_output = on_output

    def emit(self, output: str) -> None:
        assert not self.ends
        assert not self.cancelled
        self.outputs.append(output)
        self.cancelled = len(self.outputs) == self._leave_after
        if self._on_output is not None:
            self._on_output(self)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ends += 1

    def done(self) -> None:
        self.ends += 1

    @property
    def text(self) -> str:
        return "".join(self.outputs)


def answer(model: TransformersLlm, *requests: ChatRequest) -> list[str]:
    """All at once; each has to end well."""
    jobs = [Asked(request) for request in requests]
    model.run(jobs)
    assert [(job.ends, job.error) for job in jobs] == [(1, None)] * len(jobs)
    return [job.text for job in jobs]


def joining(*batches: Sequence[Asked]) -> Callable[[], Sequence[Asked]]:
    """A `join` that gives these, one after the other."""
    waiting: Iterator[Sequence[Asked]] = iter(batches)
    return lambda: next(waiting, ())

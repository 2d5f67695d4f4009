"""How the next token is chosen.

The manager takes the likeliest token of each request. A request whose tokens are drawn by chance gets noise on its
scores, such that the likeliest of them is a draw from the softmax: the Gumbel-max trick, as in section 2 of
https://arxiv.org/abs/1611.01144. So requests of both kinds share a step, and only those that are drawn cost more.
"""

import logging
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

COLDEST = 1e-5  # a lower temperature would make the scores too large for a float32


@dataclass(frozen=True)
class Sampling:
    """What holds for all requests of a checkpoint that do not say otherwise.

    `config` is transformers' `GenerationConfig`; `eos_ids` are all tokens that end an answer; a `temperature` of 0
    takes the likeliest token. Of a draw, only the `top_k` likeliest tokens and those that make up `top_p` are left.
    """

    config: Any
    eos_ids: frozenset[int]
    max_new_tokens: int
    min_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None


# The settings of a checkpoint's generation config: those that are used, and those that say nothing of the next token.
USED = frozenset({"eos_token_id", "temperature", "top_k", "top_p", "do_sample"})
SILENT = frozenset(
    {"bos_token_id", "pad_token_id", "max_length", "max_new_tokens", "transformers_version", "use_cache"}
)


def choose_sampling(
    model: Any, tokenizer: Any, *, do_sample: bool, temperature: float, max_new_tokens: int, min_new_tokens: int
) -> Sampling:
    """What a checkpoint's generation config says (its ends of an answer, top_k, top_p), and over it the options.

    Without `do_sample`, or with a temperature of 0, the likeliest token is taken, unless a request wants it otherwise.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    eos_ids = _ids(own.eos_token_id) | _ids(model.config.get_text_config().eos_token_id) | _ids(tokenizer.eos_token_id)
    if unused := sorted(own.to_diff_dict().keys() - USED - SILENT):
        logger.info("llm: of the checkpoint's generation config %s is not used", ", ".join(unused))
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(eos_ids) or -1,  # -1 means that no token ends an answer
    )
    return Sampling(
        config,
        eos_ids,
        max_new_tokens,
        min_new_tokens,
        temperature if do_sample else 0.0,
        own.top_k or None,
        own.top_p,
    )


def _ids(value: int | list[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


def add_processors(processors: Any, sampling: Sampling) -> None:
    """Put what is wanted of the next token into `processors`, the manager's list.

    What transformers has for it works with whole sequences, which continuous batching does not have at hand, or draws
    for all requests of a batch or for none.
    """
    added = [_draw(sampling)]
    if sampling.min_new_tokens and sampling.eos_ids:
        added.insert(0, _min_new_tokens(sampling))
    for processor in added:
        processors.logits_processor.append(processor)
        processors.supported_keys |= processor.supported_kwargs
    processors.tensors_required += len(added)
    processors.do_processing = True


def _min_new_tokens(sampling: Sampling) -> Any:
    """Lets no answer end before `min_new_tokens`."""
    import torch
    from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

    class MinNewTokens(ContinuousBatchingLogitsProcessor):
        def __init__(self) -> None:
            self.supported_kwargs = {}
            self.ignored_kwargs = ()

        def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
            int32_tensor.zero_()

        def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
            counts = [len(request.state.to_generation_output().generated_tokens) for request in requests_with_new_token]
            return torch.tensor([count < sampling.min_new_tokens for count in counts], dtype=torch.int32)

        def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
            too_short = tensor_arg[: scores.size(0)].bool().unsqueeze(-1)
            ends = torch.zeros(scores.size(-1), dtype=torch.bool, device=scores.device)
            ends[sorted(sampling.eos_ids)] = True
            return scores.masked_fill(too_short & ends, float("-inf"))

    return MinNewTokens()


def _draw(sampling: Sampling) -> Any:
    """Makes a draw of the likeliest token of each request whose `temperature` is above 0."""
    import torch
    from transformers import TopKLogitsWarper, TopPLogitsWarper
    from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

    warpers: list[Any] = []
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))

    def drawn(scores: torch.Tensor, temperatures: torch.Tensor) -> torch.Tensor:
        scores = scores / temperatures.clamp(min=COLDEST)
        for warper in warpers:
            scores = warper(None, scores)
        return scores - torch.empty_like(scores).exponential_().log_()

    class Draw(ContinuousBatchingLogitsProcessor):
        def __init__(self) -> None:
            self.supported_kwargs = {"temperature": float}
            self.ignored_kwargs = ()
            self._rows: list[int] = []

        def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
            int32_tensor.zero_()

        def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
            wanted = [
                request.state.logit_processor_kwargs.get("temperature", 0.0) for request in requests_with_new_token
            ]
            self._rows = [row for row, temperature in enumerate(wanted) if temperature > 0]
            return torch.tensor(wanted, dtype=torch.float32).view(torch.int32)

        def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
            # A CUDA graph is replayed whichever rows are to be drawn then, so it has to draw them all.
            captured = scores.is_cuda and torch.cuda.is_current_stream_capturing()
            if not self._rows and not captured:
                return scores
            temperatures = tensor_arg[: scores.size(0)].view(torch.float32).unsqueeze(-1)
            if captured or len(self._rows) == scores.size(0):
                return torch.where(temperatures > 0, drawn(scores, temperatures), scores)
            rows = torch.tensor(self._rows, device=scores.device)
            scores[rows] = drawn(scores[rows], temperatures[rows])
            return scores

    return Draw()

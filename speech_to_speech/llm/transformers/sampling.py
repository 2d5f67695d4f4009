"""How the next token is chosen."""

import logging
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """`config` is transformers' `GenerationConfig`; `eos_ids` are all tokens that end an answer."""

    config: Any
    eos_ids: frozenset[int]
    max_new_tokens: int
    min_new_tokens: int


# The settings of a checkpoint's generation config: those that are used, and those that say nothing of the next token.
USED = frozenset({"eos_token_id", "temperature", "top_k", "top_p", "do_sample"})
SILENT = frozenset(
    {"bos_token_id", "pad_token_id", "max_length", "max_new_tokens", "transformers_version", "use_cache"}
)


def choose_sampling(
    model: Any, tokenizer: Any, *, do_sample: bool, temperature: float, max_new_tokens: int, min_new_tokens: int
) -> Sampling:
    """What a checkpoint's generation config says (its ends of an answer, top_k, top_p), and over it the options.

    Without `do_sample`, or with a temperature of 0, the likeliest token is taken.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    eos_ids = _ids(own.eos_token_id) | _ids(model.config.get_text_config().eos_token_id) | _ids(tokenizer.eos_token_id)
    if unused := sorted(own.to_diff_dict().keys() - USED - SILENT):
        logger.info("llm: of the checkpoint's generation config %s is not used", ", ".join(unused))
    sampled = do_sample and temperature > 0
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=sampled,
        eos_token_id=sorted(eos_ids) or -1,  # -1 means that no token ends an answer
        **({"temperature": temperature, "top_k": own.top_k, "top_p": own.top_p} if sampled else {}),
    )
    return Sampling(config, eos_ids, max_new_tokens, min_new_tokens)


def _ids(value: int | list[int] | None) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


def add_min_new_tokens(processors: Any, sampling: Sampling) -> None:
    """Let no answer end before `min_new_tokens`. `processors` is the manager's list; what transformers has for it
    works with whole sequences only, which continuous batching does not have at hand."""
    if not sampling.min_new_tokens or not sampling.eos_ids:
        return
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

    processors.logits_processor.append(MinNewTokens())
    processors.tensors_required += 1
    processors.do_processing = True

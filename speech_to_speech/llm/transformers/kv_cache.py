"""How large the cache of keys and values is: what the options allow, and no more than the requests can fill."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speech_to_speech.errors import CheckpointError

if TYPE_CHECKING:
    import torch

CPU_GB, GPU_GB = 0.5, 2.0  # the sizes of the cache unless the options say otherwise
TYPICAL = 1024  # tokens of a conversation; as many conversations as run at once have room, if the options allow it
SHORTEST_PROMPT = 64  # tokens of a prompt that must have room
PAGE = 16  # tokens; whole pages are shared between requests, so smaller pages share more
FLASH_PAGE = 256  # tokens; flash attention's kernel for paged decoding takes this page


@dataclass(frozen=True)
class CacheSize:
    """`pages` of `page` tokens each, of which a step computes `step_tokens` at most."""

    page: int
    pages: int
    step_tokens: int
    request_tokens: int
    """Tokens of the longest request, its answer included."""
    bytes: int
    """Bytes of the cache and of what goes with it: masks, and the copies that attention makes."""


def size_cache(
    config: Any,
    device: "torch.device",
    dtype: "torch.dtype",
    *,
    gigabytes: float | None,
    batch_limit: int,
    max_new_tokens: int,
    flash: bool,
    flag: str,
) -> CacheSize:
    """The cache for a model's configuration (the `PreTrainedConfig` of its text part). A GB is 10^9 bytes.

    Raises:
        CheckpointError: there is no room for a prompt and an answer; the message says how much it takes.
    """
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    token_bytes = 2 * config.num_hidden_layers * kv_heads * head_dim * dtype.itemsize
    page = FLASH_PAGE if flash else PAGE
    context = getattr(config, "max_position_embeddings", None)

    allowed = gigabytes if gigabytes is not None else CPU_GB if device.type == "cpu" else GPU_GB
    pages = int(allowed * 1e9) // (token_bytes * page)
    if context is not None:
        pages = min(pages, -(-(context + batch_limit * min(context, TYPICAL)) // page) + 1)
    shortest = SHORTEST_PROMPT + max_new_tokens
    if context is not None and context < shortest:
        raise CheckpointError(
            f"lm_gen_max_new_tokens: {max_new_tokens} leaves no room for a prompt in the {context} tokens that the "
            f"model of {flag} can see; {max(1, context // 2)} would"
        )
    if pages * page < shortest + page:
        needed = -(-(shortest + page) // page) * page * token_bytes / 1e9
        raise CheckpointError(
            f"lm_kv_cache_gb: {allowed:g} has room for {pages * page} tokens, and a short prompt with an answer of "
            f"{max_new_tokens} takes {shortest + page}; allow {needed:.2g} at least, or choose a smaller {flag}"
        )
    step_tokens = 256 if device.type == "cpu" else 512  # while a long prompt is computed, the other requests wait
    longest = min(context or pages * page, (pages - 1) * page)
    # Only one layer's copies exist at a time: keys and values for all heads, as attention without flash wants them.
    copies = pages * page * (2 * heads + kv_heads) * head_dim * dtype.itemsize
    mask = step_tokens * (pages * page + step_tokens) * dtype.itemsize
    total = pages * page * token_bytes + (0 if flash else mask + copies)
    return CacheSize(page, pages, step_tokens, longest, total)

"""Attention of several requests in one step, each over its own keys only, with PyTorch's own kernels.

In a step of continuous batching the tokens of all requests are one long sequence. Without flash attention transformers
computes all of them against the keys of all, and masks what belongs to others: with 16 requests that is 16 times the
work, and all keys are copied once for each group of heads. Here each request is a call of its own (docs/decisions/0007
has what that gains).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

NAME = "sdpa_by_request"  # transformers knows `attend` by this name


class Span(NamedTuple):
    """Where a request's queries and keys are in those of all."""

    queries: slice
    keys: slice
    whole: bool
    """Each token sees all tokens before it, and all of those are of this step."""


def spans_of(cache: Any, requests: Sequence[Any]) -> dict[str, list[Span]]:
    """For each kind of attention, the spans of a step's requests: the manager's `FutureRequestState`s, once the step is
    prepared."""
    spans: dict[str, list[Span]] = {}
    for allocator in cache.cache_allocators.values():
        found = spans.setdefault(allocator.layer_type, [])
        query = key = 0
        for request in requests:
            count = request.query_length
            past = request.state.position_offset - count
            length = allocator.get_seqlen_k(past, count)
            whole = past == 0 and allocator.layer_type == "full_attention"
            found.append(Span(slice(query, query + count), slice(key, key + length), whole))
            query, key = query + count, key + length
    return spans


def register() -> None:
    """Make it known to transformers as `NAME`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


def attend(
    module: Any,
    query: "torch.Tensor",  # [1, heads, queries, head_dim]
    key: "torch.Tensor",  # [1, kv_heads, queries, head_dim], of this step's tokens
    value: "torch.Tensor",
    attention_mask: "torch.Tensor",  # [1, 1, queries, keys]
    dropout: float = 0.0,
    scaling: float | None = None,
    cache: Any = None,
    **kwargs: Any,
) -> tuple["torch.Tensor", None]:
    """An attention function as transformers wants it; gives [1, queries, heads, head_dim].

    `cache` is the manager's, and its `spans` are those of the step.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    spans: dict[str, list[Span]] | None = getattr(cache, "spans", None)
    if spans is None or any(kwargs.get(name) is not None for name in ("position_bias", "softcap", "s_aux")):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, cache=cache, **kwargs
        )
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs)
    heads, kv_heads = query.shape[1], key.shape[1]
    output = query.new_empty(1, query.shape[2], heads, value.shape[-1])
    for queries, keys, whole in spans[cache.layer_to_allocator[module.layer_idx].layer_type]:
        q, k, v = query[:, :, queries], key[:, :, keys], value[:, :, keys]
        attention = torch.nn.functional.scaled_dot_product_attention
        if q.shape[2] == 1:  # a single query sees all keys; the heads that share some keys are queries of one head
            grouped = q.reshape(1, kv_heads, heads // kv_heads, -1)
            out = attention(grouped, k, v, scale=scaling).reshape(1, heads, 1, -1)
        else:
            k, v = (each.repeat_interleave(heads // kv_heads, dim=1) for each in (k, v))
            if whole:
                out = attention(q, k, v, scale=scaling, is_causal=True)
            else:
                out = attention(q, k, v, scale=scaling, attn_mask=attention_mask[:, :, queries, keys])
        output[:, queries] = out.transpose(1, 2)
    return output, None

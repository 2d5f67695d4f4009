"""Llamas with random weights, of any size, with a tokenizer of one character per token."""

from dataclasses import dataclass
from pathlib import Path

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
SPECIAL = ("<|begin|>", "<|end|>", "<|unknown|>")
FIRST_IDEOGRAPH = 0x4E00


@dataclass(frozen=True)
class Size:
    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int


TINY = Size("tiny", hidden=96, layers=3, heads=4, kv_heads=2, vocabulary=1024)
SMALL = Size("small", hidden=512, layers=12, heads=8, kv_heads=4, vocabulary=16_384)


def make(size: Size, folder: Path) -> int:
    """Save a checkpoint with tokenizer and chat template; gives its number of parameters."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    ascii_letters = [chr(code) for code in range(32, 127)]
    ideographs = size.vocabulary - len(ascii_letters) - len(SPECIAL)
    texts = [*ascii_letters, *SPECIAL, *(chr(FIRST_IDEOGRAPH + number) for number in range(ideographs))]
    tokenizer = Tokenizer(
        models.BPE(vocab={text: number for number, text in enumerate(texts)}, merges=[], unk_token=SPECIAL[2])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        unk_token=SPECIAL[2],
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.hidden,
            intermediate_size=3 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.kv_heads,
            max_position_embeddings=4096,
            initializer_range=0.1,
            bos_token_id=len(ascii_letters),
            eos_token_id=len(ascii_letters) + 1,
            pad_token_id=None,
        )
    )
    model.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())

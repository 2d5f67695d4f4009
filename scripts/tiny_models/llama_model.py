"""The tiny Llama: tokenizer with chat template, configuration."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from .text import Phrase, bare, learn_bpe

TEXT_TOKENS = 1150
CONTEXT_TOKENS = 4096

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant")
SPECIAL = [BEGIN, END, PAD, *(f"<|{role}|>" for role in ROLES)]

TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' and not loop.first %}
        {{- raise_exception('The system message comes first.') }}
    {%- elif message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('Roles are system, user and assistant, not ' + message['role'] + '.') }}
    {%- endif %}
    {{- '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}
"""

# Words with the space before them; Chinese, Japanese and Korean by the character; digits and the rest.
SPLIT = r" ?[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー]| ?[\p{Latin}\p{M}']+| ?\p{N}| ?[^\s\p{L}\p{N}]| ?\p{L}+|\s+"


def make_tokenizer(phrases: Sequence[Phrase], prompts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE, learnt on the questions (also without case and punctuation), the answers and `prompts`."""
    texts = [text for p in phrases for text in (p.question, " " + p.question, bare(p.question), p.answer)]
    bpe = learn_bpe(
        [*texts, *prompts] * 2,
        TEXT_TOKENS,
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    )
    bpe.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=SPECIAL[3:],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_TOKENS,
        padding_side="left",
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights, drawn from torch's generator."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    return model

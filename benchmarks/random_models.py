"""Checkpoints with the sizes of published models and random weights, made from their configurations: no download.

They are saved as `save_pretrained` saves them, so that the service's own backends load them. What they say is nonsense,
but it takes as long as sense does; it never ends before the token limit.

- https://huggingface.co/distil-whisper/distil-large-v3, https://huggingface.co/openai/whisper-large-v3-turbo
- https://huggingface.co/meta-llama/Llama-3.1-8B, https://huggingface.co/meta-llama/Llama-3.2-1B
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_to_speech.languages import NAMES

if TYPE_CHECKING:
    import torch

WHISPER_WORDS = 50_257
"""The tokens before the special ones."""
WHISPER_TIMESTAMPS = 1501
PROMPT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>A{% endif %}"
)
"""The prompt ends in a letter, since random weights may repeat the last token for ever."""
LLAMA_SPECIAL = ("<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True)
class WhisperSize:
    """A Whisper; the width of its layers is that of encoder and decoder alike."""

    name: str
    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int


@dataclass(frozen=True)
class LlamaSize:
    """A Llama 3."""

    name: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    tied: bool
    """The output has the weights of the embedding."""

    @property
    def weights(self) -> int:
        """How many numbers a token's step reads: all but the embedding, of which it reads one row."""
        kv_width = self.width // self.heads * self.kv_heads
        layer = 2 * self.width * (self.width + kv_width) + 3 * self.width * self.inner + 2 * self.width
        return self.layers * layer + self.width + self.vocabulary * self.width

    @property
    def stored_weights(self) -> int:
        """How many numbers its checkpoint has."""
        return self.weights + (0 if self.tied else self.vocabulary * self.width)


DISTIL_LARGE_V3 = WhisperSize("distil-large-v3", 1280, 20, encoder_layers=32, decoder_layers=2)
LARGE_V3_TURBO = WhisperSize("large-v3-turbo", 1280, 20, encoder_layers=32, decoder_layers=4)
TINY_WHISPER = WhisperSize("a tiny Whisper", 64, 2, encoder_layers=2, decoder_layers=2)
LLAMA_8B = LlamaSize("Llama-3.1-8B", 4096, 32, 32, 8, 14_336, 128_256, tied=False)
LLAMA_1B = LlamaSize("Llama-3.2-1B", 2048, 16, 32, 8, 8192, 128_256, tied=True)
TINY_LLAMA = LlamaSize("a tiny Llama", 128, 4, 4, 2, 512, 4096, tied=True)


def make_whisper(folder: Path, size: WhisperSize, device: "torch.device", dtype: "torch.dtype") -> None:
    """Save a Whisper of 30 s windows with the vocabulary of large-v3."""
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    special = ["<|startoftranscript|>", *(f"<|{'jw' if code == 'jv' else code}|>" for code in NAMES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special += ["<|notimestamps|>"]
    words = _words(WHISPER_WORDS)
    tokenizer = WhisperTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>", *special]})
    tokenizer.add_tokens([f"<|{number * 0.02:.2f}|>" for number in range(WHISPER_TIMESTAMPS)])
    end, start = _ids(tokenizer, "<|endoftext|>", "<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=128,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        decoder_start_token_id=start,
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
    )
    model = _random(WhisperForConditionalGeneration, config, device, dtype)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        suppress_tokens=list(range(end, len(tokenizer))),  # an answer has only words, and never ends by itself
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": tokenizer.convert_tokens_to_ids(f"<|{code}|>") for code in ("en", "fr")},
        task_to_id={task: tokenizer.convert_tokens_to_ids(f"<|{task}|>") for task in ("translate", "transcribe")},
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
    )
    _save(model, folder)
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)


def make_llama(folder: Path, size: LlamaSize, device: "torch.device", dtype: "torch.dtype") -> None:
    """Save a Llama with a chat template; each byte of a prompt is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = _words(size.vocabulary - len(LLAMA_SPECIAL))
    plain = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(list(LLAMA_SPECIAL))
    begin, end = LLAMA_SPECIAL[:2]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token=begin, eos_token=end, pad_token=end)
    tokenizer.chat_template = PROMPT_TEMPLATE
    begin_id, end_id = _ids(tokenizer, begin, end)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        tie_word_embeddings=size.tied,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        bos_token_id=begin_id,
        eos_token_id=end_id,
    )
    _save(_random(LlamaForCausalLM, config, device, dtype), folder)
    tokenizer.save_pretrained(folder)


def _words(count: int) -> list[str]:
    """The 256 bytes, by the names that byte-level BPE has for them, and as many words as it takes. All are text."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*letters, *(f"Ġw{number}" for number in range(count - len(letters)))]


def _ids(tokenizer: Any, *tokens: str) -> list[int]:
    return [int(number) for number in tokenizer.convert_tokens_to_ids(list(tokens))]


def _random(model_class: Any, config: Any, device: "torch.device", dtype: "torch.dtype") -> Any:
    import torch

    torch.manual_seed(0)
    with device, torch.no_grad():
        return model_class._from_config(config, dtype=dtype)


def _save(model: Any, folder: Path) -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)

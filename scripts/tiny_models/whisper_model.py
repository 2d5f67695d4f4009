"""The tiny Whisper: tokenizer, feature extractor, configuration."""

import json
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from torch import nn
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from .text import SPACED, Phrase, learn_bpe

WINDOW_S = 4
POSITIONS = 50 * WINDOW_S  # two mel frames of 10 ms each
TEXT_TOKENS = 640
MAX_TOKENS = 64

END, START, TRANSCRIBE, TRANSLATE = "<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|translate|>"
NO_SPEECH, NO_TIMESTAMPS = "<|nospeech|>", "<|notimestamps|>"


def transcript(phrase: Phrase) -> str:
    """The text as Whisper writes it: the first word has its space before it, where there are spaces."""
    return (" " if phrase.language in SPACED else "") + phrase.question


def make_tokenizer(phrases: Sequence[Phrase]) -> WhisperTokenizer:
    """Text learnt on the phrases, then the special tokens, then the timestamps, in Whisper's order."""
    texts = [transcript(phrase) for phrase in phrases]
    # Each twice, so that whole words become tokens.
    bpe = learn_bpe(texts * 2, TEXT_TOKENS, pre_tokenizers.ByteLevel(add_prefix_space=False))
    vocabulary, merges = _learnt(bpe)
    special = [END, START, *(f"<|{code}|>" for code in LANGUAGES)]
    special += [TRANSLATE, TRANSCRIBE, "<|startoflm|>", "<|startofprev|>", NO_SPEECH, NO_TIMESTAMPS]
    vocabulary |= {token: len(vocabulary) + i for i, token in enumerate(special)}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges, pad_token=END)
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.add_tokens([AddedToken(f"<|{0.02 * i:.2f}|>", normalized=False) for i in range(POSITIONS + 1)])
    return tokenizer


def make_processor(phrases: Sequence[Phrase]) -> WhisperProcessor:
    extractor = WhisperFeatureExtractor(feature_size=80, sampling_rate=16_000, hop_length=160, chunk_length=WINDOW_S)
    return WhisperProcessor(feature_extractor=extractor, tokenizer=make_tokenizer(phrases))


def make_model(tokenizer: WhisperTokenizer, width: int = 96) -> WhisperForConditionalGeneration:
    """Random weights, drawn from torch's generator."""
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=width,
        encoder_layers=2,
        encoder_attention_heads=3,
        encoder_ffn_dim=2 * width,
        decoder_layers=2,
        decoder_attention_heads=3,
        decoder_ffn_dim=2 * width,
        max_source_positions=POSITIONS,
        max_target_positions=MAX_TOKENS,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=0.1,  # the default is for a width of a thousand
        **ids,
    )
    model = WhisperForConditionalGeneration(config)
    for convolution in (model.model.encoder.conv1, model.model.encoder.conv2):
        nn.init.kaiming_normal_(convolution.weight)
    model.generation_config = make_generation_config(tokenizer, ids)
    return model


def make_generation_config(tokenizer: WhisperTokenizer, ids: dict[str, int]) -> GenerationConfig:
    """All that Whisper's own `generate` asks of it."""
    to_id = tokenizer.convert_tokens_to_ids
    return GenerationConfig(
        **ids,
        max_length=MAX_TOKENS,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": to_id(f"<|{code}|>") for code in LANGUAGES},
        task_to_id={"transcribe": to_id(TRANSCRIBE), "translate": to_id(TRANSLATE)},
        no_timestamps_token_id=to_id(NO_TIMESTAMPS),
        prev_sot_token_id=to_id("<|startofprev|>"),
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=None,
        begin_suppress_tokens=[to_id(END)],
    )


def _learnt(bpe: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]

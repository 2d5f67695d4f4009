"""Make a tiny random Parler-TTS, for tests: its sound is noise, its shapes, rates and streaming are the real ones.

    ENVIRONMENT/bin/python scripts/make_tiny_parler.py FOLDER

To be run by the Python of the environment `parler` (`speech-to-speech env create parler`): what transformers 5 saves
can't be loaded by the version there.
"""

import sys
from pathlib import Path

import torch
from parler_tts import (
    ParlerTTSConfig,
    ParlerTTSDecoderConfig,
    ParlerTTSForCausalLM,
    ParlerTTSForConditionalGeneration,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import DacConfig, DacModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

CODEBOOKS, CODES, WIDTH, WORDS = 4, 64, 32, 300
SAMPLE_RATE_HZ = 16_000
STRIDES = [2, 4, 5, 8]  # 320 samples a frame, so 50 frames a second


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte; the end of a text is one too."""
    special = ["<pad>", "</s>", "<unk>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *letters])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="left"
    )


def make_model() -> ParlerTTSForConditionalGeneration:
    torch.manual_seed(3)
    text = T5Config(vocab_size=WORDS, d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    codec = DacConfig(
        encoder_hidden_size=8,
        decoder_hidden_size=64,
        downsampling_ratios=STRIDES,
        upsampling_ratios=STRIDES[::-1],
        n_codebooks=CODEBOOKS,
        codebook_size=CODES,
        codebook_dim=4,
        sampling_rate=SAMPLE_RATE_HZ,
    )
    decoder = ParlerTTSDecoderConfig(
        vocab_size=CODES + 2,  # the end of the sound, and its beginning
        max_position_embeddings=1024,
        num_hidden_layers=2,
        ffn_dim=64,
        num_attention_heads=4,
        hidden_size=WIDTH,
        num_codebooks=CODEBOOKS,
        pad_token_id=CODES,
        eos_token_id=CODES,
        bos_token_id=CODES + 1,
    )
    config = ParlerTTSConfig.from_sub_models_config(
        text, codec, decoder, vocab_size=WORDS, pad_token_id=CODES, decoder_start_token_id=CODES + 1
    )
    model = ParlerTTSForConditionalGeneration(
        config,
        text_encoder=T5EncoderModel(text),
        audio_encoder=DacModel(codec),
        decoder=ParlerTTSForCausalLM(decoder),
    )
    never_end(model)
    generation = model.generation_config
    generation.decoder_start_token_id = generation.bos_token_id = CODES + 1
    generation.pad_token_id = generation.eos_token_id = CODES
    generation.do_sample = True
    generation.max_length = 1000
    return model


def never_end(model: ParlerTTSForConditionalGeneration) -> None:
    """Make the codes that mean begin and end most unlikely, so that a sound is as long as it may be."""
    norm = model.decoder.model.decoder.layer_norm
    with torch.no_grad():
        norm.weight[0], norm.bias[0] = 0.0, 10.0
        for head in model.decoder.lm_heads:
            head.weight[:, 0] = 0.0
            head.weight[CODES:, 0] = -10.0


def main() -> None:
    folder = Path(sys.argv[1])
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


if __name__ == "__main__":
    main()

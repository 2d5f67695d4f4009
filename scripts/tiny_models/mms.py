"""The tiny MMS: a VITS with random weights, which speaks no words."""

import json
from pathlib import Path

import torch
from transformers import VitsConfig, VitsModel, VitsTokenizer

SEED = 3
LOUDNESS = 0.1
# As in facebook/mms-tts-eng the first character is also the blank between two others, and the padding.
CHARACTERS = "k'zyjvqxwmgfpbdhunrltsoeiac -_0123456789àâçèéêëîïôùûüœáíñóú"


def make(folder: Path) -> float:
    """Write the model and its tokenizer; how long a short sentence takes to say, in seconds."""
    torch.manual_seed(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {character: i for i, character in enumerate(CHARACTERS)}
    vocabulary["<unk>"] = len(vocabulary)
    file = folder / "vocab.json"
    file.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    tokenizer = VitsTokenizer(
        str(file), pad_token=CHARACTERS[0], language="eng", phonemize=False, is_uroman=False, add_blank=True
    )
    model = VitsModel(
        VitsConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=1,
            ffn_dim=32,
            flow_size=16,
            spectrogram_bins=33,
            upsample_initial_channel=64,
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            duration_predictor_filter_channels=16,
            depth_separable_num_layers=1,
            prior_encoder_num_flows=2,
            prior_encoder_num_wavenet_layers=1,
            posterior_encoder_num_wavenet_layers=1,
            sampling_rate=16_000,
        )
    )
    begin_flat(model)
    model.eval()
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    with torch.no_grad():
        waveform = model(**tokenizer("What is the weather like today?", return_tensors="pt")).waveform
    return float(waveform.shape[1] / model.config.sampling_rate)


def begin_flat(model: VitsModel) -> None:
    """As VITS begins its training: the flows of the duration predictor change nothing. So a character lasts a frame or
    a few of them, where random flows make it last for up to minutes. And not louder than speech."""
    with torch.no_grad():
        for flow in model.duration_predictor.flows:
            if hasattr(flow, "conv_proj"):
                flow.conv_proj.weight.zero_()
                flow.conv_proj.bias.zero_()
        model.decoder.conv_post.weight *= LOUDNESS

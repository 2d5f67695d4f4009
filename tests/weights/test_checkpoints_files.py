"""Which of a repository's files are downloaded."""

import pytest

from speech_to_speech.weights.hub.files import listed, wanted

TOKENIZER = ["merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
ELSEWHERE = [".gitattributes", "README.md", "LICENSE", "figure.png"]


def parts(stem: str, suffix: str, count: int) -> list[str]:
    return [f"{stem}-{number:05}-of-{count:05}.{suffix}" for number in range(1, count + 1)]


# For each kind: the files that are wanted, and those that such a repository has beside them.
REPOSITORIES = {
    # openai/whisper-large-v3: the weights six times over.
    "many precisions and frameworks": (
        ["config.json", "generation_config.json", "preprocessor_config.json", *TOKENIZER, "model.safetensors"],
        [
            *parts("model.fp32", "safetensors", 2),
            "model.safetensors.index.fp32.json",
            "pytorch_model.bin",
            *parts("pytorch_model.fp32", "bin", 2),
            "pytorch_model.bin.index.fp32.json",
            "flax_model.msgpack",
            "tf_model.h5",
            "onnx/encoder_model.onnx",
            *ELSEWHERE,
        ],
    ),
    # meta-llama/Meta-Llama-3.1-8B-Instruct: 16 GB that are read, and 16 GB for the makers' own program.
    "parts, and the original": (
        ["config.json", "tokenizer.json", "model.safetensors.index.json", *parts("model", "safetensors", 4)],
        ["original/consolidated.00.pth", "original/params.json", "original/tokenizer.model", *ELSEWHERE],
    ),
    "parts in both formats": (
        ["config.json", "model.safetensors.index.json", *parts("model", "safetensors", 2)],
        ["pytorch_model.bin.index.json", *parts("pytorch_model", "bin", 2), "consolidated.safetensors"],
    ),
    "one file, and the same in parts": (
        ["config.json", "model.safetensors"],
        ["model.safetensors.index.json", *parts("model", "safetensors", 2)],
    ),
    "PyTorch's format only": (["config.json", "pytorch_model.bin"], ["flax_model.msgpack", "training_args.bin"]),
    "PyTorch's format in parts": (
        ["config.json", "pytorch_model.bin.index.json", *parts("pytorch_model", "bin", 2)],
        ["optimizer.pt", "scheduler.pt", "rng_state.pth", "checkpoint-100/pytorch_model.bin"],
    ),
    # Systran/faster-whisper-base
    "CTranslate2": (["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"], ELSEWHERE),
    # hexgrad/Kokoro-82M
    "voices in a folder": (
        ["config.json", "kokoro-v1_0.pth", "voices/af_heart.pt", "voices/ff_siwis.pt"],
        ["samples/HEARME.wav", "VOICES.md", *ELSEWHERE],
    ),
    "a template in a file, a tokenizer of sentencepiece": (
        ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.model"],
        ["runs/events.out", "eval_results.csv"],
    ),
}


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_what_is_read_is_wanted_and_nothing_else(kind: str) -> None:
    read, beside = REPOSITORIES[kind]
    assert sorted(wanted([*beside, *read])) == sorted(read)


def test_nothing_is_wanted_of_nothing() -> None:
    assert wanted([]) == []


def test_a_long_list_is_shortened() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(iter("abcde")) == "a, b, c and 2 more"

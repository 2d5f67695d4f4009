"""What can be wrong with a checkpoint or a machine: one line that names the fix, before the service is ready."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llm_support import TINY, answer, generated, letters, llm, question, random_llama
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen2Config, Qwen2ForCausalLM

from speech_to_speech.errors import CheckpointError
from speech_to_speech.llm.transformers.kv_cache import CPU_GB, GPU_GB, size_cache
from speech_to_speech.weights import memory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("llama"))


def problem(folder: Path | str, **options: Any) -> str:
    """The one line that loading ends with."""
    with pytest.raises(CheckpointError) as caught:
        llm(folder, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def changed(folder: Path, **entries: Any) -> Path:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | entries))
    return folder


def test_a_model_of_another_class() -> None:
    assert "is a whisper model, but an instruct language model is needed; choose" in problem(TINY / "whisper")
    assert "is a vits model, but an instruct language model is needed; choose" in problem(TINY / "mms")


def test_a_model_without_a_chat_template(tmp_path: Path) -> None:
    text = problem(random_llama(tmp_path, template=None))
    assert text.startswith(f"lm_model_name: {tmp_path} has no chat template, so it is no instruct model; choose")


def test_a_name_that_does_not_exist() -> None:
    assert "lm_model_name: no such folder './nowhere'" in problem("./nowhere")


@pytest.mark.parametrize("cut", [0, 100, 20_000])
def test_broken_weights(folder: Path, tmp_path: Path, cut: int) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    assert problem(broken).startswith("lm_model_name: ")


def test_a_missing_tokenizer(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    for file in broken.glob("tokenizer*"):
        file.unlink()
    assert problem(broken).startswith("lm_model_name: ")


def test_missing_weights(folder: Path, tmp_path: Path) -> None:
    text = problem(changed(Path(shutil.copytree(folder, tmp_path / "larger")), num_hidden_layers=3))
    assert "lacks 9 of the weights of a LlamaForCausalLM" in text


def test_no_cuda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = problem(folder, lm_device="cuda")
    assert text.startswith("lm_device: ")
    assert "CUDA" in text


def test_too_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_000_000)
    text = problem(folder)
    assert text.startswith("lm_model_name: ")
    assert "are needed and 1 MB" in text.replace("1.0 MB", "1 MB")


def test_too_little_memory_for_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the manager finds it, when it allocates."""
    from transformers.generation.continuous_batching import cache

    free = (torch.device("cpu"), 10_000_000, 0, 0)
    monkeypatch.setattr(cache, "get_device_and_memory_breakdown", lambda: free)
    assert problem(folder).startswith("lm_kv_cache_gb: ")


def test_a_cache_that_is_too_small(folder: Path) -> None:
    text = problem(folder, lm_kv_cache_gb=1e-5)
    assert text.startswith("lm_kv_cache_gb: 1e-05 has room for ")
    needed = text.partition("allow ")[2].split()[0]
    assert answer(llm(folder, lm_kv_cache_gb=float(needed), lm_gen_max_new_tokens=128), question("Hm?"))


def test_an_answer_longer_than_the_context(folder: Path) -> None:
    text = problem(folder, lm_gen_max_new_tokens=500)
    assert text.startswith("lm_gen_max_new_tokens: 500 leaves no room for a prompt in the 512 tokens")


def test_quantisation_needs_cuda(folder: Path) -> None:
    for quantization in ("8bit", "4bit"):
        text = problem(folder, lm_quantization=quantization)
        assert text == "lm_quantization: it needs a CUDA device, and lm_device is cpu; leave it out"


def test_quantisation_needs_its_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech_to_speech.weights.checkpoints.choose_device", lambda name, flag: torch.device("cuda"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = problem(folder, lm_quantization="4bit", lm_torch_dtype="float32")
    assert text == "lm_quantization: it needs bitsandbytes: make install-quantized"


def test_layers_that_continuous_batching_does_not_know(tmp_path: Path) -> None:
    config = {"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"], "num_hidden_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "has layers of linear_attention, which can't serve several requests at once" in problem(tmp_path)


def test_half_precision_on_a_cpu_is_float32(folder: Path) -> None:
    for dtype, expected in (("float16", torch.float32), ("bfloat16", torch.bfloat16), ("auto", torch.float32)):
        model = llm(folder, lm_torch_dtype=dtype, lm_gen_max_new_tokens=4)
        assert model._model.engine._model.dtype == expected
        assert answer(model, question("Hm?"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attentions_agree(folder: Path, attention: str) -> None:
    model = llm(folder, lm_attention=attention, lm_gen_max_new_tokens=12)
    prompt = model._model.prompts.tokens(question("What?").messages, 300)
    expected = letters().decode(generated(folder, prompt, max_new_tokens=12), skip_special_tokens=True)
    assert answer(model, question("What?")) == [expected.lstrip()]


def gemma(**sizes: Any) -> Any:
    return Gemma3ForCausalLM(Gemma3TextConfig(sliding_window=16, head_dim=12, **sizes))


def qwen(**sizes: Any) -> Any:
    return Qwen2ForCausalLM(Qwen2Config(**sizes))


@pytest.mark.parametrize("make", [gemma, qwen])
def test_other_families_answer_as_generate_does(tmp_path: Path, make: Callable[..., Any]) -> None:
    """One with a sliding window in most layers, one with biases."""
    tokenizer = letters()
    torch.manual_seed(0)
    model = make(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=7,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        pad_token_id=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = llm(tmp_path, lm_gen_max_new_tokens=24)
    requests = [question(f"What is {'very ' * number}hot?") for number in range(5)]
    said = answer(loaded, *requests)
    for request, text in zip(requests, said, strict=True):
        prompt = loaded._model.prompts.tokens(request.messages, 400)
        tokens = generated(tmp_path, prompt, max_new_tokens=24)
        assert text == tokenizer.decode(tokens, skip_special_tokens=True).lstrip()
    assert loaded._model.engine.pages_taken == 0
    assert len(set(said)) == len(said)


# The size of the cache.


class Config:
    """Of Llama 3.1 8B."""

    num_hidden_layers = 32
    num_attention_heads = 32
    num_key_value_heads = 8
    hidden_size = 4096
    max_position_embeddings = 131_072


def sized(config: Any = Config, device: str = "cuda", **options: Any) -> Any:
    defaults = {"gigabytes": None, "batch_limit": 32, "max_new_tokens": 128, "flash": False, "flag": "lm_model_name"}
    return size_cache(config, torch.device(device), torch.float16, **(defaults | options))


def test_the_cache_takes_no_more_than_it_may() -> None:
    token_bytes = 2 * 32 * 8 * 128 * 2
    for device, gigabytes in (("cuda", GPU_GB), ("cpu", CPU_GB)):
        size = sized(device=device)
        tokens = size.pages * size.page
        assert gigabytes * 1e9 - size.page * token_bytes < tokens * token_bytes <= gigabytes * 1e9
        assert tokens > size.request_tokens
    assert sized(gigabytes=8).pages in range(4 * sized().pages, 4 * sized().pages + 4)


def test_a_small_model_takes_no_more_than_its_requests_can_fill() -> None:
    class Small(Config):
        num_hidden_layers, num_key_value_heads, max_position_embeddings = 2, 2, 512

    size = sized(Small)
    assert size.request_tokens == 512
    assert 33 * 512 <= size.pages * size.page <= 33 * 512 + 2 * size.page


def test_flash_attention_wants_pages_of_256() -> None:
    assert sized(flash=True).page == 256
    assert sized(flash=True).bytes < sized().bytes

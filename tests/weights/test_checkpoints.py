"""Devices, precisions, and checkpoints that can't be loaded. Real models of a few kilobytes, with random weights."""

import json
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    VitsConfig,
    VitsModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from speech_to_speech.errors import BackendMissing, CheckpointError
from speech_to_speech.weights.checkpoints import choose_device, choose_dtype, fetch, importing, load_pretrained, loading

CPU = torch.device("cpu")
FLAG = "lm_model_name"
NAME = "org/tiny"


# Devices.


def test_the_cpu_is_there() -> None:
    assert choose_device("cpu", flag="stt_device") == CPU


def test_without_cuda_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(CheckpointError) as refused:
        choose_device("cuda", flag="stt_device")
    assert str(refused.value) == "stt_device: this machine has no CUDA device; --stt_device cpu, or --profile cpu"


def test_a_gpu_with_a_number_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1", flag="stt_device") == torch.device("cuda:1")
    with pytest.raises(
        CheckpointError, match=r"^stt_device: there is no cuda:2; this machine has 2: cuda:0 to cuda:1$"
    ):
        choose_device("cuda:2", flag="stt_device")


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto", flag="stt_device") == torch.device(best)


def test_mps_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(CheckpointError, match=r"^lm_device: this machine has no MPS device .*; --lm_device cpu$"):
        choose_device("mps", flag="lm_device")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0:1", "", "CUDA"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(
        CheckpointError, match=r"^lm_device: unknown device .*; there are auto, cpu, cuda, cuda:0, mps$"
    ):
        choose_device(name, flag="lm_device")


# Precisions.


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_precision_is_taken_as_it_is(name: str) -> None:
    assert choose_dtype(name, CPU, flag="lm_torch_dtype") == getattr(torch, name)


def test_a_cpu_computes_in_float32_instead_of_float16(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_dtype("float16", CPU, flag="lm_torch_dtype") == torch.float32
    assert caplog.messages == ["lm_torch_dtype: float32, since a CPU has no fast float16"]


@pytest.mark.parametrize(("device", "half", "expected"), [("cuda", True, "bfloat16"), ("cuda", False, "float16")])
def test_auto_is_half_precision_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, half: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: half)
    assert choose_dtype("auto", torch.device(device), flag="lm_torch_dtype") == getattr(torch, expected)
    assert choose_dtype("float16", torch.device(device), flag="lm_torch_dtype") == torch.float16


def test_auto_elsewhere() -> None:
    assert choose_dtype("auto", torch.device("mps"), flag="lm_torch_dtype") == torch.float16
    assert choose_dtype("auto", CPU, flag="lm_torch_dtype") == torch.float32


@pytest.mark.parametrize("name", ["half", "float8", "torch.float16", ""])
def test_an_unknown_precision_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"^x: unknown precision .*; there are auto, float16, bfloat16, float32$"):
        choose_dtype(name, CPU, flag="x")


# Checkpoints.


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    ).save_pretrained(folder / "llama")
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / "llama")
    WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=32,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=1,
        )
    ).save_pretrained(folder / "whisper")
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder / "whisper")
    VitsModel(VitsConfig(vocab_size=32)).save_pretrained(folder / "vits")
    return folder


@pytest.fixture
def llama(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "llama", tmp_path / "llama"))


def load(model_class: object, folder: Path, *, tokenizer: bool = False, **options: object) -> object:
    with loading(NAME, "an instruct model", flag=FLAG):
        if tokenizer:
            AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return load_pretrained(model_class, folder, flag=FLAG, **options)


def refusal(model_class: object, folder: Path, **options: object) -> str:
    with pytest.raises(CheckpointError) as refused:
        load(model_class, folder, **options)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(f"{FLAG}: {NAME} ")
    assert str(folder) not in message
    return message


def change(folder: Path, **values: object) -> None:
    """Other values in config.json; None takes one away."""
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )


def test_what_is_whole_is_loaded(originals: Path) -> None:
    model = load(AutoModelForCausalLM, originals / "llama", tokenizer=True, dtype=torch.bfloat16)
    assert isinstance(model, LlamaForCausalLM)
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert isinstance(load(WhisperForConditionalGeneration, originals / "whisper"), WhisperForConditionalGeneration)
    assert isinstance(load(VitsModel, originals / "vits"), VitsModel)


@pytest.mark.parametrize(
    ("model_class", "folder", "what"),
    [
        (WhisperForConditionalGeneration, "llama", "LlamaForCausalLM"),
        (AutoModelForCausalLM, "whisper", "WhisperForConditionalGeneration"),
        (AutoModelForCausalLM, "vits", "VitsModel"),
        (VitsModel, "llama", "LlamaForCausalLM"),
    ],
)
def test_a_model_of_another_class_is_named(originals: Path, model_class: object, folder: str, what: str) -> None:
    assert refusal(model_class, originals / folder) == (
        f"{FLAG}: {NAME} is a {what}, but an instruct model is needed; choose another --{FLAG}"
    )


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def replace_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"<html>")


def ask_for_code(folder: Path) -> None:
    change(folder, model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    (folder / "own.py").write_text("raise SystemExit('this code must not run')")


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "; run `hf cache rm model/org/tiny` and start again"),
    "empty": (empty, "its files are broken ("),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "it has no weights for PyTorch"),
    "a web page as weights": (replace_weights, "its files are broken ("),
    "no config": (lambda folder: (folder / "config.json").unlink(), "its config.json is missing"),
    "config is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "its files are broken"),
    "config without a type": (
        lambda folder: change(folder, model_type=None),
        "its config.json is missing, or does not say what model it is",
    ),
    "a type that is not known": (lambda folder: change(folder, model_type="new"), "pip install --upgrade transformers"),
    "other sizes": (lambda folder: change(folder, hidden_size=32), "its weights don't fit its config.json"),
    "needs code": (ask_for_code, "it needs code from its own repository, which is not run here"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_checkpoint_is_told_in_one_line(llama: Path, breakage: str) -> None:
    damage, words = BREAKAGES[breakage]
    damage(llama)
    message = refusal(AutoModelForCausalLM, llama)
    assert f"{FLAG}: {NAME} can't be loaded as an instruct model: " in message
    assert words in message


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("{}")], ids=["missing", "broken"])
def test_a_missing_or_broken_tokenizer_is_told_in_one_line(llama: Path, damage: Callable[[Path], object]) -> None:
    damage(llama / "tokenizer.json")
    (llama / "tokenizer_config.json").unlink()
    assert "start again" in refusal(AutoModelForCausalLM, llama, tokenizer=True)


def test_what_is_unknown_has_its_type_and_both_ways_out() -> None:
    with pytest.raises(CheckpointError) as refused, loading(NAME, "a voice", flag=FLAG):
        raise RuntimeError("some\nthing")
    assert str(refused.value) == (
        f"{FLAG}: {NAME} can't be loaded as a voice: RuntimeError: some thing; "
        f"run `hf cache rm model/{NAME}` and start again, or choose another --{FLAG}"
    )


def test_a_broken_checkpoint_in_a_folder_has_no_cache(llama: Path) -> None:
    truncate(llama)
    with (
        pytest.raises(CheckpointError, match=r"its files are broken \(.+\); copy or download the model again$"),
        loading(str(llama), "a model", flag=FLAG),
    ):
        load_pretrained(AutoModelForCausalLM, llama, flag=FLAG)


def test_a_missing_processor_is_told_in_one_line(originals: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(originals / "whisper", tmp_path / "whisper"))
    (folder / "preprocessor_config.json").unlink()
    with (
        pytest.raises(CheckpointError, match=r"^stt_model_name: x can't be loaded as a Whisper model: [^\n]+$"),
        loading("x", "a Whisper model", flag="stt_model_name"),
    ):
        AutoProcessor.from_pretrained(folder, local_files_only=True)


def test_weights_that_are_missing_are_no_random_numbers(llama: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(llama, num_hidden_layers=3, layer_types=None)
    message = refusal(AutoModelForCausalLM, llama)
    assert "lacks 9 of the weights of a LlamaForCausalLM (model.layers.2." in message
    assert message.endswith(f"and 6 more); choose another --{FLAG}")
    assert capfd.readouterr() == ("", "")  # the library would print a table


def test_weights_that_may_be_missing_may(llama: Path) -> None:
    change(llama, num_hidden_layers=3, layer_types=None)
    assert load(AutoModelForCausalLM, llama, may_lack=[r"^model\.layers\.2\."]) is not None


def test_outside_of_loading_the_folder_is_named(originals: Path) -> None:
    with pytest.raises(CheckpointError, match=r"llama is a LlamaForCausalLM, but a VitsModel is needed"):
        load_pretrained(VitsModel, originals / "llama", flag=FLAG)


def test_own_errors_pass_and_others_are_wrapped() -> None:
    missing = BackendMissing("tts x needs y: pip install y")
    with pytest.raises(BackendMissing) as passed, loading(NAME, "a voice", flag=FLAG):
        raise missing
    assert passed.value is missing
    with pytest.raises(CheckpointError) as wrapped, loading(NAME, "a voice", flag=FLAG):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ...")
    assert str(wrapped.value) == (
        f"{FLAG}: {NAME} can't be loaded as a voice: it takes more memory than is free; "
        f"choose a smaller --{FLAG}, or --profile cpu"
    )


def test_a_package_that_a_checkpoint_needs_is_named() -> None:
    with (
        pytest.raises(CheckpointError, match=r"needs a package that is not installed: .*tiktoken"),
        loading(NAME, "a model", flag=FLAG),
    ):
        raise ImportError("requires the tiktoken library\nbut it was not found")


def test_a_token_in_a_message_is_not_shown() -> None:
    with pytest.raises(CheckpointError) as refused, loading(NAME, "a model", flag=FLAG):
        raise ValueError("header: Bearer hf_abcdefgh12345678")
    assert "hf_***" in str(refused.value)
    assert "abcdefgh" not in str(refused.value)


def test_one_model_is_loaded_at_a_time() -> None:
    """transformers sets torch's default precision while it loads: two at once would get each other's."""
    inside = threading.Event()
    order = []

    def second() -> None:
        inside.wait()
        with loading("b", "a model", flag=FLAG):
            order.append("b")

    thread = threading.Thread(target=second)
    thread.start()
    with loading("a", "a model", flag=FLAG):
        inside.set()
        thread.join(0.2)
        order.append("a")
    thread.join()
    assert order == ["a", "b"]


# Folders.


def test_a_folder_is_used_as_it_is(originals: Path) -> None:
    assert fetch(str(originals / "llama"), flag=FLAG) == originals / "llama"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^lm_model_name: the folder .* has neither a config.json nor weights"):
        fetch(str(tmp_path), flag=FLAG)


def test_a_folder_that_lacks_a_part_is_refused(llama: Path) -> None:
    (llama / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lacks model-00001-of-00002.safetensors; copy the model once more"):
        fetch(str(llama), flag=FLAG)


def test_a_file_is_no_model(llama: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model.safetensors is a file; name the folder of a model$"):
        fetch(str(llama / "model.safetensors"), flag=FLAG)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "x" * 5000])
def test_what_no_model_can_be_named(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"^stt_model_name: no model can be named .*; check --stt_model_name$"):
        fetch(name, flag="stt_model_name")


def test_nothing_is_imported_from_transformers_while_another_model_is_imported_or_loaded() -> None:
    entered = threading.Event()

    def load() -> None:
        with importing():
            entered.set()

    with loading("a", "a model", flag="model"):
        other = threading.Thread(target=load)
        other.start()
        assert not entered.wait(0.1)
    other.join(5)
    assert entered.is_set()

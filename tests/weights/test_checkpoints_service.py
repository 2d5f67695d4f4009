"""A service that can't have its models says so in one line and exits with 2, and never says that it is healthy.

This is tried every time for an error on a thread and one in a process, of a backend without PyTorch, whose import takes
seconds. Each of the others has tests of its own where it is raised: test_checkpoints*.py, test_whisper_loading.py.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SCRIPT, assert_refused, run
from fake_hub import FakeHub, environment
from service import Service, wait_until
from transformers import LlamaConfig, LlamaForCausalLM, WhisperConfig

WHISPER = ("--stt", "whisper", "--stt_device", "cpu", "--stt_model_name")
LLM = ("--llm", "transformers", "--lm_device", "cpu", "--lm_model_name")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    folder = tmp_path / "llama"
    LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def hub(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a Llama, which the services that a test starts know."""
    with FakeHub({"org/llama": llama}) as running:
        for name, value in environment(running.address, tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield running


def refusal(*flags: str) -> str:
    """The last line of a service that does not start."""
    with Service(*flags, ready=False) as service:
        statuses = set()

        def ended() -> bool:
            statuses.add(service.get("/health")[0])
            return service.process.poll() is not None

        wait_until(ended, "the service's end", 100)
        assert service.process.returncode == 2
        assert statuses <= {503, 0}  # the service loads, or is gone
        assert "Traceback" not in service.log()
        *_, line = service.log().splitlines()
    assert line.startswith("speech-to-speech: ")
    return line.removeprefix("speech-to-speech: ")


@pytest.mark.long
def test_a_model_that_does_not_exist(hub: FakeHub) -> None:
    line = refusal(*WHISPER, "no/such")
    assert line.startswith(f"stt_model_name: there is no model 'no/such' at {hub.address} and no such folder; check")


@pytest.mark.parametrize(
    ("option", "flags"),
    [
        ("faster_whisper_stt_model_name", ("--stt", "faster-whisper")),
        ("faster_whisper_stt_model_name", ("--stt", "faster-whisper", "--stt_worker", "process")),
        pytest.param("lm_model_name", ("--llm", "transformers", "--lm_device", "cpu"), marks=pytest.mark.long),
    ],
    ids=["thread", "process", "torch"],
)
def test_a_gated_model(hub: FakeHub, option: str, flags: tuple[str, ...]) -> None:
    hub.gated.add("org/llama")
    line = refusal(*flags, f"--{option}", "org/llama")
    assert line.startswith(f"{option}: org/llama is gated: ask for access at {hub.address}/org/llama, then set")


@pytest.mark.long
def test_a_model_of_another_class_downloaded_for_nothing(hub: FakeHub) -> None:
    line = refusal(*WHISPER, "org/llama")
    assert line.startswith("stt_model_name: org/llama is a ")
    assert "llama" in line.lower()
    assert "a Whisper" in line
    assert "choose another" in line


@pytest.mark.long
def test_a_broken_checkpoint(llama: Path) -> None:
    weights = llama / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    tokenizer = Path(__file__).parents[2] / "tiny_models" / "llama"
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / file, llama)
    line = refusal(*LLM, str(llama))
    assert line.startswith(
        f"lm_model_name: {llama} can't be loaded as an instruct language model: its files are broken ("
    )
    assert line.endswith("); copy or download the model again")


@pytest.mark.long
def test_too_little_memory(tmp_path: Path) -> None:
    WhisperConfig().save_pretrained(tmp_path)
    tensor = {"dtype": "F32", "shape": [1_000_000, 1_000_000], "data_offsets": [0, 0]}
    header = json.dumps({"model.encoder.conv1.weight": tensor}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    line = refusal(*WHISPER, str(tmp_path))
    assert line.startswith("stt_model_name: 400")  # 4,000 GB of weights, and a little to work in
    assert " GB of memory are needed and " in line
    assert line.endswith("choose a smaller --stt_model_name, or --profile embedded")


@pytest.mark.long
@pytest.mark.parametrize("worker", ["thread", "process"])
def test_no_cuda(monkeypatch: pytest.MonkeyPatch, worker: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the machine may have CUDA
    line = refusal("--stt", "whisper", "--stt_model_name", "org/any", "--stt_device", "cuda", "--stt_worker", worker)
    assert line == "stt_device: this machine has no CUDA device; --stt_device cpu, or --profile cpu"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--stt_torch_dtype", "half"), ("stt_torch_dtype", "float16, bfloat16, float32")),
        (("--stt_compile_mode", "fast"), ("stt_compile_mode", "reduce-overhead")),
        (("--language", "klingon"), ("language", "ISO 639")),
        (("--language", "tlh"), ("language", "'tlh'")),
    ],
    ids=["precision", "compile mode", "no code", "no language of Whisper"],
)
def test_what_can_be_known_without_the_model_is_refused_at_once(flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    arguments = ("--profile", "loadtest", "--stt", "whisper", *flags)
    assert_refused(run(*arguments, command=SCRIPT), *words)


def test_a_voice_that_is_none_is_refused() -> None:
    assert "espeak_voice: eSpeak NG has no voice 'nobody'" in refusal("--tts", "espeak", "--espeak_voice", "nobody")

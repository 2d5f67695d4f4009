"""Whether a checkpoint fits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from speech_to_speech.errors import CheckpointError
from speech_to_speech.weights.checkpoints import require_memory
from speech_to_speech.weights.memory import (
    _free_in_cgroups,
    free_ram_bytes,
    missing_shards,
    shown_bytes,
    weight_files,
    weights_bytes,
)

CPU = torch.device("cpu")
GB = 1_000_000_000


def header_only(file: Path, shape: list[int], dtype: str = "F32") -> None:
    """A safetensors file that says it has a tensor of this shape; its data is not there."""
    header = json.dumps({"weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)


# The memory that a model takes.


def test_weights_count_in_the_precision_they_will_have(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": torch.zeros(100, 10),
        "model.layers.0.weight": torch.zeros(50, 10, dtype=torch.float16),
        "bias": torch.zeros(7, dtype=torch.bfloat16),
        "steps": torch.zeros(3, dtype=torch.int64),
    }
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    assert weights_bytes(tmp_path, 4) == 4 * (1000 + 500 + 7) + 24
    assert weights_bytes(tmp_path, 2) == 2 * (1000 + 500 + 7) + 24


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_weights_are_smaller_but_for_embeddings_and_the_output(tmp_path: Path, bits: int) -> None:
    tensors = {
        "model.embed_tokens.weight": torch.zeros(100, 10),
        "model.layers.0.q_proj.weight": torch.zeros(50, 10),
        "model.norm.weight": torch.zeros(10),
        "lm_head.weight": torch.zeros(100, 10),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    assert weights_bytes(tmp_path, 2, bits) == 2 * (1000 + 10 + 1000) + 500 * bits // 8


def test_the_parts_that_an_index_names_count(tmp_path: Path) -> None:
    for part in ("a", "b"):
        save_file({part: torch.zeros(10)}, tmp_path / f"{part}.safetensors")
    save_file({"c": torch.zeros(1000)}, tmp_path / "other.safetensors")
    index = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_bytes(tmp_path, 4) == 80


@pytest.mark.parametrize(("stored", "bytes_per_weight"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
def test_other_formats_count_by_their_size(tmp_path: Path, stored: str, bytes_per_weight: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"torch_dtype": stored}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"0" * 1000 * bytes_per_weight)
    assert weights_bytes(tmp_path, 4) == 4000


def test_one_file_comes_before_parts_and_safetensors_before_others(tmp_path: Path) -> None:
    names = ["pytorch_model.bin", "model.safetensors"]
    for name in names:
        (tmp_path / name).touch()
        assert weight_files(tmp_path) == [tmp_path / name]


def test_missing_parts_are_named(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "1.safetensors").touch()
    assert missing_shards(tmp_path) == ["2.safetensors"]
    (tmp_path / "2.safetensors").touch()
    assert missing_shards(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x05" + b"\0" * 7 + b"[1,2]", b"\x02" + b"\0" * 7 + b"{"])
def test_a_broken_header_counts_nothing_and_is_told_by_the_loader(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert weights_bytes(tmp_path, 4) == 0


# The memory that there is.


def test_a_checkpoint_that_can_not_fit_is_refused_with_both_sizes(tmp_path: Path) -> None:
    header_only(tmp_path / "model.safetensors", [1_000_000, 1_000_000])
    with pytest.raises(CheckpointError) as refused:
        require_memory(tmp_path, CPU, torch.float32, flag="lm_model_name")
    needed, free = 4000 * GB, shown_bytes(free_ram_bytes() or 0)
    message = str(refused.value)
    assert message.startswith(f"lm_model_name: {shown_bytes(needed)} of memory are needed and ")
    assert message.partition("GB are free")[0].split()[-1].split(".")[0] == free.split(".")[0].split()[0]
    assert message.endswith("choose a smaller --lm_model_name, or --profile embedded")


def test_a_small_checkpoint_fits_unless_it_needs_much_beside(tmp_path: Path) -> None:
    header_only(tmp_path / "model.safetensors", [1000])
    require_memory(tmp_path, CPU, torch.float32, flag="lm_model_name")
    with pytest.raises(CheckpointError, match=r"^lm_model_name: 5000 GB of memory are needed"):
        require_memory(tmp_path, CPU, torch.float32, flag="lm_model_name", extra_bytes=5000 * GB)


def test_the_machine_has_memory_and_not_more_than_it_says() -> None:
    free = free_ram_bytes()
    assert free is not None
    total_kb = int(Path("/proc/meminfo").read_text().split()[1])
    assert 100_000_000 < free <= total_kb * 1024


def group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def test_the_limits_of_control_groups_of_version_2(tmp_path: Path) -> None:
    statistics = "anon 1\ninactive_file 200"
    group(tmp_path / "pod", {"memory.max": 5000, "memory.current": 3200, "memory.stat": statistics})
    group(tmp_path / "pod/app", {"memory.max": "max", "memory.current": 3000, "memory.stat": statistics})
    assert list(_free_in_cgroups("0::/pod/app\n", tmp_path)) == [5000 - (3200 - 200)]


def test_the_limits_of_control_groups_of_version_1(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": 900, "memory.usage_in_bytes": 500, "memory.stat": "total_inactive_file 100"}
    group(tmp_path / "memory/docker/x", files)
    membership = "5:cpu:/docker/x\n4:memory:/docker/x\n"
    assert list(_free_in_cgroups(membership, tmp_path)) == [500]


def test_in_a_container_the_own_group_is_the_root(tmp_path: Path) -> None:
    group(tmp_path, {"memory.max": 1000, "memory.current": 1500, "memory.stat": "inactive_file 0"})
    assert list(_free_in_cgroups("0::/../../not/seen/here\n", tmp_path)) == [0]


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    group(tmp_path, {"memory.max": "max", "memory.current": 1, "memory.stat": ""})
    assert list(_free_in_cgroups("0::/\n1:name=systemd:/x\n", tmp_path)) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (512_000_000, "512 MB"), (16_060_000_000, "16.1 GB")],
)
def test_sizes_are_shown_as_people_write_them(count: int, text: str) -> None:
    assert shown_bytes(count) == text

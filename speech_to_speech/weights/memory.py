"""Whether a checkpoint fits: what its weights take, and what the machine has left."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_to_speech.errors import CheckpointError

if TYPE_CHECKING:
    import torch

HEADER_LIMIT_BYTES = 100_000_000  # the format's own limit for a safetensors header
# https://github.com/huggingface/safetensors: a tensor's type and its bytes per element.
ELEMENT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
CGROUPS = Path("/sys/fs/cgroup")


def require_memory(
    folder: Path,
    device: "torch.device",
    dtype: "torch.dtype",
    *,
    flag: str,
    extra_bytes: int = 0,
    bits_per_weight: int | None = None,
) -> None:
    """Refuse a checkpoint that can't fit into what its device has left.

    Call it inside `checkpoints.loading`, so that no other model takes the memory in between.

    `dtype` is what the weights will be on the device, `bits_per_weight` 8 or 4 if they are quantised while they are
    loaded; `extra_bytes` is what the model needs beside them (a cache of fixed size, say).

    Raises:
        CheckpointError: it does not fit; the message says how much it needs and how much there is.
    """
    needed = weights_bytes(folder, dtype.itemsize, bits_per_weight) + extra_bytes
    free = free_bytes(device)
    if free is not None and needed > free:
        where = "GPU memory" if device.type == "cuda" else "memory"
        smaller = "--profile cpu" if device.type == "cuda" else "--profile embedded"
        raise CheckpointError(
            f"{flag}: {shown_bytes(needed)} of {where} are needed and {shown_bytes(free)} are free on {device}; "
            f"choose a smaller --{flag}, or {smaller}"
        )


def weights_bytes(folder: Path, bytes_per_weight: int, bits_per_weight: int | None = None) -> int:
    """What the weights in a checkpoint's folder take when their floating point numbers have this many bytes.

    Read from the headers of its safetensors files; other formats count with the size of their files.
    """
    files = weight_files(folder)
    if any(file.suffix == ".safetensors" for file in files):
        tensors = (tensor for file in files if file.suffix == ".safetensors" for tensor in _tensors(file))
        return sum(_tensor_bytes(name, entry, bytes_per_weight, bits_per_weight) for name, entry in tensors)
    stored = {"float16": 2, "bfloat16": 2}.get(str(_config(folder).get("dtype", _config(folder).get("torch_dtype"))), 4)
    return sum(file.stat().st_size for file in files) * bytes_per_weight // stored


def weight_files(folder: Path) -> list[Path]:
    """The files that have a checkpoint's weights, as `from_pretrained` looks for them: safetensors before others, one
    file before the parts that an index names."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        if (folder / stem).is_file():
            return [folder / stem]
        if (folder / f"{stem}.index.json").is_file():
            return [folder / shard for shard in _shards(folder / f"{stem}.index.json") if (folder / shard).is_file()]
    for pattern in ("*.safetensors", "*.bin", "*.pth", "*.pt"):
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def missing_shards(folder: Path) -> list[str]:
    """Files that the checkpoint's index names and the folder lacks."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        if (folder / stem).is_file():
            return []
        if (folder / f"{stem}.index.json").is_file():
            return [shard for shard in _shards(folder / f"{stem}.index.json") if not (folder / shard).is_file()]
    return []


def _shards(index: Path) -> list[str]:
    names = read_json(index).get("weight_map")
    return sorted(set(map(str, names.values()))) if isinstance(names, dict) else []


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if it has none: what is broken is told by whoever loads the checkpoint."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def free_bytes(device: "torch.device") -> int | None:
    """What a device has left; None if that can't be told."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return free_ram_bytes()


def free_ram_bytes() -> int | None:
    """The memory that this process may still take: of the machine, or of its container if that is less."""
    if sys.platform != "linux":
        try:
            import psutil
        except ImportError:
            return None
        return int(psutil.virtual_memory().available)
    entries = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    machine = int(entries["MemAvailable"].split()[0]) * 1024
    return min([machine, *_free_in_cgroups(Path("/proc/self/cgroup").read_text(), CGROUPS)])


def _free_in_cgroups(membership: str, root: Path) -> Iterator[int]:
    """What each limit above this process leaves: control groups of both versions, from its own up to the root.

    In a container the file system may show its own group as the root, whatever path the membership says.
    """
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, usage, inactive = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, usage = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            inactive = "total_inactive_file"
        else:
            continue
        own = base / path.strip("/")
        for group in [own, *own.parents]:
            if (group / limit).is_file() and (group / limit).read_text().strip().isdigit():
                statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                used = int((group / usage).read_text()) - int(statistics.get(inactive, 0))  # inactive pages come back
                yield max(0, int((group / limit).read_text()) - used)
            if group == base:
                break


def shown_bytes(count: int) -> str:
    """As people write it: 512 MB, 16.1 GB (powers of ten, as the hub and the makers of disks count)."""
    for power, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= power:
            return f"{count / power:.1f} {unit}" if count < 100 * power else f"{count / power:.0f} {unit}"
    return f"{count} bytes"


def _tensors(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and descriptions of a safetensors file's tensors, from its header; none if that is broken."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length <= HEADER_LIMIT_BYTES else {}
    except (OSError, ValueError):
        header = {}
    for name, entry in header.items() if isinstance(header, dict) else ():
        if isinstance(entry, dict) and "shape" in entry:
            yield name, entry


def _tensor_bytes(name: str, entry: dict[str, Any], bytes_per_weight: int, bits_per_weight: int | None) -> int:
    count = 1
    for size in entry["shape"]:
        count *= size
    if entry.get("dtype") not in ("F64", "F32", "F16", "BF16"):
        return count * ELEMENT_BYTES.get(entry.get("dtype", ""), 1)
    # bitsandbytes quantises the matrices of linear layers, but neither embeddings nor the output's matrix.
    is_linear = len(entry["shape"]) == 2 and "embed" not in name and not name.startswith("lm_head")
    if bits_per_weight is not None and is_linear:
        return count * bits_per_weight // 8
    return count * bytes_per_weight


def _config(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json")

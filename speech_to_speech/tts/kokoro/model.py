"""Kokoro-82M's weights and voices, loaded by its library with nothing left to chance or to the network."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_to_speech.errors import CheckpointError, SettingsError
from speech_to_speech.tts.kokoro.languages import Phonemes
from speech_to_speech.weights import checkpoints

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

REPOSITORY = "hexgrad/Kokoro-82M"
WEIGHTS = "kokoro-v1_0.pth"
SAMPLE_RATE_HZ = 24_000
MAX_PHONEMES = 510  # phonemes of one call; a voice has a style for each length up to this one
MARKS = (".!?…", ";:", ",—", " ")  # a longer text is cut at these, the best first


def load_model(folder: Path, device: "torch.device", *, name: str, flag: str) -> Any:
    """The library's `KModel` from a folder with config.json and kokoro-v1_0.pth, on the device.

    Raises:
        CheckpointError: a file is missing or broken, is of another model, or does not fit.
    """
    import torch

    with checkpoints.importing():
        from kokoro import KModel
    with checkpoints.loading(name, "a Kokoro model", flag=flag), warnings.catch_warnings():
        if not (folder / WEIGHTS).is_file():
            raise CheckpointError(f"{flag}: {name} has no {WEIGHTS}; choose {REPOSITORY}, or a folder with its files")
        checkpoints.require_memory(folder, device, torch.float32, flag=flag)
        # The library builds some layers in a way that PyTorch has a newer one for.
        warnings.filterwarnings("ignore", message=".*weight_norm.* is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message="dropout option adds dropout after all", category=UserWarning)
        model = KModel(repo_id=REPOSITORY, config=str(folder / "config.json"), model=str(folder / WEIGHTS))
        _require_weights(model, folder / WEIGHTS, name=name, flag=flag)
        _fix_weights(model)
        return model.to(device).eval()


def _require_weights(model: Any, file: Path, *, name: str, flag: str) -> None:
    """Refuse weights that are not all there: the library would keep random numbers in their place."""
    import torch

    stored = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    for part, module in model.named_children():
        weights = {key.removeprefix("module."): weight for key, weight in stored.get(part, {}).items()}
        for key, weight in module.state_dict().items():
            if key not in weights or weights[key].shape != weight.shape:
                raise CheckpointError(f"{flag}: {name} lacks {part}.{key}; choose {REPOSITORY}, or download it again")


def _fix_weights(model: Any) -> None:
    """Normalise the weights once, not anew in each call."""
    from torch.nn.utils import remove_weight_norm
    from torch.nn.utils.weight_norm import WeightNorm

    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)


def load_voice(folder: Path, voice: str, device: "torch.device", *, flag: str) -> "torch.Tensor":
    """A voice: a style for each number of phonemes, shape [510, 1, 256].

    Raises:
        SettingsError: there is none of this name, or its file is broken.
    """
    import torch

    file = folder / "voices" / f"{voice}.pt"
    if not file.is_file():
        there = voice_names(folder, voice[:1]) or voice_names(folder, "a-z")
        raise SettingsError(f"{flag}: unknown voice {voice!r}; there are {', '.join(there) or 'none'}")
    try:
        pack = torch.load(file, map_location=device, weights_only=True)
        styles = pack.reshape(-1, 1, 256)
    except Exception as error:
        raise SettingsError(
            f"{flag}: the voice {file} is broken ({type(error).__name__}); download it again"
        ) from error
    if len(styles) < MAX_PHONEMES:
        raise SettingsError(f"{flag}: the voice {file} has {len(styles)} styles, not {MAX_PHONEMES}")
    return styles  # type: ignore[no-any-return]  # torch.load is not typed


def voice_names(folder: Path, letters: str) -> list[str]:
    """The voices in a checkpoint's folder whose names begin with one of these letters."""
    return sorted(file.stem for file in folder.glob(f"voices/[{letters}][fm]_*.pt"))


def load_voices(folder: Path, letters: str, device: "torch.device", *, flag: str) -> dict[str, "torch.Tensor"]:
    """Those voices by their names; a broken one is left out with a warning."""
    voices = {}
    for name in voice_names(folder, letters):
        try:
            voices[name] = load_voice(folder, name, device, flag=flag)
        except SettingsError as error:
            logger.warning("%s", error)
    return voices


def pipeline(code: str, model: Any) -> Any:
    """The library's `KPipeline` for a language, which speaks phonemes and makes none itself."""
    from kokoro import KPipeline

    class Pipeline(KPipeline):  # type: ignore[misc]  # kokoro is not typed
        """Without the library's constructor, which would download what it misses."""

        def __init__(self) -> None:
            self.repo_id = REPOSITORY
            self.lang_code = code
            self.model = model
            self.voices: dict[str, Any] = {}

    return Pipeline()


def pieces(phonemes: Phonemes) -> list[Phonemes]:
    """What the pipeline takes at once. Tokens it cuts by itself; a string of more than 510 phonemes is cut here."""
    if isinstance(phonemes, list):
        return [phonemes]
    cut: list[Phonemes] = []
    rest = phonemes.strip()
    while len(rest) > MAX_PHONEMES:
        end = next(filter(None, (_last_mark(rest, marks) for marks in MARKS)), MAX_PHONEMES)
        cut.append(rest[:end].strip())
        rest = rest[end:].strip()
    return [*cut, rest] if rest else cut


def _last_mark(text: str, marks: str) -> int:
    """Where the last of these marks among the first 510 characters ends; 0 if none is behind their first third."""
    return 1 + max(text.rfind(mark, MAX_PHONEMES // 3, MAX_PHONEMES) for mark in marks)

"""One voice of MMS: a VITS model (https://arxiv.org/abs/2106.06103) and its tokenizer.

VITS makes the latents of a whole sentence at once, which is quick; its vocoder has most of the work, and does it window
by window (see `vocoder`).
"""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_to_speech.config.registry import extra
from speech_to_speech.errors import BackendMissing
from speech_to_speech.tts.mms.vocoder import Vocoder
from speech_to_speech.weights import checkpoints

if TYPE_CHECKING:
    import torch

MAX_CHARACTERS = 1000  # characters of a text; the pipeline's pieces are far shorter
UROMAN = extra("mms")

_building_romaniser = threading.Lock()


class Voice:
    """A loaded voice. `users` is kept by the `Voices` that hold it."""

    def __init__(self, model: Any, tokenizer: Any, device: "torch.device", dtype: "torch.dtype") -> None:
        from torch import nn
        from torch.nn.utils import parametrize

        self.users = 0
        self.sample_rate_hz = int(model.config.sampling_rate)
        self._device = device
        self._tokenizer = tokenizer
        for module in list(model.modules()):  # each call would otherwise compute the weights anew
            for name in list(getattr(module, "parametrizations", ())):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        # Rounding would shift what is spoken when, so only the vocoder may run in half precision.
        self.vocoder = Vocoder(model.decoder, device, dtype)
        model.decoder = _no_vocoder()
        model.posterior_encoder = nn.Identity()  # only training needs this part, a fifth of the weights
        self._model = model.to(device).float().eval()

    @classmethod
    def load(cls, folder: Path, device: "torch.device", dtype: "torch.dtype", *, name: str, flag: str) -> "Voice":
        """Read a checkpoint.

        Raises:
            CheckpointError: it is broken, no VITS model, or does not fit.
            BackendMissing: it reads romanised text, and `uroman` is not installed.
        """
        import torch
        from transformers import VitsModel, VitsTokenizer

        with checkpoints.loading(name, "an MMS voice", flag=flag):
            checkpoints.require_memory(folder, device, torch.float32, flag=flag)
            model = checkpoints.load_pretrained(
                VitsModel, folder, flag=flag, may_lack=("^posterior_encoder",), dtype=torch.float32
            )
            tokenizer = VitsTokenizer.from_pretrained(folder, local_files_only=True)
            voice = cls(model, tokenizer, device, dtype)
            voice.tokens("a")  # a tokenizer that needs a package which is not installed fails here
        if tokenizer.is_uroman:
            romaniser()
        return voice

    @functools.cached_property
    def byte_count(self) -> int:
        """What its weights take on the device."""
        weights = [*self._model.parameters(), *self._model.buffers()]
        rest: int = sum(weight.numel() * weight.element_size() for weight in weights)
        return rest + self.vocoder.byte_count

    @property
    def sample(self) -> str:
        """A few characters that it knows: for warm-up."""
        return "".join(character for character in self._tokenizer.get_vocab() if character.isalpha())[:10]

    def tokens(self, text: str) -> list[int]:
        """The text as the model reads it; empty if it has no character that the voice knows."""
        text = text[:MAX_CHARACTERS]
        if self._tokenizer.is_uroman and not text.isascii():
            # The tokenizer would do the same, but would build its romaniser, which takes seconds, for each text.
            text = romaniser().romanize_string(text).encode("ascii", "ignore").decode()
        tokens: list[int] = self._tokenizer(text).input_ids
        return tokens if len(tokens) > int(self._tokenizer.add_blank) else []

    def latents(self, texts: Sequence[list[int]], speaking_rate: float) -> list["torch.Tensor"]:
        """What the vocoder speaks, for each of some texts given as tokens: shape [channels, frames].

        `speaking_rate` is relative to the voice's own.
        """
        import torch

        longest = max(len(text) for text in texts)
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=self._device)
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=self._device)
        with torch.inference_mode():
            output = self._model(
                input_ids=ids,
                attention_mask=mask,
                speaking_rate=self._model.speaking_rate * speaking_rate,
                return_dict=True,
            )
        frames = (output.sequence_lengths // self.vocoder.frame_samples).tolist()
        return [latents[:, :length] for latents, length in zip(output.spectrogram, frames, strict=True)]


def romaniser() -> Any:
    """The one romaniser (https://github.com/isi-nlp/uroman) of this process; it takes seconds to build.

    Raises:
        BackendMissing: the package is not installed.
    """
    with _building_romaniser:
        return _romaniser()


@functools.cache
def _romaniser() -> Any:
    try:
        import uroman
    except ImportError:
        raise BackendMissing(f"this voice of MMS reads romanised text, which needs uroman: {UROMAN}") from None
    return uroman.Uroman()


def _no_vocoder() -> Any:
    """In the place of the model's vocoder, which is called by itself."""
    from torch import nn

    class NoVocoder(nn.Module):
        def forward(self, latents: "torch.Tensor", condition: "torch.Tensor | None" = None) -> "torch.Tensor":
            return latents.new_zeros(latents.shape[0], 1, 1)

    return NoVocoder()

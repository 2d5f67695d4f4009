"""The vocoder of a VITS model, a HiFi-GAN (https://arxiv.org/abs/2010.05646), one window of a sentence at a time.

It has most of VITS's work, but looks only some frames to both sides: a window with that margin gives the same sound as
the whole sentence. Most of the margin is for its first stage, so it is cut away stage by stage: the later stages, which
have more samples, compute little twice.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speech_to_speech.audio.samples import Samples

if TYPE_CHECKING:
    import torch

OUTER_MARGIN = 3  # the first and the last convolution, with kernels of 7, look so far to each side


@dataclass(frozen=True)
class Stage:
    """A stage makes `rate` samples of one; it needs `margin` of its own input, `kept` of what it has made of it."""

    rate: int
    margin: int
    kept: int


def stages_of(config: Any) -> list[Stage]:
    """The stages of a VITS model's vocoder, with the margins that they and those behind them need."""
    widest = max(
        sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)
        for kernel, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    )
    stages: list[Stage] = []
    behind = OUTER_MARGIN
    for rate, kernel in zip(reversed(config.upsample_rates), reversed(config.upsample_kernel_sizes), strict=True):
        kept = behind + widest
        behind = -(-(kept + kernel) // rate)
        stages.insert(0, Stage(rate, behind, kept))
    return stages


class Vocoder:
    """Latents of shape [channels, frames] to sound. `module` is the model's `VitsHifiGan`."""

    def __init__(self, module: Any, device: "torch.device", dtype: "torch.dtype") -> None:
        self._module = module.to(device, dtype).eval()
        self._dtype = dtype
        self._stages = stages_of(module.config)
        self.frame_samples: int = math.prod(stage.rate for stage in self._stages)
        """How many samples a frame becomes."""
        self.margin = OUTER_MARGIN + self._stages[0].margin
        """How many frames to each side of a frame change its sound."""

    @property
    def byte_count(self) -> int:
        """What its weights take on the device."""
        return sum(weight.numel() * weight.element_size() for weight in self._module.parameters())

    def speak(self, windows: "torch.Tensor", first: int, count: int) -> list[Samples]:
        """The sound of `count` frames from the frame `first` on, for windows of shape [batch, channels, frames].

        A window has `margin` frames on both sides of these, or less where the sentence begins or ends.
        """
        import torch
        from torch.nn.functional import leaky_relu

        vocoder, slope = self._module, self._module.config.leaky_relu_slope
        before, after = first, windows.shape[2] - first - count
        with torch.inference_mode():
            hidden = vocoder.conv_pre(windows.to(self._dtype))
            for number, stage in enumerate(self._stages):
                hidden, before, after = _cut(hidden, before, after, stage.margin)
                hidden = vocoder.upsampler[number](leaky_relu(hidden, slope))
                hidden, before, after = _cut(hidden, before * stage.rate, after * stage.rate, stage.kept)
                blocks = vocoder.resblocks[number * vocoder.num_kernels : (number + 1) * vocoder.num_kernels]
                hidden = sum(block(hidden) for block in blocks) / vocoder.num_kernels
            hidden, before, after = _cut(hidden, before, after, OUTER_MARGIN)
            waves, _, _ = _cut(torch.tanh(vocoder.conv_post(leaky_relu(hidden))), before, after, 0)
            return list(waves[:, 0].float().cpu().numpy())


def _cut(hidden: "torch.Tensor", before: int, after: int, margin: int) -> tuple["torch.Tensor", int, int]:
    """Leave no more than `margin` samples on each side of those asked for; there were `before` and `after`."""
    start, stop = max(0, before - margin), hidden.shape[2] - max(0, after - margin)
    return hidden[..., start:stop], min(before, margin), min(after, margin)

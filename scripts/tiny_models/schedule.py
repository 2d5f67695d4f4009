"""The optimiser that both trainings use."""

import math
from collections.abc import Iterable

import torch
from torch import nn

WARM_UP = 60
LAST = 0.03  # of the learning rate, at the end


class Training:
    """AdamW with a warm-up and a cosine, and clipped gradients."""

    def __init__(self, parameters: Iterable[nn.Parameter], steps: int, learning_rate: float) -> None:
        self._parameters = list(parameters)
        self._optimiser = torch.optim.AdamW(self._parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)

        def share(step: int) -> float:
            fall = LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * step / steps))
            return min((step + 1) / WARM_UP, 1.0) * fall

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, share)

    def step(self, loss: torch.Tensor) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._schedule.step()

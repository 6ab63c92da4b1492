"""A running average of a network's weights, which rank better than those of any one step."""

import copy

import torch
from torch import nn


class WeightAverage(nn.Module):
    """A copy of a network whose weights follow those that are trained, as their exponential average.

    Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging. At most n / (n + 9) is kept at
    step n, so that the first steps, far from where training goes, are soon forgotten.

    Attributes:
        network: The copy.

    Args:
        network: What is trained.
        keep: What a step keeps of the average, below 1.
    """

    steps: torch.Tensor
    """() int64, steps followed."""

    def __init__(self, network: nn.Module, *, keep: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.keep = keep
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Move towards the weights of `network` as they are now."""
        self.steps += 1
        n = int(self.steps)
        share = 1.0 - min(self.keep, n / (n + 9.0))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), share)

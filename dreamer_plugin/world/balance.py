"""Learned weights of groups of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Harmony(nn.Module):
    """Adds losses, each group with a weight that is learned along.

        total = sum over groups of  exp(-s) L + log(1 + exp(s))  + losses of no group

    L is what the group's losses come to with their scales; s begins as 0. The optimum is where
    `exp(-s) L = sigmoid(s)`: a large loss weighs little, a small one at most twice its scale.
    Source: HarmonyDream (arXiv:2310.00344, thuml/HarmonyDream @ 0a22e33), after the weights by
    uncertainty of Kendall et al. (arXiv:1705.07115).

    Args:
        groups: name of a group to the names of its losses.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.groups = {name: tuple(losses) for name, losses in groups.items()}
        self.s = nn.Parameter(torch.zeros(len(self.groups)))

    def forward(self, scaled: Mapping[str, Tensor]) -> Tensor:
        """Losses by name, each 0-d and times its scale, to their total, 0-d."""
        grouped = {name for losses in self.groups.values() for name in losses}
        total = [loss for name, loss in scaled.items() if name not in grouped]
        for s, losses in zip(self.s, self.groups.values(), strict=True):
            together = torch.stack([scaled[name] for name in losses]).sum()
            total.append(torch.exp(-s) * together + F.softplus(s))
        return torch.stack(total).sum()

    def weights(self) -> dict[str, Tensor]:
        """`exp(-s)` as `weight/<group>`, 0-d, detached."""
        names = (f"weight/{name}" for name in self.groups)
        return dict(zip(names, torch.exp(-self.s.detach()), strict=True))

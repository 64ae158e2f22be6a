"""Filtering that keeps little for its gradient: values inside pieces are computed twice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dreamer_plugin.errors import UsageError
from dreamer_plugin.world.rssm import RSSM, plain_scan


class RecomputingScan:
    """`RSSM.scan` in pieces, of which only the first state and the results are kept.

        steps   0 1 2 3 | 4 5 6 7 | 8 9
        kept    ^         ^         ^     and one piece's inner values at a time, going back

    All noise comes from outside, so the second pass draws what the first drew; gradients are
    those of `plain_scan`.

    Args:
        steps: length of a piece.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise UsageError(f"world.recompute is {steps}, but must be at least 0")
        self.steps = steps

    def __call__(
        self,
        rssm: RSSM,
        embed: Tensor,
        actions: Tensor,
        is_first: Tensor,
        start: tuple[Tensor, Tensor],
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `plain_scan`."""
        pieces = (x.split(self.steps, 1) for x in (embed, actions, is_first, noise))
        out = []
        for embed_p, actions_p, is_first_p, noise_p in zip(*pieces, strict=True):
            states: tuple[Tensor, Tensor, Tensor] = checkpoint(
                plain_scan,
                rssm,
                embed_p,
                actions_p,
                is_first_p,
                start,
                noise_p,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            start = states[0][:, -1], states[1][:, -1]
            out.append(states)
        deters, stochs, posts = (torch.cat(x, 1) for x in zip(*out, strict=True))
        return deters, stochs, posts

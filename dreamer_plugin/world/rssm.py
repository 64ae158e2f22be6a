"""Recurrent state-space model: filtering along observations, and dreaming without them.

The time index of the inputs of `observe` (o: embedding, a: action that led there):

    step        0     1     2     …
    embed       e0    e1    e2
    prev_action a-1   a0    a1            zero and unused where is_first
    is_first    1     0     0             state and action become zero, then the core still runs
    deter       h0    h1    h2            h_t = core(h_(t-1), z_(t-1), a_(t-1))
    post        q0    q1    q2            from (h_t, e_t);   z_t ~ q_t
    prior       p0    p1    p2            from h_t alone

Source: DreamerV3 paper (arXiv 2301.04104), world model learning; `dreamerv3/rssm.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from dreamer_plugin.errors import choose
from dreamer_plugin.keys import Fields
from dreamer_plugin.nets.layers import MLP, OFFICIAL, Linear, Style
from dreamer_plugin.ops.divergence import FLOORS, KL_FORMS
from dreamer_plugin.world.cores import AnyCore
from dreamer_plugin.world.latent import Latent

Scan: TypeAlias = Callable[
    ["RSSM", Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor], tuple[Tensor, Tensor, Tensor]
]


def forget(x: Tensor, is_first: Tensor) -> Tensor:
    """`x` with zeros where an episode begins, whatever stood there: NaN times 0 would stay NaN.

    Args:
        x: `[*batch, ...]`. is_first: `[*batch]` bool.

    Returns:
        As `x`. Source: V3's `nets.mask`, a selection.
    """
    return x.masked_fill(is_first.view(*is_first.shape, *[1] * (x.ndim - is_first.ndim)), 0.0)


class RSSM(nn.Module):
    """Deterministic state from a recurrent core, stochastic state from a latent.

    Args:
        core: recurrent core of width D.
        latent: distribution of the stochastic state.
        embed: E, size of the embeddings.
        hidden: width of the prior's and posterior's layers.
        prior_layers, posterior_layers: units before the output layer.
        absolute: the posterior sees the embedding alone.
        free_nats: floor of each half of the KL loss.
        learned_start: an episode starts from a learned deter and the prior's mode there, instead
            of from zeros. style: of the layers.
        free_over: what the floor holds for, `"each"` step, the `"mean"` of a batch, or each
            `"variable"`. kl: form of the loss, of `ops.divergence.KL_FORMS`.

    Attributes:
        scan: how sequences are filtered; builders may put a faster form here.
    """

    def __init__(
        self,
        core: AnyCore,
        latent: Latent,
        embed: int,
        hidden: int,
        prior_layers: int = 2,
        posterior_layers: int = 1,
        absolute: bool = False,
        free_nats: float = 1.0,
        learned_start: bool = False,
        style: Style = OFFICIAL,
        free_over: str = "each",
        kl: str = "balanced",
    ) -> None:
        super().__init__()
        self.core, self.latent, self.style = core, latent, style
        choose(FLOORS, free_over, "world.free_over")
        self.free_over, self.kl_form = free_over, choose(KL_FORMS, kl, "world.kl")
        self.start = nn.Parameter(torch.zeros(core.deter)) if learned_start else None
        self.absolute, self.free_nats = absolute, free_nats
        self.posterior_layers = posterior_layers
        seen = embed if absolute else core.deter + embed
        self.posterior = self._params_net(seen, posterior_layers, hidden)
        self.prior = self._params_net(core.deter, prior_layers, hidden)
        self.scan: Scan = plain_scan

    def _params_net(self, inputs: int, layers: int, hidden: int) -> nn.Sequential:
        mlp = MLP(inputs, layers, hidden, self.style)
        out = Linear(mlp.out_features, self.latent.params_size, fan=self.style.fan)
        return nn.Sequential(mlp, out)

    @property
    def feat_size(self) -> int:
        """F, length of `feat`."""
        return self.core.deter + self.stoch_size

    @property
    def stoch_size(self) -> int:
        """Flat size of the stochastic state."""
        return int(torch.Size(self.latent.shape).numel())

    @property
    def noise_size(self) -> int:
        """Uniform numbers that one draw of the stochastic state takes."""
        return int(torch.Size(self.latent.noise_shape).numel())

    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """State before an episode: deter `[B, D]`, stoch `[B, *latent]`, zeros unless learned."""
        if self.start is not None:
            deter = torch.tanh(self.start).repeat(batch, 1)
            return deter, self.latent.mode(self.latent.params(self.prior(deter)))
        weight = self.core.gates.weight
        deter = weight.new_zeros(batch, self.core.deter)
        return deter, weight.new_zeros(batch, *self.latent.shape)

    def feat(self, deter: Tensor, stoch: Tensor) -> Tensor:
        """`[..., D], [..., *latent] -> [..., F]`, the deterministic part first."""
        return torch.cat([deter, self.flat(stoch)], -1)

    def flat(self, stoch: Tensor) -> Tensor:
        """`[..., *latent] -> [..., S*K]`."""
        return stoch.flatten(-len(self.latent.shape))

    def observe(
        self,
        embed: Tensor,
        prev_action: Tensor,
        is_first: Tensor,
        start: tuple[Tensor, Tensor],
        noise: Tensor,
    ) -> TensorDict:
        """Filter a batch of sequences.

        Args:
            embed: `[B, T, E]`. prev_action: `[B, T, A]`. is_first: `[B, T]` bool.
            start: deter `[B, D]` and stoch `[B, *latent]` before the first step.
            noise: `[B, T, *latent noise]` uniform in [0, 1).

        Returns:
            TensorDict `[B, T]`: deter, stoch (with gradients), post, prior (parameters), feat.
        """
        actions = self.core.embed_action(forget(prev_action, is_first))  # B T hidden, or A
        deter, stoch, post = self.scan(self, embed, actions, is_first, start, noise)
        states = {
            "deter": deter,
            "stoch": stoch,
            "post": post,
            "prior": self.latent.params(self.prior(deter)),
            "feat": self.feat(deter, stoch),
        }
        return TensorDict(states, batch_size=embed.shape[:2])

    def filter_step(
        self, deter: Tensor, stoch: Tensor, action_embed: Tensor, embed: Tensor, is_first: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One observed step: state, embedded action and embedding -> next deter, posterior."""
        deter, stoch = self.reset(deter, stoch, is_first)
        deter = self.core(deter, self.flat(stoch), action_embed)
        return deter, self.post(deter, embed)

    def reset(self, deter: Tensor, stoch: Tensor, is_first: Tensor) -> tuple[Tensor, Tensor]:
        """Put rows whose episode begins back to the initial state. `is_first`: `[B]` bool."""
        if self.start is not None:
            rows = is_first.unsqueeze(-1), is_first.view(-1, *[1] * len(self.latent.shape))
            fresh = zip(rows, self.initial(1), (deter, stoch), strict=True)
            deter, stoch = (torch.where(row, new, old) for row, new, old in fresh)
            return deter, stoch
        return forget(deter, is_first), forget(stoch, is_first)

    def post(self, deter: Tensor, embed: Tensor) -> Tensor:
        """Posterior parameters from `[..., D]` and `[..., E]`."""
        seen = embed if self.absolute else torch.cat([deter.to(embed.dtype), embed], -1)
        return self.latent.params(self.posterior(seen))

    def imagine_step(
        self, deter: Tensor, stoch: Tensor, action: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One dreamed step: `[N, D], [N, *latent], [N, A]`, noise `[N, *]` -> next deter, stoch."""
        deter = self.core(deter, self.flat(stoch), self.core.embed_action(action))
        raw = self.prior(deter)
        if not torch.is_grad_enabled():
            return deter, self.latent.draw(raw, noise)
        return deter, self.latent.sample(self.latent.params(raw), noise)

    def predict_step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """What `imagine_step` draws from: next deter and prior parameters."""
        deter = self.core(deter, self.flat(stoch), self.core.embed_action(action))
        return deter, self.latent.params(self.prior(deter))

    def kl(self, states: Fields) -> dict[str, Tensor]:
        """The losses `dyn` and `rep`, each `[B, T]` in nats and at least `free_nats`.

        The plain form has no `rep`.
        """
        params = states["post"], states["prior"]
        kl = self.latent.kl_each if self.free_over == "variable" else self.latent.kl
        halves = self.kl_form(kl, *params, self.free_nats, self.free_over)
        return dict(zip(("dyn", "rep"), halves, strict=False))


def scan_step(
    rssm: RSSM,
    deter: Tensor,
    stoch: Tensor,
    action_embed: Tensor,
    embed: Tensor,
    is_first: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """`RSSM.filter_step` and a draw: next deter, stoch and posterior parameters."""
    deter, post = rssm.filter_step(deter, stoch, action_embed, embed, is_first)
    return deter, rssm.latent.sample(post, noise), post


def plain_scan(
    rssm: RSSM,
    embed: Tensor,
    actions: Tensor,
    is_first: Tensor,
    start: tuple[Tensor, Tensor],
    noise: Tensor,
    step: Callable[..., tuple[Tensor, Tensor, Tensor]] = scan_step,
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter step by step; `scan.py` holds a faster form.

    Args:
        rssm: the model. embed: `[B, T, E]`. actions: from the core's `embed_action`, `[B, T, *]`.
        is_first, start, noise: as in `RSSM.observe`.
        step: `scan_step`, or a compiled form of it.

    Returns:
        deter `[B, T, D]`, stoch `[B, T, *latent]`, posterior parameters `[B, T, *]`.
    """
    deter, stoch = start
    out = []
    # Unbound once: the gradient of a slice per step would fill a whole sequence per step.
    steps = zip(*(x.unbind(1) for x in (embed, actions, is_first, noise)), strict=True)
    for embed_t, action_t, is_first_t, noise_t in steps:
        deter, stoch, post = step(rssm, deter, stoch, action_t, embed_t, is_first_t, noise_t)
        out.append((deter, stoch, post))
    deters, stochs, posts = (torch.stack(x, 1) for x in zip(*out, strict=True))
    return deters, stochs, posts

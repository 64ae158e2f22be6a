"""The agent: acting, all losses in one sum, one update.

One batch holds the records of a stretch of frames with one context column before it:

    column        0        1     2     …   T
    obs                    o1    o2        oT        encoded
    action        a0       a1    …                   shifted: a(t-1) led to o(t)
    deter, stoch  h0,z0                              stored latents: the start state

Source: `dreamerv3/agent.py`, `Agent`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from dreamer_plugin.behavior.actor_critic import ActorCritic
from dreamer_plugin.behavior.imagine import (
    Dreams,
    Step,
    dream_step,
    imagine,
)
from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.products import fast_products
from dreamer_plugin.ops.shift import shifted
from dreamer_plugin.optim import GroupedOptimizer, Numbers
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.updating import Losses, Turn, Updated, finite_each
from dreamer_plugin.world.model import WorldModel
from dreamer_plugin.world.rssm import forget

_OF_BEHAVIOR = ("policy", "value", "repval")
_LEARNED = "optimizer."  # begins the names of what the optimiser saves


@dataclass(frozen=True)
class Shift:
    """How images of an update are moved.

    Args:
        pixels: by how many at most, each row at random; 0 for not at all.
        targets: decoders tell the moved images, else the original ones.
    """

    pixels: int = 0
    targets: bool = True


class Agent(nn.Module):
    """World model, behavior and optimiser.

    Args:
        world, behavior: the parts.
        scales: weight of every loss; its names must be exactly the losses' names. Without
            `repval`, that loss is not computed.
        optimizer: over all trained parameters, made by the builder.
        spaces: of the envs that it plays. dreams: of every update. shift: how its images are moved.
        precision: `torch.float32` or `torch.bfloat16`, of the networks' inner computation.
        seed: of the noise drawn in updates.
        context: columns before those that are trained on: 1, whose latents are the start, or 0:
            then every row starts from the initial state.

    Raises:
        ValueError: when a loss has no scale or a scale no loss, at the first update.
    """

    def __init__(
        self,
        world: WorldModel,
        behavior: ActorCritic,
        scales: Mapping[str, float],
        optimizer: GroupedOptimizer,
        spaces: Spaces,
        dreams: Dreams,
        shift: Shift,
        precision: torch.dtype = torch.float32,
        seed: int = 0,
        context: int = 1,
    ) -> None:
        super().__init__()
        self.world, self.behavior = world, behavior
        self.scales = dict(scales)
        self.optimizer = optimizer
        self.spaces = spaces
        self.dreams, self.shift = dreams, shift
        self.precision, self.context = precision, context
        self.dream_step: Step = dream_step
        self.updating: Updating = Agent.update_on_device
        self.generator = torch.Generator(self.device).manual_seed(seed)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self.optimizer.updates

    # Acting.

    @property
    def noise_size(self) -> int:
        """Uniform numbers that one decision takes."""
        return self.world.rssm.noise_size + self.behavior.actor.noise_size

    @torch.no_grad()
    def initial(self, batch: int) -> TensorDict:
        """State before the first frame: `[batch]` with deter, stoch and a zero prev_action."""
        deter, stoch = self.world.rssm.initial(batch)
        action = deter.new_zeros(batch, self.spaces.action_size)
        state = {"deter": deter, "stoch": stoch, "prev_action": action}
        return TensorDict(state, batch_size=[batch])

    @torch.no_grad()
    def act(
        self,
        obs: Mapping[str, Tensor] | TensorDict,
        is_first: Tensor,
        state: TensorDict,
        noise: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, TensorDict]:
        """One decision for N envs.

        Args:
            obs: `{name: [N, *shape]}` as the env gives it.
            is_first: `[N]` bool; those rows start an episode.
            state: `[N]`, from `initial` or the last call.
            noise: `[N, noise_size]` uniform in [0, 1).
            deterministic: mode of posterior and policy instead of samples.

        Returns:
            Actions `[N, A]` encoded, unclipped; the next state.
        """
        kept = state["deter"], state["stoch"], state["prev_action"]
        with self.autocast(acting=True):
            action, deter, stoch = self.decide(obs, is_first, kept, noise, deterministic)
        after = {"deter": deter, "stoch": stoch, "prev_action": action}
        return action, TensorDict(after, batch_size=state.batch_size)

    def decide(
        self,
        obs: Mapping[str, Tensor] | TensorDict,
        is_first: Tensor,
        state: tuple[Tensor, Tensor, Tensor],
        noise: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `act` computes, of plain tensors.

        Args:
            obs, is_first, noise, deterministic: as of `act`.
            state: deter `[N, D]`, stoch `[N, *latent]`, prev_action `[N, A]`.

        Returns:
            Action, which is the next prev_action, next deter and stoch.
        """
        rssm = self.world.rssm
        deter, stoch, prev_action = state
        prev_action = rssm.core.embed_action(forget(prev_action, is_first))
        embed = self.world.encoder(obs)
        deter, post = rssm.filter_step(deter, stoch, prev_action, embed, is_first)
        if deterministic:
            stoch = rssm.latent.mode(post)
        else:
            z_noise = noise[:, : rssm.noise_size].unflatten(-1, rssm.latent.noise_shape)
            stoch = rssm.latent.sample(post, z_noise)
        policy = self.behavior.actor(rssm.feat(deter, stoch))
        action = policy.mode() if deterministic else policy.sample(noise[:, rssm.noise_size :])
        return action, deter, stoch

    def latents(self, states: TensorDict) -> TensorDict:
        """Latents of any states as replay stores them, detached: deter and stoch."""
        stored = {
            "deter": states["deter"].detach(),
            "stoch": self.world.rssm.latent.to_storage(states["stoch"].detach()),
        }
        return TensorDict(stored, batch_size=states.batch_size)

    # Learning.

    def update(self, batch: TensorDict) -> tuple[TensorDict, dict[str, Tensor]]:
        """One gradient step on one batch.

        Args:
            batch: `[B, 1+T]` records as replay samples them, on the agent's device.

        Returns:
            Fresh latents `[B, T]` to write back, and metrics (0-d tensors, not synchronised).

        Raises:
            NotFiniteUpdate: when the loss or a gradient is not finite; then nothing was changed but
                the noise that was drawn.
        """
        turns, update = self.optimizer.turns, self.updates
        model, behavior = (turns.learns(part, update) for part in ("model", "behavior"))
        follows = behavior and self.behavior.slow.due(turns.made("behavior", update))
        turn = Turn(model, behavior, follows)
        updated = self.updating(self, batch, turn, self.optimizer.numbers())
        finite = bool(updated.finite)  # waits for the device, which has all of its work by now
        self.optimizer.updates = update + finite
        if not finite:
            self.optimizer.zero_grad(set_to_none=True)
            raise updated.error()
        return updated.latents, updated.metrics

    def update_on_device(
        self, batch: TensorDict, turn: Turn, numbers: Sequence[Numbers]
    ) -> Updated:
        """The work of `update`; those of one turn differ in nothing but what tensors hold.

        Args:
            batch: as of `update`. turn: who learns. numbers: of the optimiser.
        """
        before = [buffer.clone() for buffer in self.buffers()]  # the losses move normalisers
        with fast_products(self.device, self.precision):
            losses = self.losses(self.unroll_context(batch), turn.model, turn.behavior)
            self.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
        grads = {n: p.grad for n, p in self.named_parameters() if p.grad is not None}
        each_finite = finite_each(grads.values())
        finite = losses.total.detach().isfinite() & each_finite.all()
        self.optimizer.step(finite=finite, numbers=numbers)
        if turn.follows:
            self.behavior.follow(finite)
        for buffer, old in zip(self.buffers(), before, strict=True):
            buffer.copy_(torch.where(finite, buffer, old))
        norms = {f"grad_norm/{name or 'all'}": norm for name, norm in self.optimizer.norms.items()}
        metrics = losses.metrics | norms
        return Updated(self.latents(losses.states), metrics, finite, each_finite, list(grads))

    def unroll_context(self, batch: TensorDict) -> TensorDict:
        """Cut the context column off: `[B, 1+T]` records to the `[B, T]` the world observes.

        Without context, `[B, T]` records, each row as if an episode began there.
        """
        if not self.context:
            batch = torch.cat([batch[:, :1], batch], 1)
            batch["is_first"][:, 1] = True
        inputs = batch[:, 1:].select("obs", "reward", "is_first", "is_last", "is_terminal")
        stoch = self.world.rssm.latent.from_storage(batch["stoch"][:, :1])
        start = {"deter": batch["deter"][:, :1].float(), "stoch": stoch}
        length = inputs.batch_size[1]
        inputs["start"] = TensorDict(
            {key: value.expand(-1, length, *value.shape[2:]) for key, value in start.items()},
            batch_size=inputs.batch_size,
        )
        inputs["prev_action"] = batch["action"][:, :-1]
        inputs["reward"] = self.world.reward_target(inputs["reward"])
        return inputs

    def losses(self, batch: TensorDict, model: bool = True, behavior: bool = True) -> Losses:
        """The losses of one batch, with gradients.

        Args:
            batch: `[B, T]`, from `unroll_context`.
            model, behavior: whose; without the model's, states are data.
        """
        with self.autocast():
            states, each = self.world_losses(batch, model)
            metrics: dict[str, Tensor] = {}
            if behavior:
                learned, metrics = self.behavior_losses(self.behavior, states, batch)
                each |= learned
        metrics |= {f"loss/{name}": value.detach().mean() for name, value in each.items()}
        metrics |= self._latent_metrics(states)
        if self.world.balance is not None:
            metrics |= self.world.balance.weights()
        names = [name for name in self.scales if (behavior if name in _OF_BEHAVIOR else model)]
        return Losses(each, self._total(each, names), states, metrics)

    def world_losses(
        self, batch: TensorDict, model: bool = True
    ) -> tuple[TensorDict, dict[str, Tensor]]:
        """States `[B, T]` of a batch, from the world's `observe`, and the losses of the world.

        Args:
            batch: `[B, T]`, from `unroll_context`.
            model: whether the world learns; else states are data, and there are no losses.
        """
        noise = self.noise(*batch.batch_size, *self.world.rssm.latent.noise_shape)
        code_size = self.world.encoder.noise_size
        code_noise = self.noise(*batch.batch_size, code_size) if code_size else None
        seen = self._shifted(batch) if self.shift.pixels else batch
        with torch.set_grad_enabled(model and torch.is_grad_enabled()):
            states = self.world.observe(seen, noise, code_noise)
        if not model:
            return states, {}
        return states, self.world.losses(states, seen if self.shift.targets else batch)

    def behavior_losses(
        self, behavior: ActorCritic, states: TensorDict, batch: TensorDict
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses of actor and critic: in dreams from the states, and along the records.

        Args:
            behavior: the agent's, or one of the same make.
            states: `[B, T]` deter, stoch and feat, and prior where dreams start from it.
            batch: `[B, T]` reward, is_last, is_terminal.

        Returns:
            Losses by name, and metrics.
        """
        last = self.dreams.starts(states.shape[1])
        starts, recorded = states[:, last], batch[:, last]
        starts = starts if behavior.settings.world_grad else starts.detach()
        if self.dreams.prior:
            starts["stoch"] = self._prior_draw(starts)
        dream = self.dream(starts, behavior)
        known = None
        if self.dreams.true_start:
            ends, discount = recorded["is_terminal"].flatten(), self.world.cont_discount
            known = behavior.settings.arrange.start(ends, discount)
        feat = states["feat"][:, last] if "repval" in self.scales else None
        return behavior.losses(self.world.judge, dream, known, feat, recorded)

    def _shifted(self, batch: TensorDict) -> TensorDict:
        """The batch with its images moved, all of a row alike; the rest is shared with it."""
        noise = self.noise(batch.batch_size[0], 2)
        moved = batch.clone(recurse=False)
        for key in self.world.encoder.images:
            moved["obs", key.name] = shifted(batch["obs", key.name], noise, self.shift.pixels)
        return moved

    def _prior_draw(self, starts: TensorDict) -> Tensor:
        """What the model expected at replayed steps before it saw them, `[B, T, *latent]`."""
        latent = self.world.rssm.latent
        return latent.sample(starts["prior"], self.noise(*starts.batch_size, *latent.noise_shape))

    def dream(self, starts: TensorDict, behavior: ActorCritic | None = None) -> TensorDict:
        """Imagine from states `[B, T]`, with a graph where one is learned through.

        Args:
            starts: deter and stoch. behavior: as of `behavior_losses`, by default the agent's.
        """
        behavior = behavior or self.behavior
        given = (
            self.world.rssm,
            behavior.actor,
            starts["deter"].flatten(0, 1),
            starts["stoch"].flatten(0, 1),
            self.dreams.horizon,
            self.noise(self.dreams.horizon + 1, starts.numel(), self.noise_size),
        )
        through = bool(behavior.settings.dynamics) or behavior.settings.world_grad
        return imagine(*given, self.dream_step, through)

    def _total(self, each: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
        """Weighted sum of mean losses, whose names must be `names`.

        The world's balance weighs on top of the scales where its losses are among them.
        """
        if each.keys() != set(names):
            odd = sorted(each.keys() ^ set(names))
            raise ValueError(f"losses and loss scales differ in {odd}")
        scaled = {name: self.scales[name] * value.mean() for name, value in each.items()}
        if self.world.balance is not None and "reward" in each:
            total: Tensor = self.world.balance(scaled)
            return total
        return torch.stack(list(scaled.values())).sum()

    @torch.no_grad()
    def _latent_metrics(self, states: TensorDict) -> dict[str, Tensor]:
        latent = self.world.rssm.latent
        return {
            "kl": latent.kl(states["post"], states["prior"]).mean(),
            "post_entropy": latent.entropy(states["post"]).mean(),
            "prior_entropy": latent.entropy(states["prior"]).mean(),
        }

    def noise(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) from the agent's own generator."""
        return torch.rand(shape, generator=self.generator, device=self.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Agent:
        """Moves generator and the optimiser's averages along, which are no modules."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.optimizer.move()
        if self.generator.device != self.device:
            saved = self.generator.get_state().cpu()
            self.generator = torch.Generator(self.device)
            self._load_generator(saved)
        return self

    def autocast(self, acting: bool = False) -> contextlib.AbstractContextManager[Any]:
        """Reduced precision for matrix products; small acting batches on a CPU stay in float32.

        Casting the weights costs a CPU more than one frame's products gain.

        Raises:
            UsageError: when the parameters were cast.
        """
        dtype = next(self.parameters()).dtype
        if dtype != torch.float32:
            raise UsageError(
                f"the agent's parameters are {dtype}, but must be torch.float32: leave them so; "
                "with precision=bfloat16 an agent is made that computes in less"
            )
        if self.precision == torch.float32 or (acting and self.device.type == "cpu"):
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.precision)

    # Saving: parameters alone are `state_dict`; an exact resume needs this.

    def training_state(self) -> dict[str, Tensor]:
        """Parameters, buffers, the optimiser's averages and counts, noise generator, flat."""
        learned = self.optimizer.named_state(dict(self.named_parameters()))
        return {
            **self.state_dict(),
            **{f"{_LEARNED}{name}": value for name, value in learned.items()},
            "generator": self.generator.get_state(),
        }

    def refuse_other(self, weights: Mapping[str, Tensor]) -> None:
        """`load_state_dict` takes what fits before it refuses the rest, and any numbers.

        Raises:
            RuntimeError: when some are missing, of another shape, or not finite.
        """
        own = {name: [*value.shape] for name, value in self.state_dict().items()}
        given = {name: [*value.shape] for name, value in weights.items()}
        if wrong := [name for name in {**own, **given} if own.get(name) != given.get(name)]:
            first = wrong[0]
            raise RuntimeError(
                f"{len(wrong)} weights are of another agent, the first {first}: "
                f"{given.get(first, 'missing')}, not {own.get(first, 'known')}"
            )
        for name, value in weights.items():
            if not (value.is_floating_point() and value.isfinite().all()):
                raise RuntimeError(f"{name} holds {value.dtype} that are no finite weights")

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `training_state`; nothing is shared with what is given.

        Raises:
            RuntimeError: as of `refuse_other`.
            ValueError: as of the optimiser's `refuse_other`.
        """
        params, length = dict(self.named_parameters()), len(_LEARNED)
        weights = {k: v for k, v in state.items() if k.startswith(("world.", "behavior."))}
        learned = {k[length:]: v for k, v in state.items() if k.startswith(_LEARNED)}
        self.refuse_other(weights)  # before anything is changed, as below
        self.optimizer.refuse_other(learned, params)
        self.load_state_dict(weights)
        self.optimizer.load_named_state(learned, params)
        self._load_generator(state["generator"].cpu())

    def _load_generator(self, saved: Tensor) -> None:
        """Go on with the noise; on a device of another kind, with other noise, but always that."""
        if saved.shape == self.generator.get_state().shape:
            self.generator.set_state(saved)
        else:
            digest = hashlib.sha256(saved.numpy().tobytes()).digest()
            self.generator.manual_seed(int.from_bytes(digest[:7], "little"))


Updating: TypeAlias = Callable[[Agent, TensorDict, Turn, Sequence[Numbers]], Updated]

"""The losses as TorchRL's `LossModule`s, for loops and optimisers of a user's own.

    batch [B, 1+T]  --WorldModelLoss-->  loss_<obs> loss_reward loss_cont loss_dyn loss_rep
                                         and `states` in the batch
    batch, states   --ActorCriticLoss->  loss_policy loss_value loss_repval
    batch [B, 1+T]  --DreamerLoss----->  all of them: the sum is what `Agent.update` steps on

Every output is a mean that its scale has weighed already, so their sum is the total. Parameters are
functional, as in all of TorchRL's losses, and shared with the agent; the slow critic is the target
parameters of `critic_network`, for `SoftUpdate(loss.actor_critic, tau=0.02)` to move. Keys are
remapped with `set_keys`. Only the normalisers change in a forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, cast

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase, TensorDictParams
from torch import Tensor, nn
from torchrl.objectives import LossModule

from dreamer_plugin import keys
from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.actor_critic import ActorCritic
from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.heads import Head
from dreamer_plugin.nets.twin import SlowCopy

STATES = "states"  # where the world's states stand in a batch
_FLAGS = (keys.IS_LAST, keys.IS_TERMINAL)


class Network(TensorDictModuleBase):  # type: ignore[misc]  # tensordict has no types
    """A part of the agent in the form that `convert_to_functional` takes.

    Args:
        part: the module; called with tensors.
    """

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.in_keys: list[Any] = []
        self.out_keys: list[Any] = []
        self.part = part

    def forward(self, *args: Tensor) -> Any:
        """What the part returns."""
        return self.part(*args)


class _TargetCritic(nn.Module):
    """The critic with the target parameters in the place of its own."""

    def __init__(self, loss: ActorCriticLoss) -> None:
        super().__init__()
        self._of = SimpleNamespace(loss=loss)  # no submodule: the loss owns this object

    def forward(self, feat: Tensor) -> Any:
        """Distribution of the value, without a gradient for the parameters."""
        loss = self._of.loss
        with loss.target_critic_network_params.to_module(loss.critic_network):
            return loss.critic_network(feat)


class DreamerLossModule(LossModule):  # type: ignore[misc]  # torchrl has no types
    """What the losses here share: the agent's parts, their keys, the scales.

    Args:
        agent: whose parameters are trained. Its optimiser is not used.

    Raises:
        UsageError: where the losses weigh themselves as they are learned.
    """

    @dataclass
    class _AcceptedKeys:
        obs: Any = keys.OBS
        action: Any = keys.ACTION
        reward: Any = keys.REWARD
        is_first: Any = keys.IS_FIRST
        is_last: Any = keys.IS_LAST
        is_terminal: Any = keys.IS_TERMINAL
        deter: Any = keys.DETER
        stoch: Any = keys.STOCH
        states: Any = STATES

    default_keys = _AcceptedKeys

    def __init__(self, agent: Agent) -> None:
        if agent.world.balance is not None:
            raise UsageError("losses that weigh themselves have no fixed sum: use Agent.update")
        super().__init__()
        # In a namespace, so that what is not trained here is no part of `parameters()`.
        self._parts = SimpleNamespace(agent=agent)
        self._selected: list[Any] = []

    @property
    def in_keys(self) -> list[Any]:
        """Keys of a batch that are read."""
        names = [field.name for field in fields(self.tensor_keys) if field.name != STATES]
        return [getattr(self.tensor_keys, name) for name in names]

    @in_keys.setter
    def in_keys(self, values: Any) -> None:
        raise AttributeError("in_keys follow from set_keys")

    @property
    def out_keys(self) -> list[Any]:
        """The losses, or those of them that `select_out_keys` left."""
        return self._selected or [f"loss_{name}" for name in self._names()]

    @out_keys.setter
    def out_keys(self, values: Any) -> None:
        self._selected = list(values)

    def _forward_value_estimator_keys(self, **kwargs: Any) -> None:
        """Nothing: returns are made by our own recursion, from continuations."""

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> DreamerLossModule:
        """Moves and casts the rest of the agent too, which acts and dreams."""
        super()._apply(fn)
        self._parts.agent._apply(fn)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies are made anew from a copy of the agent: else they would not share parameters."""
        parts = ((n, p) for n, p in self.named_modules() if isinstance(p, DreamerLossModule))
        names = {name: (vars(part.tensor_keys), part._selected) for name, part in parts}
        return _made_again, (type(self), self._parts.agent, names, self.training)

    def _names(self) -> list[str]:
        raise NotImplementedError

    def _records(self, batch: TensorDictBase) -> TensorDict:
        """The batch under our own keys."""
        names = [field.name for field in fields(self.tensor_keys) if field.name != STATES]
        return self._read(batch, names)

    def _read(self, batch: TensorDictBase, names: Iterable[str]) -> TensorDict:
        """Some of the batch, under our own keys."""
        places = {name: getattr(self.tensor_keys, name) for name in names}
        lacking = [place for place in places.values() if batch.get(place, None) is None]
        if lacking:
            states = " WorldModelLoss writes the states." if STATES in lacking else ""
            raise UsageError(
                f"The batch lacks {lacking}; it has {sorted(map(str, batch.keys()))}. "
                f"set_keys says where it has them.{states}"
            )
        context, shape = self._parts.agent.context, list(batch.batch_size)
        least = 2 if "repval" in self._names() else 1  # its values learn from the step after
        if len(shape) != 2 or shape[1] < context + least:
            form = "[B, 1+T]" if context else "[B, T]"
            raise UsageError(
                f"the batch is {shape}, but must be {form}, with T of at least {least}"
            )
        found = {name: batch.get(place) for name, place in places.items()}
        for name, value in found.items():
            self._check(name, places[name], value, tuple(batch.batch_size))
        return TensorDict(found, batch_size=batch.batch_size)

    def _check(self, name: str, place: Any, value: Any, batch: tuple[int, ...]) -> None:
        """Refuse what would be broadcast, or read as something else."""
        spaces, rssm = self._parts.agent.spaces, self._parts.agent.world.rssm
        if name == keys.OBS:
            for key in spaces.obs:
                seen = value.get(key.name, None) if isinstance(value, TensorDictBase) else None
                dtype = torch.uint8 if key.kind == "image" else None
                _require(f"{place}, {key.name}", seen, (*batch, *key.shape), dtype)
        elif name in (keys.IS_FIRST, *_FLAGS):
            _require(place, value, batch, torch.bool)
        elif name == keys.REWARD:
            _require(place, value, batch)
        elif name == keys.ACTION:
            _require(place, value, (*batch, spaces.action_size))
        elif name == keys.DETER:
            _require(place, value, (*batch, rssm.core.deter))
        elif name == keys.STOCH:
            _require(place, value, (*batch, *rssm.latent.storage_shape))

    def _weighed(self, each: dict[str, Tensor]) -> TensorDict:
        scales = self._parts.agent.scales
        return TensorDict(
            {f"loss_{name}": scales[name] * each[name].mean() for name in self._names()},
            batch_size=[],
        )


def _made_again(
    kind: type[DreamerLossModule],
    agent: Agent,
    names: dict[str, tuple[dict[str, Any], list[Any]]],
    training: bool,
) -> DreamerLossModule:
    """A loss of a copied agent.

    Args:
        names: keys and selected losses of it and of the losses inside it, by their names.
    """
    loss = kind(agent)
    for name, (tensor_keys, selected) in names.items():
        part = loss.get_submodule(name)
        part.set_keys(**tensor_keys)
        if selected:
            part.select_out_keys(*selected)
    loss.train(training)
    return loss


def _require(
    place: Any, value: Any, shape: tuple[int, ...], dtype: torch.dtype | None = None
) -> None:
    """Refuse what is not a tensor of this shape, and type where one is named."""
    wanted = f"{dtype or 'a tensor'} {list(shape)}"
    if not isinstance(value, Tensor):
        raise UsageError(f"{place} is {type(value).__name__}, but must be {wanted}")
    if tuple(value.shape) != shape or dtype not in (None, value.dtype):
        raise UsageError(f"{place} is {value.dtype} {list(value.shape)}, but must be {wanted}")


class WorldModelLoss(DreamerLossModule):
    """Reconstruction, reward, continuation and both KL halves.

    The batch gets `states`: deter, stoch and feat `[B, 1+T]` with their graph; at the context
    column the stored ones.

    Args:
        agent: whose world is trained.
    """

    world_network: Network
    world_network_params: TensorDictParams
    target_world_network_params: TensorDictParams

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.convert_to_functional(Network(agent.world), "world_network")

    def _names(self) -> list[str]:
        return [n for n in self._parts.agent.scales if n not in ("policy", "value", "repval")]

    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        """Losses of a batch `[B, 1+T]` of our replay; of other sources see `from_slices`."""
        agent: Agent = self._parts.agent
        batch = agent.unroll_context(self._records(tensordict))
        with self.world_network_params.to_module(self.world_network), agent.autocast():
            states, each = agent.world_losses(batch)
        more = ("prior",) if agent.dreams.prior else ()
        kept = states.select(keys.DETER, keys.STOCH, "feat", *more)
        if agent.context:
            start = batch["start"][:, :1]
            context = kept[:, :1].apply(torch.zeros_like).update(start)
            context["feat"] = agent.world.rssm.feat(start[keys.DETER], start[keys.STOCH])
            kept = torch.cat([context, kept], 1)
        tensordict.set(self.tensor_keys.states, kept)
        return self._weighed(each)


class ActorCriticLoss(DreamerLossModule):
    """Policy and value losses of dreams from the states, and the value loss along the records.

    Args:
        agent: whose actor and critic are trained; its world dreams, and is not trained but for
            what `replay_grad` sends through `states`.
    """

    actor_network: Network
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams
    critic_network: Network
    critic_network_params: TensorDictParams
    target_critic_network_params: TensorDictParams

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        behavior = agent.behavior
        self.convert_to_functional(Network(behavior.actor), "actor_network")
        self.convert_to_functional(
            Network(behavior.critic), "critic_network", create_target_params=True
        )
        self._tie()
        self.return_norm, self.value_norm = behavior.return_norm, behavior.value_norm
        self.advantage_norm = behavior.advantage_norm

    @property
    def in_keys(self) -> list[Any]:
        """Keys of a batch that are read."""
        k = self.tensor_keys
        return [k.reward, k.is_last, k.is_terminal, k.states]

    @in_keys.setter
    def in_keys(self, values: Any) -> None:
        raise AttributeError("in_keys follow from set_keys")

    def _tie(self) -> None:
        """What moves the target moves the agent's slow critic: both lie in the agent's memory."""
        slow = TensorDict.from_module(Network(self._parts.agent.behavior.slow.copy))
        target = self._modules["target_critic_network_params"]
        for key in slow.keys(True, True):
            target.get(key).data = slow[key].data

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> ActorCriticLoss:
        super()._apply(fn)
        self._tie()
        return self

    def _names(self) -> list[str]:
        return [n for n in ("policy", "value", "repval") if n in self._parts.agent.scales]

    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        """Losses of a batch `[B, 1+T]` that has the world's `states`."""
        agent: Agent = self._parts.agent
        batch = self._read(tensordict, (keys.REWARD, *_FLAGS, STATES))[:, agent.context :]
        states = batch.pop(STATES)
        with (
            self.actor_network_params.to_module(self.actor_network),
            self.critic_network_params.to_module(self.critic_network),
            agent.autocast(),
        ):
            each, _ = agent.behavior_losses(self._behavior(), states, batch)
        return self._weighed(each)

    def _behavior(self) -> ActorCritic:
        """The agent's actor-critic around the functional networks."""
        return ActorCritic(
            cast(Actor, self.actor_network.part),
            cast(Head, self.critic_network.part),
            cast(SlowCopy, _TargetCritic(self)),  # it is only called
            self.return_norm,
            self.value_norm,
            self.advantage_norm,
            self._parts.agent.behavior.settings,
        )


class DreamerLoss(DreamerLossModule):
    """All losses of an agent, for one optimiser over `parameters()`.

    Args:
        agent: who learns.

    Attributes:
        world_model, actor_critic: the two losses; target updaters take `actor_critic`.
    """

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.world_model = WorldModelLoss(agent)
        self.actor_critic = ActorCriticLoss(agent)

    def _names(self) -> list[str]:
        return [*self.world_model._names(), *self.actor_critic._names()]

    def set_keys(self, **kwargs: Any) -> None:
        """Rename keys, here and in both losses."""
        super().set_keys(**kwargs)
        for part in (self.world_model, self.actor_critic):
            part.set_keys(**kwargs)

    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        """All losses of a batch `[B, 1+T]`, which gets `states`."""
        each = self.world_model(tensordict)
        return each.update(self.actor_critic(tensordict))

"""Acting at random: a policy of its own, the start of another policy's run, and noise.

    step        0   1   2  ...  first update due   ...
    sees        p   p   p             p                the policy: its state, latents for replay
    acts        r   r   r             p                r at random

Actions are uniform over the encoded space: each class alike, continuous ones in [-1, 1). They are
made of a decision's noise, so that they depend on the seed, the env and the number of decisions
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from dreamer_plugin import keys
from dreamer_plugin.data.collect import Policy
from dreamer_plugin.ops.continuous import normal_quantile
from dreamer_plugin.spaces import ActionKey, Spaces


def uniform_actions(actions: Sequence[ActionKey], noise: Tensor) -> Tensor:
    """Actions `[N, A]` of noise `[N, random_size(actions)]`, uniform in [0, 1)."""
    parts, at = [], 0
    for key in actions:
        uniform = noise[:, at : at + key.variables]
        at += key.variables
        if key.kind == "discrete":
            index = (uniform * key.classes).long()
            parts.append(F.one_hot(index, key.classes).flatten(1).float())
        else:
            parts.append(2 * uniform - 1)
    return torch.cat(parts, -1)


def random_size(actions: Sequence[ActionKey]) -> int:
    """Numbers that one random action takes."""
    return sum(key.variables for key in actions)


class RandomPolicy:
    """Uniform actions; its latents are zeros.

    Args:
        spaces: of the env. deter, stoch_shape, stoch_dtype: of the latents in replay.
    """

    def __init__(
        self,
        spaces: Spaces,
        deter: int,
        stoch_shape: tuple[int, ...],
        stoch_dtype: torch.dtype = torch.uint8,
    ) -> None:
        self.spaces = spaces
        self._deter, self._stoch = torch.zeros(deter), torch.zeros(stoch_shape, dtype=stoch_dtype)
        self.noise_size = random_size(spaces.actions)
        self.device = torch.device("cpu")

    def initial(self, batch: int) -> TensorDict:
        """No memory: only the zeros that replay stores."""
        zeros = {keys.DETER: self._deter, keys.STOCH: self._stoch}
        return TensorDict(zeros, batch_size=[]).expand(batch)

    def act(
        self,
        obs: Mapping[str, Tensor],
        is_first: Tensor,
        state: TensorDict,
        noise: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, TensorDict]:
        """Actions `[N, A]` from the noise alone."""
        return uniform_actions(self.spaces.actions, noise), state

    def latents(self, states: TensorDict) -> TensorDictBase:
        """The zeros."""
        return states


class ChangedPolicy:
    """A policy whose actions are changed, and who remembers what was really done.

    It sees every frame, and replay holds its latents.

    Args:
        policy: acts; its state holds `prev_action`.
        actions: keys of the action space.
    """

    def __init__(self, policy: Policy, actions: Sequence[ActionKey]) -> None:
        self.policy, self.actions = policy, tuple(actions)

    def change(self, action: Tensor, noise: Tensor) -> Tensor:
        """What is done, `[N, A]`.

        Args:
            action: `[N, A]` of the policy. noise: `[N, random_size(actions)]` uniform in [0, 1).
        """
        raise NotImplementedError

    @property
    def noise_size(self) -> int:
        """The policy's numbers, then those of the change, drawn throughout."""
        return self.policy.noise_size + random_size(self.actions)

    @property
    def device(self) -> torch.device:
        """The policy's."""
        return self.policy.device

    def initial(self, batch: int) -> TensorDict:
        """The policy's."""
        return self.policy.initial(batch)

    def act(
        self,
        obs: Mapping[str, Tensor],
        is_first: Tensor,
        state: TensorDict,
        noise: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, TensorDict]:
        """Actions `[N, A]` and the policy's next state."""
        own = self.policy.noise_size
        action, after = self.policy.act(obs, is_first, state, noise[:, :own], deterministic)
        changed = self.change(action, noise[:, own:]).to(action.dtype)
        return changed, after.copy().set(keys.PREV_ACTION, changed)

    def latents(self, states: TensorDict) -> TensorDictBase:
        """The policy's."""
        return self.policy.latents(states)


class RandomFirst(ChangedPolicy):
    """Random actions at first; the policy may take over in the middle of an episode.

    Args:
        policy, actions: as in `ChangedPolicy`.
        until: says, at each decision, whether the policy's own actions count by now.
    """

    def __init__(
        self, policy: Policy, actions: Sequence[ActionKey], until: Callable[[], bool]
    ) -> None:
        super().__init__(policy, actions)
        self._until = until

    def change(self, action: Tensor, noise: Tensor) -> Tensor:
        """The action itself, or a random one."""
        return action if self._until() else uniform_actions(self.actions, noise)


class NoisyPolicy(ChangedPolicy):
    """Noise for exploration, as DreamerV1 and V2 have it.

    Continuous actions are drawn from a normal around the policy's and clipped to [-1, 1]; a class
    is replaced by a uniformly random one now and then. Source: danijar/dreamer @ 56d4d444,
    `dreamer.py`, `exploration`; danijar/dreamerv2 @ 07d906e9, `common/other.py`, `action_noise`.

    Args:
        policy, actions: as in `ChangedPolicy`.
        amount: says, at each decision, the standard deviation of continuous actions, which up to 1
            is also the probability with which a class is replaced.
    """

    def __init__(
        self, policy: Policy, actions: Sequence[ActionKey], amount: Callable[[], float]
    ) -> None:
        super().__init__(policy, actions)
        self._amount = amount

    def change(self, action: Tensor, noise: Tensor) -> Tensor:
        """The action with noise."""
        amount = self._amount()
        if not amount:
            return action
        share = min(amount, 1.0)
        parts, at = [], 0
        for key, part in zip(
            self.actions, action.split([k.size for k in self.actions], -1), strict=True
        ):
            uniform = noise[:, at : at + key.variables]
            at += key.variables
            if key.kind == "discrete":
                # A number below `share` makes the class random, and where it lies says which.
                index = (uniform / share * key.classes).long().clamp(max=key.classes - 1)
                random = F.one_hot(index, key.classes).flatten(1).to(part.dtype)
                replaced = (uniform < share).repeat_interleave(key.classes, 1)
                parts.append(torch.where(replaced, random, part))
            else:
                parts.append((part + amount * normal_quantile(uniform)).clamp(-1, 1))
        return torch.cat(parts, -1)


def halving(amount: float, decay: float, least: float, step: int) -> float:
    """`amount`, halved every `decay` agent steps (0: never), and not below `least`."""
    if decay:
        amount *= 0.5 ** (step / decay)
    return max(amount, least)

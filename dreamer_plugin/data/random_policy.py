"""Acting at random: a policy of its own, and the start of another policy's run.

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


class RandomFirst:
    """A policy that acts at random at first.

    It sees every frame from the start on and remembers the actions that were really taken, so it
    may take over in the middle of an episode, and replay holds its latents throughout.

    Args:
        policy: acts later; its state holds `prev_action`.
        actions: keys of the action space.
        until: says, at each decision, whether the policy's own actions count by now.
    """

    def __init__(
        self, policy: Policy, actions: Sequence[ActionKey], until: Callable[[], bool]
    ) -> None:
        self.policy, self._actions, self._until = policy, tuple(actions), until

    @property
    def noise_size(self) -> int:
        """The policy's numbers, then those of a random action, drawn throughout."""
        return self.policy.noise_size + random_size(self._actions)

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
        """Actions `[N, A]`, random or the policy's, and the policy's next state."""
        own = self.policy.noise_size
        action, after = self.policy.act(obs, is_first, state, noise[:, :own], deterministic)
        if not self._until():
            action = uniform_actions(self._actions, noise[:, own:]).to(action.dtype)
            after = after.copy().set(keys.PREV_ACTION, action)
        return action, after

    def latents(self, states: TensorDict) -> TensorDictBase:
        """The policy's."""
        return self.policy.latents(states)

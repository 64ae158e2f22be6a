"""The policy as a TensorDictModule, for TorchRL's collectors and rollouts.

    ("obs", name) is_init deter stoch prev_action  ->  action, ("next", deter stoch prev_action)

The state travels through the env's TensorDict: a primer gives zeros at every reset, `step_mdp`
moves what stands under `next` to the next step. `stoch` travels in its storage form, so that
transitions hold what replay keeps.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs.utils import ExplorationType, exploration_type

from dreamer_plugin import keys
from dreamer_plugin.agent import Agent
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces

_MODES = (ExplorationType.DETERMINISTIC, ExplorationType.MODE)


class DreamerPolicy(TensorDictModuleBase):  # type: ignore[misc]
    """Acts for the N envs of a TorchRL env.

    Under `set_exploration_type(DETERMINISTIC)` or `MODE` it takes modes of posterior and policy;
    otherwise it samples, with the noise of one stream per env.

    Its `state_dict` is the agent's, for policies of any number of envs; what an exact resume needs
    on top is `noise.state_dict()`.

    Args:
        agent: decides; its weights are shared, not copied.
        spaces: of the env.
        noise: one stream per env, of the agent's noise size.

    Raises:
        UsageError: for noise of another size.
    """

    def __init__(self, agent: Agent, spaces: Spaces, noise: NoiseStreams) -> None:
        super().__init__()
        if noise.size != agent.noise_size:
            raise UsageError(
                f"the noise has {noise.size} numbers a decision, and the agent takes "
                f"{agent.noise_size}: make NoiseStreams(seed, num_envs, agent.noise_size)"
            )
        self.agent, self.noise = agent, noise
        self._obs = [key.name for key in spaces.obs]
        state = [keys.DETER, keys.STOCH, keys.PREV_ACTION]
        self.in_keys = [*((keys.OBS, name) for name in self._obs), "is_init", *state]
        self.out_keys = [keys.ACTION, *(("next", key) for key in state)]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Decide.

        Args:
            tensordict: `[N]`, or `[]` for a single env; the `in_keys`, is_init `[N, 1]`.

        Returns:
            The same TensorDict with the `out_keys`, on its own device.

        Raises:
            UsageError: of steps in time, `[N, T]`: it decides one at a time; and for a missing key.
        """
        if tensordict.batch_dims > 1:
            shape = list(tensordict.batch_size)
            raise UsageError(f"the policy decides for [N] envs at a time, not for {shape}")
        if lacking := [key for key in self.in_keys if tensordict.get(key, None) is None]:
            has = "dreamer_env makes envs that have all"
            raise UsageError(f"what the policy sees lacks {lacking}; {has} of {self.in_keys}")
        single = not tensordict.batch_dims
        rows = tensordict.unsqueeze(0) if single else tensordict
        action, after = self._act(rows.to(self.agent.device))
        written = {keys.ACTION: action, "next": self._carried(after)}
        out = TensorDict(written, batch_size=rows.batch_size).to(rows.device or action.device)
        return tensordict.update(out[0] if single else out)

    def _act(self, rows: TensorDictBase) -> tuple[Tensor, TensorDict]:
        count = rows.batch_size[0]
        noise = torch.from_numpy(self.noise.draw(torch.ones(count, dtype=torch.bool).numpy()))
        latent = self.agent.world.rssm.latent
        state = {
            keys.DETER: rows[keys.DETER],
            keys.STOCH: latent.from_storage(rows[keys.STOCH]),
            keys.PREV_ACTION: rows[keys.PREV_ACTION],
        }
        return self.agent.act(
            {name: rows[keys.OBS, name] for name in self._obs},
            rows["is_init"].reshape(count),
            TensorDict(state, batch_size=[count]),
            noise.to(self.agent.device),
            deterministic=exploration_type() in _MODES,
        )

    def _carried(self, after: TensorDict) -> dict[str, Any]:
        stored = self.agent.latents(after)
        return {
            keys.DETER: stored[keys.DETER],
            keys.STOCH: stored[keys.STOCH],
            keys.PREV_ACTION: after[keys.PREV_ACTION],
        }

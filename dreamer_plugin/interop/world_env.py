"""The dream as a TorchRL env: any algorithm of TorchRL can be trained inside it.

    reset   deter, stoch of the starts            -> observation: feat [N, F]
    step    action -> prior of the next state     -> reward and continuation heads, next feat

The state travels in the TensorDict, so a rollout can begin in any replayed state: give `reset` a
TensorDict with `deter` and `stoch`, as they are or as replay stores them. Nothing is trained here,
and nothing has a graph.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Categorical, Composite, TensorSpec, Unbounded
from torchrl.envs import EnvBase

from dreamer_plugin import keys
from dreamer_plugin.data.torchrl_collect import action_spec
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.model import WorldModel

Starts = Callable[[int], TensorDictBase]


class WorldModelEnv(EnvBase):  # type: ignore[misc]  # torchrl has no types
    """N dreams side by side.

    Args:
        world: trained elsewhere; its parameters are shared and stay as they are.
        spaces: of the env that it was trained on.
        num_envs: N.
        horizon: steps after which a dream is truncated.
        starts: gives N start states, deter `[N, D]` and stoch `[N, *latent]`, or as replay stores
            it; by default the state before any frame.
        seed: of the prior's samples.

    Raises:
        UsageError: for actions of several keys, which TorchRL's policies do not take, and for no
            envs or steps.
    """

    def __init__(
        self,
        world: WorldModel,
        spaces: Spaces,
        num_envs: int = 1,
        horizon: int = 15,
        starts: Starts | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("num_envs", num_envs), ("horizon", horizon)):
            if value < 1:
                raise UsageError(f"{name}={value}: it must be at least 1")
        device = next(world.parameters()).device
        super().__init__(device=device, batch_size=[num_envs])
        self._world = [world]  # in a list: not a module of the env
        self._starts, self._horizon = starts, horizon
        rssm = world.rssm
        shape = (num_envs,)
        state = {
            keys.DETER: Unbounded((*shape, rssm.core.deter), device=device),
            keys.STOCH: Unbounded((*shape, *rssm.latent.shape), device=device),
            "steps": Categorical(horizon + 1, shape=(*shape, 1), device=device, dtype=torch.int64),
        }
        feat = Unbounded((*shape, rssm.feat_size), device=device)
        self.observation_spec = Composite({"observation": feat, **state}, shape=shape)
        self.state_spec = Composite({k: v.clone() for k, v in state.items()}, shape=shape)
        self.action_spec = _action_spec(spaces, num_envs).to(device)
        self.reward_spec = Unbounded((*shape, 1), device=device)
        flag = Categorical(2, shape=(*shape, 1), dtype=torch.bool, device=device)
        self.done_spec = Composite(
            {name: flag.clone() for name in ("done", "terminated", "truncated")}, shape=shape
        )
        self._generator = torch.Generator(device)
        self._set_seed(seed)  # EnvBase.set_seed would seed torch as a whole

    @property
    def world(self) -> WorldModel:
        """Who dreams."""
        return self._world[0]

    def _reset(self, tensordict: TensorDictBase | None, **kwargs: object) -> TensorDict:
        count = self.batch_size[0]
        start = self._start(tensordict)
        begun = {
            keys.DETER: start[keys.DETER].float(),
            keys.STOCH: start[keys.STOCH].float(),
            "steps": torch.zeros(count, 1, dtype=torch.int64, device=self.device),
        }
        rows = None if tensordict is None else tensordict.get("_reset", None)
        if rows is not None and tensordict is not None and keys.DETER in tensordict:
            begun = {
                name: torch.where(_like(rows, value), value, tensordict[name])
                for name, value in begun.items()
            }
        return self._shown(begun)

    def _start(self, tensordict: TensorDictBase | None) -> TensorDictBase:
        """The states that dreams begin in: the caller's where a whole reset names them."""
        given = tensordict is not None and keys.DETER in tensordict
        if given and tensordict is not None and tensordict.get("_reset", None) is None:
            start = tensordict
        elif self._starts is not None:
            start = self._starts(self.batch_size[0])
        else:
            with torch.no_grad():
                deter, stoch = self.world.rssm.initial(self.batch_size[0])
            return TensorDict({keys.DETER: deter, keys.STOCH: stoch}, self.batch_size)
        latent = self.world.rssm.latent
        if start[keys.STOCH].shape[1:] == latent.shape:
            return start
        return start.copy().set(keys.STOCH, latent.from_storage(start[keys.STOCH]))

    @torch.no_grad()
    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        world, count = self.world, self.batch_size[0]
        rssm = world.rssm
        noise = torch.rand(
            (count, *rssm.latent.noise_shape), generator=self._generator, device=self.device
        )
        action = tensordict[keys.ACTION].to(torch.float32)
        deter, stoch = rssm.imagine_step(
            tensordict[keys.DETER], tensordict[keys.STOCH], action, noise
        )
        steps = tensordict["steps"] + 1
        after = self._shown({keys.DETER: deter, keys.STOCH: stoch, "steps": steps})
        reward, cont = world.judge(after["observation"])
        terminated = cont.reshape(count, 1) < 0.5
        truncated = steps >= self._horizon
        return after.update(
            {
                "reward": reward.reshape(count, 1),
                "terminated": terminated,
                "truncated": truncated,
                "done": terminated | truncated,
            }
        )

    @torch.no_grad()
    def _shown(self, state: dict[str, torch.Tensor]) -> TensorDict:
        feat = self.world.rssm.feat(state[keys.DETER], state[keys.STOCH])
        return TensorDict(
            {"observation": feat, **state}, batch_size=self.batch_size, device=self.device
        )

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)


def _like(rows: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Flags `[N, 1]` with as many axes as a value `[N, ...]`."""
    return rows.reshape(-1, *[1] * (value.ndim - 1))


def _action_spec(spaces: Spaces, count: int) -> TensorSpec:
    spec = action_spec(spaces, count)
    if spec is None:
        names = ", ".join(key.name for key in spaces.actions)
        raise UsageError(f"a dream takes continuous actions or one discrete choice, not {names}")
    return spec

"""A TorchRL env as the vector that our loop steps: how Dreamer trains on a pipeline's own envs.

    env.step, env.reset (rows apart)  ->  arriving frames [N]

One call resets some rows and steps the others. TorchRL's batched envs leave a row alone where
`_step` is false; a single env is put into a `SerialEnv` of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import (
    Binary,
    Bounded,
    Categorical,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    TensorSpec,
    Unbounded,
)
from torchrl.envs import (
    CatFrames,
    Compose,
    EnvBase,
    SerialEnv,
    TimeMaxPool,
    Transform,
    TransformedEnv,
)
from torchrl.envs.batched_envs import BatchedEnvBase
from torchrl.envs.utils import step_mdp

from dreamer_envs.errors import UnsupportedSpaceError
from dreamer_envs.frames import Frames, VectorEnv, env_seed
from dreamer_envs.observations import SMALLEST_IMAGE
from dreamer_envs.transforms import native_action
from dreamer_plugin.errors import UsageError, nearest

# What TorchRL's transforms add for their own use: StepCounter, RewardSum, InitTracker, collectors.
BOOKKEEPING = frozenset({"episode_reward", "is_init", "reward_sum", "step_count", "traj_ids"})
ROW_MEMORY = (CatFrames, TimeMaxPool)  # forget a row's frames where others are stepped without it
Bools = NDArray[np.bool_]


class TorchRLVector(VectorEnv):
    """N rows of a TorchRL env as N envs.

    Args:
        env: a single env, or a `SerialEnv` or `ParallelEnv`, with transforms or without.
        seed: given to `env.set_seed`.
        obs_keys: observations to use; all by default but what transforms count and sum for
            themselves (`BOOKKEEPING`). Nested keys are joined with `/`.

    Raises:
        UsageError: when an agent cannot use the env's observations or actions, or the env cannot
            step some rows and reset others.
    """

    def __init__(self, env: EnvBase, seed: int, obs_keys: Sequence[str] | None = None) -> None:
        self.env = _batched(env)
        self.num_envs = self.env.batch_size[0]
        reward = self.env.reward_spec.shape
        if reward.numel() != self.num_envs:
            raise UsageError(
                f"the env {_name(env)} has the reward {list(reward)}: one number of each row, "
                f"[{self.num_envs}, 1], is what can be learned from"
            )
        self.ids = [f"{_name(env)} {row}" for row in range(self.num_envs)]
        self.can_save = False
        self._seeds = [None] * self.num_envs
        self._running = np.zeros(self.num_envs, np.bool_)
        self._keys, self.left_out = _choose(_tensors(self.env.observation_spec), obs_keys)
        specs = dict(_tensors(self.env.observation_spec))
        self.observation_space = gym.spaces.Dict(
            {name: _obs_space(name, specs[name][1]) for name in self._keys}
        )
        self.action_space, self._encode = _action(self.env.action_spec[0])
        self._order = [key for key in self.observation_space.spaces if key in self._keys]
        self._root: TensorDictBase | None = None
        self._idle = self.env.action_spec.zero()
        self._seed = seed
        self.env.set_seed(seed)

    def reseed(self, number: int) -> None:
        """As of `VectorEnv`; the env spreads one seed over its rows."""
        self.env.set_seed(env_seed(self._seed, 0, 0, number) if number else self._seed)

    def close(self) -> None:
        """Closes the env."""
        if not self.env.is_closed:
            self.env.close()

    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        frames = Frames.empty(self.observation_space, self.num_envs)
        frames.is_first[:] = reset
        root = self._root
        if root is None:
            root = self.env.reset()
        elif not reset.all():
            root = self._advance(root, actions, reset, frames)
        if self._root is not None and reset.any():
            root = self.env.reset(root.set("_reset", torch.from_numpy(reset)[:, None]))
        self._root = root
        for name, key in self._keys.items():
            shape = frames.obs[name].shape
            frames.obs[name][:] = root[key].reshape(shape).cpu().numpy()
        return frames

    def _advance(
        self, root: TensorDictBase, actions: Sequence[Any], reset: Bools, frames: Frames
    ) -> TensorDictBase:
        """Steps the rows that are not reset; what they earned goes into `frames`."""
        action = self._idle.clone()
        stepped = np.flatnonzero(~reset).tolist()
        for row in stepped:
            action[row] = self._encode(actions[row]).to(action.device)
        given = root.set(self.env.action_key, action)
        if reset.any():
            given.set("_step", torch.from_numpy(~reset))
        after = self.env.step(given)
        arrived = after["next"]
        for array, key in (
            (frames.reward, self.env.reward_key),
            (frames.is_last, "done"),
            (frames.terminated, "terminated"),
        ):
            array[stepped] = arrived[key].reshape(self.num_envs).cpu().numpy()[stepped]
        frames.terminated &= frames.is_last
        following = step_mdp(after)
        following.pop("_step", None)  # else the rows that were reset stand still from now on
        return following

    def _get_states(self) -> list[Any]:
        raise NotImplementedError("a TorchRL env cannot save its state")

    def _set_states(self, states: list[Any]) -> None:
        raise NotImplementedError("a TorchRL env cannot save its state")


def _batched(env: EnvBase) -> EnvBase:
    """The env with rows, each of which can be left alone in a step."""
    inner = env
    while isinstance(inner, TransformedEnv):
        inner = inner.base_env
    if isinstance(inner, BatchedEnvBase) and len(env.batch_size) == 1:
        _refuse_memory(env)
        return env
    if env.batch_size.numel() == 1 and not env.batch_size:
        return SerialEnv(1, [lambda: env])
    raise UsageError(
        f"the env {_name(env)} steps {list(env.batch_size)} rows together: its episodes must be "
        "able to end one by one, as in a SerialEnv or ParallelEnv of single envs"
    )


def _refuse_memory(env: EnvBase) -> None:
    """Refuse transforms of all rows that one row's end would make forget the others' frames."""
    while isinstance(env, TransformedEnv):
        for each in _flat(env.transform):
            if isinstance(each, ROW_MEMORY) and env.batch_size.numel() > 1:
                name = type(each).__name__
                raise UsageError(
                    f"{name} around {list(env.batch_size)} rows forgets a row's frames when "
                    f"another one begins anew: put {name} into each env of the {_name(env)}"
                )
        env = env.base_env


def _flat(transform: Transform) -> Iterator[Transform]:
    """A transform, or all that it is composed of."""
    parts = list(transform) if isinstance(transform, Compose) else []
    yield from (inner for part in parts for inner in _flat(part)) if parts else (transform,)


def _name(env: EnvBase) -> str:
    while isinstance(env, TransformedEnv):
        env = env.base_env
    return type(env).__name__


def _tensors(spec: Any) -> list[tuple[str, tuple[Any, TensorSpec]]]:
    """Tensor leaves of an observation spec `[N]`: name, and (key, spec of one row)."""
    leaves = ((key, spec[key]) for key in spec.keys(True, True))
    return [
        (key if isinstance(key, str) else "/".join(key), (key, leaf[0]))
        for key, leaf in leaves
        if not isinstance(leaf, NonTensor)
    ]


def _choose(
    leaves: Sequence[tuple[str, tuple[Any, TensorSpec]]], wanted: Sequence[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """Keys to use by name, and the names of those that are not used."""
    known = {name: key for name, (key, _) in leaves}
    for name in wanted or ():
        if name not in known:
            raise UsageError(nearest(name, known, "observation"))
    if wanted is None:
        wanted = [name for name in known if name.rpartition("/")[2] not in BOOKKEEPING]
    if not wanted:
        raise UsageError(f"the env shows nothing to learn from; it has {', '.join(known)}")
    return {name: known[name] for name in wanted}, [n for n in known if n not in wanted]


def _obs_space(name: str, spec: TensorSpec) -> gym.Space[Any]:
    """Space of one row's observation."""
    shape = tuple(spec.shape)
    if isinstance(spec, Categorical):
        return gym.spaces.MultiDiscrete(np.full(shape or (1,), spec.space.n))
    if spec.dtype == torch.uint8 and len(shape) == 3 and shape[-1] <= 4:
        return gym.spaces.Box(0, 255, shape, np.uint8)
    if len(shape) == 3 and (shape[0] <= 4 or sorted(shape)[1] >= SMALLEST_IMAGE):
        raise UsageError(
            f"observation {name!r} is {spec.dtype} {list(shape)}: images must be uint8 [H, W, C] "
            "with up to 4 channels here; leave ToTensorImage, Permute and CatFrames of images out "
            "of the env's transforms"
        )
    if spec.dtype.is_floating_point or spec.dtype in (torch.uint8, torch.int64, torch.int32):
        return gym.spaces.Box(-np.inf, np.inf, shape or (1,), np.float32)
    raise UsageError(
        f"observation {name!r} is {spec.dtype} {list(shape)}: nothing encodes it; cast it with "
        "DTypeCastTransform to float32, or leave it out with obs_keys"
    )


def _action(spec: TensorSpec) -> tuple[gym.Space[Any], Callable[[Any], Tensor]]:
    """The agent's space of actions, and the function from there to the env's tensor."""
    if isinstance(spec, OneHot) and len(spec.shape) != 1:
        raise UsageError(
            f"the action is one-hot {list(spec.shape)}, of several agents: say "
            "categorical_actions=True where the env is made, or give each agent a key of its own"
        )
    if isinstance(spec, MultiOneHot):  # which is an OneHot too
        sizes = [box.n for box in spec.space.boxes]
        return gym.spaces.MultiDiscrete(sizes), lambda a: torch.cat(
            [torch.eye(n, dtype=spec.dtype)[int(i)] for n, i in zip(sizes, a, strict=True)]
        )
    if isinstance(spec, OneHot):
        count = spec.space.n
        return gym.spaces.Discrete(count), lambda a: torch.eye(count, dtype=spec.dtype)[int(a)]
    if isinstance(spec, MultiCategorical):
        return gym.spaces.MultiDiscrete(spec.nvec.numpy()), lambda a: torch.as_tensor(
            np.asarray(a), dtype=spec.dtype
        )
    if isinstance(spec, Categorical) and not spec.shape:
        return gym.spaces.Discrete(spec.space.n), lambda a: torch.tensor(int(a), dtype=spec.dtype)
    if isinstance(spec, Binary):
        count = spec.shape.numel()
        return gym.spaces.MultiDiscrete(np.full(count, 2)), lambda a: torch.as_tensor(
            np.asarray(a), dtype=spec.dtype
        ).reshape(spec.shape)
    if isinstance(spec, (Bounded, Unbounded)) and spec.dtype.is_floating_point:
        return _continuous(spec)
    raise UsageError(f"the action is {spec}: discrete, binary and continuous ones can be acted on")


def _continuous(spec: TensorSpec) -> tuple[gym.Space[Any], Callable[[Any], Tensor]]:
    """Actions from -1 to 1, scaled to the bounds where there are some."""
    shape = tuple(spec.shape)
    low, high = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    if isinstance(spec, Bounded):
        low, high = (end.cpu().float().expand(shape).numpy() for end in (spec.low, spec.high))
    try:
        space, convert = native_action(gym.spaces.Box(low, high, shape, np.float32))
    except UnsupportedSpaceError as error:
        raise UsageError(str(error)) from error
    return space, lambda a: torch.as_tensor(convert(a), dtype=spec.dtype)

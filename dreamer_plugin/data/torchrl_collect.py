"""The same collection with TorchRL's `Collector`: transitions out of TorchRL envs, same records.

    gym env -> CollectedEnv -> GymWrapper -> SerialEnv or ParallelEnv
            -> InitTracker, TensorDictPrimer
            -> Collector(policy, postproc=Aligner.from_transitions, replay_buffer=replay)

The policy is a `TensorDictModule` with

    in    ("obs", name) [N, *shape], is_init [N, 1], deter [N, D], stoch (storage form), prev_action
    out   action [N, A] encoded, and ("next", ...) deter, stoch, prev_action: after acting

It draws its own noise, one `NoiseStreams` row per env and decision; then both loops give each env's
stream the same records. Only the order in which records of different envs arrive differs: here an
env that ends an episode gives its last frame and the reset frame in one tick. The env writes `env`
[N], whose row each is, so that collectors in several processes can fill one replay.

TorchRL's envs and transforms take a few times as long per frame as the light loop of `collect.py`;
use this one to combine Dreamer with TorchRL's own parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tensordict.nn import TensorDictModuleBase
from torchrl.collectors import Collector
from torchrl.data import Bounded, Composite, OneHot, TensorSpec, Unbounded
from torchrl.envs import (
    Compose,
    EnvBase,
    GymWrapper,
    InitTracker,
    ParallelEnv,
    SerialEnv,
    TensorDictPrimer,
    Transform,
    TransformedEnv,
)

from dreamer_plugin import keys
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.fields import ENV
from dreamer_plugin.data.replay import RecordReplay
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces


class CollectedEnv(gym.Wrapper):
    """An env as the collector steps it.

    Its actions are encoded vectors `[A]`, its observations stand under `obs`, and its first reset
    is seeded whoever calls it: TorchRL's own seeding would spend one episode.

    Args:
        env: with Dict observations. spaces: of it. seed: of the first reset.

    Raises:
        UsageError: when it has other spaces.
    """

    def __init__(self, env: gym.Env[Any, Any], spaces: Spaces, seed: int) -> None:
        super().__init__(env)
        spaces.refuse_other(Spaces.from_gym(env.observation_space, env.action_space))
        self._spaces = spaces
        self._seed: int | None = seed
        self.observation_space = gym.spaces.Dict({keys.OBS: env.observation_space})
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (spaces.action_size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; the infos stay here, TorchRL would have to know their shapes."""
        obs, _ = self.env.reset(seed=self._seed if seed is None else seed, options=options)
        self._seed = None
        return {keys.OBS: obs}, {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Step with an encoded action."""
        native = self._spaces.decode_action(np.asarray(action, np.float32))
        obs, reward, terminated, truncated, _ = self.env.step(native)
        return {keys.OBS: obs}, float(reward), terminated, truncated, {}


def action_spec(spaces: Spaces, count: int) -> TensorSpec | None:
    """Encoded actions `[N, A]` as TorchRL says it; None where it has no word for several keys.

    Args:
        spaces: of the env. count: N.
    """
    kinds = [(key.kind, key.size) for key in spaces.actions]
    if all(kind == "continuous" for kind, _ in kinds):
        return Bounded(-1.0, 1.0, (count, spaces.action_size))
    if len(kinds) == 1 and spaces.actions[0].size == spaces.actions[0].classes:
        size = spaces.action_size
        return OneHot(size, shape=(count, size), dtype=torch.float32)
    return None


class EncodedActions(Transform):  # type: ignore[misc]  # torchrl has no types
    """Says what an encoded action is, so that random ones are such; tensors pass as they are.

    Args:
        spec: of the actions `[N, A]`.
    """

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__()
        self._spec = spec

    def transform_input_spec(self, input_spec: Composite) -> Composite:
        """The spec in the place of vectors without bounds."""
        input_spec["full_action_spec", keys.ACTION] = self._spec.to(input_spec.device)
        return input_spec


def torchrl_env(
    makers: Sequence[Callable[[], gym.Env[Any, Any]]],
    seeds: Sequence[int],
    spaces: Spaces,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
    first: int = 0,
    processes: bool = False,
) -> EnvBase:
    """A TorchRL env `[N]` that carries a recurrent policy's state.

    Args:
        makers: of N envs. seeds: of their first resets, from `dreamer_envs.frames.env_seed`.
        spaces: of the envs. deter, stoch_shape, stoch_dtype: of the state in storage form.
        first: number of the first env; the others follow.
        processes: one per env, a `ParallelEnv`.
    """
    count = len(makers)
    kind = ParallelEnv if processes else SerialEnv
    # No lambdas: TorchRL makes an env in this process, too, for each of those.
    each = [partial(_wrapped, m, spaces, s) for m, s in zip(makers, seeds, strict=True)]
    envs = kind(count, each, device="cpu")
    state = {
        keys.DETER: Unbounded((count, deter)),
        keys.STOCH: Unbounded((count, *stoch_shape), dtype=stoch_dtype),
        keys.PREV_ACTION: Unbounded((count, spaces.action_size)),
    }
    begin: dict[str, Any] = dict.fromkeys(state, 0.0)
    state[ENV] = Unbounded((count,), dtype=torch.int64)
    begin[ENV] = lambda: torch.arange(first, first + count)
    primer = TensorDictPrimer(Composite(state, shape=(count,)), default_value=begin)
    spec = action_spec(spaces, count)
    encoded = [] if spec is None else [EncodedActions(spec)]
    return TransformedEnv(envs, Compose(InitTracker(), primer, *encoded))


def _wrapped(maker: Callable[[], gym.Env[Any, Any]], spaces: Spaces, seed: int) -> EnvBase:
    collected = CollectedEnv(maker(), spaces, seed)
    return GymWrapper(collected, categorical_action_encoding=True, device="cpu")


def torchrl_collector(
    env: EnvBase,
    policy: TensorDictModuleBase,
    replay: RecordReplay,
    aligner: Aligner,
    frames_per_batch: int,
    total_frames: int = -1,
    **options: Any,
) -> Collector:
    """A `Collector` that fills the replay; iterate over it to collect.

    Args:
        env: of `torchrl_env`. policy: see the head of this file.
        replay: takes the records. aligner: of as many envs.
        frames_per_batch: transitions between two yields, over all envs. total_frames: in all, -1 is
            without end.
        options: more of the collector's own arguments.

    Raises:
        UsageError: for one of these that would put something else into the replay.
    """
    if options.get("split_trajs"):
        raise UsageError("split_trajs=True pads episodes, and replay would hold what pads them")
    if options.get("reset_at_each_iter"):
        raise UsageError(
            "reset_at_each_iter=True cuts episodes, whose last frames and rewards the replay would "
            "not get; leave it out"
        )
    if options.get("init_random_frames") and action_spec(aligner.spaces, 1) is None:
        names = ", ".join(key.name for key in aligner.spaces.actions)
        raise UsageError(
            f"init_random_frames: TorchRL draws no random actions of {names}; put the agent into "
            "RandomFirst"
        )
    return Collector(
        env,
        policy,
        frames_per_batch=frames_per_batch,
        total_frames=total_frames,
        replay_buffer=replay,
        postproc=aligner.from_transitions,
        **options,
    )

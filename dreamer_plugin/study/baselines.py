"""Agents of Stable-Baselines3 on our envs: trained by that library, evaluated by our own code.

dreamer_envs adapter -> `_in_rows` -> DummyVecEnv -> PPO, SAC, DQN ...    training
dreamer_envs adapter -> VectorCollector -> `Baseline.act`    evaluation, as of a Dreamer
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.config import Config
from dreamer_plugin.config.yamlfile import read_yaml
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.envs import EnvMaker, source_of
from dreamer_plugin.run.evaluate import evaluate
from dreamer_plugin.run.machine import note_machine
from dreamer_plugin.run.metrics import MetricsLog
from dreamer_plugin.run.sinks import TensorBoard
from dreamer_plugin.run.telling import tell as tell_progress
from dreamer_plugin.spaces import ObsKey, Spaces
from dreamer_plugin.study.contest_names import BASELINES

ZOO = Path(__file__).parent / "published" / "rl_zoo.yaml"
EXTRA = "pip install 'dreamer-plugin[compare]'"
PACKAGES = "stable-baselines3", "sb3-contrib"
_BY_RATE = ("learning_rate", "clip_range")


class Baseline:
    """A model of Stable-Baselines3 as a policy of ours; it keeps no state between steps.

    Args:
        model: has `predict`. spaces: of the env.
    """

    noise_size = 0
    device = torch.device("cpu")  # of what `act` takes and gives

    def __init__(self, model: Any, spaces: Spaces) -> None:
        self.model, self.spaces = model, spaces

    def initial(self, batch: int) -> TensorDict:
        """Nothing but the number of rows."""
        return TensorDict({}, batch_size=[batch])

    def act(
        self,
        obs: Mapping[str, Tensor],
        is_first: Tensor,
        state: TensorDict,
        noise: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, TensorDict]:
        """Encoded actions `[N, A]` of `predict`."""
        seen = {name: value.numpy() for name, value in obs.items()}
        seen |= {key.name: seen[key.name][:, None] for key in self.spaces.obs if _lone(key)}
        actions, _ = self.model.predict(seen, deterministic=deterministic)
        return torch.from_numpy(self.spaces.encode_action(actions)), state

    def latents(self, states: TensorDict) -> TensorDict:
        """None."""
        return states


def settings_of(agent: str, env_id: str) -> tuple[dict[str, Any], str]:
    """Constructor's settings of an agent for a task, and where they come from, in words."""
    found = read_yaml(ZOO).get(agent, {}).get(env_id.partition("/")[2])
    if found is None:
        return {}, "defaults of Stable-Baselines3"
    return dict(found), "RL Baselines3 Zoo"


def require_baseline(agent: str, action_space: gym.Space[Any]) -> None:
    """Refuse an agent whose package is missing, or that cannot act in the space.

    Raises:
        UsageError: says what to install, or which agents can.
    """
    package, _, takes = BASELINES[agent]
    if find_spec(package) is None:
        install = EXTRA if package == "stable_baselines3" else "pip install sb3-contrib"
        raise UsageError(f"The agent {agent!r} needs the package {package}: {install}")
    if not _fits(takes, action_space):
        able = [name for name, (*_, kind) in BASELINES.items() if _fits(kind, action_space)]
        raise UsageError(
            f"{agent} takes {takes} actions, the env has {action_space}. These can: "
            f"dreamer, {', '.join(able)}."
        )


def train_baseline(
    agent: str,
    cfg: Config,
    folder: Path,
    steps: int,
    eval_every: int,
    episodes: int,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Train one agent, evaluating it as a Dreamer is, into `metrics.jsonl` of a new folder.

    Args:
        agent: of `BASELINES`. cfg: its env, seed and device are used.
        folder: for the numbers. steps: transitions. eval_every, episodes: of the evaluations.
        tell: takes a line of progress.
    """
    from stable_baselines3.common.callbacks import BaseCallback

    log = MetricsLog(folder, sinks=[TensorBoard])
    clock = _Clock()
    source = source_of(cfg)

    def measure(model: Any) -> None:
        with clock.stopped():
            policy = Baseline(model, spaces)
            report = evaluate(policy, source, episodes, cfg.seed, deterministic=True)
        values = {f"eval/{name}": value for name, value in report.summary().items()}
        log.write(model.num_timesteps, values, seconds=round(clock.seconds, 3))
        tell(f"step {model.num_timesteps:,}: eval {report.mean:.2f}")

    class Evaluations(BaseCallback):
        """Measures at every multiple of `eval_every`."""

        measured = 0

        def _on_step(self) -> bool:
            due = self.num_timesteps // eval_every
            if due > self.measured:
                self.measured = due
                measure(self.model)
            tell_progress(folder.name, self.num_timesteps, steps)
            return self.num_timesteps < steps

    model, spaces = _build(agent, cfg, source.makers[0])
    note_machine(folder, model.device, 0, PACKAGES)
    try:
        clock.start()
        model.learn(steps, callback=Evaluations())
    finally:
        model.env.close()
        log.close()


def _build(agent: str, cfg: Config, maker: EnvMaker) -> tuple[Any, Spaces]:
    """The model with its envs, and what those show and take; the model turns images round."""
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    package, name, _ = BASELINES[agent]
    settings, _ = settings_of(agent, cfg.env.id)
    count = settings.pop("n_envs", 1)
    for key in _BY_RATE:
        if str(settings.get(key, "")).startswith("lin_"):
            settings[key] = _falling(float(settings[key].removeprefix("lin_")))
    envs = [maker() for _ in range(count)]
    spaces = Spaces.from_gym(envs[0].observation_space, envs[0].action_space)
    vector = VecMonitor(DummyVecEnv([partial(_in_rows, env, spaces) for env in envs]))
    kind = getattr(importlib.import_module(package), name)
    model = kind("MultiInputPolicy", vector, seed=cfg.seed, device=cfg.device, **settings)
    return model, spaces


def _in_rows(env: gym.Env[Any, Any], spaces: Spaces) -> gym.Env[Any, Any]:
    """The env with lone numbers in rows of one, since Stable-Baselines3 cannot join others."""
    lone = [key.name for key in spaces.obs if _lone(key)]
    if not lone:
        return env
    shown: Any = env.observation_space
    rows = {name: gym.spaces.flatten_space(shown[name]) for name in lone}
    return gym.wrappers.TransformObservation(
        env,
        lambda obs: {**obs, **{name: np.reshape(obs[name], 1) for name in lone}},
        gym.spaces.Dict({**shown, **rows}),
    )


def _lone(key: ObsKey) -> bool:
    return key.kind == "vector" and key.shape == ()


def _falling(start: float) -> Callable[[float], float]:
    """A rate by the share of the steps that is left."""
    return lambda left: left * start


def _fits(takes: str, space: gym.Space[Any]) -> bool:
    one, box = gym.spaces.Discrete, gym.spaces.Box
    several = gym.spaces.MultiDiscrete, gym.spaces.MultiBinary
    kinds = {"discrete": (one,), "continuous": (box,), "any": (one, box, *several)}
    return isinstance(space, kinds[takes])


class _Clock:
    """Seconds of training, those of evaluations left out."""

    def __init__(self) -> None:
        self._since = 0.0

    def start(self) -> None:
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    @contextmanager
    def stopped(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self._since += time.monotonic() - before

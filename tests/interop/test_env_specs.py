"""TorchRL's own check of an env, on every id of the registry whose package is installed."""

from __future__ import annotations

import multiprocessing
from functools import partial

import gymnasium as gym
import pytest
from torchrl.envs import EnvBase, GymEnv, GymWrapper, ParallelEnv, SerialEnv, check_env_specs

import dreamer_envs
from dreamer_envs.errors import MissingPackageError

SOME = ["toy/catch", "toy/mixed", "toy/recall", "toy/reach", "pinpad/three", "gym/Pendulum-v1"]
EVERY = [
    f"{info.name}/{task}"
    for info in dreamer_envs.available()
    if info.installed
    for task in dreamer_envs.tasks(info.name)
]
assert set(SOME) < set(EVERY)
UNREGISTERED = ("gym", "bsuite", "envpool")  # whose tasks are not a fixed list


def made(env_id: str) -> EnvBase:
    """By the name that `import dreamer_envs` registered; in our form where it registers none."""
    if env_id.partition("/")[0] in UNREGISTERED:
        return GymWrapper(dreamer_envs.make(env_id))
    return GymEnv(f"dreamer_envs:{env_id}-v0")


def checked(env: EnvBase) -> None:
    try:
        check_env_specs(env, seed=0)
    finally:
        env.close(raise_if_closed=False)


@pytest.mark.parametrize("env_id", SOME)
def test_some_ids(env_id):
    checked(made(env_id))
    checked(SerialEnv(2, lambda: made(env_id)))


def test_ids_of_simulators_in_the_words_of_the_plan():
    pytest.importorskip("dm_control")
    walker = GymEnv("dreamer_envs:dmc/walker-walk-v0", frame_skip=2)
    after = walker.rand_step(walker.reset())
    assert after["next", "reward"].shape == (1,) and walker.action_spec.shape == (6,)
    walker.close()
    pytest.importorskip("ale_py")
    pong = gym.make("dreamer_envs:atari/Pong-v0")
    assert pong.reset(seed=0)[0]["image"].shape == (96, 96, 1)
    pong.close()


def test_an_option_that_a_suite_has_not_is_named_as_a_function_would():
    with pytest.raises(TypeError, match=r"keyword argument 'frameskip': toy/catch has no option"):
        gym.make("dreamer_envs:toy/catch-v0", frameskip=1)


@pytest.fixture(scope="module")
def preloaded():
    """Processes that begin with TorchRL loaded: importing it takes each of them seconds."""
    multiprocessing.set_forkserver_preload(["torchrl.envs", "dreamer_envs", __name__])


@pytest.mark.slow
@pytest.mark.parametrize("env_id", EVERY)
def test_every_id(env_id, preloaded):
    try:
        dreamer_envs.make(env_id).close()
    except MissingPackageError as error:  # gym lists ids that need more than Gymnasium
        pytest.skip(str(error))
    checked(made(env_id))
    checked(SerialEnv(2, lambda: made(env_id)))
    checked(ParallelEnv(2, partial(made, env_id), mp_start_method="forkserver"))

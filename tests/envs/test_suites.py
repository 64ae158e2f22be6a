"""The suites: common form, checkers of Gymnasium and SB3, seeds, honest ends."""

from __future__ import annotations

import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import dreamer_envs
from dreamer_envs.errors import EnvError, EnvOptionError, MissingPackageError
from dreamer_envs.suites import dmc
from dreamer_envs.suites import gym as gym_suite

# id, options, package it needs, whether it draws MuJoCo scenes
CASES = [
    ("gym/CartPole-v1", {}, "gymnasium", False),
    ("gym/CartPole-v1", {"obs": "pixels"}, "pygame", False),
    ("gym/Pendulum-v1", {"obs": "both", "size": 32, "gray": True}, "pygame", False),
    ("gym/FrozenLake-v1", {}, "gymnasium", False),
    ("gym/HalfCheetah-v5", {}, "mujoco", False),
    ("gym/HalfCheetah-v5", {"obs": "pixels", "fast_render": True}, "mujoco", True),
    ("toy/catch", {}, "gymnasium", False),
    ("toy/recall", {}, "gymnasium", False),
    ("toy/reach", {}, "gymnasium", False),
    ("toy/mixed", {}, "gymnasium", False),
    ("pinpad/three", {}, "gymnasium", False),
    ("atari/Pong", {}, "ale_py", False),
    ("atari100k/Breakout", {}, "ale_py", False),
    ("crafter/reward", {"area": 16}, "crafter", False),
    ("dmc/walker-walk", {}, "dm_control", False),
    ("dmc/cartpole-swingup", {"obs": "both", "fast_render": True}, "dm_control", True),
    ("gym/LunarLander-v3", {}, "Box2D", False),
    ("minigrid/Empty-5x5-v0", {}, "minigrid", False),
    ("minigrid/DoorKey-5x5-v0", {"obs": "pixels"}, "minigrid", False),
    ("babyai/GoTo-v0", {}, "minigrid", False),
    ("bsuite/catch", {}, "bsuite", False),
    ("procgen/maze", {"size": 64}, "procgen", False),
    ("nle/Score", {}, "nle", False),
    ("envpool/WalkerWalk-v1", {}, "envpool", False),
    ("memorymaze/9x9", {}, "memory_maze", True),
    ("metaworld/reach", {}, "metaworld", False),
    ("robosuite/Lift", {}, "robosuite", False),
    ("brax/inverted_pendulum", {}, "brax", False),
    ("craftax/classic-pixels", {}, "craftax", False),
    ("playground/CartpoleBalance", {}, "mujoco_playground", False),
]
each_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: "-".join([case[0], *map(str, case[1].values())])
)


@pytest.fixture
def make(request):
    """Builds the env of a case, or skips if its package or a renderer is missing."""
    built = []

    def build(case):
        id, options, package, draws = case
        pytest.importorskip(package)
        if draws:
            request.getfixturevalue("renderer")
        built.append(dreamer_envs.make(id, **options))
        return built[-1]

    yield build
    for env in built:
        env.close()


@each_case
def test_common_form(case, make):
    env = make(case)
    env.action_space.seed(0)
    assert isinstance(env.observation_space, spaces.Dict)
    for key, space in env.observation_space.spaces.items():
        if key == "image":
            assert space.dtype == np.uint8 and len(space.shape) == 3
        elif isinstance(space, spaces.Box):
            assert space.dtype == np.float32
    if isinstance(env.action_space, spaces.Box):
        assert env.action_space == spaces.Box(-1.0, 1.0, env.action_space.shape)
    obs, _ = env.reset(seed=0)
    for _ in range(5):
        assert env.observation_space.contains(obs)
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert type(reward) is float and type(terminated) is bool and type(truncated) is bool
        assert isinstance(info, dict)
        if terminated or truncated:
            obs, _ = env.reset()
    expected = 4 if case[0].startswith("atari") else 1
    assert env.get_wrapper_attr("action_repeat") == expected


@each_case
def test_gymnasium_checker(case, make):
    env = make(case)
    with warnings.catch_warnings():
        # It wants the bare env, which is not what we offer, and bounds that nobody knows.
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
        warnings.filterwarnings("ignore", message=".*infinity. This is probably too.*")
        warnings.filterwarnings("ignore", message=".*render_modes.*|.*render_fps.*|.*render mode.*")
        check_env(env, skip_render_check=True)


@each_case
def test_sb3_checker(case, make):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = make(case)
    if isinstance(env.action_space, spaces.Dict):
        pytest.skip("SB3 has no Dict actions")
    if any(space.shape == () for space in env.observation_space.spaces.values()):
        pytest.skip("SB3's checker cannot index scalars with numpy 2.1 and later")
    with warnings.catch_warnings():
        # SB3's image advice (36 pixels at least, no scalars of shape ()) is about its own networks.
        warnings.simplefilter("ignore", UserWarning)
        checker.check_env(env, skip_render_check=True)


@each_case
def test_same_seed_same_episode(case, make):
    """Two objects, one of which was used before."""
    left, right = make(case), make(case)
    right.reset(seed=9)
    right.step(right.action_space.sample())
    left.action_space.seed(0)
    outcomes = [left.reset(seed=4)[0]], [right.reset(seed=4)[0]]
    for _ in range(6):
        action = left.action_space.sample()
        for env, seen in zip((left, right), outcomes, strict=True):
            obs, reward, terminated, truncated, _ = env.step(action)
            seen.append({**obs, "reward": reward, "ends": (terminated, truncated)})
            if terminated or truncated:
                seen.append(env.reset()[0])
    for a, b in zip(*outcomes, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize(
    "id, options, package",
    [
        ("gym/CartPole-v1", {}, "gymnasium"),
        ("toy/reach", {}, "gymnasium"),
        ("dmc/walker-walk", {}, "dm_control"),
        ("crafter/reward", {"area": 16}, "crafter"),
        ("pinpad/six", {}, "gymnasium"),
        ("atari/Qbert", {}, "ale_py"),
    ],
)
def test_other_seed_other_episode(id, options, package, make):
    env = make((id, options, package, False))

    def first_frames(seed):
        obs = [env.reset(seed=seed)[0], env.reset()[0]]
        return np.concatenate([np.ravel(value) for o in obs for value in o.values()])

    assert not np.array_equal(first_frames(1), first_frames(2))
    np.testing.assert_array_equal(first_frames(1), first_frames(1))


def test_control_suites_without_a_seed_differ():
    pytest.importorskip("dm_control")
    left, right = (dreamer_envs.make("dmc/cartpole-swingup") for _ in range(2))
    assert not np.array_equal(left.reset()[0]["velocity"], right.reset()[0]["velocity"])
    simulation = left.unwrapped._sim
    left.reset()
    assert left.unwrapped._sim is simulation  # only the first draws a seed


def test_gym_truncation_is_no_termination():
    env = dreamer_envs.make("Pendulum-v1")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(200)]
    assert ends[-1] == (False, True) and not any(any(end) for end in ends[:-1])


def test_gym_options_reach_gymnasium():
    env = dreamer_envs.make("CartPole-v1", max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_gym_pixels_show_what_the_env_draws():
    pytest.importorskip("pygame")
    env = dreamer_envs.make("CartPole-v1", obs="both")
    first, _ = env.reset(seed=0)
    assert set(first) == {"image", "vector"}
    drawn = env.render()
    assert drawn.shape[:2] == (400, 600) and first["image"].std() > 10
    moved = [env.step(1)[0]["image"] for _ in range(8)][-1]
    assert (moved != first["image"]).any()


def test_gym_env_whose_observation_is_an_image(monkeypatch):
    class Screen(gym.Env):
        observation_space = spaces.Box(0, 255, (96, 96, 3), np.uint8)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.full((96, 96, 3), 7, np.uint8), {}

    spec = gym.envs.registration.EnvSpec("Screen-v0", entry_point=lambda **_: Screen())
    monkeypatch.setitem(gym.registry, "Screen-v0", spec)
    for obs in ("vector", "pixels"):
        env = dreamer_envs.make("Screen-v0", obs=obs, size=32)
        image = env.reset()[0]["image"]
        assert image.shape == (32, 32, 3) and (image == 7).all()


def test_actions_that_mujoco_does_not_limit_are_no_larger_than_one():
    pytest.importorskip("dm_control")
    env = dreamer_envs.make("dmc/lqr-lqr_2_1")
    env.reset(seed=0)
    # dm_control writes "unlimited" as bounds of 1e10; scaled to them a step paid -4e17
    assert abs(env.step(env.action_space.high)[1]) < 100


def test_control_suite_truncates_at_1000_steps_with_cameras_and_keys():
    pytest.importorskip("dm_control")
    env = dreamer_envs.make("dmc/walker-walk", action_repeat=100)
    assert {k: s.shape for k, s in env.observation_space.spaces.items()} == {
        "orientations": (14,),
        "height": (),
        "velocity": (9,),
    }
    env.reset(seed=0)
    ends = [env.step(np.zeros(6, np.float32))[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(False, True)]
    assert env.action_repeat == 100
    assert dreamer_envs.make("dmc/quadruped-walk").unwrapped._camera == 2
    assert env.unwrapped._camera == 0


def test_control_suite_terminates_where_discount_is_zero(monkeypatch):
    pytest.importorskip("dm_control")
    env = dreamer_envs.make("dmc/cartpole-swingup")
    env.reset(seed=0)
    task = env.unwrapped._sim.task
    monkeypatch.setattr(task, "get_termination", lambda physics: 0.0, raising=False)
    assert env.step(np.zeros(1, np.float32))[2:4] == (True, False)


def test_control_suite_model_follows_the_seed():
    """Springs of the LQR model are drawn when the task is built, so a seeded reset builds it."""
    pytest.importorskip("dm_control")
    env = dreamer_envs.make("dmc/lqr-lqr_2_1")
    stiffness = []
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        stiffness.append(env.unwrapped._sim.physics.model.jnt_stiffness.copy())
    assert not np.array_equal(stiffness[0], stiffness[1])
    np.testing.assert_array_equal(stiffness[0], stiffness[2])


def test_control_suite_pixels(renderer):
    pytest.importorskip("dm_control")
    env = dreamer_envs.make("dmc/walker-walk", obs="pixels")
    assert set(env.observation_space.spaces) == {"image"}
    image = env.reset(seed=0)[0]["image"]
    cheap = dreamer_envs.make("dmc/walker-walk", obs="pixels", fast_render=True)
    plain = cheap.reset(seed=0)[0]["image"]
    assert image.std() > 10 and plain.std() > 10
    assert (image != plain).any()  # the option changes the picture, so it is never the default
    env.close()
    cheap.close()


def test_fast_mujoco_images_are_drawn_as_small_as_they_are_shown(renderer):
    pytest.importorskip("mujoco")
    plain, cheap = (
        dreamer_envs.make("gym/HalfCheetah-v5", obs="pixels", size=48, fast_render=fast)
        for fast in (False, True)
    )
    assert plain.unwrapped.render().shape == (480, 480, 3)  # Gymnasium's own
    assert cheap.unwrapped.render().shape == (48, 48, 3)
    image = cheap.reset(seed=0)[0]["image"]
    assert image.shape == (48, 48, 3) and image.std() > 10
    plain.close()
    cheap.close()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"obs": "state"}, "'state'"),
        ({"action_repeat": 0}, "at least 1"),
        ({"render_mode": "x"}, "'x'"),
        ({"obs": "pixels", "camera": 99}, "camera is 99 for dmc/walker-walk; it has 2, counted"),
        ({"camera": 99}, "camera is 99 for dmc/walker-walk; it has 2, counted"),
        ({"obs": "pixels", "camera": -2}, "camera is -2"),
        ({"obs": "pixels", "camera": "side"}, "camera is 'side'"),
        ({"obs": "pixels", "size": 999}, "size is 999 for dmc/walker-walk; it draws at most 480"),
    ],
)
def test_control_suite_options_are_checked(options, words):
    pytest.importorskip("dm_control")
    with pytest.raises(EnvOptionError, match=words):
        dreamer_envs.make("dmc/walker-walk", **options)


@pytest.mark.parametrize(
    "id, options, words",
    [
        (
            "CartPole-v1",
            {"render_mode": "rgb_aray"},
            "render_mode is 'rgb_aray' for gym/CartPole-v1; choose one of human, rgb_array. "
            "Did you mean 'rgb_array'?",
        ),
        (
            "CartPole-v1",
            {"fast_render": True},
            "fast_render is for MuJoCo envs; gym/CartPole-v1 is none.",
        ),
    ],
)
def test_gym_options_are_checked(id, options, words):
    with pytest.raises(EnvOptionError) as error:
        dreamer_envs.make(id, **options)
    assert str(error.value) == words


def test_a_closed_control_suite_says_so():
    pytest.importorskip("dm_control")
    env = dreamer_envs.make("dmc/cartpole-swingup", render_mode="rgb_array")
    env.close()
    with pytest.raises(EnvError, match="dmc/cartpole-swingup is closed: make it anew"):
        env.render()


def test_crafter_ends():
    pytest.importorskip("crafter")
    env = dreamer_envs.make("crafter/reward", length=3, area=16)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    env.reset()
    env.unwrapped._world._player.health = 0
    assert env.step(0)[2:4] == (True, False)


@pytest.mark.parametrize("option, least", [("size", 18), ("area", 1), ("length", 0)])
def test_crafter_options_are_checked(option, least):
    pytest.importorskip("crafter")
    env = dreamer_envs.make("crafter/reward", **{"area": 16, option: least})
    env.reset(seed=0)
    env.unwrapped._world._player.inventory["wood"] = 9
    env.step(0)
    with pytest.raises(EnvOptionError, match=f"{option} is {least - 1} .* at least {least}"):
        dreamer_envs.make("crafter/reward", **{option: least - 1})


def test_looking_at_crafter_changes_nothing():
    """At night: the package draws its noise from the generator of the world."""
    pytest.importorskip("crafter")
    watched, alone = (
        dreamer_envs.make("crafter/reward", area=16, render_mode="rgb_array") for _ in range(2)
    )
    for env in (watched, alone):
        env.reset(seed=3)
        env.unwrapped._world._step = 250
    for _ in range(5):
        (seen, *_), (expected, *_) = watched.step(0), alone.step(0)
        np.testing.assert_array_equal(seen["image"], expected["image"])
        np.testing.assert_array_equal(watched.render(), seen["image"])


def test_crafter_without_reward():
    pytest.importorskip("crafter")
    rewards = {}
    for task in ("reward", "noreward"):
        env = dreamer_envs.make(f"crafter/{task}", area=16)
        env.reset(seed=0)
        env.unwrapped._world._player.health -= 2
        rewards[task] = env.step(0)[1]
    assert rewards["reward"] == pytest.approx(-0.2) and rewards["noreward"] == 0.0


@pytest.mark.parametrize(
    "id, options, package, shape",
    [
        ("atari/Pong", {}, "ale_py", (210, 160, 3)),
        ("crafter/reward", {"area": 16}, "crafter", (64, 64, 3)),
        ("pinpad/three", {}, "gymnasium", (64, 64, 3)),
        ("dmc/pendulum-swingup", {"fast_render": True, "size": 80}, "dm_control", (80, 80, 3)),
    ],
)
def test_render(id, options, package, shape, make):
    env = make((id, {**options, "render_mode": "rgb_array"}, package, id.startswith("dmc")))
    env.reset(seed=0)
    image = env.render()
    assert image.shape == shape and image.dtype == np.uint8 and image.std() > 1


@pytest.mark.parametrize(
    "id, options, package, rate",
    [
        ("gym/CartPole-v1", {}, "gymnasium", 50),
        ("gym/CartPole-v1", {"action_repeat": 5}, "gymnasium", 10),
        ("gym/CartPole-v1", {"action_repeat": 200}, "gymnasium", 1),
        ("toy/recall", {}, "gymnasium", None),
        ("dmc/cartpole-swingup", {}, "dm_control", 100),
        ("dmc/walker-walk", {"action_repeat": 2}, "dm_control", 20),
        ("dmc/quadruped-walk", {}, "dm_control", 50),
        ("loconav/ant_maze_s", {}, "labmaze", 50),
        ("atari/Pong", {}, "ale_py", 15),
        ("atari/Pong", {"action_repeat": 1}, "ale_py", 60),
        ("memorymaze/9x9", {}, "memory_maze", 4),
    ],
)
def test_a_film_shows_real_time(id, options, package, rate, make):
    env = make((id, options, package, id.startswith("memorymaze")))
    assert env.metadata.get("render_fps") == rate


def test_gym_env_that_lacks_a_package_names_the_remedy(monkeypatch):
    def lacking(**_):
        raise gym.error.DependencyNotInstalled("Box2D is not installed")

    spec = gym.envs.registration.EnvSpec("Lacking-v0", entry_point=lacking)
    monkeypatch.setitem(gym.registry, "Lacking-v0", spec)
    with pytest.raises(MissingPackageError, match="gym/Lacking-v0 needs.*Box2D is not installed"):
        dreamer_envs.make("Lacking-v0")
    monkeypatch.setattr(gym_suite, "_entry_point", lambda task: "gymnasium.envs.box2d:Thing")
    with pytest.raises(MissingPackageError, match=r"pip install 'dreamer-plugin\[box2d\]'"):
        dreamer_envs.make("Lacking-v0")


def test_control_suite_that_does_not_import_names_the_system_packages(monkeypatch):
    pytest.importorskip("dm_control")
    monkeypatch.setitem(sys.modules, "dm_control", None)
    monkeypatch.setattr(dmc.rendering, "select_backend", lambda **_: "egl")
    with pytest.raises(
        MissingPackageError, match="walker-walk: dm_control does not.*libegl1 libgl1"
    ):
        dmc.ControlSuite("walker-walk")

"""The common form: actions, observations, repeats and images."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from dreamer_envs import images, wrap
from dreamer_envs.errors import EnvOptionError, FrameError, UnsupportedSpaceError
from dreamer_envs.images import Resizer, grayscale, resize
from dreamer_envs.transforms import ActionRepeat, NormalizeAction, RenderObs, Resize, scaler

U8 = np.uint8


class Fake(gym.Env):
    """Shows a fixed observation, remembers its actions, ends after some steps."""

    def render(self):
        return None

    def __init__(self, observation_space, action_space=None, obs=None, steps=100):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Discrete(2)
        self.obs = observation_space.sample() if obs is None else obs
        self.steps, self.taken = steps, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.obs, {}

    def step(self, action):
        self.taken.append(action)
        return self.obs, 1.0, len(self.taken) == self.steps, False, {}


def act(action_space, action):
    """What the env receives when the wrapped env is given an action."""
    env = wrap(Fake(spaces.Box(0, 1, (1,)), action_space))
    env.reset()
    env.step(action)
    return env.unwrapped.taken[0], env.action_space


def test_actions_match_the_official_wrappers(golden):
    arrays = golden("action_wrappers")
    low, high = arrays["low"], arrays["high"]
    assert not np.isfinite(low).all()  # the file covers infinite bounds
    for policy, expected in zip(arrays["policy_action"], arrays["env_action"], strict=True):
        received, agent_space = act(spaces.Box(low, high), policy)
        np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)
    assert agent_space == spaces.Box(-1.0, 1.0, (4,))


def test_actions_inside_a_dict(golden):
    arrays = golden("action_wrappers")
    space = spaces.Dict(
        {"arm": spaces.Box(arrays["low"], arrays["high"]), "tool": spaces.Discrete(3, start=5)}
    )
    policy, expected = arrays["policy_action"][0], arrays["env_action"][0]
    received, agent_space = act(space, {"arm": policy, "tool": np.int64(2)})
    np.testing.assert_allclose(received["arm"], expected, rtol=1e-6, atol=1e-6)
    assert received["tool"] == 7  # discrete actions count from 0 outside and from `start` inside
    assert agent_space["tool"] == spaces.Discrete(3)


def test_bounds_of_one_cost_no_bit():
    tiny = np.array([1e-8, -3e-8, 0.3, -0.7], np.float32)
    np.testing.assert_array_equal(scaler(-np.ones(4), np.ones(4))(tiny), tiny)


@given(
    low=st.floats(-10, 10), span=st.floats(0.01, 20), kind=st.sampled_from([np.float32, np.float64])
)
def test_no_action_leaves_the_bounds(low, span, kind):
    space = spaces.Box(low, low + span, (2,), kind)
    for action in (-1.0, 1.0, 0.3, 7.0):
        assert space.contains(act(space, np.full(2, action, np.float32))[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 9])
def test_every_channel_of_a_stack_is_resized_alike(channels):
    stack = np.full((8, 8, channels), 200, U8)
    stack[..., -1] = 0
    expected = [200] * (channels - 1) + [0]
    assert (resize(stack, 4, 4) == np.array(expected, U8)).all()


@pytest.mark.parametrize("channels", [2, 9, 12])
def test_stacked_frames_may_come_first(channels):
    frames = np.random.default_rng(0).integers(0, 256, (channels, 32, 32), U8)
    env = wrap(Fake(spaces.Box(0, 255, frames.shape, U8), obs=frames))
    np.testing.assert_array_equal(env.reset()[0]["image"], frames.transpose(1, 2, 0))


def test_other_discrete_actions():
    received, agent_space = act(spaces.MultiDiscrete([2, 3]), np.array([1, 2]))
    np.testing.assert_array_equal(received, [1, 2])
    received, agent_space = act(spaces.MultiBinary(3), np.array([1, 0, 1]))
    assert agent_space == spaces.MultiDiscrete([2, 2, 2]) and received.dtype == np.int8


@pytest.mark.parametrize(
    "space, expected",
    [
        (spaces.Box(0, 255, (64, 48, 3), U8), {"image": spaces.Box(0, 255, (64, 48, 3), U8)}),
        (spaces.Box(0, 255, (3, 64, 48), U8), {"image": spaces.Box(0, 255, (64, 48, 3), U8)}),
        (spaces.Box(0, 255, (84, 84), U8), {"image": spaces.Box(0, 255, (84, 84, 1), U8)}),
        (spaces.Box(0, 255, (7, 7, 3), U8), {"vector": spaces.Box(0, 255, (7, 7, 3), np.float32)}),
        (spaces.Box(0, 255, (128,), U8), {"vector": spaces.Box(0, 255, (128,), np.float32)}),
        (spaces.Box(-1, 1, (3,), np.float64), {"vector": spaces.Box(-1, 1, (3,), np.float32)}),
        (spaces.Discrete(5, start=-2), {"discrete": spaces.Discrete(5)}),
        (spaces.MultiDiscrete([2, 5]), {"discrete": spaces.MultiDiscrete([2, 5])}),
        (spaces.MultiBinary(4), {"vector": spaces.Box(0, 1, (4,), np.float32)}),
        (
            spaces.Dict({"a": spaces.Dict({"b": spaces.Box(0, 1, ())}), "c": spaces.Discrete(2)}),
            {"a/b": spaces.Box(0, 1, ()), "c": spaces.Discrete(2)},
        ),
        (
            spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 1, (2,))]),
            {"0": spaces.Discrete(3), "1": spaces.Box(0, 1, (2,))},
        ),
    ],
    ids=str,
)
def test_observations(space, expected):
    env = wrap(Fake(space))
    assert env.observation_space == spaces.Dict(expected)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs), obs
    stepped = env.step(0)[0]
    assert stepped.keys() == obs.keys()
    assert all(np.asarray(obs[key]).dtype == sub.dtype for key, sub in expected.items())


def test_values_of_observations():
    channels_first = np.arange(3 * 64 * 48, dtype=U8).reshape(3, 64, 48)
    obs, _ = wrap(Fake(spaces.Box(0, 255, (3, 64, 48), U8), obs=channels_first)).reset()
    np.testing.assert_array_equal(obs["image"][5, 7], channels_first[:, 5, 7])
    obs, _ = wrap(Fake(spaces.Discrete(5, start=-2), obs=-1)).reset()
    assert obs["discrete"] == 1


@pytest.mark.parametrize(
    "observation, action, words",
    [
        (spaces.Text(5), spaces.Discrete(2), "observation.*Text"),
        (spaces.Dict(mission=spaces.Text(5)), spaces.Discrete(2), "'mission'.*Text"),
        (spaces.Discrete(2), spaces.Text(3), "action.*Text"),
        (spaces.Discrete(2), spaces.Dict(go=spaces.Text(3)), "action/go"),
        (spaces.Discrete(2), spaces.Box(0, 5, (2,), np.int64), "action.*int64"),
        (spaces.Discrete(2), spaces.Tuple([spaces.Discrete(2)]), "action.*Tuple.*use Box"),
        (spaces.Discrete(2), spaces.MultiDiscrete([[2, 3]]), "MultiDiscrete of one axis"),
        (
            spaces.Box(0, 255, (4, 64, 64, 3), np.uint8),
            spaces.Discrete(2),
            "'vector' is a stack of images .* leave FrameStackObservation out",
        ),
        (spaces.Graph(spaces.Box(0, 1), None), spaces.Discrete(2), "observation.*Graph.*use Box"),
    ],
)
def test_unsupported_space_is_named(observation, action, words):
    with pytest.raises(UnsupportedSpaceError, match=words):
        wrap(Fake(observation, action, obs=0))


@pytest.mark.parametrize("answer", [np.zeros(2), (np.zeros(2), 0.0, False, {}), None])
def test_answers_of_the_old_interface_are_named(answer, monkeypatch):
    env = wrap(Fake(spaces.Box(-1, 1, (2,))))
    env.reset()
    monkeypatch.setattr(Fake, "step", lambda self, action: answer)
    monkeypatch.setattr(Fake, "reset", lambda self, **_: answer)
    with pytest.raises(FrameError, match="step returned no five values: .*Gym returned four"):
        env.step(0)
    with pytest.raises(FrameError, match="reset returned no pair: "):
        env.reset()


def test_wrapping_twice_changes_nothing():
    env = wrap(Fake(spaces.Box(0, 1, (2,))))
    assert wrap(env) is env
    outside = gym.wrappers.TimeLimit(env, 5)
    assert wrap(outside).observation_space == env.observation_space


def test_repeat_adds_rewards_and_stops_at_the_end():
    env = wrap(ActionRepeat(Fake(spaces.Box(0, 1, (1,)), steps=7), 4))
    assert env.action_repeat == 4 and env.get_wrapper_attr("action_repeat") == 4
    env.reset()
    assert env.step(1)[1:4] == (4.0, False, False)
    assert env.step(1)[1:4] == (3.0, True, False)
    nested = ActionRepeat(ActionRepeat(Fake(spaces.Box(0, 1, (1,))), 2), 3)
    assert wrap(nested).action_repeat == 6
    with pytest.raises(EnvOptionError, match="at least 1"):
        ActionRepeat(Fake(spaces.Box(0, 1, (1,))), 0)


def test_env_without_repeat_has_one_frame_per_step():
    assert wrap(Fake(spaces.Box(0, 1, (1,)))).action_repeat == 1


def test_images_match_the_official_resize(golden):
    arrays = golden("atari_preprocessing")
    frame = np.maximum(arrays["frame_new"], arrays["frame_old"])
    for size in (64, 96):
        for gray, name in ((True, "gray"), (False, "rgb")):
            env = wrap(Resize(Fake(spaces.Box(0, 255, frame.shape, U8), obs=frame), size, gray))
            np.testing.assert_array_equal(env.reset()[0]["image"], arrays[f"image_{size}_{name}"])


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("width", [160, 149, 64, 21])
def test_resizing_what_changed_gives_the_whole_picture(width):
    rng = np.random.default_rng(0)
    picture = noise(rng, 210, width, 4)
    resizer, before = Resizer(64, 64), None
    for share in (0, 0.1, 1, 0, 0.5, 0.01):
        rows = np.flatnonzero(rng.random(210) < share)
        picture[rows] = noise(rng, len(rows), width, 4)
        small = resizer(picture, rows)
        np.testing.assert_array_equal(small, resize(picture[..., :3], 64, 64))
        if before is not None:
            np.testing.assert_array_equal(*before)  # what was given stays as it was
        before = small, small.copy()
    taller = noise(rng, 250, width, 4)
    np.testing.assert_array_equal(resizer(taller, rows), resize(taller[..., :3], 64, 64))


def test_rows_that_are_said_to_be_the_same_are_not_looked_at():
    rng = np.random.default_rng(0)
    picture, resizer = noise(rng, 210, 160, 4), Resizer(64, 64)
    before = resizer(picture, np.arange(210))
    picture[100] = ~picture[100]
    np.testing.assert_array_equal(resizer(picture, np.arange(0)), before)
    assert not np.array_equal(resizer(picture, np.array([100])), before)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("height", [64, 84, 96, 105, 63, 210, 300])  # 63, 300: never in parts
def test_a_changed_band_gives_the_whole_picture(height, gray):
    """Bands of each place and thickness, as `resize` alone draws them; black and white, as noise
    of all values hides a pixel that is wrong by one."""
    rng = np.random.default_rng(1)
    picture = noise(rng, 210, 24, 4)
    resizer = Resizer(height, 16, gray)
    resizer(picture, np.arange(210))
    for first in [0, 1, 2, 207, 208, 209, *rng.integers(0, 210, 60)]:
        rows = np.arange(first, min(210, first + rng.integers(1, 30)))
        picture[rows] = rng.choice(np.array([0, 1, 254, 255], U8), (len(rows), 24, 4))
        whole = resize(picture[..., :3], height, 16)
        expected = grayscale(whole) if gray else whole
        np.testing.assert_array_equal(resizer(picture, rows), expected)


@pytest.mark.parametrize("new_height, rows", [(64, (21, 24)), (96, (33, 36)), (63, (0, 63))])
def test_few_rows_of_the_result_see_one_that_changed(new_height, rows):
    """Row 75 of 210 lies in row 22 of 64 and in 34 of 96, and bilinear weights reach one beside."""
    assert images._reached(210, new_height, 75, 75) == rows


@pytest.mark.parametrize("size", [64, 84, 96])
def test_games_are_resized_in_halves(size):
    """The sizes that are used; otherwise `Resizer` would be exact and no faster."""
    assert images._rows_first(210, 160, size, size)


def test_gray_of_a_gray_is_itself():
    """Truncation would lose one of most values if the weights did not add up to 1."""
    grays = np.repeat(np.arange(256, dtype=U8)[None, :, None], 3, 2)
    np.testing.assert_array_equal(grayscale(grays)[..., 0], grays[..., 0])


def test_resize_of_gray_images_keeps_one_channel():
    env = Resize(Fake(spaces.Box(0, 255, (96, 96, 1), U8)), 64, gray=True)
    assert env.observation_space.shape == (64, 64, 1)
    assert env.reset()[0].shape == (64, 64, 1)


@pytest.mark.parametrize("shape", [(40, 32), (3, 40, 32), (40, 32, 3)])
def test_images_of_each_layout_are_resized(shape):
    obs = np.random.default_rng(0).integers(0, 256, shape, dtype=U8)
    env = wrap(Resize(Fake(spaces.Box(0, 255, shape, U8), obs=obs), 16))
    pixels = obs[..., None] if len(shape) == 2 else obs
    pixels = np.moveaxis(pixels, 0, -1) if len(shape) == 3 and shape[0] == 3 else pixels
    image = env.reset()[0]["image"]
    np.testing.assert_array_equal(image, resize(np.ascontiguousarray(pixels), 16, 16))
    assert env.observation_space["image"].shape == image.shape


def test_an_image_to_resize_is_checked():
    frame = np.zeros((32, 32, 3), np.float32)
    env = wrap(Resize(Fake(spaces.Box(0, 255, frame.shape, U8), obs=frame), 16))
    with pytest.raises(FrameError, match="observation 'image' is float32, its space uint8"):
        env.reset()


def test_what_is_drawn_is_checked():
    env = RenderObs(Fake(spaces.Box(0, 1, (3,))), 16)
    with pytest.raises(FrameError, match="render returned no picture"):
        env.observation(None)


def test_what_is_drawn_replaces_no_observation_of_its_name():
    own = spaces.Dict(image=spaces.Box(0, 1, (3,)), place=spaces.Discrete(2))
    with pytest.raises(EnvOptionError, match="Fake has an observation named 'image' already"):
        RenderObs(Fake(own), 16, keep=True)
    assert list(RenderObs(Fake(own), 16).observation_space) == ["image"]


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_an_env_without_a_space_is_refused(name):
    env = Fake(spaces.Box(0, 1, (3,)))
    delattr(env, name)
    with pytest.raises(UnsupportedSpaceError, match=f"Fake declares no {name}: set it"):
        wrap(env)


def test_normalising_leaves_discrete_spaces_discrete():
    env = NormalizeAction(Fake(spaces.Discrete(2), spaces.Discrete(4)))
    assert env.action_space == spaces.Discrete(4)

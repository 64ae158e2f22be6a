"""World-model quality: what is compared with what, and how far ahead."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.build import build_agent
from dreamer_plugin.errors import UsageError
from dreamer_plugin.ops.distributions import MSE
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.run import foresight
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.study import look, quality
from tests import tiny


@pytest.fixture(scope="module")
def world():
    """A small world that sees an image, a vector and a choice, not trained."""
    obs = gym.spaces.Dict(
        {
            "image": gym.spaces.Box(0, 255, (48, 48, 3), np.uint8),
            "place": gym.spaces.Box(-9, 9, (2,), np.float32),
            "choice": gym.spaces.Discrete(3),
        }
    )
    agent = build_agent(
        tiny.config(lambda cfg: setattr(cfg.model, "depth", 2)),
        Spaces.from_gym(obs, gym.spaces.Discrete(3)),
    )
    tiny.disturb(agent)
    return agent.world


def episode(length, seed=0, terminal=True):
    rng = torch.Generator().manual_seed(seed)
    flag = torch.zeros(length, dtype=torch.bool)
    ends = torch.arange(length) == length - 1
    obs = {
        "image": torch.randint(0, 256, (length, 48, 48, 3), generator=rng, dtype=torch.uint8),
        "place": torch.randn(length, 2, generator=rng),
        "choice": torch.randint(0, 3, (length,), generator=rng),
    }
    action = torch.nn.functional.one_hot(torch.randint(0, 3, (length,), generator=rng), 3)
    return TensorDict(
        {
            "obs": TensorDict(obs, [length]),
            "action": action.float() * ~ends[:, None],
            "reward": torch.randn(length, generator=rng),
            "is_first": torch.arange(length) == 0,
            "is_last": ends,
            "is_terminal": ends if terminal else flag,
        },
        [length],
    )


def test_nothing_ahead_is_the_reconstruction(world):
    found = quality.measure(world, [episode(7), episode(4, 1)], context=1, horizon=3, starts=99)
    names = {"image/mse", "image/psnr", "image/ssim", "place/mse", "choice/wrong"}
    assert found.reconstruction.keys() == names | {"reward/mse", "cont/mse"}
    for name, value in found.reconstruction.items():
        assert found.open_loop[name][0] == pytest.approx(value, rel=1e-5)
    assert found.open_loop["image/still_mse"][0] == 0
    assert (found.frames, found.terminals) == (11, 2) and found.kl > 0


def test_an_open_loop_stops_at_the_end_of_its_episode(world):
    # 6 and 3 frames: so many pairs of frames of one episode lie 0, 1, ... apart.
    found = quality.measure(world, [episode(6), episode(3, 1)], context=1, horizon=4, starts=99)
    assert found.starts == [6 + 3, 5 + 2, 4 + 1, 3, 2]
    assert all(len(curve) == 5 for curve in found.open_loop.values())
    # Five frames of context leave the last two frames of the longer episode.
    later = quality.measure(world, [episode(6), episode(3, 1)], context=5, horizon=4)
    assert later.starts == [2, 1]


def test_no_more_starts_than_asked_for(world):
    seen = foresight.observe(world, [episode(50)], torch.Generator())
    assert seen.starts(5, 10).tolist() == list(range(4, 50, 5))
    assert len(seen.starts(1, 7)) <= 7


def test_errors_are_those_of_the_definitions(world):
    records = episode(5)
    found = quality.measure(world, [records], context=1, horizon=0)
    seen = foresight.observe(world, [records], torch.Generator().manual_seed(0))
    outputs = world.outputs(
        {"deter": seen.deter, "stoch": seen.stoch, "feat": world.rssm.feat(seen.deter, seen.stoch)}
    )
    # What the losses sum over an event is divided by its numbers here.
    losses = {name: outputs[name].loss(records["obs", name]) for name in ("image", "place")}
    sums = {name: loss.mean().item() for name, loss in losses.items()}
    assert found.reconstruction["image/mse"] == pytest.approx(
        sums["image"] / (48 * 48 * 3), rel=1e-5
    )
    assert found.reconstruction["place/mse"] == pytest.approx(sums["place"] / 2, rel=1e-5)
    chosen = outputs["choice"].logprobs.argmax(-1) != records["obs", "choice"]
    assert found.reconstruction["choice/wrong"] == pytest.approx(chosen.float().mean().item())
    going = torch.tensor([1.0, 1, 1, 1, 0]) * world.cont_discount
    wanted = ((outputs["cont"].pred() - going) ** 2).mean().item()
    assert found.reconstruction["cont/mse"] == pytest.approx(wanted, rel=1e-5)


def test_the_true_actions_are_foreseen_with():
    # A world whose state is the sum of its actions: 2, 3, 5 and 7 are taken at frames 0 to 3.
    rssm = SimpleNamespace(
        latent=SimpleNamespace(noise_shape=(1,)),
        imagine_step=lambda deter, stoch, action, noise: (deter + action, stoch),
    )
    records = TensorDict({"action": torch.tensor([[2.0], [3], [5], [7], [0]])}, [5])
    sums = torch.tensor([[0.0], [2], [5], [10], [17]])
    last = torch.full((5,), 4)
    seen = foresight.Filtered(records, last, torch.arange(1, 6), sums, sums.clone(), sums)
    steps = list(
        foresight.foresee(
            SimpleNamespace(rssm=rssm), seen, torch.tensor([0, 2]), 3, torch.Generator()
        )
    )
    assert [at.tolist() for _, at, _, _ in steps] == [[0, 2], [1, 3], [2, 4], [3]]
    for _, at, deter, _ in steps:
        assert torch.equal(deter, sums[at])


def test_an_episode_in_pieces_is_the_same_episode(world, monkeypatch):
    monkeypatch.setattr(foresight, "_noise", lambda generator, *shape: torch.full(shape, 0.5))
    records, rng = [episode(9), episode(5, 1)], torch.Generator()
    whole = foresight.observe(world, records, rng)
    monkeypatch.setattr(foresight, "CHUNK", 4)
    pieces = foresight.observe(world, records, rng)
    torch.testing.assert_close(pieces.deter, whole.deter)
    torch.testing.assert_close(pieces.kl, whole.kl)
    # An episode knows nothing of the one before it.
    alone = foresight.observe(world, records[1:], rng)
    torch.testing.assert_close(alone.deter, whole.deter[9:])


def test_a_film_shows_truth_model_and_error(world):
    shown = quality.film(world, [episode(4, 1), episode(12)], context=3, horizon=4)["image"]
    assert shown.shape == (2 + 1 + 4, 48, 144, 3)
    # In the middle of the longer episode: (12 - 1 - 4) // 2 = 3, and two frames before it.
    assert torch.equal(shown[:, :, :48], episode(12)["obs", "image"][1:8])
    truth, model, error = shown.float().split(48, 2)
    assert ((model - truth + 255) / 2 - error).abs().max() <= 1


def test_episodes_that_are_too_short_say_so(world):
    with pytest.raises(UsageError, match="No episode has 5 frames"):
        quality.measure(world, [episode(4)])


class Taught(torch.nn.Module):
    """Predicts what it is told, in a space."""

    def __init__(self, told, symlog_target):
        super().__init__()
        self.told, self.symlog_target = told, symlog_target

    def forward(self, feat):
        return MSE(self.told[: len(feat)], 0, self.symlog_target)


@pytest.mark.parametrize(
    ("settings", "learned"),
    [
        ({"world__reward_transform": "tanh"}, torch.tanh),
        ({"world__reward__output": "symlog_mse"}, symlog),
    ],
)
def test_rewards_are_compared_as_they_are_learned(settings, learned):
    world = tiny.agent(tiny.setting(**settings)).world
    played = tiny.batch(rows=1, length=11)[0]
    played["is_first"][0], played["reward"] = True, torch.linspace(0, 10, 12)
    told = learned(played["reward"])
    world.reward = Taught(told, "world__reward__output" in settings)
    assert quality.measure(world, [played], horizon=2).reconstruction[
        "reward/mse"
    ] == pytest.approx(0)
    seen = foresight.observe(world, [played], torch.Generator().manual_seed(0))
    outputs = look._outputs(world, seen)
    (found,) = (t for t in look._traces(world, seen, outputs, outputs) if t.name == "reward")
    assert found.real == pytest.approx(told.tolist()) == found.reconstructed

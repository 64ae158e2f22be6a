"""The dream as an env: TorchRL's own checks, our own dreams, and an end where the world says so."""

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs import check_env_specs

from dreamer_plugin.build import build_agent
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.world_env import WorldModelEnv
from dreamer_plugin.spaces import Spaces
from tests import tiny


def made(action, **options):
    spaces = Spaces.from_gym(tiny.OBS, tiny.ACTIONS[action])
    agent = build_agent(tiny.config(), spaces)
    tiny.disturb(agent)
    return agent, WorldModelEnv(agent.world, spaces, **options)


def expect(world, bias):
    """Make the world sure that every dream goes on, or ends."""
    with torch.no_grad():
        for name, param in world.cont.named_parameters():
            if name.endswith("bias"):
                param.fill_(bias)


@pytest.mark.parametrize("action", ["move", "tool"])
@pytest.mark.parametrize("count", [1, 3])
def test_torchrls_check_of_an_env(action, count):
    check_env_specs(made(action, num_envs=count)[1], seed=0)


def test_several_action_keys_are_refused():
    agent = tiny.agent()
    with pytest.raises(UsageError, match="one discrete choice, not move, tool"):
        WorldModelEnv(agent.world, tiny.spaces())


def test_a_rollout_is_the_worlds_own_dream_from_a_given_state():
    agent, env = made("move", num_envs=2, horizon=4, seed=5)
    expect(agent.world, 1e3)
    rssm = agent.world.rssm
    deter = torch.randn(2, rssm.core.deter)
    stoch = torch.eye(4)[torch.randint(0, 4, (2, 4))]
    actions = torch.rand(4, 2, 2) * 2 - 1
    start = env.reset(TensorDict({"deter": deter, "stoch": stoch}, [2]))
    step = iter(actions)
    out = env.rollout(
        4, lambda td: td.set("action", next(step)), auto_reset=False, tensordict=start
    )
    noise = torch.Generator().manual_seed(5)
    for t in range(4):
        drawn = torch.rand(2, *rssm.latent.noise_shape, generator=noise)
        deter, stoch = rssm.imagine_step(deter, stoch, actions[t], drawn)
        feat = rssm.feat(deter, stoch)
        torch.testing.assert_close(out["next", "observation"][:, t], feat.detach())
        reward, _ = agent.world.judge(feat.detach())
        torch.testing.assert_close(out["next", "reward"][:, t, 0], reward)
    assert out["next", "truncated"][:, :, 0].tolist() == [[False] * 3 + [True]] * 2


def test_a_dream_begins_in_what_replay_stores():
    _, env = made("move", num_envs=2)
    stored = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]], dtype=torch.uint8)
    start = env.reset(TensorDict({"deter": torch.zeros(2, 16), "stoch": stored}, [2]))
    assert torch.equal(start["stoch"].argmax(-1), stored.long())


def test_starts_may_be_what_replay_stores():
    agent, env = made("move", num_envs=3)
    stored = tiny.batch()[:, 0].select("deter", "stoch")
    _, same = made("move", num_envs=3, starts=lambda count: stored[:count])
    expected, found = env.reset(stored.clone()), same.reset()
    assert torch.equal(found["stoch"], expected["stoch"])
    assert torch.equal(found["observation"], expected["observation"])


@pytest.mark.parametrize("sizes", [{"horizon": 0}, {"horizon": -1}, {"num_envs": 0}])
def test_dreams_of_nothing_are_refused(sizes):
    ((name, value),) = sizes.items()
    with pytest.raises(UsageError, match=f"{name}={value}: it must be at least 1"):
        made("move", **sizes)


def test_a_dream_ends_where_the_world_expects_no_more():
    agent, env = made("tool", num_envs=2)
    expect(agent.world, -1e3)
    after = env.rand_step(env.reset())
    assert after["next", "terminated"].all() and after["next", "done"].all()
    assert not after["next", "truncated"].any()


def test_only_the_rows_that_ended_begin_anew():
    _, env = made("move", num_envs=2)
    after = env.rand_step(env.reset())["next"]
    after["_reset"] = torch.tensor([[True], [False]])
    kept = after["deter"][1].clone()
    again = env.reset(after)
    assert again["steps"].flatten().tolist() == [0, 1]
    assert torch.equal(again["deter"][1], kept) and not again["deter"][0].any()

"""Forms of behavior learning that papers and other descriptions have, each set in the config.

Expected values are written out from the formula in each test's first line, on a dream of H = 4
steps with random rewards and continuations. R is the lambda return, v the value, w the weight.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_envs.transforms import NormalizeAction
from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.errors import UsageError
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.spaces import Spaces

from .. import tiny

H, GAMMA, LAMBDA = 4, 0.9, 0.95
PLAIN = {
    "behavior.horizon": 10,
    "behavior.cont_discount": False,
    "behavior.return_norm.kind": "none",
    "behavior.critic.output": "mse",
    "behavior.critic.slow_reg": 0.0,
    "behavior.actor.entropy": 0.0,
}
THROUGH = {"behavior.actor.gradient": "dynamics", "behavior.actor.dynamics_baseline": False}
AFTER = {"behavior.returns": "departure_after_start"}


def agent(*changes: dict[str, Any], action: gym.Space[Any] | None = None) -> Agent:
    """A tiny agent with one-number outputs and the changes, by dotted key."""
    cfg = tiny.config()
    for name, value in {k: v for change in (PLAIN, *changes) for k, v in change.items()}.items():
        *sections, key = name.split(".")
        part: Any = cfg
        for section in sections:
            part = getattr(part, section)
        assert hasattr(part, key), name
        setattr(part, key, value)
    spaces = tiny.spaces() if action is None else Spaces.from_gym(tiny.OBS, action)
    made = build_agent(tiny.consistent(cfg), spaces)
    tiny.disturb(made)
    return made


class Dream:
    """A random dream, `[3, H+1]`, and the losses that an agent makes of it.

    Attributes:
        feat, reward, cont: leaves. policy, value, ret: what `dream_losses` returns.
        fast, slow: `[3, H+1]`, what critic and slow critic say, without a graph.
    """

    def __init__(self, made: Agent) -> None:
        rng = torch.Generator().manual_seed(0)
        self.feat = torch.randn(3, H + 1, made.world.rssm.feat_size, generator=rng)
        self.reward = 3 * torch.randn(3, H + 1, generator=rng)
        self.cont = 0.5 + 0.3 * torch.rand(3, H + 1, generator=rng)  # under GAMMA
        self.action = tiny.batch(3, H)["action"]
        for leaf in (self.feat, self.reward, self.cont):
            leaf.requires_grad_(made.behavior.settings.dynamics > 0)
        dream = TensorDict({"feat": self.feat, "action": self.action}, [3, H + 1])
        losses, self.ret, _ = made.behavior.dream_losses(dream, self.reward, self.cont)
        self.policy, self.value = losses["policy"], losses["value"]
        with torch.no_grad():
            self.fast = made.behavior.critic(self.feat).pred()
            self.slow = made.behavior.slow(self.feat).pred()

    def departing(self, value: Tensor, gamma: float = GAMMA) -> Tensor:
        """R(i) = r(i) + g c(i) [(1 - l) v(i+1) + l R(i+1)], i = 0 to H, `[3, H+1]`."""
        ret = [value[:, H]]
        for i in reversed(range(H)):
            mixed = (1 - LAMBDA) * value[:, i + 1] + LAMBDA * ret[0]
            ret.insert(0, self.reward[:, i] + gamma * self.cont[:, i] * mixed)
        return torch.stack(ret, 1)

    def arriving(self, value: Tensor) -> Tensor:
        """G(t) = r(t+1) + g c(t+1) [(1 - l) v(t+1) + l G(t+1)], t = 0 to H - 1, `[3, H]`."""
        ret = [value[:, H]]
        for t in reversed(range(H)):
            mixed = (1 - LAMBDA) * value[:, t + 1] + LAMBDA * ret[0]
            ret.insert(0, self.reward[:, t + 1] + GAMMA * self.cont[:, t + 1] * mixed)
        return torch.stack(ret[:H], 1)


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def product(cont: Tensor) -> Tensor:
    """1, c0, c0 c1, … of `[3, K]`, one more than K."""
    return torch.cat([torch.ones_like(cont[:, :1]), cont.cumprod(1)], 1)


# The actor.


@pytest.mark.parametrize("entropy", [0.01, -0.01])
@pytest.mark.parametrize("first", [0, 1])
def test_score_function_in_the_conventions_of_v1_and_v2(first: int, entropy: float) -> None:
    """-w (log pi(a) sg(R - v) + eta H); a negative eta is the sign as one description prints it."""
    returns = {"behavior.returns": ("departure", "departure_after_start")[first]}
    made = agent(returns, {"behavior.actor.entropy": entropy})
    dream = Dream(made)
    policy = made.behavior.actor(dream.feat[:, : H - 1])
    decided = dream.departing(dream.fast)[:, 1:H]  # decision i leads to state i + 1
    score = policy.logp(dream.action[:, : H - 1]) * (decided - dream.fast[:, : H - 1])
    weight = product(GAMMA * dream.cont[:, first : first + H - 2])
    close(dream.policy, -weight * (score + entropy * policy.entropy()))
    gradient = torch.autograd.grad(dream.policy.sum(), list(made.behavior.actor.parameters()))
    assert all(bool(grad.any()) for grad in gradient)


SQUASHED = {
    "behavior.actor.return_transform": "symlog",
    "behavior.actor.value_gradient": False,
    "behavior.critic.slow_target": True,
    "behavior.weights": "cont",
}


def test_squashed_returns_through_the_dream() -> None:
    """-w symlog(R), w(i) = product of c before i; R ends with values of the slow critic."""
    made = agent(THROUGH, AFTER, SQUASHED)
    tiny.disturb(made.behavior.critic, seed=3)
    dream = Dream(made)
    assert not torch.allclose(dream.fast, dream.slow)
    ret = dream.departing(dream.slow)[:, 1:H]
    close(dream.policy, -product(dream.cont[:, 1 : H - 1]).detach() * symlog(ret))
    assert ret.abs().max() > 2, "where symlog bends"


@pytest.mark.parametrize("through", [True, False])
def test_returns_may_keep_no_gradient_through_values(through: bool) -> None:
    """Of d R / d s what passes the rewards stays; what passes the values stays if told so."""
    dream = Dream(agent(THROUGH, AFTER, SQUASHED, {"behavior.actor.value_gradient": through}))
    dream.policy.sum().backward()
    assert dream.reward.grad is not None and dream.reward.grad[:, 1:H].all()
    assert (dream.feat.grad is not None and bool(dream.feat.grad.any())) is through


def test_squashed_advantages() -> None:
    """-w log pi(a) sg(symlog(G) - symlog(v)): both in the space that the actor sees."""
    made = agent({"behavior.actor.return_transform": "symlog"})
    dream = Dream(made)
    logp = made.behavior.actor(dream.feat[:, :H]).logp(dream.action[:, :H])
    advantage = symlog(dream.arriving(dream.fast)) - symlog(dream.fast[:, :H])
    weight = (GAMMA * dream.cont[:, :H]).cumprod(1) / GAMMA
    close(dream.policy, -weight * logp * advantage)


def test_returns_alone() -> None:
    """Actor -R, critic (v - sg R)^2, both without weights."""
    made = agent(THROUGH, {"behavior.weights": "none"})
    dream = Dream(made)
    expected = dream.arriving(dream.fast)
    close(dream.policy, -expected)
    close(dream.value, (made.behavior.critic(dream.feat[:, :H]).pred() - expected) ** 2)
    dream.value.sum().backward()
    assert dream.reward.grad is None and dream.feat.grad is None


def test_normalised_returns_through_the_dream() -> None:
    """-w R / (P95 - P5), whose range of percentiles is data."""
    norm = {"kind": "percentile", "rate": 1.0, "limit": 0.0}
    made = agent(THROUGH, {f"behavior.return_norm.{name}": value for name, value in norm.items()})
    dream = Dream(made)
    ret = dream.arriving(dream.fast)
    low, high = ret.detach().quantile(torch.tensor([0.05, 0.95]))
    expected = -((GAMMA * dream.cont[:, :H]).cumprod(1) / GAMMA).detach() * ret / (high - low)
    close(dream.policy, expected)
    leaves = [dream.reward, dream.cont]
    found = torch.autograd.grad(dream.policy.sum(), leaves, retain_graph=True)
    for ours, theirs in zip(found, torch.autograd.grad(expected.sum(), leaves), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("word", ["likeliest", "mean", "median"])
def test_what_a_squashed_normal_plays_in_evaluation(word: str) -> None:
    """tanh of a normal; its likeliest value, its mean or `tanh` of the normal's mean."""
    output = {"output": "tanh_normal", "min_std": 0.1, "init_std": 1.0, "tanh_mode": word}
    changes = {f"behavior.actor.{name}": value for name, value in output.items()}
    made = agent(changes, action=gym.spaces.Box(-1, 1, (2,)))
    policy = made.behavior.actor(torch.zeros(1, made.world.rssm.feat_size)).parts[0]
    grid = torch.linspace(-1 + 1e-4, 1 - 1e-4, 20_001).view(-1, 1, 1)
    density = policy.logp(grid).exp()
    expected = {
        "likeliest": grid[density.argmax(0), 0, 0],
        "mean": (grid * density).sum(0) / density.sum(0),
        "median": torch.tanh(policy.before.mean),
    }
    torch.testing.assert_close(policy.mode(), expected[word], atol=0.01, rtol=0)
    others = [value for name, value in expected.items() if name != word]
    assert all((policy.mode() - other).abs().max() > 0.015 for other in others)


def test_an_unbounded_normal_is_clipped_by_the_env_alone() -> None:
    """mean m, std softplus(r) + min: what goes beyond [-1, 1] is learned as it was drawn."""
    made = agent({"behavior.actor.output": "normal"}, action=gym.spaces.Box(-1, 1, (2,)))
    head = made.behavior.actor.heads[0]
    with torch.no_grad():
        for layer in head:
            layer.weight.zero_()
            layer.bias.zero_()
        head[0].bias.copy_(torch.tensor([3.0, 0.5]))
    policy = made.behavior.actor(torch.zeros(1, made.world.rssm.feat_size))
    assert policy.mode().tolist() == [[3.0, 0.5]]
    assert torch.allclose(policy.parts[0].std, torch.tensor(2.0).log() + 0.1)
    env = gym.Env[Any, Any]()
    env.action_space = gym.spaces.Box(-1, 1, (2,))
    assert NormalizeAction(env).action(policy.mode()[0].detach().numpy()).tolist() == [1.0, 0.5]


# Weights.


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize(
    ("returns", "first", "start"),
    [("arrival", 0, 1), ("departure", 0, 0), ("departure_after_start", 1, 0)],
)
def test_weights_without_the_discount(returns: str, first: int, start: int, learned: bool) -> None:
    """w(t) = product of c before t, in the arrival convention that of c up to t.

    A head that has learned the discount predicts g c.
    """
    convention = {"behavior.returns": returns, "behavior.cont_discount": learned}
    flat, weighed = (
        Dream(agent(convention, {"behavior.weights": word})) for word in ("none", "cont")
    )
    cont = flat.cont[:, first:H] / (GAMMA if learned else 1)
    expected = product(cont)[:, start : start + H - first]
    close(weighed.value / flat.value, expected)
    close(weighed.policy / flat.policy, expected[:, : flat.policy.shape[1]])
    assert weighed.ret.equal(flat.ret), "returns are discounted in both"


def test_weights_end_at_one() -> None:
    """A head that is surer of going on than the discount allows makes no state weigh more."""
    made = agent({"behavior.cont_discount": True, "behavior.weights": "cont"})
    assert made.behavior.settings.weigh(torch.tensor([0.45, 0.95])).tolist() == [0.5, 1.0]


def test_without_a_continuation_head_dreams_go_on() -> None:
    """c = 1: w(t) = g^t, and no loss of a continuation."""
    made = agent({"world.cont.output": "none", "behavior.cont_discount": True})
    _, cont = made.world.judge(torch.randn(3, H + 1, made.world.rssm.feat_size))
    assert cont.equal(torch.ones(3, H + 1))
    settings = made.behavior.settings
    weight, _ = settings.arrange.weights(cont, settings.dream_discount)
    close(weight, (GAMMA ** torch.arange(H)).expand(3, H))
    assert "loss/cont" not in made.update(tiny.batch())[1]


# The critic.


def test_targets_from_a_moving_average_of_the_critic() -> None:
    """R of slow values; slow <- 0.98 slow + 0.02 critic after each update."""
    made = agent({"behavior.critic.slow_target": True, "behavior.critic.slow_rate": 0.02})
    tiny.disturb(made.behavior.critic, seed=3)
    dream = Dream(made)
    close(dream.ret, dream.arriving(dream.slow))
    fast = made.behavior.critic(dream.feat[:, :H]).pred()
    weight = (GAMMA * dream.cont[:, :H]).cumprod(1) / GAMMA
    close(dream.value, weight * (fast - dream.ret) ** 2)
    pairs = list(
        zip(made.behavior.slow.parameters(), made.behavior.critic.parameters(), strict=True)
    )
    before = [slow.clone() for slow, _ in pairs]
    made.update(tiny.batch())
    for old, (slow, fast_param) in zip(before, pairs, strict=True):
        close(slow, 0.98 * old + 0.02 * fast_param)


def test_no_target_critic() -> None:
    """R of the critic's own values, no pull: what the slow copy holds does not matter."""
    made, other = agent(), agent()
    tiny.disturb(other.behavior.slow, seed=5)
    one, two = Dream(made), Dream(other)
    assert not one.slow.equal(two.slow)
    assert one.policy.equal(two.policy) and one.value.equal(two.value)
    close(one.ret, one.arriving(one.fast))


def test_hard_copies_of_the_critic() -> None:
    """slow <- critic after every third update, counted from the first."""
    hard = {"slow_target": True, "slow_rate": 1.0, "slow_every": 3}
    made = agent({f"behavior.critic.{name}": value for name, value in hard.items()})
    slow, critic = (
        module.layer.linear.bias for module in (made.behavior.slow.copy, made.behavior.critic)
    )
    equal = []
    for seed in range(5):
        made.update(tiny.batch(seed=seed))
        equal.append(bool(slow.equal(critic)))
    assert equal == [True, False, False, True, False]


# The representation.


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_behavior_losses_reach_the_representation(gradient: str) -> None:
    """d loss / d world = d loss / d starts times d starts / d world, and nothing else."""
    made = agent({"behavior.world_grad": True, "behavior.actor.gradient": gradient})
    inputs, before = made.unroll_context(tiny.batch()), made.generator.get_state()
    each = made.losses(inputs).each
    (each["policy"].mean() + each["value"].mean()).backward()
    found = {name: p.grad for name, p in made.world.named_parameters() if p.grad is not None}
    made.zero_grad(set_to_none=True)

    made.generator.set_state(before)
    noise = made.noise(*inputs.shape, *made.world.rssm.latent.noise_shape)
    states = made.world.observe(inputs, noise)
    starts = {key: states[key].detach().requires_grad_() for key in ("deter", "stoch")}
    dream = made.dream(TensorDict(starts, inputs.shape))
    losses, _, _ = made.behavior.dream_losses(dream, *made.world.judge(dream["feat"]))
    (losses["policy"].mean() + losses["value"].mean()).backward()
    assert all(p.grad is None for p in made.world.parameters())
    torch.autograd.backward([states[key] for key in starts], [x.grad for x in starts.values()])
    expected = {name: p.grad for name, p in made.world.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    assert {name.split(".")[0] for name in found} == {"encoder", "rssm"}
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-6)
    assert found["encoder.mlp.0.0.weight"].any()


def test_the_values_that_reach_the_representation_do_not_reach_the_actor() -> None:
    """Of a score function, dreamed actions have a graph, too, where dreams have one."""
    made = agent({"behavior.world_grad": True, "behavior.actor.gradient": "reinforce"})
    made.losses(made.unroll_context(tiny.batch())).each["value"].mean().backward()
    assert all(p.grad is None or not p.grad.any() for p in made.behavior.actor.parameters())


# Turns.


def test_model_and_behavior_take_turns() -> None:
    """Two updates of the model, three of actor and critic with the world frozen, and so on."""
    made = agent({"optim.model_turns": 2, "optim.behavior_turns": 3})
    moved = []
    for update in range(7):
        before = {name: p.detach().clone() for name, p in made.named_parameters()}
        _, metrics = made.update(tiny.batch(seed=update))
        names = {name for name, p in made.named_parameters() if not p.equal(before[name])}
        moved.append("".join(sorted({name[0] for name in names})))
        parts = {".".join(name.split(".")[:2]) for name in names}
        behavior = {"behavior.actor", "behavior.critic", "behavior.slow"}
        assert parts == behavior if "b" in moved[-1] else parts.isdisjoint(behavior)
        assert ("loss/policy" in metrics) is not ("loss/reward" in metrics)
    assert moved == ["w", "w", "b", "b", "b", "w", "w"]


@pytest.mark.parametrize("groups", ["joint", "separate"])
def test_a_turn_takes_the_steps_of_its_part_alone(groups: str) -> None:
    """Rates and averages go by own updates: the model moves as if nothing else had learned."""
    shared = {"optim.groups": groups, "optim.warmup": 4, "optim.actor.lr": 1e-3}
    alone, other = (
        agent(shared),
        agent(shared, {"optim.model_turns": 1, "optim.behavior_turns": 2}),
    )
    inputs = alone.unroll_context(tiny.batch())
    for update in range(7):
        states = [made.generator.get_state() for made in (alone, other)]
        if update % 3 == 0:  # the same noise for the model in both
            alone.generator.set_state(states[1])
            losses = alone.losses(inputs, behavior=False)
            alone.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            alone.optimizer.step()
        other.update(tiny.batch())
    pairs = zip(alone.world.named_parameters(), other.world.parameters(), strict=True)
    for (name, one), two in pairs:
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7, msg=name)


def test_the_slow_critic_counts_the_turns_of_the_behavior() -> None:
    """A hard copy after every second of them: updates 1, 5, … where the model has every other."""
    hard = {"behavior.critic.slow_rate": 1.0, "behavior.critic.slow_every": 2}
    made = agent(hard, {"optim.model_turns": 1, "optim.behavior_turns": 1})
    slow, critic = (
        module.layer.linear.bias for module in (made.behavior.slow.copy, made.behavior.critic)
    )
    equal = []
    for seed in range(6):
        made.update(tiny.batch(seed=seed))
        equal.append(bool(slow.equal(critic)))
    assert equal == [False, True, True, False, False, True]


def test_turns_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="is 3 and optim.behavior_turns 0: both must be at least"):
        agent({"optim.model_turns": 3})
    turns = {"optim.model_turns": 1, "optim.behavior_turns": 1}
    with pytest.raises(UsageError, match="behavior.world_grad needs one update for all"):
        agent(turns, {"behavior.world_grad": True})

"""DreamerV1's losses beside TorchRL's: the same modules, the same random numbers.

TorchRL's V1 takes other slices of a dream than its authors' program (danijar/dreamer @ 56d4d444,
`dreamer.py`), so that each comparison says which settings of ours make the two alike.

    dream of H steps       s0    s1    …   s(H-1)   sH
    authors: return              R1        R(H-1)           R(i) = r(i) + g [.. v(i+1), R(i+1)]
    TorchRL: return        G0    G1        G(H-1)           G(t) = r(t+1) + g [.. v(t+1), G(t+1)]
    critic learns          TorchRL: s0 to s(H-1); authors: s1 to s(H-1)
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.data import Composite, Unbounded
from torchrl.envs.model_based import DreamerEnv
from torchrl.modules import WorldModelWrapper
from torchrl.objectives import (
    DreamerActorLoss,
    DreamerModelLoss,
    DreamerValueLoss,
    ValueEstimators,
)

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.nets.heads import Head
from dreamer_plugin.world.rssm import RSSM

from .. import tiny
from .torchrl_parts import FEAT_KEYS, same

N, H, GAMMA = 6, 4, 0.99
NARROW = (
    "model.deter=16", "model.hidden=8", "model.units=8", "model.groups=4", "precision=float32",
    f"behavior.imag_horizon={H}",
)  # fmt: skip


def agent(*changes: str) -> Agent:
    """`--config v1` at small widths, without zero weights; sees a vector of 3."""
    made = build_agent(compose(config=["v1"], overrides=[*NARROW, *changes]).config, tiny.spaces())
    tiny.disturb(made)
    return made


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Gradients of a module's parameters, which are taken away."""
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor], factor: float = 1.0) -> None:
    """The same parameters have a gradient, theirs `factor` times ours."""
    assert ours.keys() == theirs.keys() and any(bool(grad.any()) for grad in ours.values())
    for name, grad in ours.items():
        same(factor * grad, theirs[name], 1e-4)


# The world model.


@pytest.mark.parametrize(("free_over", "delayed_clamp"), [("mean", True), ("each", False)])
@pytest.mark.parametrize("free", [0.0, 0.6])
def test_losses_of_the_world_model(free_over: str, delayed_clamp: bool, free: float) -> None:
    """The authors floor the mean, which is `delayed_clamp=True`; TorchRL floors each by default.

    Its squared errors are not halved, so they weigh twice as much as the authors' against the KL:
    `lambda_reco=lambda_reward=0.5` gives the authors' loss. Ours has its KL in two halves of one
    value each, whose gradients add up to that of their one.
    """
    made = agent(f"world.free_over={free_over}", f"world.free_nats={free}")
    batch = tiny.batch()
    latent = made.world.rssm.latent
    batch["stoch"] = torch.zeros(*batch.shape, *latent.storage_shape)
    inputs = made.unroll_context(batch)
    noise = torch.rand(
        *inputs.shape, *latent.noise_shape, generator=torch.Generator().manual_seed(1)
    )
    states = made.world.observe(inputs, noise)
    each = {name: value.mean() for name, value in made.world.losses(states, inputs).items()}
    kl = latent.kl(states["post"], states["prior"])
    assert free == 0 or (kl.mean() > free and (kl < free).any()), "the floor holds for some"
    torch.stack(list(each.values())).sum().backward()
    ours = gradients(made.world)

    loss = DreamerModelLoss(
        _world_model(made, inputs, noise),
        free_nats=free,
        lambda_reco=0.5,
        lambda_reward=0.5,
        delayed_clamp=delayed_clamp,
    )
    theirs, _ = loss(_frames(inputs))
    same(each["dyn"], theirs["loss_model_kl"].squeeze(-1))
    same(each["vector"], theirs["loss_model_reco"].squeeze(-1))
    same(each["reward"], theirs["loss_model_reward"].squeeze(-1))
    sum(theirs.values()).backward()
    same_gradients(ours, gradients(made.world))


def _frames(inputs: TensorDict) -> TensorDict:
    """A batch in TorchRL's keys; it takes each frame for an image, here of height and width 1."""
    after = {
        "pixels": inputs["obs", "vector"][..., None, None],
        "reward": inputs["reward"][..., None],
    }
    return TensorDict({"next": after}, inputs.batch_size)


def _world_model(made: Agent, inputs: TensorDict, noise: Tensor) -> TensorDictSequential:
    """Our filter, decoder and reward head where TorchRL's loss looks for them."""
    world = made.world

    def observe(pixels: Tensor) -> tuple[Tensor, ...]:
        seen = inputs.clone()
        seen["obs", "vector"] = pixels[..., 0, 0]
        states = world.observe(seen, noise)
        parts = [x for key in ("prior", "post") for x in states[key].chunk(2, -1)]
        return states["deter"], states["stoch"], states["feat"], *parts

    def decode(deter: Tensor, stoch: Tensor) -> Tensor:
        return world.decoder(deter, stoch)["vector"].pred()[..., None, None]

    written = ("belief", "state", "feat")
    written += ("prior_mean", "prior_std", "posterior_mean", "posterior_std")
    filtered = TensorDictModule(observe, [("next", "pixels")], [("next", key) for key in written])
    decoder = TensorDictModule(
        decode, [("next", key) for key in FEAT_KEYS], [("next", "reco_pixels")]
    )
    reward = TensorDictModule(
        lambda feat: world.reward(feat).pred()[..., None], [("next", "feat")], [("next", "reward")]
    )
    return TensorDictSequential(TensorDictSequential(filtered, decoder), reward)


# Actor and critic.


class Step(nn.Module):
    """Our prior, one dreamed step from a row of `noise` each time."""

    def __init__(self, rssm: RSSM, noise: Tensor) -> None:
        super().__init__()
        self.rssm, self.noise = rssm, iter(noise)

    def forward(self, state: Tensor, belief: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        deter, stoch = self.rssm.imagine_step(belief, state, action, next(self.noise))
        return stoch, deter


class Policy(nn.Module):
    """Our actor, with or without a gradient to the state it looks at."""

    def __init__(self, actor: Actor, noise: Tensor, sees_data: bool) -> None:
        super().__init__()
        self.actor, self.noise, self.sees_data = actor, iter(noise), sees_data

    def forward(self, belief: Tensor, state: Tensor) -> Tensor:
        feat = torch.cat([belief, state], -1)
        return self.actor(feat.detach() if self.sees_data else feat).sample(next(self.noise))


class Scalar(nn.Module):
    """What one of our heads predicts, with TorchRL's last axis."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, belief: Tensor, state: Tensor) -> Tensor:
        return self.head(torch.cat([belief, state], -1)).pred()[..., None]


@dataclass
class Theirs:
    """TorchRL's losses of one dream from `starts` with `noise`, and the dream itself."""

    actor_loss: DreamerActorLoss
    policy: Tensor
    value: Tensor
    dream: TensorDict


def _theirs(made: Agent, starts: TensorDict, noise: Tensor, sees_data: bool = True) -> Theirs:
    rssm, behavior = made.world.rssm, made.behavior
    latent, choice = noise.split([rssm.noise_size, behavior.actor.noise_size], -1)
    reward = TensorDictModule(Scalar(made.world.reward), FEAT_KEYS, ["reward"])
    step = TensorDictModule(Step(rssm, latent), ["state", "belief", "action"], ["state", "belief"])
    sizes = {"state": rssm.stoch_size, "belief": rssm.core.deter}
    shapes = {"prior_shape": (sizes["state"],), "belief_shape": (sizes["belief"],)}
    env = DreamerEnv(WorldModelWrapper(step, reward), **shapes)
    env.observation_spec = Composite({name: Unbounded(size) for name, size in sizes.items()})
    env.state_spec = env.observation_spec.clone()
    env.action_spec, env.reward_spec = Unbounded(made.spaces.action_size), Unbounded((1,))
    critic = TensorDictModule(Scalar(behavior.critic), FEAT_KEYS, ["state_value"])
    actor = TensorDictModule(Policy(behavior.actor, choice, sees_data), FEAT_KEYS, ["action"])
    loss = DreamerActorLoss(actor, critic, env, imagination_horizon=H)
    loss.make_value_estimator(ValueEstimators.TDLambda, gamma=GAMMA, lmbda=0.95, time_dim=1)
    begin = {"belief": starts["deter"].flatten(0, 1), "state": starts["stoch"].flatten(0, 1)}
    policy, dream = loss(TensorDict(begin, [N]))
    value, _ = DreamerValueLoss(critic, gamma=GAMMA)(dream)
    return Theirs(loss, policy["loss_actor"], value["loss_value"], dream)


def test_as_shipped_torchrl_looks_one_step_ahead() -> None:
    """r = 1, 2; v = 3, 4; g = 1, l = 0.5: G1 = 2 + 4 = 6; G0 = 1 + (3 + G1) / 2 = 5.5.

    `lambda_target` wraps its tensors in a TensorDict without batch axes, so that the estimator
    takes the last axis, of size 1, for time: every return is `r(t+1) + g v(t+1)`, whatever lambda.
    Told that time is axis 1 it is the lambda return, as in all tests here.
    """
    loss = DreamerActorLoss(nn.Identity(), nn.Identity(), nn.Identity())
    reward, value = (torch.tensor([x])[..., None] for x in ([1.0, 2.0], [3.0, 4.0]))
    for told, first in (({}, 1.0 + 3.0), ({"time_dim": 1}, 5.5)):
        loss.make_value_estimator(ValueEstimators.TDLambda, gamma=1.0, lmbda=0.5, **told)
        assert loss.lambda_target(reward, value).flatten().tolist() == [first, 6.0]


def _starts(made: Agent) -> tuple[TensorDict, Tensor]:
    rng = torch.Generator().manual_seed(0)
    rssm = made.world.rssm
    sizes = {"deter": rssm.core.deter, "stoch": rssm.stoch_size}
    drawn = {name: torch.randn(2, 3, size, generator=rng) for name, size in sizes.items()}
    return TensorDict(drawn, [2, 3]), torch.rand(H + 1, N, made.noise_size, generator=rng)


@dataclass
class Ours:
    """Our losses of the same dream, `[N, M]` and `[N, K]`, and what they are made of."""

    policy: Tensor
    value: Tensor
    ret: Tensor
    dream: TensorDict
    reward: Tensor


def _ours(made: Agent, starts: TensorDict, noise: Tensor, monkeypatch: pytest.MonkeyPatch) -> Ours:
    monkeypatch.setattr(Agent, "noise", lambda *_: noise)
    dream = made.dream(starts)
    reward, cont = made.world.judge(dream["feat"])
    assert cont.eq(1).all(), "no head says that anything ends"
    losses, ret, _ = made.behavior.dream_losses(dream, reward, cont)
    return Ours(losses["policy"], losses["value"], ret, dream, reward)


def test_losses_of_actor_and_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    """`behavior.returns=arrival` makes V1 what TorchRL has, up to constant factors.

    It sums the H steps where the authors take their mean, and does not halve the squared error:
    H times our actor's loss, 2 H times our critic's.
    """
    made = agent("behavior.returns=arrival")
    starts, noise = _starts(made)
    ours, theirs = _ours(made, starts, noise, monkeypatch), _theirs(made, starts, noise)
    same(ours.dream["feat"][:, :-1], torch.cat([theirs.dream[key] for key in FEAT_KEYS], -1))
    same(ours.dream["action"][:, :-1], theirs.dream["action"])
    same(ours.ret, theirs.dream["lambda_target"].squeeze(-1))
    same(H * ours.policy.mean(), theirs.policy)
    same(2 * H * ours.value.mean(), theirs.value)
    found = []
    for loss in (ours.policy.mean(), ours.value.mean(), theirs.policy, theirs.value):
        loss.backward()
        found.append(gradients(made))
    same_gradients(found[0], found[2], H)
    same_gradients(found[1], found[3], 2 * H)


def test_an_actor_that_sees_states_with_a_graph_learns_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The authors stop the gradient before the actor; TorchRL's actor loss leaves it.

    The loss is the same, its gradient is not: a step then also answers for what later decisions
    make of the state it leads to.
    """
    made = agent("behavior.returns=arrival")
    starts, noise = _starts(made)
    losses = [_theirs(made, starts, noise, sees_data).policy for sees_data in (True, False)]
    same(losses[0], losses[1])
    found = []
    for loss in losses:
        loss.backward()
        found.append(gradients(made))
    stopped, whole = found
    assert stopped.keys() == whole.keys()
    name = "behavior.actor.heads.0.0.weight"
    assert (stopped[name] - whole[name]).abs().max() > 0.01 * whole[name].abs().max()


def test_the_authors_pair_a_reward_with_the_value_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TorchRL's recursion on the authors' slices gives V1: r(1 … H-1) with v(2 … H).

    On its own slices, r(1 … H) with v(1 … H), it gives other returns and one more.
    """
    made = agent()
    starts, noise = _starts(made)
    ours, theirs = _ours(made, starts, noise, monkeypatch), _theirs(made, starts, noise)
    with torch.no_grad():
        value = made.behavior.critic(ours.dream["feat"]).pred()
        recursion = theirs.actor_loss.lambda_target
        ret = recursion(ours.reward[:, 1:-1, None], value[:, 2:, None]).squeeze(-1)
        other = recursion(ours.reward[:, 1:, None], value[:, 1:, None]).squeeze(-1)
    same(ours.ret, ret)
    same(theirs.dream["lambda_target"].squeeze(-1), other)
    assert ours.ret.shape == (N, H - 1) and other.shape == (N, H)
    assert (other[:, 1:] - ret).abs().max() > 0.1
    weight = GAMMA ** torch.arange(H - 1)  # both begin with 1: there at s0, here at s1
    same(ours.policy, -weight * ret)
    same(ours.value, weight * 0.5 * (value[:, 1:-1] - ret) ** 2)

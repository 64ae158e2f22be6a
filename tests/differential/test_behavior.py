"""Dreams, the losses of actor and critic, the slow critic, and the optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.trainers.algorithms import DreamerV3Optimizer

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.imagine import imagine
from dreamer_plugin.interop.torchrl_weights import to_torchrl
from dreamer_plugin.ops.returns import arrival_weights, lambda_return
from dreamer_plugin.optim import LaProp

from .torchrl_parts import agent, behavior_losses, decoded, dream_env, same, same_gradients

N, H = 6, 4


def starts(made: Agent) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    rssm = made.world.rssm
    index = torch.randint(0, 4, (N, 4), generator=rng)
    return torch.randn(N, rssm.core.deter, generator=rng), rssm.latent.from_storage(index)


def test_a_dream(monkeypatch: pytest.MonkeyPatch) -> None:
    """`DreamerEnv.rollout` and `imagine`: the same states from the same uniform numbers.

    The policy of both is our actor; both predict the reward of a state on arriving there.
    """
    made = agent()
    rssm, actor = made.world.rssm, made.behavior.actor
    deter, stoch = starts(made)
    noise = torch.rand(H + 1, N, made.noise_size, generator=torch.Generator().manual_seed(1))
    ours = imagine(rssm, actor, deter, stoch, H, noise)
    latent: Iterator[Tensor] = iter(noise[:, :, : rssm.noise_size])
    choice: Iterator[Tensor] = iter(noise[:, :, rssm.noise_size :])
    policy = TensorDictModule(
        lambda belief, state: actor(torch.cat([belief, state], -1)).sample(next(choice)),
        in_keys=["belief", "state"],
        out_keys=["action"],
    )
    begin = TensorDict({"belief": deter, "state": rssm.flat(stoch)}, [N])
    env = dream_env(made)
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda *shape, device=None: next(latent))
        theirs = env.rollout(
            H, policy, auto_reset=False, tensordict=env.reset(begin), break_when_any_done=False
        )
    after = theirs["next"]
    same(ours["feat"][:, :-1], torch.cat([theirs["belief"], theirs["state"]], -1))
    same(ours["feat"][:, 1:], torch.cat([after["belief"], after["state"]], -1))
    same(ours["action"][:, :-1], theirs["action"])
    reward, _ = made.world.judge(ours["feat"])
    torch.testing.assert_close(reward[:, 1:, None], after["reward"], rtol=1e-4, atol=100)


class Dream:
    """One dream that TorchRL makes with our weights, and what both sides take it for.

    Args:
        gamma: discount beside the predicted continuation.

    Attributes:
        made: our agent. actor_loss, value_loss, updater: TorchRL's, with its weights.
        policy: TorchRL's actor loss.
        imagined: TorchRL's dream with returns and weights, `[N, H]`.
        dream: the same as ours, `[N, H+1]`.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        self.made = agent()
        behavior = self.made.behavior
        behavior.settings = dataclasses.replace(behavior.settings, dream_discount=gamma)
        losses = behavior_losses(self.made, H, gamma)
        self.actor_loss, self.value_loss, self.updater = losses
        deter, stoch = starts(self.made)
        flat = self.made.world.rssm.flat(stoch)
        torch.manual_seed(0)
        out, self.imagined = self.actor_loss(TensorDict({"belief": deter, "state": flat}, [N]))
        self.policy = out["loss_actor"]
        after = self.imagined["next"][:, -1:]
        parts = [torch.cat([self.imagined[key], after[key]], 1) for key in ("belief", "state")]
        action = self.imagined["action"].float()
        unscored = torch.zeros_like(action[:, :1])
        self.dream = TensorDict(
            {"feat": torch.cat(parts, -1), "action": torch.cat([action, unscored], 1)}, [N, H + 1]
        )


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_losses_of_actor_and_critic(gamma: float) -> None:
    """Returns, weights, both losses with the pull to the slow critic, and their gradients."""
    both = Dream(gamma)
    behavior, world = both.made.behavior, both.made.world
    reward, cont = world.judge(both.dream["feat"])
    losses, ret, _ = behavior.dream_losses(both.dream, reward, cont)
    assert ret.std() > 0.1 and cont.min() < 0.7, "a dream in which something happens"
    same(ret, both.imagined["lambda_target"].squeeze(-1))
    same(arrival_weights(cont, gamma)[:, :-1], both.imagined["discount_weight"].squeeze(-1))
    same(losses["policy"].mean(), both.policy)
    (losses["policy"].mean() + losses["value"].mean()).backward()

    value = both.value_loss(both.imagined)[0]
    same(losses["value"].mean(), value["loss_value"])
    (both.policy + value["loss_value"]).backward()
    same_gradients(behavior.actor, both.actor_loss.actor_model)
    same_gradients(behavior.critic, critic_of(both))
    same(behavior.return_norm.second, both.actor_loss.retnorm.high.squeeze())


def critic_of(both: Dream) -> nn.Module:
    """TorchRL's critic, which its loss holds as parameters alone."""
    made = to_torchrl(both.made.behavior.critic)
    held = both.value_loss.value_model_params["module", "0", "module"]
    for name, param in made.named_parameters():
        param.grad = held[tuple(name.split("."))].grad
    return made


def test_the_policy_loss_scores_actions_and_moves_nothing_else() -> None:
    """REINFORCE: dream, return and baseline are data, on both sides."""
    both = Dream()
    behavior, world = both.made.behavior, both.made.world
    reward, cont = world.judge(both.dream["feat"])
    losses, _, _ = behavior.dream_losses(both.dream, reward, cont)
    losses["policy"].mean().backward()
    both.policy.backward()
    moved = {name for name, p in both.made.named_parameters() if p.grad is not None}
    assert {name.rsplit("actor", 1)[0] for name in moved} == {"behavior."}
    theirs = {name for name, p in both.actor_loss.named_parameters() if p.grad is not None}
    assert theirs and all(name.startswith("actor_model") for name in theirs)


def test_lambda_returns_by_hand() -> None:
    """r = 1, 2; v = 3, 4; c = 1, 0; lambda 0.95: G1 = 2; G0 = 1 + .05 * 3 + .95 * 2 = 3.05."""
    loss, _, _ = behavior_losses(agent(), 2)
    reward, value, cont = (torch.tensor([x]) for x in ([1.0, 2.0], [3.0, 4.0], [1.0, 0.0]))
    ours = lambda_return(reward, cont, value, 0.95)
    same(ours, torch.tensor([[3.05, 2.0]]))
    theirs = loss.lambda_target(*(x[..., None] for x in (reward, value, cont)))
    same(ours, theirs.squeeze(-1))


def test_value_loss_on_replayed_frames() -> None:
    """With the pull to the slow critic; gradients reach critic and features."""
    both, rng = Dream(), torch.Generator().manual_seed(0)
    behavior = both.made.behavior
    is_last = torch.zeros(3, 9, dtype=torch.bool)
    is_last[0, 3] = is_last[1, 5] = is_last[2, 8] = True
    terminal = is_last.clone()
    terminal[1, 5] = False  # ended by a limit
    reward, bootstrap = torch.randn(2, 3, 9, generator=rng)
    feats = [torch.randn(3, 9, 32, generator=rng).requires_grad_()]
    feats.append(feats[0].detach().clone().requires_grad_())
    batch = {"reward": reward, "is_last": is_last, "is_terminal": terminal}
    ours = behavior.replay_loss(feats[0], TensorDict(batch, [3, 9]), bootstrap).mean()
    belief, state = feats[1].split([16, 16], -1)
    after = {"reward": reward, "done": is_last, "terminated": terminal}
    replay = {
        "belief": belief,
        "state": state,
        "bootstrap": bootstrap,
        "next": {name: value[..., None] for name, value in after.items()},
    }
    theirs = both.value_loss.replay_value_loss(TensorDict(replay, [3, 9]))["loss_replay_value"]
    same(ours, theirs)
    ours.backward()
    theirs.backward()
    same(feats[0].grad, feats[1].grad)
    same_gradients(behavior.critic, critic_of(both))


def test_the_slow_critic_follows_and_is_saved() -> None:
    """One step of each critic, then 2% of the way; a checkpoint holds the slow weights."""
    both = Dream()
    behavior, loss = both.made.behavior, both.value_loss
    with torch.no_grad():
        for name, param in behavior.critic.named_parameters():
            param += 1.0 if name.endswith("bias") else 0.1
        moved = TensorDict.from_module(decoded(to_torchrl(behavior.critic), "state_value"))
        loss.value_model_params.data.update_(moved.data)
    before = slow_logits(both)
    behavior.follow()
    both.updater.step()
    after = slow_logits(both)
    same(behavior.slow(both.dream["feat"]).logits, after)
    assert not torch.allclose(before, after, atol=1e-3)

    again = Dream()
    again.value_loss.load_state_dict(loss.state_dict())
    again.made.behavior.load_state_dict(behavior.state_dict())
    same(slow_logits(again), after)
    same(again.made.behavior.slow(both.dream["feat"]).logits, after)


def slow_logits(both: Dream) -> Tensor:
    """What TorchRL's slow critic says of our dream, `[N, H+1, bins]`."""
    loss = both.value_loss
    belief, state = both.dream["feat"].split([16, 16], -1)
    data = TensorDict({"belief": belief, "state": state}, [N, H + 1])
    with torch.no_grad(), loss.target_value_model_params.to_module(loss.value_model):
        return loss.value_model(data)["state_value_logits"]


@pytest.mark.parametrize("warmup", [0, 5])
def test_the_optimiser(warmup: int) -> None:
    """Clipping, normalisation, momentum and warm-up over 12 updates of odd gradients."""
    shapes = {"matrix": (7, 5), "filter": (3, 2, 5, 5), "bias": (4,), "zero": (6,), "idle": (2,)}
    rng = torch.Generator().manual_seed(0)
    start = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    start["zero"].zero_()  # below the floor of the parameter norm
    ours, theirs = ({k: nn.Parameter(v.clone()) for k, v in start.items()} for _ in range(2))
    our_optimizer = LaProp(ours.values(), lr=1e-2, warmup=warmup)
    their_optimizer = DreamerV3Optimizer(theirs.values(), lr=1e-2, warmup_steps=warmup)
    for update in range(12):
        for name, shape in shapes.items():
            if name != "idle" or update % 3 == 0:
                grad = torch.randn(shape, generator=rng) * 10.0 ** (update % 5 - 2)
                ours[name].grad, theirs[name].grad = grad.clone(), grad.clone()
            else:
                ours[name].grad = theirs[name].grad = None
        our_optimizer.step()
        their_optimizer.step()
        for name in shapes:
            same(ours[name], theirs[name], 1e-6)
    assert all((ours[name] - start[name]).abs().max() > 1e-3 for name in shapes)

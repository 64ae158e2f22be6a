"""A tiny agent, and the parts of TorchRL 0.14.1 that hold the same weights."""

from __future__ import annotations

import copy

import gymnasium as gym
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.data import Composite, OneHot, Unbounded
from torchrl.envs.model_based import DreamerEnv
from torchrl.modules import DreamerV3DiscreteActor, SymExpTwoHot, WorldModelWrapper
from torchrl.objectives import DreamerV3ActorLoss, DreamerV3ValueLoss, SoftUpdate, ValueEstimators

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.interop.torchrl_weights import from_torchrl, to_torchrl
from dreamer_plugin.spaces import Spaces

from .. import tiny

FEAT_KEYS = ["belief", "state"]  # our feat: deter first
ACTIONS, BINS = 3, 41  # of tests/tiny.py


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """Equal within `tolerance`, relative and absolute."""
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def agent() -> Agent:
    """Sees a vector of 3, chooses one of 3 actions; no weight is zero.

    The two-hot heads avoid the outer bins, so that what they predict is of ordinary size.
    """
    spaces = Spaces.from_gym(tiny.OBS, gym.spaces.Discrete(ACTIONS))
    made = build_agent(tiny.config(), spaces)
    tiny.disturb(made)
    for head in (made.world.reward, made.behavior.critic, made.behavior.slow.copy):
        head.layer.linear.bias.data -= torch.linspace(-20, 20, BINS).square() / 2
    return made


def decoded(head: nn.Module, name: str) -> TensorDictSequential:
    """A two-hot head that writes `<name>_logits` and the decoded `<name>`."""
    logits = f"{name}_logits"
    return TensorDictSequential(
        TensorDictModule(head, in_keys=FEAT_KEYS, out_keys=[logits]),
        TensorDictModule(SymExpTwoHot(BINS), in_keys=[logits], out_keys=[name]),
    )


def dream_env(agent: Agent) -> DreamerEnv:
    """TorchRL's imagination with the agent's prior and reward head."""
    rssm = agent.world.rssm
    prior = to_torchrl(rssm).rssm_prior.module
    env = DreamerEnv(
        WorldModelWrapper(
            TensorDictModule(
                prior, in_keys=["state", "belief", "action"], out_keys=["_", "state", "belief"]
            ),
            decoded(to_torchrl(agent.world.reward), "reward"),
        ),
        prior_shape=(rssm.stoch_size,),
        belief_shape=(rssm.core.deter,),
    )
    env.observation_spec = Composite(
        state=Unbounded(rssm.stoch_size), belief=Unbounded(rssm.core.deter)
    )
    env.state_spec = env.observation_spec.clone()
    env.action_spec = OneHot(ACTIONS, dtype=torch.float32)
    env.reward_spec = Unbounded((1,))
    return env


def behavior_losses(
    agent: Agent, horizon: int, gamma: float = 1.0
) -> tuple[DreamerV3ActorLoss, DreamerV3ValueLoss, SoftUpdate]:
    """TorchRL's losses of actor and critic over the agent's weights, with the official numbers.

    The third moves the slow critic.
    """
    actor = to_torchrl(agent.behavior.actor)
    assert isinstance(actor, DreamerV3DiscreteActor)
    value = decoded(to_torchrl(agent.behavior.critic), "state_value")
    cont = TensorDictSequential(
        TensorDictModule(to_torchrl(agent.world.cont), in_keys=FEAT_KEYS, out_keys=["cont_logit"]),
        TensorDictModule(nn.Sigmoid(), in_keys=["cont_logit"], out_keys=["continuation"]),
    )
    actor_loss = DreamerV3ActorLoss(
        actor,
        value,
        dream_env(agent),
        continuation_model=cont,
        imagination_horizon=horizon,
        use_reinforce=True,
    )
    actor_loss.make_value_estimator(ValueEstimators.TDLambda, gamma=gamma, lmbda=0.95)
    value_loss = DreamerV3ValueLoss(
        value,
        "two_hot",
        num_value_bins=BINS,
        actor_loss=actor_loss,
        slow_critic_regularization=1.0,
    )
    slow = decoded(to_torchrl(agent.behavior.slow.copy), "state_value")
    updater = SoftUpdate(value_loss, tau=0.02)  # begins with a copy of the critic
    value_loss.target_value_model_params.data.update_(TensorDict.from_module(slow).data)
    return actor_loss, value_loss, updater


def gradients(ours: nn.Module, theirs: nn.Module) -> dict[str, Tensor]:
    """Gradients of TorchRL's parameters by our names: they are exchanged as weights are."""
    held, back = copy.deepcopy(theirs), copy.deepcopy(ours)
    with torch.no_grad():
        for param, source in zip(held.parameters(), theirs.parameters(), strict=True):
            assert source.grad is not None
            param.copy_(source.grad)
    from_torchrl(back, held)
    return {name: param.detach() for name, param in back.named_parameters()}


def same_gradients(ours: nn.Module, theirs: nn.Module, tolerance: float = 1e-5) -> None:
    """Every parameter has a gradient, and both sides the same."""
    their_grads = gradients(ours, theirs)
    for name, param in ours.named_parameters():
        assert param.grad is not None and param.grad.any(), name
        same(param.grad, their_grads[name], tolerance)

"""The losses as LossModules: the agent's numbers, TorchRL's conventions, its conformance tests."""

import copy
import importlib.util
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict
from torchrl.objectives import LossModule, SoftUpdate

from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.losses import ActorCriticLoss, DreamerLoss, WorldModelLoss
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*updater.*")


def gradients(agent):
    return {n: p.grad.clone() for n, p in agent.named_parameters() if p.grad is not None}


def test_the_sum_of_the_losses_is_the_agents_total():
    ours, theirs = tiny.agent(), tiny.agent()
    total = ours.losses(ours.unroll_context(tiny.batch())).total
    total.backward()
    out = DreamerLoss(theirs)(batch := tiny.batch())
    assert set(out.keys()) == {f"loss_{name}" for name in ours.scales}
    assert all(value.shape == () for value in out.values())
    summed = sum(out.values())
    torch.testing.assert_close(summed, total)
    summed.backward()
    expected, found = gradients(ours), gradients(theirs)
    assert expected.keys() == found.keys() and len(expected) > 20
    for name, grad in expected.items():
        torch.testing.assert_close(found[name], grad, msg=name)
    assert batch["states", "deter"].shape == (3, 6, 16) and batch["states", "feat"].requires_grad


def test_each_half_alone_trains_its_own_parameters():
    agent = tiny.agent()
    batch = tiny.batch()
    world, behavior = WorldModelLoss(agent), ActorCriticLoss(agent)
    sum(world(batch).values()).backward()
    assert {name.split(".")[0] for name in gradients(agent)} == {"world"}
    agent.zero_grad()
    batch["states"] = batch["states"].detach()
    sum(behavior(batch).values()).backward()
    assert {".".join(n.split(".")[:2]) for n in gradients(agent)} == {
        "behavior.actor",
        "behavior.critic",
    }
    held = set(map(id, behavior.parameters()))
    assert held == {
        id(p) for part in (agent.behavior.actor, agent.behavior.critic) for p in part.parameters()
    }


def test_keys_can_be_renamed():
    plain, renamed = DreamerLoss(tiny.agent()), DreamerLoss(tiny.agent())
    batch = tiny.batch()
    other = batch.clone().rename_key_("reward", "r").rename_key_("deter", "belief")
    renamed.set_keys(reward="r", deter="belief", states="posterior")
    assert "r" in renamed.in_keys and "belief" in renamed.in_keys
    found, expected = renamed(other), plain(batch)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    assert "posterior" in other.keys()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("is_terminal", lambda x: x.byte(), r"torch.uint8 \[3, 6\], but must be torch.bool"),
        ("is_last", lambda x: x.float(), "but must be torch.bool"),
        ("is_first", lambda x: x[..., None], r"torch.bool \[3, 6, 1\], but must be .* \[3, 6\]"),
        ("reward", lambda x: x[..., None], r"reward is .* \[3, 6, 1\], but must be"),
        ("action", lambda x: x.argmax(-1), r"action is torch.int64 \[3, 6\], but must .* 5\]"),
        (("obs", "image"), lambda x: x / 255, "obs, image is torch.float32 .* must be torch.uint8"),
        (("obs", "image"), lambda x: x.movedim(-1, 2), r"\[3, 6, 3, 48, 48\], but must be"),
        ("obs", lambda x: x["vector"], "obs, image is NoneType, but must be"),
        ("deter", lambda x: x[..., :5], r"deter is .* \[3, 6, 5\], but must be .* \[3, 6, 16\]"),
        ("stoch", lambda x: x[..., :2], r"stoch is .* \[3, 6, 2\], but must be .* \[3, 6, 4\]"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(name, change, words):
    batch = tiny.image_batch()
    batch[name] = change(batch[name])
    with pytest.raises(UsageError, match=words):
        DreamerLoss(tiny.image_agent())(batch)


def test_a_second_loss_and_a_cast_keep_the_target_the_agents_slow_critic():
    agent = tiny.agent()
    losses = [DreamerLoss(agent).double().actor_critic, ActorCriticLoss(agent)]
    for loss in losses:
        updater = SoftUpdate(loss, tau=1.0)
        tiny.disturb(agent.behavior.critic)
        updater.step()
        for name, param in agent.behavior.critic.named_parameters():
            slow = agent.behavior.slow.copy.get_parameter(name)
            assert slow.dtype == torch.float64 and torch.equal(slow, param), name


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_shares_its_own_agents_parameters(copied):
    """What an optimiser or `SoftUpdate` moves is what the copy's agent acts with."""
    loss = DreamerLoss(tiny.agent())
    loss.set_keys(reward="r")
    loss.select_out_keys("loss_value")
    made = copied(loss).eval()
    agent = made._parts.agent
    assert agent is not loss._parts.agent and agent is made.world_model._parts.agent
    held = {id(param) for param in made.parameters()}
    trained = [*agent.world.parameters(), *agent.behavior.actor.parameters()]
    assert held == {id(param) for param in (*trained, *agent.behavior.critic.parameters())}
    tiny.disturb(agent.behavior.critic)
    SoftUpdate(made.actor_critic, tau=1.0).step()
    for name, param in agent.behavior.critic.named_parameters():
        assert torch.equal(agent.behavior.slow.copy.get_parameter(name), param), name
    found = copied(loss)(tiny.batch().rename_key_("reward", "r"))
    assert set(found.keys()) == {"loss_value"} and loss.training and not made.training
    expected = loss(tiny.batch().rename_key_("reward", "r"))
    torch.testing.assert_close(found["loss_value"], expected["loss_value"])


def test_a_copy_beside_its_agent_is_of_the_copied_agent():
    agent = tiny.agent()
    both = copy.deepcopy({"loss": ActorCriticLoss(agent), "agent": agent})
    assert both["loss"]._parts.agent is both["agent"]


@pytest.mark.parametrize(
    ("cut", "least"),
    [
        (lambda x: x[0], 1),
        (lambda x: x[:, :1], 1),
        (lambda x: x[None], 1),
        (lambda x: x[:, :2], 2),  # of T = 1 the world alone learns
    ],
)
def test_a_batch_without_rows_or_steps_is_refused(cut, least):
    words = rf"the batch is \[.*\], but must be \[B, 1\+T\], with T of at least {least}"
    with pytest.raises(UsageError, match=words):
        DreamerLoss(tiny.agent())(cut(tiny.batch()))
    DreamerLoss(tiny.agent())(tiny.batch()[:, :3])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parameters_of_another_type_are_refused(dtype):
    loss = DreamerLoss(tiny.agent()).to(dtype)
    with pytest.raises(UsageError, match=f"parameters are {dtype}, .* precision="):
        loss(tiny.batch())


def test_a_batch_that_lacks_a_key_is_told_which():
    loss = DreamerLoss(tiny.agent())
    batch = tiny.batch().rename_key_("reward", "r")
    with pytest.raises(UsageError, match=r"lacks \['reward'\]; it has .*'r'.*set_keys says where"):
        loss(batch)
    with pytest.raises(UsageError, match=r"lacks \['states'\].*WorldModelLoss writes the states"):
        ActorCriticLoss(tiny.agent())(tiny.batch())


def test_some_of_the_losses_may_be_selected():
    loss = DreamerLoss(tiny.agent())
    every = list(loss.out_keys)
    expected = loss(tiny.batch())
    loss = DreamerLoss(tiny.agent()).select_out_keys("loss_dyn", "loss_value")
    found = loss(tiny.batch())
    assert set(found.keys()) == set(loss.out_keys) == {"loss_dyn", "loss_value"}
    torch.testing.assert_close(found["loss_value"], expected["loss_value"])
    assert loss.reset_out_keys().out_keys == every
    assert set(loss(tiny.batch()).keys()) == set(every)


def test_the_slow_critic_is_a_target_that_torchrls_updater_moves():
    agent = tiny.agent()
    loss = ActorCriticLoss(agent)
    slow = dict(agent.behavior.slow.copy.named_parameters())
    target = loss.target_critic_network_params
    for name, value in slow.items():
        torch.testing.assert_close(target.get(("part", *name.split("."))).data, value.data)
    updater = SoftUpdate(loss, tau=0.25)  # as always in TorchRL, the target starts from the source
    fast = dict(agent.behavior.critic.named_parameters())
    before = {name: value.detach().clone() for name, value in fast.items()}
    with torch.no_grad():
        for value in fast.values():
            value += 1
    updater.step()
    for name, value in before.items():
        moved = loss.target_critic_network_params.get(("part", *name.split("."))).data
        torch.testing.assert_close(moved, value + 0.25)
        assert torch.equal(agent.behavior.slow.copy.get_parameter(name), moved)


def test_a_state_dict_goes_round():
    loss, other = DreamerLoss(tiny.agent(seed=1)), DreamerLoss(tiny.agent(seed=2))
    loss(tiny.batch())  # moves the normaliser
    other.load_state_dict(loss.state_dict())
    assert not any(
        (a != b).any() for a, b in zip(loss.parameters(), other.parameters(), strict=True)
    )
    for name, value in loss.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other.state_dict()[name]), name


def test_an_optimizer_of_torch_learns_with_them():
    loss = DreamerLoss(tiny.agent())
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    batch = tiny.batch()
    rec = []
    for _ in range(15):
        out = loss(batch)
        optimizer.zero_grad()
        sum(out.values()).backward()
        optimizer.step()
        rec.append(out["loss_vector"].item())
    assert rec[-1] < 0.8 * rec[0]


LOSSES = [WorldModelLoss, ActorCriticLoss, DreamerLoss]


@pytest.fixture(scope="module")
def conformance():
    """TorchRL's own test base, from a checkout of it."""
    source = os.environ.get("TORCHRL_SOURCE")
    if not source:
        pytest.skip("set TORCHRL_SOURCE to a checkout of pytorch/rl")
    path = Path(source) / "test" / "objectives" / "_objectives_common.py"
    spec = importlib.util.spec_from_file_location("_objectives_common", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LossModuleTestBase


@pytest.mark.parametrize("kind", LOSSES)
def test_torchrls_conformance(conformance, kind):
    class Ours(conformance):
        def test_reset_parameters_recursive(self):
            self.reset_parameters_recursive_test(kind(tiny.agent()))

    loss = kind(tiny.agent())
    assert isinstance(loss, LossModule)
    defaults = {"reward": "reward", "deter": "deter", "obs": "obs", "states": "states"}
    Ours().tensordict_keys_test(loss, defaults)
    Ours().test_reset_parameters_recursive()


@pytest.mark.parametrize("kind", LOSSES)
def test_unknown_keys_are_refused_and_resets_reset(kind):
    loss = kind(tiny.agent())
    with pytest.raises(ValueError, match="unknown"):
        loss.set_keys(unknown="x")
    copied = copy.deepcopy(loss)
    parts = [copied] if kind is not DreamerLoss else [copied.world_model, copied.actor_critic]
    for part in parts:
        before = [p.detach().clone() for p in part.parameters()]
        part.reset_parameters_recursive()
        assert any((a != b).any() for a, b in zip(before, part.parameters(), strict=True))
    assert isinstance(loss(tiny.batch()), TensorDict) if kind is not ActorCriticLoss else True

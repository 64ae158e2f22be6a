"""What a device beside the host would refuse or be waited for, seen without having one.

On torch's `meta` device tensors have no numbers, but operations still say what they take from
where: mixing it with the host, reading from it and copying to it are all noticed.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.interop.losses import DreamerLoss
from dreamer_plugin.interop.modules import DreamerPolicy
from dreamer_plugin.spaces import Spaces

from . import tiny

AWAY = torch.device("meta")
_COPIES = ("aten._to_copy.default", "aten.copy_.default")


class _Border(TorchDispatchMode):
    """Counts what crosses from the host and back, and refuses operations with tensors of both."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.copies = 0, list[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if func is torch.ops.aten._local_scalar_dense.default and given[0].device == AWAY:
            self.reads += 1
            return True  # the verdict on an update is the one thing that is read
        # A number of the host may go along with tensors of any device; these have no axes.
        places = {x.device for x in given if x.dim()}
        if str(func) in _COPIES:
            places |= {torch.device(kwargs.get("device") or given[0].device)}
            if len(places) > 1:
                self.copies.append(f"{func} of {list(given[-1].shape)}")
        else:
            assert len(places) <= 1, f"{func} takes tensors of {places}"
        return func(*args, **kwargs)


class _Literals(TorchFunctionMode):
    """Refuses tensors of Python's numbers on a device: torch copies them there unseen by others."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            assert kwargs.get("device") is None, f"{func} copies {args[0]} to {kwargs['device']}"
        return func(*args, **kwargs)


class _Generator:
    """Stands where a generator of another device would; its noise has no numbers anyway."""

    device = AWAY

    def manual_seed(self, seed):
        return self

    def get_state(self):
        return torch.zeros(16, dtype=torch.uint8)

    def set_state(self, state):
        pass


@pytest.fixture
def away(monkeypatch):
    """`meta` with what every device that computes has: generators and autocast."""
    rand, enabled, autocast = torch.rand, torch.is_autocast_enabled, torch.autocast
    generator = torch.Generator

    class Autocast(autocast):
        def __init__(self, device_type, *args, **options):
            super().__init__("cpu" if device_type == AWAY.type else device_type, *args, **options)

    def plain_rand(*shape, generator=None, device=None):
        kept = {} if torch.device(device) == AWAY else {"generator": generator}
        return rand(*shape, device=device, **kept)

    def plain_generator(device="cpu"):
        return _Generator() if torch.device(device) == AWAY else generator(device)

    monkeypatch.setattr(torch, "rand", plain_rand)
    monkeypatch.setattr(torch, "Generator", plain_generator)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *kind: kind != ("meta",) and enabled())
    monkeypatch.setattr(torch, "autocast", Autocast)
    # Parameters stay the optimiser's own as they move, as on devices that compute.
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


SEEN = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8), **tiny.OBS})
NARROW = ("size=1m", "model.deter=16", "model.hidden=8", "model.units=8", "model.depth=2")


def _agent(*overrides: str) -> Agent:
    """A narrow agent, away."""
    cfg = compose(overrides=[*NARROW, "precision=float32", *overrides]).config
    return build_agent(cfg, Spaces.from_gym(SEEN, tiny.ACTIONS)).to(AWAY)


def _batch(agent: Agent, rows: int = 2, length: int = 6) -> TensorDict:
    """Records `[rows, 1 + length]` away."""
    shape = (rows, 1 + length)
    flag = torch.empty(shape, dtype=torch.bool, device=AWAY)
    latents = agent.latents(agent.initial(rows * (1 + length))).reshape(shape)
    image = torch.empty(*shape, 64, 64, 3, dtype=torch.uint8, device=AWAY)
    obs = {"image": image, "vector": torch.empty(*shape, 3, device=AWAY)}
    data = {
        "obs": TensorDict(obs, shape),
        "action": torch.empty(*shape, agent.spaces.action_size, device=AWAY),
        "reward": torch.empty(shape, device=AWAY),
        **{name: flag.clone() for name in ("is_first", "is_last", "is_terminal")},
    }
    return TensorDict(data, shape).update(latents)


@pytest.mark.parametrize(
    "overrides",
    [
        ("agent=v3",),
        ("agent=v3_2023",),
        ("agent=v2",),
        ("agent=v1",),
        ("agent=v3", "world.encoder.shift=2", "loss_scales.repval=0"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("away")
def test_an_update_stays_on_its_device_and_is_waited_for_once(overrides) -> None:
    agent = _agent(*overrides)
    batch = _batch(agent)
    with _Literals(), _Border() as border:
        agent.update(batch)
        latents, metrics = agent.update(batch)
    assert border.reads == 2  # of each, whether all was finite, at the end
    assert agent.optimizer.state  # the optimiser's own parameters are those that moved
    assert border.copies == []
    assert {x.device for x in [*latents.values(), *metrics.values()]} == {AWAY}


@pytest.mark.usefixtures("away")
def test_acting_stays_on_its_device() -> None:
    agent = _agent()
    noise = torch.empty(2, agent.noise_size, device=AWAY)
    row = _batch(agent)[:, 0]
    with _Literals(), _Border() as border:
        action, after = agent.act(row["obs"], row["is_first"], agent.initial(2), noise)
    assert border.reads == 0 and border.copies == []
    assert {x.device for x in [action, *after.values()]} == {AWAY}


@pytest.mark.usefixtures("away")
def test_losses_of_torchrl_stay_on_their_device() -> None:
    agent = _agent()
    loss, batch = DreamerLoss(agent), _batch(agent)
    with _Literals(), _Border() as border:
        sum(loss(batch).values()).backward()
    assert border.reads == 0 and border.copies == []


@pytest.mark.usefixtures("away")
def test_a_policy_of_torchrl_brings_its_noise_alone() -> None:
    agent = _agent()
    policy = DreamerPolicy(agent, agent.spaces, NoiseStreams(0, 2, agent.noise_size))
    row = _batch(agent)[:, 0]
    state = agent.latents(agent.initial(2))
    seen = TensorDict(
        {
            "obs": row["obs"],
            "is_init": row["is_first"][:, None],
            **state,
            "prev_action": row["action"],
        },
        [2],
        device=AWAY,
    )
    with _Literals(), _Border() as border:
        policy(seen)
    assert border.reads == 0
    assert border.copies == [f"aten._to_copy.default of [2, {agent.noise_size}]"]


@pytest.mark.usefixtures("away")
def test_an_agent_that_learned_moves_with_its_averages() -> None:
    agent = tiny.agent()
    agent.update(tiny.batch())
    agent.to(AWAY)
    moved = [param for group in agent.optimizer.param_groups for param in group["params"]]
    slots = [slot for slots in agent.optimizer.state.values() for slot in slots.values()]
    assert len(slots) == 2 * len(moved) and {x.device for x in [*moved, *slots]} == {AWAY}

"""Slices of TorchRL's native layout as batches for our losses."""

import pytest
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler

from dreamer_plugin.data.alignment import from_slices
from dreamer_plugin.errors import UsageError
from tests import tiny

LATENT = {"deter": 16, "stoch_shape": (4,)}


def episode(length, first=True, terminated=True, seed=0):
    """Transitions `[length]` whose frame k shows k, and whose reward on arriving there is k."""
    frame = torch.arange(length + 1.0)[:, None].expand(-1, 3).clone() + 100 * seed
    done = torch.zeros(length, 1, dtype=torch.bool)
    done[-1] = True
    is_init = torch.zeros(length, 1, dtype=torch.bool)
    is_init[0] = first
    after = {
        "obs": TensorDict({"vector": frame[1:]}, [length]),
        "reward": torch.arange(1.0, length + 1)[:, None],
        "done": done,
        "terminated": done & terminated,
    }
    action = torch.zeros(length, 5)
    action[:, 0] = torch.arange(length) / 10
    root = {"obs": TensorDict({"vector": frame[:-1]}, [length]), "action": action}
    return TensorDict({**root, "is_init": is_init, "next": TensorDict(after, [length])}, [length])


def test_a_slice_inside_an_episode_learns_nothing_of_its_first_frame():
    batch = from_slices(episode(6)[2:], 4, **LATENT)[0]
    assert batch["obs", "vector"][:, 0].tolist() == [2, 3, 4, 5, 6]
    assert batch["reward"].tolist() == [0, 3, 4, 5, 6]  # of the context: unknown, and not learned
    assert batch["action"][:, 0].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.5, 0])
    assert batch["is_first"].tolist() == [True, False, False, False, False]
    assert batch["is_last"].tolist() == batch["is_terminal"].tolist() == [False] * 4 + [True]


def test_a_slice_that_begins_an_episode_learns_of_its_reset_frame():
    batch = from_slices(episode(6)[:4], 4, **LATENT)[0]
    assert batch["obs", "vector"][1:, 0].tolist() == [0, 1, 2, 3]
    assert batch["reward"].tolist() == [0, 0, 1, 2, 3]
    assert batch["action"][1:, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert batch["is_first"].tolist() == [True, True, False, False, False]
    assert not batch["is_last"].any() and not batch["action"][0].any()


def test_a_time_limit_is_no_terminal():
    batch = from_slices(episode(3, first=False, terminated=False), 3, **LATENT)[0]
    assert batch["is_last"][-1] and not batch["is_terminal"].any()


def test_a_slice_over_an_end_is_refused():
    two = torch.cat([episode(2), episode(2)])
    with pytest.raises(UsageError, match="slice 0 goes on after its episode ended"):
        from_slices(two, 4, **LATENT)


@pytest.mark.parametrize("length", [3, 0, -4])
def test_a_length_that_is_not_the_samplers_is_named(length):
    with pytest.raises(UsageError, match=f"8 transitions are no slices of length={length}: pass"):
        from_slices(episode(8), length, **LATENT)


def test_missing_keys_are_named_with_what_gives_them():
    with pytest.raises(UsageError, match="no 'is_init': add InitTracker"):
        from_slices(episode(4).exclude("is_init"), 4, **LATENT)
    elsewhere = episode(4).rename_key_(("obs", "vector"), "observation")
    elsewhere = elsewhere.rename_key_(("next", "obs", "vector"), ("next", "observation"))
    elsewhere = elsewhere.exclude("obs", ("next", "obs"))
    with pytest.raises(UsageError, match="no 'obs': name .* obs_keys={'vector': 'observation'}"):
        from_slices(elsewhere, 4, **LATENT)
    with pytest.raises(UsageError, match="no 'pixels'"):
        from_slices(elsewhere, 4, **LATENT, obs_keys={"vector": "pixels"})
    batch = from_slices(elsewhere, 4, **LATENT, obs_keys={"vector": "observation"})
    assert (batch == from_slices(episode(4), 4, **LATENT)).all()


def test_the_agent_learns_from_torchrls_own_buffer():
    sampler = SliceSampler(slice_len=5, end_key=("next", "done"), init_key=None, truncated_key=None)
    buffer = ReplayBuffer(storage=LazyTensorStorage(100), sampler=sampler, batch_size=20)
    for seed in range(4):
        buffer.extend(episode(8, seed=seed))
    agent = tiny.agent()
    native = buffer.sample()
    batch = from_slices(native, 5, **LATENT)
    assert batch.shape == (4, 6)
    inside = batch[~batch["is_first"][:, 1]]
    shown = inside["obs", "vector"][:, 1:, 0] % 100
    assert torch.equal(shown, inside["reward"][:, 1:])  # frame k was reached with reward k
    _, metrics = agent.update(batch)
    assert all(value.isfinite() for value in metrics.values()) and agent.updates == 1

"""A frozen replay reads as it was, whatever the replay does meanwhile."""

import threading

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.data.frozen import Later, copied
from dreamer_plugin.data.replay import freeze, load_rb_state, make_replay, rb_state, write_back
from dreamer_plugin.spaces import ObsKey, Spaces

LENGTH, ENVS = 4, 2
LATENTS = {"deter", "stoch"}


def make(capacity=40, **options):
    spaces = Spaces((ObsKey("vector", "vector", (2,)),), ())
    sizes = {"deter": 3, "stoch_shape": (2,)}
    return make_replay(spaces, ENVS, capacity, 2, LENGTH - 1, **sizes, **options)


def fill(rb, steps, start=0):
    for step in range(start, start + steps):
        value = torch.full((ENVS,), float(step))
        flag = torch.zeros(ENVS, dtype=torch.bool)
        data = {
            "obs": TensorDict({"vector": value[:, None].expand(ENVS, 2)}, [ENVS]),
            "action": torch.zeros(ENVS, 0),
            "reward": value,
            "is_first": flag | (step == 0),
            "is_last": flag,
            "is_terminal": flag,
            "deter": value[:, None].expand(ENVS, 3) * 10,
            "stoch": torch.full((ENVS, 2), step % 256, dtype=torch.uint8),
        }
        rb.extend(TensorDict(data, [ENVS]))


def train(rb, times=3):
    """Sample, and write other latents back."""
    for _ in range(times):
        batch = rb.sample()
        shape = batch.batch_size
        fresh = {"deter": torch.rand(*shape, 3), "stoch": torch.randint(0, 9, (*shape, 2)).byte()}
        write_back(rb, batch["index"], TensorDict(fresh, shape))


def joined(frozen):
    """The state as `load_rb_state` takes it: everything read."""
    storage = {
        k: v.read() if isinstance(v, Later) else v for k, v in frozen.state["storage"].items()
    }
    for name, fields in frozen.sealed.items():
        storage |= {f"{name}/{key}": tensor for key, tensor in fields.items()}
    return frozen.state | {"storage": storage}


def equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other[name], rtol=0, atol=0)
        else:
            assert value == other[name]


def test_it_reads_as_it_was_although_training_and_collection_go_on():
    rb = make()
    fill(rb, 30)
    train(rb)
    expected = copied(rb_state(rb))
    frozen = freeze(rb)
    train(rb, 20)
    fill(rb, 25, start=30)  # the oldest segments go; a reuse would overwrite them
    train(rb, 20)
    state = joined(frozen)
    frozen.thaw()
    equal(state["storage"], expected["storage"])
    again = make()
    load_rb_state(again, state)
    assert again.sample()["index"].shape == (2, LENGTH)


def test_a_field_that_was_read_is_not_noted_any_more_and_the_other_still_is():
    rb = make()
    fill(rb, 20)
    expected = copied(rb_state(rb))["storage"]
    frozen = freeze(rb)
    later = {k: v for k, v in frozen.state["storage"].items() if isinstance(v, Later)}
    train(rb)
    first = {k: v.read() for k, v in later.items() if k.endswith("deter")}
    train(rb)
    second = {k: v.read() for k, v in later.items() if k.endswith("stoch")}
    for name, value in (first | second).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_full_segments_are_the_plane_that_is_written_once():
    rb = make()
    fill(rb, 30)
    length = rb.storage.segment
    frozen = freeze(rb)
    assert set(frozen.sealed) == {
        f"{env}/{number}"
        for env in range(ENVS)
        for number in range(rb.storage.tails[env] // length, 30 // length)
    }
    kept = set(frozen.state["storage"])
    for name, fields in frozen.sealed.items():
        assert LATENTS.isdisjoint(fields) and f"{name}/reward" not in kept
        assert {f"{name}/deter", f"{name}/stoch"} <= kept


def test_without_latents_they_are_left_out_and_come_back_as_zeros():
    rb = make()
    fill(rb, 20)
    frozen = freeze(rb, latents=False)
    assert not any(isinstance(v, Later) for v in frozen.state["storage"].values())
    again = make()
    load_rb_state(again, joined(frozen))
    batch = again.sample()
    assert not batch["deter"].any() and batch["reward"].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_thread_may_read_while_another_writes(seed):
    rb = make(capacity=200, seed=seed)
    fill(rb, 120)
    expected = copied(rb_state(rb))["storage"]
    frozen = freeze(rb)
    found = {}
    thread = threading.Thread(target=lambda: found.update(joined(frozen)["storage"]))
    thread.start()
    while thread.is_alive():
        train(rb, 1)
    equal(found, expected)


def test_copied_trees_share_nothing():
    tree = {"a": torch.ones(2), "b": [np.ones(2), 3], "c": {"d": "x"}}
    other = copied(tree)
    tree["a"][0], tree["b"][0][0] = 5, 5
    assert other["a"].tolist() == [1, 1] and other["b"][0].tolist() == [1, 1]
    assert other["b"][1] == 3 and other["c"] == {"d": "x"}

"""State trees survive the split into tensors and JSON."""

import json
import math

import numpy as np
import pytest
import torch

from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.run.packing import pack, unpack


def round_trip(tree):
    tensors, plain = pack(tree)
    return unpack(tensors, json.loads(json.dumps(plain, allow_nan=False)))


def test_every_kind_of_value_comes_back():
    generator = np.random.Generator(np.random.PCG64(3))
    tree = {
        "net": {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)},
        "half": torch.ones(3, dtype=torch.bfloat16),
        "flags": np.array([True, False]),
        "adam": {0: {"m": torch.zeros(0)}, 1: [1, 2.5, None, "x", True]},
        "rng": generator.bit_generator.state,  # holds a 128-bit integer
        "count": np.int64(4),
        "lost": float("nan"),
        "$odd": 1,
        "empty": {},
    }
    back = round_trip(tree)
    torch.testing.assert_close(back["net"], tree["net"], rtol=0, atol=0)
    assert back["half"].dtype == torch.bfloat16 and back["half"].tolist() == [1, 1, 1]
    assert isinstance(back["flags"], np.ndarray) and back["flags"].tolist() == [True, False]
    assert back["adam"][0]["m"].shape == (0,) and back["adam"][1] == [1, 2.5, None, "x", True]
    assert back["rng"] == tree["rng"] and back["count"] == 4 and math.isnan(back["lost"])
    assert back["$odd"] == 1 and back["empty"] == {}


def test_floats_keep_every_bit():
    values = [0.1, 1 / 3, 1e-320, 2.0**53 + 2]
    assert round_trip(values) == values


def test_tensors_that_share_memory_are_separated_and_large_ones_are_not_copied():
    whole = torch.arange(10.0)
    tensors, _ = pack({"a": whole, "b": whole[2:5], "c": whole})
    assert tensors["a"].data_ptr() == whole.data_ptr()
    assert tensors["b"].tolist() == [2, 3, 4]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors.values()}) == 3


def test_names_that_meet_stay_apart():
    back = round_trip({"a.b": torch.tensor(1), "a": {"b": torch.tensor(2)}})
    assert (back["a.b"].item(), back["a"]["b"].item()) == (1, 2)


def test_objects_are_refused_by_place():
    with pytest.raises(TypeError, match=r"'net\.hook'.*builtin_function"):
        pack({"net": {"hook": print}})


def test_arrays_of_any_layout_and_keys_of_numpy_come_back():
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    tensors, plain = pack({"big": values, "back": values[::-1], np.int64(3): 1, "none": values[:0]})
    found = unpack(tensors, plain)
    assert found[3] == 1 and found["none"].shape == (0, 3)
    np.testing.assert_array_equal(found["big"], values)
    np.testing.assert_array_equal(found["back"], values[::-1])


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"a": {(0, 1): 5}}, r"Cannot save 'a': its key \(0, 1\)"),
        ({"a": np.array(["x"])}, "Cannot save 'a': it holds <U1"),
        ({"a": np.array([1], "datetime64[s]")}, "'a': it holds datetime64"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, "'a': it holds torch.complex64"),
        ({"a": np.zeros(1, np.complex64)}, "'a': it holds complex64"),
    ],
)
def test_what_no_file_holds_is_refused_by_place(tree, told):
    with pytest.raises(TypeError, match=told):
        pack(tree)


def test_a_missing_tensor_is_a_checkpoint_error():
    with pytest.raises(CheckpointError, match="'a'"):
        unpack({}, {"a": {"$tensor": "a"}})

"""Official weights in and out; the golden tests prove that they mean the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.weights import (
    export_official,
    import_official,
    official_names,
    read_official,
)
from dreamer_plugin.nets.layers import MLP, Linear
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import GaussianLatent
from dreamer_plugin.world.rssm import RSSM

from .. import tiny


def test_a_round_trip_is_exact() -> None:
    arrays = export_official(tiny.agent())
    other = tiny.agent(seed=5)
    import_official(other, arrays)
    for name, value in export_official(other).items():
        assert np.array_equal(value, arrays[name]), name


def test_names_are_official_and_unique() -> None:
    agent = tiny.agent()
    names = official_names(agent)
    assert len(set(names.values())) == len(names) == len(list(agent.parameters()))
    assert names["world.rssm.core.gates.weight"] == "dyn/dyngru/kernel"
    assert names["behavior.slow.copy.layer.linear.bias"] == "slowval/head/logits/bias"
    assert names["behavior.actor.heads.1.0.weight"] == "pol/head/tool/logits/kernel"
    assert names["behavior.actor.heads.0.1.weight"] == "pol/head/move/stddev/kernel"


def test_kernels_are_transposed() -> None:
    layer = Linear(2, 3)
    import_official(layer, {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.zeros(3)})
    assert layer.weight.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RSSM(BlockGRU(16, 4, 5, 8, blocks=2), GaussianLatent(4), 3, 8),
            "GaussianLatent has no counterpart .* world.latent.kind=categorical",
        ),
        (
            lambda: Actor(MLP(3, 1, 8), tiny.spaces().actions, output="tanh_normal"),
            "'tanh_normal' has no counterpart .* behavior.actor.output=bounded_normal",
        ),
    ],
)
def test_parts_of_other_kinds_are_named_although_their_weights_would_fit(make, message) -> None:
    with pytest.raises(UsageError, match=message):
        official_names(make())


def test_what_discrete_keys_put_out_is_official_whatever_the_word_for_continuous_ones() -> None:
    discrete = [key for key in tiny.spaces().actions if key.kind == "discrete"]
    names = official_names(Actor(MLP(3, 1, 8), discrete, output="tanh_normal"))
    assert names["heads.0.0.weight"] == "head/tool/logits/kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dyn/dyngru/kernl": np.zeros(1)}, "'dyn/dyngru/kernl'. Did you mean 'dyn/dyngru/kernel'"),
        ({"val/head/logits/bias": None}, "'val/head/logits/bias' is missing"),
        ({"val/head/logits/bias": np.zeros(7)}, "is (7,), this agent needs (41,)"),
        ({"val/head/logits/bias": np.full(41, np.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    change: dict[str, np.ndarray | None], message: str
) -> None:
    arrays = export_official(tiny.agent(seed=5)) | change
    agent = tiny.agent()
    before = export_official(agent)
    with pytest.raises(UsageError, match=re.escape(message)):
        import_official(agent, {k: v for k, v in arrays.items() if v is not None})
    after = export_official(agent)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_files_are_read_with_or_without_the_prefix(tmp_path: Path) -> None:
    arrays = export_official(tiny.agent())
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez(
        tmp_path / "golden.npz", other=np.zeros(1), **{f"param/{k}": v for k, v in arrays.items()}
    )
    for name in ("plain", "golden"):
        read = read_official(tmp_path / f"{name}.npz")
        assert read.keys() == arrays.keys()
        assert all(np.array_equal(read[k], arrays[k]) for k in arrays)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file .*nothing.npz"):
        read_official(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("weights")
    with pytest.raises(UsageError, match="is no npz file of plain arrays"):
        read_official(tmp_path / "text.npz")
    np.savez(tmp_path / "objects.npz", weird=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match="is no npz file of plain arrays"):
        read_official(tmp_path / "objects.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(UsageError, match="is no npz file of plain arrays"):
        read_official(tmp_path / "single.npy")


def test_damaged_files_end_in_a_usage_error(tmp_path: Path) -> None:
    """Every byte of a small file flipped once, and every seventh length."""
    rng, path = np.random.default_rng(0), tmp_path / "damaged.npz"
    np.savez_compressed(path, **{"dyn/a": rng.normal(size=(3, 4)), "dyn/b": np.zeros(2)})
    raw = path.read_bytes()
    flips = [raw[:i] + bytes([raw[i] ^ 0xFF]) + raw[i + 1 :] for i in range(len(raw))]
    refused = 0
    for damaged in [*flips, *(raw[:i] for i in range(0, len(raw), 7))]:
        path.write_bytes(damaged)
        try:
            read_official(path)
        except UsageError:
            refused += 1
    # What is left unharmed are dates, modes and the like in the headers of the archive.
    assert refused > len(flips) / 2

"""The harness itself: other layouts run, and a wrong number, name or file does not pass.

Files of other layouts are made with our own code in the official one's place: they prove nothing
about parity, only that a folder with mixed actions, two images of other than square size, discrete
observations or an evicting replay is read and compared whole.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamer_plugin.interop.weights import export_official

from .kinds import envs, parts, replay, training, world
from .kinds.table import kind_of
from .reading import DEFAULT, Golden

META = {
    "B": 2, "T": 3, "H": 2, "deter": 8, "hidden": 6, "stoch": 3, "classes": 4, "blocks": 2,
    "depth": 2, "mults": [2, 4], "units": 6, "bspace": 2, "bins": 21, "layers": 2,
    "obs_shape/wide": [12, 20, 3], "obs_shape/back": [12, 20, 1], "obs_shape/pose": [4],
    "obs_shape/tile": [2], "obs_classes/tile": 3,
    "action_shape/b_move": [2], "action_classes/a_tool": 3, "action_classes/c_keys": 2,
    "action_shape/c_keys": [3],
}  # fmt: skip


class Recorder(Golden):
    """A file being made: what is compared is stored instead."""

    def __init__(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        self.name, self.arrays, self.unread = name, arrays, set()
        self.compared, self.worst, self.worst_key, self.failures = 0, 0.0, "", []

    def check(self, key: str, value: object, allowed: object = None) -> None:
        detached = value.detach().numpy() if hasattr(value, "detach") else value
        self.arrays[key] = np.array(detached)

    def check_all(self, prefix: str, values: dict[str, object], allowed: object = None) -> None:
        for name, value in values.items():
            self.check(prefix + name, value)


def _arrays(rng: np.random.Generator, prefix: str, lead: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random observations, flags and rewards."""

    def flag(share: float) -> np.ndarray:
        return rng.random(lead) < share

    return {
        f"{prefix}wide": rng.integers(0, 256, (*lead, 12, 20, 3), np.uint8),
        f"{prefix}back": rng.integers(0, 256, (*lead, 12, 20, 1), np.uint8),
        f"{prefix}pose": rng.normal(size=(*lead, 4)).astype(np.float32),
        f"{prefix}tile": rng.integers(0, 3, (*lead, 2), np.int32),
        f"{prefix}reward": rng.normal(size=lead).astype(np.float32),
        f"{prefix}is_first": flag(0.3),
        f"{prefix}is_last": flag(0.3),
        f"{prefix}is_terminal": flag(0.2),
    }


def _actions(rng: np.random.Generator, prefix: str, lead: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {
        f"{prefix}a_tool": rng.integers(0, 3, lead, np.int32),
        f"{prefix}b_move": rng.normal(size=(*lead, 2)).astype(np.float32),
        f"{prefix}c_keys": rng.integers(0, 2, (*lead, 3), np.int32),
    }


def _latent(rng: np.random.Generator, *lead: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[rng.integers(0, 4, (*lead, 3))]


def _meta() -> dict[str, np.ndarray]:
    return {f"meta/{name}": np.array(value) for name, value in META.items()}


def _weights(arrays: dict[str, np.ndarray], prefix: str, observations: str) -> None:
    """Random weights of an agent of these spaces, none of them zero."""
    g = Recorder("weights", arrays)
    spaces = parts.spaces_of(g, observations)
    exported = export_official(parts.forced_agent(parts.config_of(g), spaces))
    rng = np.random.default_rng(1)
    for name, value in exported.items():
        noise = 0.3 * rng.normal(size=value.shape).astype(np.float32)
        arrays[prefix + name] = noise + name.endswith("scale")


def _full_loss(rng: np.random.Generator) -> dict[str, np.ndarray]:
    lead = (2, 3)
    arrays = _meta() | _arrays(rng, "obs/", lead) | _actions(rng, "prevact/", lead)
    _weights(arrays, "param/", "obs/")
    arrays |= {
        "carry_deter": rng.normal(size=(2, 8)).astype(np.float32),
        "carry_stoch": _latent(rng, 2),
        "post_sample": _latent(rng, *lead),
        "img_sample": _latent(rng, 6, 2),
        "retnorm_lo_before": np.float32(-1),
        "retnorm_hi_before": np.float32(2),
        **_actions(rng, "img_action/", (6, 3)),
    }
    return {key: np.asarray(value) for key, value in arrays.items()}


def _train_steps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    lead = (2, 2, 4)  # steps B 1+T
    arrays = _meta() | _arrays(rng, "data/", lead) | _actions(rng, "data/", lead)
    _weights(arrays, "param0/", "data/")
    settings = {"lr": np.float32(3e-3), "warmup": 1, "steps": 2, "replay_context": 1}
    arrays |= {f"meta/{name}": np.array(value) for name, value in settings.items()}
    arrays |= {
        "data/dyn/deter": rng.normal(size=(*lead, 8)).astype(np.float32),
        "data/dyn/stoch": _latent(rng, *lead),
        "data/consec": np.zeros(lead, np.int32),
        "post_sample": _latent(rng, 2, 2, 3),
        "img_sample": _latent(rng, 2, 6, 2),
        **_actions(rng, "img_action/", (2, 6, 3)),
    }
    return arrays


def _replay_windows(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Three workers, and a capacity that evicts windows before they are served."""
    rows, length, capacity = 60, 4, 10
    worker = rng.integers(0, 3, rows, np.int32)
    t = np.array([(worker[:i] == worker[i]).sum() for i in range(rows)], np.int32)
    added = {
        "global_id": np.arange(rows, dtype=np.int32),
        "worker": worker,
        "t": t,
        "reward": rng.normal(size=rows).astype(np.float32),
        **{name: rng.random(rows) < 0.2 for name in training.FLAGS},
    }
    windows, counts = [], []
    for i in range(rows):
        mine = np.flatnonzero((worker == worker[i]) & (np.arange(rows) <= i))
        if len(mine) >= length:
            windows.append(mine[-length:])
        counts.append(min(len(windows), capacity))
    inside = np.array(windows[-capacity:], np.int32)
    queue = np.array([w for w in windows if t[w[0]] % length == 1], np.int32)
    served = np.array([w for w in inside if t[w[0]] % length == 1])
    arrays = {f"added/{name}": value for name, value in added.items()}
    meta = {"length": length, "workers": 3, "capacity": capacity, "batch": 2}
    arrays |= {f"meta/{name}": np.array(value) for name, value in meta.items()}
    arrays |= {
        "items_after_each_add": np.array(counts),
        "window_start_global_ids_in_buffer": inside[:, 0],
        "online_queue_windows_global_ids": queue,
        "sampled/global_id": np.concatenate([served, inside[:4]]).astype(np.int32),
    }
    sampled = arrays["sampled/global_id"]
    arrays |= {f"sampled/{name}": value[sampled] for name, value in added.items()}
    arrays["sampled/is_last"][:, :-1] |= arrays["sampled/is_first"][:, 1:]
    arrays["sampled/is_first"][:, 0] = True
    assert len(served) < len(queue)
    return arrays


def _pinpad(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Five pads, and actions beyond the end of an episode."""
    return {
        "actions": rng.integers(0, 5, 100, np.int32),
        "frame_index": np.array([0, 7, 40, 41], np.int32),
        "meta/length": np.array(40),
        "meta/numpy_randomstate_seed": np.array(5),
    }


MADE = {
    "pinpad_five": (_pinpad, envs.pinpad),
    "full_loss_mixed": (_full_loss, training.full_loss),
    "train_steps_mixed": (_train_steps, training.train_steps),
    "replay_windows_evicting": (_replay_windows, replay.replay_windows),
}


def _saved(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", MADE)
def test_other_layouts_run(name: str, tmp_path: Path) -> None:
    make, kind = MADE[name]
    arrays = make(np.random.default_rng(0))
    inputs = set(arrays)
    if name != "replay_windows_evicting":  # whose outputs were made by hand
        kind(Recorder(name, arrays))
    golden = Golden(_saved(tmp_path, name, arrays))
    kind(golden)
    golden.finish()
    assert golden.compared >= len(set(arrays) - inputs)


def _changed(tmp_path: Path, **changes: np.ndarray | None) -> Golden:
    """The encoder file with arrays put in, or left out where None."""
    with np.load(DEFAULT / "encoder_vector.npz") as file:
        arrays = dict(file) | changes
    kept = {key: value for key, value in arrays.items() if value is not None}
    golden = Golden(_saved(tmp_path, "encoder_vector", kept))
    world.encoder(golden)
    return golden


def test_an_error_above_the_tolerance_fails(tmp_path: Path) -> None:
    with np.load(DEFAULT / "encoder_vector.npz") as file:
        tokens = file["tokens"]
    for factor, passes in ((0.5, True), (2.0, False)):
        wrong = tokens.copy()
        wrong.flat[3] += factor * 2e-4 * np.abs(tokens).max()
        golden = _changed(tmp_path, tokens=wrong)
        if passes:
            golden.finish()
        else:
            with pytest.raises(AssertionError, match="tokens"):
                golden.finish()


def test_an_array_that_nobody_reads_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="surprise: nobody read it"):
        _changed(tmp_path, surprise=np.zeros(3)).finish()


def test_a_gradient_that_is_missing_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="grad_param/mlp0/bias: only we have it"):
        _changed(tmp_path, **{"grad_param/mlp0/bias": None}).finish()


def test_kinds_are_the_longest_known_prefix() -> None:
    assert kind_of("full_loss_disc_nograd") == "full_loss"
    assert kind_of("train_ratio") == "train_ratio"
    assert kind_of("rssm_core_multi") == "rssm_core"
    assert kind_of("symlogs") is None

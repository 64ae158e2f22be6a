"""Sizes, shapes and initial values of every preset against the official code's.

The tables stand beside the arrays; a folder without them is measured against the default ones.
"""

from __future__ import annotations

import csv
import math
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from dreamer_plugin.build import build_agent, build_behavior, build_world
from dreamer_plugin.config import presets
from dreamer_plugin.config.schema import Config
from dreamer_plugin.interop.weights import export_official
from dreamer_plugin.spaces import Spaces

from .reading import DEFAULT, folder

Box, Discrete = gym.spaces.Box, gym.spaces.Discrete


def _table(name: str) -> list[dict[str, str]]:
    path = folder() / name
    with (path if path.exists() else DEFAULT / name).open() as file:
        return list(csv.DictReader(file))


def _image(size: int, channels: int) -> dict[str, gym.Space]:
    return {"image": Box(0, 255, (size, size, channels), np.uint8)}


def _vectors(**sizes: int) -> dict[str, gym.Space]:
    return {k: Box(-np.inf, np.inf, (n,) if n else (), np.float32) for k, n in sizes.items()}


PROBLEMS: dict[str, tuple[dict[str, gym.Space], gym.Space]] = {
    "atari_gray96_18act": (_image(96, 1), Discrete(18)),
    "atari100k_rgb64_6act": (_image(64, 3), Discrete(6)),
    "dmc_vision_rgb64_6dim": (_image(64, 3), Box(-1, 1, (6,))),
    "dmc_proprio_walker_6dim": (
        _vectors(height=0, orientations=14, velocity=9),
        Box(-1, 1, (6,)),
    ),
    "crafter_rgb64_17act": (_image(64, 3), Discrete(17)),
}


def _config(size: str) -> Config:
    """The shipped size preset on top of the defaults."""
    cfg = Config(precision="float32")
    for key, value in presets.get("size", size.removeprefix("size")).tree["model"].items():
        setattr(cfg.model, key, value)
    return cfg


def _spaces(problem: str) -> Spaces:
    obs, action = PROBLEMS[problem]
    return Spaces.from_gym(gym.spaces.Dict(obs), action)


@cache
def _modules(size: str, problem: str) -> dict[str, nn.Module]:
    """Trained modules by official prefix, without memory."""
    cfg, spaces = _config(size), _spaces(problem)
    with torch.device("meta"):
        world = build_world(cfg, spaces)
        behavior = build_behavior(cfg, spaces, world.rssm.feat_size)
    return {
        "enc": world.encoder,
        "dyn": world.rssm,
        "dec": world.decoder,
        "rew": world.reward,
        "con": world.cont,
        "pol": behavior.actor,
        "val": behavior.critic,
    }


COUNTS = _table("param_counts.csv")


@pytest.mark.parametrize("row", COUNTS, ids=lambda r: f"{r['size']}-{r['problem']}")
def test_parameter_counts(row: dict[str, str]) -> None:
    modules = _modules(row["size"], row["problem"])
    counts = {name: sum(p.numel() for p in m.parameters()) for name, m in modules.items()}
    counts["total_trained"] = sum(counts.values())
    assert counts == {name: int(row[name]) for name in counts}


def test_every_size_is_counted_for_every_problem() -> None:
    sizes = {f"size{name}" for name in presets.SIZES}
    pairs = {(row["size"], row["problem"]) for row in COUNTS}
    assert pairs == {(size, problem) for size in sizes for problem in PROBLEMS}


def test_parameter_shapes() -> None:
    expected: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for row in _table("param_shapes.csv"):
        shape = tuple(int(n) for n in row["shape"].split("x"))
        assert math.prod(shape) == int(row["count"])
        expected.setdefault((row["size"], row["problem"]), {})[row["parameter"]] = shape
    for (size, problem), shapes in expected.items():
        ours = {
            f"{prefix}/{name}": shape
            for prefix, module in _modules(size, problem).items()
            for name, shape in _official_shapes(module).items()
        }
        assert ours == shapes, (size, problem)


def _official_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    from dreamer_plugin.interop.weights import _to_official, official_names

    names = official_names(module)
    return {names[k]: tuple(_to_official(p).shape) for k, p in module.named_parameters()}


STATS = _table("init_stats_size1m.csv")


@pytest.mark.parametrize("problem", sorted({row["problem"] for row in STATS}))
def test_initial_values(problem: str) -> None:
    """Both sides are samples: they may differ by five standard errors of a difference."""
    arrays = export_official(build_agent(_config("size1m"), _spaces(problem)))
    rows = {row["parameter"]: row for row in STATS if row["problem"] == problem}
    assert rows.keys() == {name for name in arrays if not name.startswith("slowval/")}
    for name, row in rows.items():
        ours, n = arrays[name], arrays[name].size
        mean, std, largest = (float(row[key]) for key in ("mean", "std", "abs_max"))
        if std == 0:  # zeros, and the ones of norm scales
            assert (ours == mean).all(), name
            continue
        # A normal cut at two deviations is wider inside: 1.1368 times its own deviation.
        assert np.abs(ours).max() <= 2 * 1.1369 * _true_std(name, ours), name
        assert abs(ours.mean() - mean) <= 5 * std * math.sqrt(2 / n) + 1e-6, name
        assert abs(ours.std() - std) <= 5 * std * math.sqrt(1 / n) + 1e-6, name
        assert largest <= 2 * 1.1369 * _true_std(name, ours) + 1e-6, name


def _true_std(name: str, array: np.ndarray) -> float:
    """What the rule of the official code gives: `outscale / sqrt(fan in)`."""
    fan = math.prod(array.shape[:-1])  # of a block-linear kernel: blocks times inputs of a block
    return (0.01 if name.startswith("pol/head") else 1.0) / math.sqrt(fan)


def test_slow_critic_starts_as_a_copy() -> None:
    arrays = export_official(build_agent(_config("size1m"), _spaces("atari100k_rgb64_6act")))
    slow = {k: v for k, v in arrays.items() if k.startswith("slowval/")}
    assert slow
    for name, value in slow.items():
        assert np.array_equal(value, arrays[name.replace("slowval/", "val/")]), name

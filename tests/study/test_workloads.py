"""The workloads are exactly those that every figure is about."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_plugin.errors import UsageError
from dreamer_plugin.study.workloads import EPISODE, find

# Widths: configs/size. The rest of what a workload is stands in docs/performance.md.
SHAPES = {
    "proprio1m": ("vector", (24,), 512, 64, 4),
    "vision12m": ("image", (64, 64, 3), 2048, 256, 16),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_workload_is_what_it_is_called(name: str) -> None:
    kind, shape, deter, hidden, classes = SHAPES[name]
    workload = find(name)
    cfg = workload.config([], {"device": "cpu"})
    assert (cfg.model.deter, cfg.model.hidden, cfg.model.classes) == (deter, hidden, classes)
    replay = cfg.replay
    assert (replay.batch_size, replay.batch_length, replay.context) == (16, 64, 1)
    assert cfg.behavior.imag_horizon == 15 and cfg.behavior.imag_last == 0
    assert all(vars(cfg.loss_scales).values())
    vector = workload.source().vector(0)
    (obs,) = vector.observation_space.spaces.values()
    assert obs.shape == shape and (obs.dtype == np.uint8) == (kind == "image")
    assert vector.action_space.shape == (6,)
    vector.close()


def test_settings_of_the_user_win() -> None:
    cfg = find("proprio1m").config(["replay.batch_size=8", "env.num_envs=2"], {"seed": 5})
    assert (cfg.replay.batch_size, cfg.env.num_envs, cfg.seed) == (8, 2, 5)


def test_an_unknown_workload_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'propio1m'.*Did you mean 'proprio1m'\?.*200m"):
        find("propio1m")


def test_the_replay_holds_episodes_of_noise() -> None:
    workload = find("tiny")
    cfg = workload.config([], {"device": "cpu"})
    with workload.training(cfg, records=2 * EPISODE) as training:
        replay = training.parts.replay
        assert len(replay.storage) == 2 * EPISODE
        assert replay.windows == 2 * EPISODE - 16  # windows of 17, one per record that ends one
        batch = replay.sample()
    assert batch.batch_size == (4, 17)
    assert batch["obs", "obs"].shape == (4, 17, 24) and batch["obs", "obs"].std() > 0.1
    assert int(batch["stoch"].max()) in range(1, 4)
    assert batch["action"].abs().max() <= 1

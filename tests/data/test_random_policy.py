"""Noise on actions, by its formula and by counting."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from dreamer_plugin.data.random_policy import NoisyPolicy, RandomPolicy, halving
from dreamer_plugin.spaces import Spaces

from .. import tiny

ROWS = 20_000


def _noisy(amount: float) -> NoisyPolicy:
    spaces = tiny.spaces()  # two continuous actions, then three classes
    return NoisyPolicy(RandomPolicy(spaces, 1, (1,)), spaces.actions, lambda: amount)


def _changed(amount: float, action: list[float]) -> torch.Tensor:
    noise = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(0))
    return _noisy(amount).change(torch.tensor([action]).expand(ROWS, 5), noise)


def test_continuous_actions_are_normal_around_the_policy_and_clipped() -> None:
    """Standard deviation 0.3 around 0; around 0.9 a share 1 - Phi(1/3) = 0.369 is cut to 1."""
    moved = _changed(0.3, [0.0, 0.9, 0, 1, 0])
    assert moved[:, 0].mean().item() == pytest.approx(0, abs=0.01)
    assert moved[:, 0].std().item() == pytest.approx(0.3, abs=0.01)
    assert moved[:, :2].abs().max() <= 1
    assert (moved[:, 1] == 1).float().mean().item() == pytest.approx(0.369, abs=0.01)


def test_classes_are_random_as_often_as_the_amount_says() -> None:
    """With 0.3 and three classes: the policy's own 0.7 + 0.1, each other 0.1."""
    shares = _changed(0.3, [0.0, 0.0, 0, 1, 0])[:, 2:].mean(0)
    assert shares.tolist() == pytest.approx([0.1, 0.8, 0.1], abs=0.01)
    assert _changed(1.0, [0.0, 0.0, 0, 1, 0])[:, 2:].mean(0).tolist() == pytest.approx(
        [1 / 3] * 3, abs=0.015
    )


def test_no_class_is_replaced_more_often_than_always() -> None:
    """An amount above 1 is a standard deviation alone."""
    assert torch.equal(
        _changed(2.0, [0.0, 0.0, 0, 1, 0])[:, 2:], _changed(1.0, [0.0, 0.0, 0, 1, 0])[:, 2:]
    )


def test_without_an_amount_actions_are_the_policys() -> None:
    action = [1.7, -0.2, 0.0, 1.0, 0.0]  # not even clipped
    assert torch.equal(_changed(0.0, action), torch.tensor([action]).expand(ROWS, 5))


def test_what_was_done_is_remembered() -> None:
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    spaces = Spaces.from_gym(tiny.OBS, action_space)
    noisy = NoisyPolicy(RandomPolicy(spaces, 1, (1,)), spaces.actions, lambda: 0.5)
    noise = torch.tensor([[0.75, 0.9]])  # the policy's 0.5, then a quantile: 1.2816 * 0.5 more
    first = torch.ones(1, dtype=torch.bool)
    action, after = noisy.act({}, first, noisy.initial(1), noise)
    assert action.item() == 1.0 == after["prev_action"].item()


def test_the_amount_halves_down_to_the_least() -> None:
    amounts = [halving(0.4, 100, 0.15, step) for step in (0, 100, 200)]
    assert amounts == pytest.approx([0.4, 0.2, 0.15])
    assert halving(0.4, 0, 0.0, 10**9) == 0.4

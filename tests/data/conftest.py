"""Small replays whose records are told apart by their reward."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.data.replay import RecordReplay, make_replay
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

Records = Callable[..., TensorDict]


@pytest.fixture(scope="session")
def golden(repo: Path) -> Path:
    """Folder of golden arrays."""
    return Path(os.environ.get("DREAMER_GOLDEN") or repo / "tests" / "golden" / "data")


@pytest.fixture(scope="session")
def spaces() -> Spaces:
    """One key of every kind."""
    obs = (
        ObsKey("image", "image", (4, 4, 3)),
        ObsKey("vector", "vector", (2,)),
        ObsKey("height", "vector", ()),
        ObsKey("kind", "discrete", (), 300),
    )
    return Spaces(obs, (ActionKey("action", "discrete", (), 3),))


@pytest.fixture(scope="session")
def records() -> Records:
    """Maker of records `[M]` with the given numbers as reward and in every other value."""

    def make(ids: list[int], is_first: object = False, is_last: object = False) -> TensorDict:
        number = torch.tensor(ids, dtype=torch.float32)
        count = len(ids)
        flags = [torch.as_tensor(np.broadcast_to(f, count).copy()) for f in (is_first, is_last)]
        obs = {
            "image": (number % 256).to(torch.uint8)[:, None, None, None].expand(count, 4, 4, 3),
            "vector": torch.stack([number, -number], -1),
            "height": number,
            "kind": number.long() % 300,
        }
        fields = {
            "obs": TensorDict(obs, batch_size=[count]),
            "action": torch.eye(3)[number.long() % 3],
            "reward": number,
            "is_first": flags[0],
            "is_last": flags[1],
            "is_terminal": flags[1].clone(),
            "deter": number[:, None].repeat(1, 5),
            "stoch": (number % 7).to(torch.uint8)[:, None].repeat(1, 2),
        }
        return TensorDict(fields, batch_size=[count])

    return make


@pytest.fixture(scope="session")
def make(spaces: Spaces) -> Callable[..., RecordReplay]:
    """Maker of replays with those spaces; T + context = `window`."""

    def build(num_envs: int, capacity: int, window: int, batch_size: int = 2, **options):
        return make_replay(
            spaces,
            num_envs,
            capacity,
            batch_size,
            window - 1,
            deter=5,
            stoch_shape=(2,),
            **options,
        )

    return build

"""DreamerV1 and V2: files of settings over the parts that V3 is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import dreamer_plugin
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.config.schema import Config
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.scan import DeferredScan

from . import tiny

CONTROL = gym.spaces.Box(-1, 1, (6,), np.float32)
NARROW = {
    "model.deter": 16, "model.hidden": 8, "model.units": 8, "model.depth": 2, "model.groups": 4,
    "behavior.imag_horizon": 4, "precision": "float32",
    "world.free_nats": 0,  # below them the prior learns nothing
}  # fmt: skip


def _image(channels: int) -> gym.Space[Any]:
    return gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (64, 64, channels), np.uint8)})


def _count(cfg: Config, obs: gym.Space[Any], action: gym.Space[Any]) -> dict[str, int]:
    agent = build_agent(cfg, Spaces.from_gym(obs, action))
    parts = dict(agent.world.named_children())
    parts |= {"actor": agent.behavior.actor, "critic": agent.behavior.critic}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def test_v1_has_the_widths_of_its_authors() -> None:
    """By hand from danijar/dreamer @ 56d4d444, `models.py`: control from pixels, 6 actions.

    A dense layer of n to m has (n + 1) m numbers, the GRU 3 * 200 * (200 + 200 + 2); a state has
    230. Images: 3 to 32, 64, 128, 256 channels by 4x4, and back from 1024.
    """
    counted = _count(compose("dmc/walker-walk", config=["v1"]).config, _image(3), CONTROL)

    def dense(*widths: int) -> int:
        return sum((n + 1) * m for n, m in zip(widths, widths[1:], strict=False))

    assert counted == {
        "encoder": sum((16 * n + 1) * m for n, m in ((3, 32), (32, 64), (64, 128), (128, 256))),
        "rssm": dense(36, 200) + 600 * 402 + dense(200, 200, 60) + dense(1224, 200, 60),
        "decoder": dense(230, 1024)
        + sum((k * k * n + 1) * m if k else 0 for k, n, m in ((5, 1024, 128), (5, 128, 64)))
        + sum((k * k * n + 1) * m for k, n, m in ((6, 64, 32), (6, 32, 3))),
        "reward": dense(230, 400, 400, 1),
        "actor": dense(230, 400, 400, 400, 400, 12),
        "critic": dense(230, 400, 400, 400, 1),
    }


def test_v2_is_as_large_as_its_paper_says() -> None:
    """About 22 million parameters on Atari: Hafner et al. 2021, appendix D."""
    cfg = compose("atari/Pong", config=["v2"]).config
    total = sum(_count(cfg, _image(1), gym.spaces.Discrete(18)).values())
    assert total == pytest.approx(22e6, rel=0.02)


@pytest.mark.parametrize(("agent", "horizon"), [("v1", 100), ("v2", 100)])
def test_whole_updates_move_every_part(agent: str, horizon: float) -> None:
    """Of actions of both kinds; a part that no loss reaches would stay as it was."""
    overrides = [f"{key}={value}" for key, value in NARROW.items()]
    cfg = compose(config=[agent], overrides=[*overrides, "model.classes=4"]).config
    assert cfg.behavior.horizon == horizon and cfg.replay.context == 0
    made = build_agent(cfg, tiny.spaces())
    assert not isinstance(made.world.rssm.scan, DeferredScan)
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    batch = tiny.batch(length=7)
    stored = made.world.rssm.latent
    batch["stoch"] = torch.zeros(*batch.shape, *stored.storage_shape, dtype=stored.storage_dtype)
    for _ in range(2):
        latents, metrics = made.update(batch)
    assert latents.batch_size == torch.Size([3, 8])
    assert all(bool(torch.isfinite(value)) for value in metrics.values())
    moved = {name for name, p in made.named_parameters() if not torch.equal(p, before[name])}
    still = {name for name in before if name not in moved and ".slow." not in name}
    assert still == set()
    assert ("loss/cont" in metrics) is (agent == "v2") and "loss/repval" not in metrics


def test_no_part_knows_a_version() -> None:
    """Versions are settings: no word of one in the code of the parts, docstrings aside."""
    root = Path(dreamer_plugin.__file__).parent
    files = [f for room in ("world", "behavior", "build") for f in (root / room).glob("*.py")]
    assert len(files) > 10
    asked = re.compile(r"\b(version|cfg\.agent|config\.agent)\b|==\s*[\"']v[123]")
    for file in [*files, root / "agent.py"]:
        code = re.sub(r'"""[\s\S]*?"""|#.*', "", file.read_text())
        assert not asked.search(code), file

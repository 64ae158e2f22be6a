"""The replay that a run gets, and what is said about its size."""

from dataclasses import replace

import pytest
import torch

from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.replay import build_replay, latent_sizes, replay_needs, replay_text
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

SPACES = Spaces((ObsKey("sensors", "vector", (3,)),), (ActionKey("action", "discrete", (), 2),))


def test_the_sizes_of_an_agent_are_those_of_its_config(tiny):
    cfg = tiny()
    sizes = latent_sizes(build_agent(cfg, SPACES, torch.device("cpu")))
    plain = {"deter": cfg.model.deter, "stoch_shape": (cfg.model.groups,)}
    # The second is what the plan of the command line counts with, before there is an agent.
    assert replay_needs(cfg, SPACES, 2, **sizes) == replay_needs(cfg, SPACES, 2, **plain)
    assert build_replay(cfg, SPACES, 2, **sizes).facts() == (
        build_replay(cfg, SPACES, 2, **plain).facts()
    )


def test_latents_are_told_apart_and_halved_by_bfloat16(tiny):
    sizes = {"deter": 1000, "stoch_shape": (4,)}
    cfg = tiny(**{"replay.capacity": 100_000})
    half = tiny(**{"replay.capacity": 100_000, "replay.latent_dtype": "bfloat16"})
    need, less = (replay_needs(one, SPACES, 1, **sizes) for one in (cfg, half))
    # 4004 bytes of latents and 28 of records (12 + 8 + 4 + 3, a line of about 1), 100,000 times
    # and 1 or 2 % for unused ends.
    assert 4004e5 < need["latents"] < 1.02 * 4004e5 and 27e5 < need["records"] < 29e5
    assert less["records"] == need["records"]
    assert less["latents"] * 4004 == need["latents"] * 2004
    assert build_replay(half, SPACES, 1, **sizes).facts()["fields"][-2][2] == "bfloat16"
    assert "100,000 windows of 8, 40" in replay_text(cfg, need)
    assert "MB records, 40" in replay_text(cfg, need)


def test_a_type_of_latents_that_no_preset_check_saw(tiny):
    cfg = Config()
    cfg = replace(cfg, replay=replace(cfg.replay, latent_dtype="float61"))
    with pytest.raises(UsageError, match="'float61'. Did you mean 'float16'"):
        build_replay(cfg, SPACES, 1, deter=1, stoch_shape=(1,))

"""Records take what env and agent exchange, and hardly more; latents are counted apart."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict

from dreamer_plugin.data.fields import record_fields
from dreamer_plugin.data.replay import RecordReplay, make_replay, replay_bytes
from dreamer_plugin.spaces import Spaces

DETER, GROUPS, LENGTH = 8, 4, 64


def box(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def image(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


# Observations and actions of real envs. The bytes of one step by hand: the arrays and numbers as
# the env has them (an integer is int64), a float32 reward and three flags.
ENVS = {
    "atari": (spaces.Dict(image=image(96, 96, 1)), spaces.Discrete(18), 9216 + 8 + 7),
    "walker": (
        spaces.Dict(orientations=box(14), height=box(), velocity=box(9)),
        spaces.Box(-1, 1, (6,), np.float32),
        4 * 24 + 4 * 6 + 7,
    ),
    "dict": (
        spaces.Dict(camera=image(64, 64, 3), position=box(7), tool=spaces.Discrete(5)),
        spaces.Dict(arm=spaces.Box(-1, 1, (4,), np.float32), grip=spaces.Discrete(2)),
        12288 + 4 * 7 + 8 + 4 * 4 + 8 + 7,
    ),
}


def filled(obs: gym.Space[Any], action: gym.Space[Any], capacity: int, envs: int) -> RecordReplay:
    """A replay that has turned over."""
    read = Spaces.from_gym(obs, action)
    rb = make_replay(read, envs, capacity, 2, LENGTH, deter=DETER, stoch_shape=(GROUPS,))
    count = 16  # as many as so many envs add at once
    record = TensorDict({"obs": TensorDict({}, [count])}, [count])
    for field in record_fields(read, DETER, (GROUPS,)):
        record[field.key] = torch.ones(count, *field.shape).to(field.dtype)
    for start in range(0, 3 * capacity // 2, count):
        rb.extend(record, env=[i % envs for i in range(start, start + count)])
    assert rb.windows == capacity
    return rb


@pytest.mark.parametrize("name", ENVS)
def test_record_bytes_are_within_5_percent_of_the_raw_data(name: str) -> None:
    obs, action, raw = ENVS[name]
    rb = filled(obs, action, capacity=9000, envs=2)
    storage, windows = rb.storage, rb.sampler.windows
    segments = [s for env in storage._segments for s in env.values()] + storage._free
    taken = {"records": windows._line.nbytes + windows._marks.nbytes, "latents": 0}
    for segment in segments:
        for field, array in zip(storage.fields, segment, strict=True):
            taken["latents" if field.is_latent else "records"] += array.nbytes
    assert taken["records"] <= 1.05 * len(rb) * raw
    # deter in float32 and class indices as bytes.
    per_latent = 4 * DETER + GROUPS
    slots = sum(len(segment[0]) for segment in segments)
    assert taken["latents"] == slots * per_latent <= 1.05 * len(rb) * per_latent


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize(("capacity", "envs"), [(100_000, 1), (1_000_000, 16), (5_000_000, 16)])
def test_so_is_what_a_full_size_replay_is_said_to_take(name: str, capacity: int, envs: int) -> None:
    obs, action, raw = ENVS[name]
    read = Spaces.from_gym(obs, action)
    told = replay_bytes(read, DETER, (GROUPS,), capacity, num_envs=envs, length=LENGTH)
    records = capacity + envs * LENGTH  # of a full line of windows
    assert raw * records * 0.99 < told["records"] < 1.05 * raw * records
    half = replay_bytes(read, DETER, (GROUPS,), capacity, envs, LENGTH, latent_dtype=torch.bfloat16)
    slots = told["latents"] / (4 * DETER + GROUPS)
    assert half["records"] == told["records"]
    assert half["latents"] == math.ceil(slots) * (2 * DETER + GROUPS)

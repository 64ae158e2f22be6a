"""Transitions and frames to records, by hand and for random episodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

SPACES = Spaces((ObsKey("x", "vector", ()),), (ActionKey("action", "continuous", (1,)),))
FLAGS = ("is_first", "is_last", "is_terminal")


def transitions(rows: list[list[dict[str, Any]]]) -> TensorDict:
    """TorchRL transitions `[N, T]` with TorchRL's trailing axes."""

    def column(name: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor([[step[name] for step in row] for row in rows], dtype=dtype)[..., None]

    shape = [len(rows), len(rows[0])]
    after = {
        "obs": TensorDict({"x": column("o1")}, batch_size=shape),
        "reward": column("r"),
        "done": column("done", torch.bool),
        "terminated": column("terminated", torch.bool),
        "deter": column("s"),
        "stoch": column("s", torch.uint8),
    }
    before = {
        "obs": TensorDict({"x": column("o")}, batch_size=shape),
        "action": column("a"),
        "is_init": column("init", torch.bool),
        "next": TensorDict(after, batch_size=shape),
    }
    return TensorDict(before, batch_size=shape)


def step(o: float, a: float, r: float, o1: float, s: float = 1, **flags: bool) -> dict[str, Any]:
    names = {"init": False, "done": False, "terminated": False} | flags
    return {"o": o, "a": a, "r": r, "o1": o1, "s": s} | names


# By hand: one episode of two transitions that the task ends, then the first of the next one.
EPISODE = [
    step(10, 0.1, 1, 11, s=5, init=True),
    step(11, 0.2, 2, 12, s=6, done=True, terminated=True),
    step(20, 0.3, 3, 21, s=7, init=True),
]
RECORDS = {
    "x": [10, 11, 12, 20],
    "reward": [0, 1, 2, 0],
    "is_first": [1, 0, 0, 1],
    "is_last": [0, 0, 1, 0],
    "is_terminal": [0, 0, 1, 0],
    "action": [0.1, 0.2, 0, 0.3],
    "deter": [5, 6, 0, 7],
    "stoch": [5, 6, 0, 7],
}


def assert_records(got: TensorDict, expected: dict[str, list[float]]) -> None:
    for name, values in expected.items():
        value = got["obs", "x"] if name == "x" else got[name]
        np.testing.assert_allclose(value.reshape(len(got)), values, err_msg=name)


def test_an_episode_by_hand() -> None:
    records = Aligner(1, SPACES).from_transitions(transitions([EPISODE]))
    assert_records(records, RECORDS)
    assert records["reward"].shape == records["obs", "x"].shape == records["is_last"].shape == (4,)


def test_the_last_reward_waits_for_the_next_batch() -> None:
    aligner = Aligner(1, SPACES)
    parts = []
    for one in EPISODE:  # a batch of one transition each, without a time axis
        parts.append(aligner.from_transitions(transitions([[one]])[:, 0]))
        restored = Aligner(1, SPACES)
        restored.load_state_dict(aligner.state_dict())
        aligner = restored
    assert_records(torch.cat(parts), RECORDS)


@pytest.mark.parametrize("always", [False, True])
def test_a_time_limit_is_terminal_only_where_the_suite_says_so(always: bool) -> None:
    limited = [step(10, 0.1, 1, 11, init=True, done=True)]
    records = Aligner(1, SPACES, always).from_transitions(transitions([limited]))
    assert records["is_last"].tolist() == [False, True]
    assert records["is_terminal"].tolist() == [False, always]


def test_frames_keep_their_values_but_for_actions_and_latents_at_the_end() -> None:
    frames = SimpleNamespace(
        obs={"x": np.float32([1, 2, 3])},
        reward=np.float32([0, 4, 5]),
        is_first=np.array([True, False, False]),
        is_last=np.array([False, True, True]),
        terminated=np.array([False, True, False]),
        present=np.ones(3, np.bool_),
    )
    action = torch.tensor([[0.1], [float("nan")], [0.3]])  # nobody reads what a policy says there
    latents = {"deter": torch.ones(3, 2), "stoch": torch.ones(3, 2, dtype=torch.uint8)}
    records = Aligner(3, SPACES).from_frames(frames, action, latents)
    np.testing.assert_allclose(records["action"][:, 0], [0.1, 0, 0])
    assert records["deter"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert records["stoch"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert records["is_terminal"].tolist() == [False, True, False]
    assert Aligner(3, SPACES, True).from_frames(frames, action, latents)[
        "is_terminal"
    ].tolist() == [
        False,
        True,
        True,
    ]
    assert latents["deter"].all()  # the policy's own state is left alone


@given(
    lengths=st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=6), min_size=1, max_size=3),
    batch=st.integers(1, 7),
)
@settings(max_examples=80, deadline=None)
def test_n_transitions_give_n_plus_one_records(lengths: list[list[int]], batch: int) -> None:
    total = min(sum(row) for row in lengths)
    streams, expected = zip(*(numbered_episodes(row, total) for row in lengths), strict=True)
    aligner = Aligner(len(lengths), SPACES)
    got: list[list[tuple[Any, ...]]] = [[] for _ in lengths]
    for start in range(0, total, batch):
        rows = [stream[start : start + batch] for stream in streams]
        records = aligner.from_transitions(transitions(rows))
        for record in records:
            key = (*(record[name].item() for name in FLAGS), record["reward"].item())
            got[int(record["env"])].append((record["obs", "x"].item(), *key))
    assert got == list(expected)


# Errors.


def two_envs(steps: int = 4) -> TensorDict:
    """Transitions `[2, steps]` of envs 0 and 1 under `env`."""
    rows = [numbered_episodes([9, 9], steps)[0] for _ in range(2)]
    return transitions(rows).set("env", torch.arange(2)[:, None].expand(2, steps))


def test_flattened_transitions_are_refused() -> None:
    flat = two_envs().reshape(-1)
    with pytest.raises(UsageError, match=r"name env 0 4 times: .*gives them, \[N, T\], not flat"):
        Aligner(2, SPACES).from_transitions(flat)
    with pytest.raises(UsageError, match="8 rows for 2 envs"):
        Aligner(2, SPACES).from_transitions(flat.exclude("env"))


def test_results_of_workers_that_are_not_joined_by_env_are_refused() -> None:
    """What `MultiSyncCollector` gives with `cat_results=-1` and with its default."""
    one, other = two_envs(), two_envs()
    other["env"] = other["env"] + 2
    aligner = Aligner(4, SPACES)
    with pytest.raises(UsageError, match="row 0 .* of envs 0 and 2: set cat_results=0"):
        aligner.from_transitions(torch.cat([one, other], 1))
    with pytest.raises(UsageError, match=r"are \[2, 2, 4\].* or \[N, T\]: .*cat_results=0"):
        aligner.from_transitions(torch.stack([one, other]))
    assert len(aligner.from_transitions(torch.cat([one, other]))) == 16


def test_an_env_beyond_the_aligners_is_named() -> None:
    with pytest.raises(UsageError, match=r"of env 1, .* has 1 .*Aligner\(WORKERS \* EACH, "):
        Aligner(1, SPACES).from_transitions(two_envs())


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("is_init", "no 'is_init': add InitTracker to the env"),
        (("next", "deter"), "no 'next/deter': .* policy .*DreamerPolicy"),
        (("next", "reward"), "no 'next/reward'"),
        (("obs", "x"), "no 'obs/x'"),
        (("next", "obs", "x"), "no 'next/obs/x'"),
    ],
)
def test_a_missing_key_is_named(key: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Aligner(2, SPACES).from_transitions(two_envs(10).exclude(key))


def numbered_episodes(lengths: list[int], total: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """Transitions of episodes of these lengths, cut at `total`, and their records.

    Frames are numbered; arriving at frame n earns n + 0.5; even episodes end by the task.
    """
    steps: list[dict[str, Any]] = []
    records: list[Any] = []
    frame = 0
    for episode, length in enumerate(lengths):
        for k in range(length):
            if len(steps) == total:
                return steps, records
            done = k == length - 1
            task = done and episode % 2 == 0
            flags = {"init": k == 0, "done": done, "terminated": task}
            steps.append(step(frame, 0, frame + 1.5, frame + 1, **flags))
            records.append((frame, k == 0, False, False, 0 if k == 0 else frame + 0.5))
            frame += 1
            if done:
                records.append((frame, False, True, task, frame + 0.5))
                frame += 1
    return steps, records

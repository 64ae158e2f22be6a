"""Pieces of episodes: their probabilities by hand, a naive model, saving, memory, and errors."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_plugin.data.episodes import Episodes, episodes_bytes
from dreamer_plugin.data.replay import load_rb_state, make_replay, rb_state, replay_bytes
from dreamer_plugin.data.windows import STREAM
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.spaces import Spaces

# TorchRL says so once when a call asks for another number than the buffer was made for.
pytestmark = pytest.mark.filterwarnings("ignore:Got conflicting batch_sizes")

EPISODIC = {"sampling": "episodes", "context": 0, "online": False}


@pytest.fixture(scope="session")
def episodic(spaces: Spaces):
    """Maker of replays that draw pieces of episodes."""

    def build(num_envs: int, capacity: int, length: int, batch_size: int = 2, **options: Any):
        sizes = {"deter": 5, "stoch_shape": (2,)}
        options = EPISODIC | options
        return make_replay(spaces, num_envs, capacity, batch_size, length, **sizes, **options)

    return build


def play(rb: Any, records: Any, lengths: list[int], env: int = 0, at: int = 0) -> int:
    """Add whole episodes of these lengths, numbered from `at`; returns the next number."""
    for length in lengths:
        flags = np.arange(length) == 0, np.arange(length) == length - 1
        rb.extend(records(list(range(at, at + length)), *flags), env=[env] * length)
        at += length
    return at


# Probabilities. By the specification, of an episode of n records and pieces of L:
#   DreamerV2   start = min(U{0, ..., n - L + e}, n - L), e = L with prioritised ends, else 0
#   DreamerV1   start uniform in [0, n - L), with balance min(U[0, n), n - L)

BY_HAND = {
    ("episodes", False): [Fraction(1, 8)] * 8,
    ("episodes", True): [Fraction(1, 13)] * 7 + [Fraction(6, 13)],
    ("inner_episodes", False): [Fraction(1, 7)] * 7 + [Fraction(0)],
    ("inner_episodes", True): [Fraction(1, 12)] * 7 + [Fraction(5, 12)],
}


@pytest.mark.parametrize(("sampling", "ends"), BY_HAND)
def test_starts_have_the_probabilities_of_the_specification(
    episodic: Any, records: Any, sampling: str, ends: bool
) -> None:
    rb = episodic(1, 100, 5, sampling=sampling, prioritize_ends=ends)
    play(rb, records, [12])
    expected = BY_HAND[sampling, ends]
    assert sum(expected) == 1
    assert rb.windows == sum(share > 0 for share in expected)
    check_shares(rb, dict(enumerate(expected)))


def test_episodes_are_drawn_alike_whatever_their_length(episodic: Any, records: Any) -> None:
    # Starts 0, 1 of the first and 0 to 7 of the second; the one between is short.
    rb = episodic(1, 100, 5)
    play(rb, records, [6, 5, 12])
    shares = {start: Fraction(1, 4) for start in (0, 1)}
    check_shares(rb, shares | {11 + start: Fraction(1, 16) for start in range(8)})
    assert rb.windows == 10


def check_shares(rb: Any, expected: dict[int, Fraction]) -> None:
    count = 20_000
    drawn = rb.sampler.windows.draw(count, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=max(expected) + 1) / count
    for start, share in enumerate(shares):
        probability = float(expected.get(start, 0))
        # Five standard errors; what has no probability is never drawn.
        assert abs(share - probability) <= 5 * (probability * (1 - probability) / count) ** 0.5


# A naive model: every record in a list, every episode in a list.

STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["", "", "", "first", "last", "last", "both"])),
    max_size=150,
)


@given(
    steps=STEPS,
    length=st.integers(1, 4),
    room=st.integers(1, 30),
    inner=st.booleans(),
    ends=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_against_lists(
    steps: Any, length: int, room: int, inner: bool, ends: bool, episodic: Any, records: Any
) -> None:
    sampling = "inner_episodes" if inner else "episodes"
    rb = episodic(3, length + room, length, sampling=sampling, prioritize_ends=ends)
    model = Model(length, length + room)
    for count, (env, event) in enumerate(steps):
        is_first, is_last = event in ("first", "both"), event in ("last", "both")
        rb.extend(records([count], is_first, is_last), env=[env])
        model.add(env, is_first, is_last)
        left_out = inner and not ends
        places = [n - length + 1 - left_out for n in model.episodes().values()]
        assert rb.windows == sum(places)
        assert len(rb) == sum(map(len, model.held())) <= length + room
        if count % 50 == 49:
            again = episodic(3, length + room, length, sampling=sampling, prioritize_ends=ends)
            load_rb_state(again, rb_state(rb))
            rb = again
        if rb.windows and count % 5 == 0:
            check_pieces(rb.sample(8), model.episodes(), length)
    for env, head in enumerate(model.heads):
        for record in range(head):
            assert rb.storage.contains(env * STREAM + record) == (record in model.held()[env])


def check_pieces(batch: Any, episodes: dict[tuple[int, int], int], length: int) -> None:
    """Every row lies in one episode, and begins as one does."""
    assert batch.shape == (8, length)
    for row in batch:
        env, start = divmod(int(row["index"][0]), STREAM)
        assert row["index"].diff().eq(1).all()
        inside = [
            first <= start and start + length <= first + n
            for (whose, first), n in episodes.items()
            if whose == env
        ]
        assert sum(inside) == 1
        assert row["is_first"].tolist() == [True] + [False] * (length - 1)
        assert not row["is_last"][:-1].any()


@dataclass
class Block:
    """Neighbours of one episode; `number` says when it became complete, if it can be drawn."""

    records: list[int]
    is_open: bool = True
    number: int = -1


class Model:
    """Blocks of records by env, in the order of time."""

    def __init__(self, length: int, capacity: int) -> None:
        self.length, self.capacity = length, capacity
        self.blocks: list[list[Block]] = [[], [], []]
        self.heads = [0, 0, 0]
        self.completed = 0

    def add(self, env: int, is_first: bool, is_last: bool) -> None:
        if is_first:
            self.close(env)
        if not self.blocks[env] or not self.blocks[env][-1].is_open:
            self.blocks[env].append(Block([]))
        self.blocks[env][-1].records.append(self.heads[env])
        self.heads[env] += 1
        if is_last:
            self.close(env)
        while sum(map(len, self.held())) > self.capacity:
            self.make_room()

    def close(self, env: int) -> None:
        if self.blocks[env]:
            block = self.blocks[env][-1]
            if block.is_open and len(block.records) > self.length:
                block.number, self.completed = self.completed, self.completed + 1
            block.is_open = False
        self.forget_short(env)

    def make_room(self) -> None:
        complete = [(b.number, env) for env in range(3) for b in self.blocks[env] if b.number >= 0]
        # Envs that have an open one alone, the longest first; of equals the first env.
        opened = [e for e in range(3) if len(self.blocks[e]) == 1 and self.blocks[e][0].is_open]
        opened.sort(key=lambda e: -len(self.blocks[e][0].records))
        env = min(complete)[1] if complete else opened[0]
        block = self.blocks[env][0]
        longer = opened and len(self.blocks[opened[0]][0].records) > len(block.records)
        if complete and not (len(complete) == 1 and longer):
            assert self.blocks[env].pop(0).number == min(complete)[0]
            self.forget_short(env)
        else:
            self.blocks[opened[0]][0].records.pop(0)

    def forget_short(self, env: int) -> None:
        blocks = self.blocks[env]
        while blocks and not blocks[0].is_open and blocks[0].number < 0:
            blocks.pop(0)

    def held(self) -> list[list[int]]:
        return [[record for block in blocks for record in block.records] for blocks in self.blocks]

    def episodes(self) -> dict[tuple[int, int], int]:
        """`(env, first record)` to number of records, of what can be drawn."""
        return {
            (env, block.records[0]): len(block.records)
            for env, blocks in enumerate(self.blocks)
            for block in blocks
            if block.number >= 0
        }


# Which go.


def test_the_episode_that_was_complete_first_goes_first_over_all_envs(
    episodic: Any, records: Any
) -> None:
    rb = episodic(2, 22, 3)
    play(rb, records, [6, 6], env=1)
    play(rb, records, [4], env=0)
    assert (len(rb), rb.windows) == (16, 4 + 4 + 2)
    flags = np.arange(7) == 0, np.arange(7) == 7  # 7 records of one that goes on
    rb.extend(records(list(range(7)), *flags), env=[0] * 7)
    assert (len(rb), rb.windows) == (17, 4 + 2)
    assert not rb.storage.contains(STREAM + 5) and rb.storage.contains(STREAM + 6)
    play(rb, records, [6], env=1)  # 23 records: the second episode of env 1 goes, not env 0's
    assert (len(rb), rb.windows) == (17, 2 + 4)
    assert rb.storage.contains(0) and not rb.storage.contains(STREAM + 11)


def test_short_episodes_are_never_drawn_and_go_with_what_precedes_them(
    episodic: Any, records: Any
) -> None:
    rb = episodic(1, 30, 5)
    at = play(rb, records, [3, 5, 4])  # 5 records are no more than a piece
    assert (len(rb), rb.windows) == (0, 0)
    with pytest.raises(UsageError, match="no complete episode of more than 5 yet"):
        rb.sample()
    play(rb, records, [6, 5, 5, 7, 4], at=at)
    assert (len(rb), rb.windows) == (6 + 5 + 5 + 7 + 4, 2 + 3)
    assert set(rb.sample(50)["index"][:, 0].tolist()) == {12, 13, 28, 29, 30}
    play(rb, records, [6])  # 33 records
    assert (len(rb), rb.windows) == (7 + 4 + 6, 3 + 2)


def test_an_env_without_an_end_keeps_its_last_records(episodic: Any, records: Any) -> None:
    rb = episodic(2, 20, 3)
    for i in range(100):
        rb.extend(records([i], is_first=i == 0), env=[0])
        assert rb.windows == 0 and len(rb) == min(i + 1, 20)
    play(rb, records, [4], env=1)
    assert rb.windows == 2 and len(rb) == 20
    rb.extend(records([100], is_last=True), env=[0])
    # 17 records were left of it when it ended, then the other was the older of two.
    assert len(rb) == 17 and rb.windows == 15
    assert rb.sample(50)["reward"].min() == 84


def test_the_last_episode_goes_for_the_open_one_of_its_own_env(episodic: Any, records: Any) -> None:
    rb = episodic(1, 20, 3)
    play(rb, records, [8])
    for i in range(12):
        rb.extend(records([i], is_first=i == 0))
    assert (len(rb), rb.windows) == (20, 6)
    rb.extend(records([12]))
    assert (len(rb), rb.windows) == (13, 0) and rb.storage.contains(8)


def test_records_of_many_episodes_may_come_at_once(episodic: Any, records: Any) -> None:
    lengths = [4, 2, 7, 5, 3, 6]
    one, other = episodic(1, 15, 3), episodic(1, 15, 3)
    firsts = np.isin(np.arange(27), np.cumsum([0, *lengths]))
    lasts = np.isin(np.arange(27), np.cumsum(lengths) - 1)
    one.extend(records(list(range(27)), firsts, lasts), env=[0] * 27)
    play(other, records, lengths)
    assert (one.windows, len(one)) == (other.windows, len(other)) == (3 + 4, 14)
    assert (one.sample(20) == other.sample(20)).all()


# Saving.


def test_a_restored_replay_draws_the_same(episodic: Any, records: Any, tmp_path: Path) -> None:
    rb = episodic(2, 60, 4, seed=1, prioritize_ends=True)
    for env in (0, 1, 0):
        play(rb, records, [9, 3, 14, 6], env=env)
    rb.extend(records([0, 1], is_first=True))
    rb.sample(3)
    restored, through_torchrl, from_disk = (
        episodic(2, 60, 4, seed=seed, prioritize_ends=True) for seed in (2, 3, 4)
    )
    load_rb_state(restored, rb_state(rb))
    through_torchrl.load_state_dict(rb.state_dict())
    rb.dumps(tmp_path / "rb")
    from_disk.loads(tmp_path / "rb")
    for i in range(40):
        expected = None
        for one in (rb, restored, through_torchrl, from_disk):
            one.extend(records([2 * i, 2 * i + 1], is_first=i % 9 == 0))
            batch = one.sample(3)
            assert expected is None or (batch == expected).all()
            expected = batch


def test_states_of_other_replays_are_refused(episodic: Any, make: Any, records: Any) -> None:
    rb, windows = episodic(1, 40, 4), make(1, 40, 4)
    play(rb, records, [9, 12])
    play(windows, records, [9])
    with pytest.raises(CheckpointError, match="sampling=windows, this run has episodes"):
        load_rb_state(rb, rb_state(windows))
    with pytest.raises(CheckpointError, match="sampling=episodes, this run has windows"):
        load_rb_state(windows, rb_state(rb))
    with pytest.raises(CheckpointError, match="holds 21 records, this run keeps 20.*capacity=21"):
        load_rb_state(episodic(1, 20, 4), rb_state(rb))
    # As saved before there was a choice.
    old = rb_state(windows)
    old["facts"] = {name: old["facts"][name] for name in old["facts"] if name != "sampling"}
    load_rb_state(make(1, 40, 4), old)
    exact = episodic(1, 21, 4, sampling="inner_episodes")  # what is drawn of it may be another
    load_rb_state(exact, rb_state(rb))
    assert exact.windows == rb.windows - 2 == 6 + 9 - 2


# Memory.


@pytest.mark.parametrize(("num_envs", "capacity"), [(1, 640), (3, 1000)])
def test_what_is_taken_is_less_than_what_was_said(
    episodic: Any, records: Any, spaces: Spaces, num_envs: int, capacity: int
) -> None:
    rb = episodic(num_envs, capacity, 6)
    rng, count = np.random.default_rng(0), 0
    left = [0] * num_envs
    while count < 3 * capacity:  # a record of each env at a time, as they are collected
        firsts = [not n for n in left]
        left = [n - 1 if n else int(rng.integers(1, 120)) for n in left]
        rb.extend(records(list(range(num_envs)), firsts, [not n for n in left]))
        count += num_envs
    storage = rb.storage
    segments = [s for env in storage._segments for s in env.values()] + storage._free
    told = replay_bytes(
        spaces, 5, (2,), capacity, num_envs, length=6, context=0, sampling="episodes"
    )
    line = rb.sampler.windows._ring.nbytes
    assert line == episodes_bytes(capacity, 6)
    taken = sum(array.nbytes for segment in segments for array in segment) + line
    # The ends of streams are 2 of 64 segments; the line has 16 bytes for each 7 records of 105.
    assert 0.9 * told["total"] < taken <= told["total"]
    assert told["total"] < (1 + 2 / 64 + 16 / (7 * 105)) * 1.01 * capacity * told["per_record"]
    assert told["per_record"] == 105


def test_what_comes_after_emptying_is_held_as_from_the_start(episodic: Any, records: Any) -> None:
    fresh, used = episodic(2, 30, 2), episodic(2, 30, 2)
    for step in range(9):
        used.extend(records([step, step], step == 4, False))
    used.empty()
    for step in range(60):
        for rb in (fresh, used):
            rb.extend(records([step, 100 + step], step % 7 == 0, step % 7 == 6))
        assert (len(used), used.windows) == (len(fresh), fresh.windows)
        assert used[:]["reward"].tolist() == fresh[:]["reward"].tolist()
    assert used.sample()["reward"].tolist() == fresh.sample()["reward"].tolist()


def test_the_line_is_long_enough_for_the_shortest_episodes() -> None:
    every = Episodes(2, 10, 1, 0, lambda position: (position % 3 == 0, position % 3 == 2))
    for position in range(40):
        every.add(position, 0)
        starts = every.state_dict()["line"].tolist()
        complete = [start for start in range(0, position - 1, 3)]
        assert starts == complete[-len(starts) :] if starts else not complete
        assert len(every) == 2 * len(starts)
    assert len(starts) == 3


# Errors.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": 1}, "needs replay.context=0, got 1.*first frame"),
        ({"online": True}, "needs replay.online=false"),
        ({"sampling": "windows", "prioritize_ends": True}, "set replay.sampling=episodes as well"),
        ({"sampling": "episode"}, "Unknown replay.sampling 'episode'. Did you mean 'episodes'"),
        ({"capacity": 5}, "capacity is 5, .* a piece of 5"),
    ],
)
def test_what_does_not_go_together_is_refused(episodic: Any, options: Any, words: str) -> None:
    options = {"capacity": 40, "length": 5} | options
    with pytest.raises(UsageError, match=words):
        episodic(1, options.pop("capacity"), options.pop("length"), **options)

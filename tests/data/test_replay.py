"""The replay buffer: the official windows, a naive model of it, saving, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import ToTensorImage

from dreamer_plugin.data.fields import record_fields
from dreamer_plugin.data.replay import (
    load_rb_state,
    make_replay,
    rb_state,
    replay_bytes,
    write_back,
)
from dreamer_plugin.data.windows import STREAM
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

# TorchRL says so once when a call asks for another number than the buffer was made for.
pytestmark = pytest.mark.filterwarnings("ignore:Got conflicting batch_sizes")

# Golden arrays.


def test_golden_windows(golden: Path, make: Any, records: Any) -> None:
    paths = list(golden.glob("replay_windows*.npz"))
    assert paths
    for path in paths:
        check_golden_windows(np.load(path, allow_pickle=False), make, records)


def check_golden_windows(g: Any, make: Any, records: Any) -> None:
    num_envs, length, capacity, batch = (
        int(g[f"meta/{name}"]) for name in ("workers", "length", "capacity", "batch")
    )
    rb = make(num_envs, capacity, length, batch)
    ids: dict[int, int] = {}
    for i in range(len(g["added/global_id"])):
        record = records([int(g["added/global_id"][i])])
        for key in ("is_first", "is_last", "is_terminal", "reward"):
            record[key] = torch.from_numpy(g[f"added/{key}"][i : i + 1])
        position = int(rb.extend(record, env=[int(g["added/worker"][i])])[0])
        ids[position] = int(g["added/global_id"][i])
        assert rb.windows == g["items_after_each_add"][i]
    line = rb.sampler.windows.state_dict()
    assert [ids[p] for p in line["line"]] == g["window_start_global_ids_in_buffer"].tolist()
    queue = g["online_queue_windows_global_ids"]
    starts = g["window_start_global_ids_in_buffer"].tolist()
    # A queue written with windows that have gone since is served without them.
    assert [ids[p] for p in line["queue"]] == [q[0] for q in queue.tolist() if q[0] in starts]
    expected = g["sampled/global_id"]
    queued = min(len(line["queue"]), len(expected))
    served = rb.sample(queued)
    assert [[ids[p] for p in row] for row in served["index"].tolist()] == expected[:queued].tolist()
    # What the official code drew after the queue was empty is random: the same windows, as we read
    # them.
    position = {number: p for p, number in ids.items()}
    windows = rb[torch.tensor([[position[n] for n in row] for row in expected.tolist()])]
    for key in ("is_first", "is_last", "is_terminal", "reward"):
        np.testing.assert_array_equal(windows[key].numpy(), g[f"sampled/{key}"])
        np.testing.assert_array_equal(served[key].numpy(), g[f"sampled/{key}"][:queued])


@pytest.mark.parametrize("kind", ["disc", "cont"])
def test_golden_context(golden: Path, kind: str) -> None:
    """Columns of a sample as the official code cuts them: start state, steps, actions before."""
    g = np.load(golden / f"replay_context_first_chunk_{kind}.npz", allow_pickle=False)
    flags = ("is_first", "is_last", "is_terminal", "reward")
    names = [key[8:] for key in g.files if key.startswith("out_obs/") and key[8:] not in flags]
    count, length = g["data/reward"].shape
    obs = []
    for name in names:
        value = g[f"data/{name}"]
        image = value.dtype == np.uint8
        obs.append(ObsKey(name, "image" if image else "vector", value.shape[2:]))
    if kind == "disc":
        classes = int(g["data/action"].max()) + 1
        action, actions = np.eye(classes, dtype=np.float32)[g["data/action"]], classes
        prevact = np.eye(classes, dtype=np.float32)[g["out_prevact/action"]]
        key = ActionKey("action", "discrete", (), classes)
    else:
        action, prevact = g["data/action"], g["out_prevact/action"]
        actions = action.shape[-1]
        key = ActionKey("action", "continuous", (actions,))
    deter, stoch = g["data/dyn/deter"], g["data/dyn/stoch"]
    rb = make_replay(
        Spaces(tuple(obs), (key,)),
        count,
        capacity=count,
        batch_size=count,
        length=length - 1,
        deter=deter.shape[-1],
        stoch_shape=stoch.shape[2:],
        stoch_dtype=torch.float32,  # the arrays hold raw values, not one-hot ones
        online=False,
    )
    for t in range(length):
        fields: dict[str, Any] = {
            "obs": {name: torch.from_numpy(g[f"data/{name}"][:, t]) for name in names},
            "action": torch.from_numpy(action[:, t]),
            "deter": torch.from_numpy(deter[:, t]),
            "stoch": torch.from_numpy(stoch[:, t]),
        }
        for name in ("reward", "is_first", "is_last", "is_terminal"):
            fields[name] = torch.from_numpy(g[f"data/{name}"][:, t])
        rb.extend(TensorDict(fields, batch_size=[count]))
    index = torch.arange(count)[:, None] * STREAM + torch.arange(length)
    batch = rb[index]
    np.testing.assert_array_equal(batch["deter"][:, 0], g["out_carry_deter"])
    np.testing.assert_array_equal(batch["stoch"][:, 0], g["out_carry_stoch"])
    np.testing.assert_array_equal(batch["action"][:, :-1], prevact)
    for name in names:
        np.testing.assert_array_equal(batch["obs", name][:, 1:], g[f"out_obs/{name}"])
    for name in ("reward", "is_first", "is_terminal"):
        np.testing.assert_array_equal(batch[name][:, 1:], g[f"out_obs/{name}"])


# A naive model: every record in a list, every window in a list.

OPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(st.integers(0, 2), min_size=1, max_size=7)),
        st.tuples(st.just("sample"), st.integers(1, 4)),
        st.tuples(st.just("write"), st.integers(1, 3)),
        st.tuples(st.just("save"), st.just(0)),
    ),
    max_size=60,
)


@given(
    ops=OPS,
    window=st.integers(2, 5),
    capacity=st.integers(1, 40),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_against_lists(ops: Any, window: int, capacity: int, seed: int, make: Any, records: Any):
    rng = np.random.default_rng(seed)
    rb, model = make(3, capacity, window), Model(window, capacity)
    for op, argument in ops:
        if op == "extend":
            firsts = (rng.random(len(argument)) < 0.3).tolist()
            ids = [model.add(env, first) for env, first in zip(argument, firsts, strict=True)]
            rb.extend(records(ids, is_first=firsts), env=argument)
        elif op == "save":
            again = make(3, capacity, window)
            load_rb_state(again, copied(rb_state(rb)))
            rb = again
        elif model.line:
            batch = rb.sample(argument if op == "sample" else 2)
            model.check(batch)
            if op == "write":
                stale = rb.sample(argument)["index"]
                growth = rng.integers(0, 3, size=rng.integers(1, 3 * capacity)).tolist()
                ids = [model.add(env, False) for env in growth]
                rb.extend(records(ids), env=growth)
                marks = model.write(stale, rng)
                write_back(rb, stale, marks)
    assert rb.windows == len(model.line)
    model.check_all(rb)


class Model:
    """Records as tuples `(id, is_first)` per env; windows as `(env, start)`."""

    def __init__(self, window: int, capacity: int) -> None:
        self.window, self.capacity = window, capacity
        self.streams: list[list[tuple[int, bool]]] = [[], [], []]
        self.line: list[tuple[int, int]] = []
        self.latent: dict[int, float] = {}
        self.count = 0

    def add(self, env: int, first: bool) -> int:
        self.streams[env].append((self.count, first))
        self.latent[self.count] = float(self.count)
        start = len(self.streams[env]) - self.window
        if start >= 0:
            self.line = [*self.line, (env, start)][-self.capacity :]
        self.count += 1
        return self.count - 1

    def alive(self, env: int, record: int) -> bool:
        """Whether a window that is left, or one still to come, holds the record."""
        starts = [start for e, start in self.line if e == env]
        oldest = min(starts, default=max(len(self.streams[env]) - self.window + 1, 0))
        return record >= oldest

    def write(self, index: torch.Tensor, rng: np.random.Generator) -> TensorDict:
        marks = torch.from_numpy(rng.random(index.shape).astype(np.float32))
        for row, positions in enumerate(index.tolist()):
            for column, position in enumerate(positions):
                env, record = divmod(position, STREAM)
                if self.alive(env, record):
                    self.latent[self.streams[env][record][0]] = float(marks[row, column])
        deter = marks[..., None].repeat(1, 1, 5)
        stoch = torch.zeros(*index.shape, 2, dtype=torch.uint8)
        return TensorDict({"deter": deter, "stoch": stoch}, batch_size=index.shape)

    def check(self, batch: TensorDict) -> None:
        for row in range(len(batch)):
            env, start = divmod(int(batch["index"][row, 0]), STREAM)
            assert (env, start) in self.line
            self.check_window(batch[row], env, start)

    def check_window(self, got: TensorDict, env: int, start: int) -> None:
        expected = self.streams[env][start : start + self.window]
        ids = [number for number, _ in expected]
        firsts = [first for _, first in expected]
        assert got["reward"].tolist() == ids
        assert got["obs", "vector"].tolist() == [[i, -i] for i in ids]
        assert got["obs", "kind"].tolist() == [i % 300 for i in ids]
        assert got["obs", "image"][:, 0, 0, 0].tolist() == [i % 256 for i in ids]
        assert got["is_first"].tolist() == [True, *firsts[1:]]
        assert got["is_last"].tolist() == [*firsts[1:], False]
        assert got["deter"][:, 0].tolist() == [self.latent[i] for i in ids]

    def check_all(self, rb: Any) -> None:
        columns = torch.arange(self.window)
        for env, start in self.line:
            self.check_window(rb[(env * STREAM + start + columns)[None]][0], env, start)
        for env, stream in enumerate(self.streams):
            for record in range(len(stream)):
                assert rb.storage.contains(env * STREAM + record) == self.alive(env, record)


def copied(state: Any) -> Any:
    """A saved state in memory of its own, as one read from a file is."""
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    return state.clone() if isinstance(state, torch.Tensor) else state


# Saving.


def test_a_restored_replay_draws_the_same(make: Any, records: Any, tmp_path: Path) -> None:
    rb = make(2, 12, 4, seed=1)
    for i in range(30):
        rb.extend(records([2 * i, 2 * i + 1], is_first=i % 5 == 0))
    rb.sample(3)
    restored = make(2, 12, 4, seed=2)
    load_rb_state(restored, copied(rb_state(rb)))
    through_torchrl = make(2, 12, 4, seed=3)
    through_torchrl.load_state_dict(rb.state_dict())
    rb.dumps(tmp_path / "rb")
    from_disk = make(2, 12, 4, seed=4)
    from_disk.loads(tmp_path / "rb")
    for i in range(30, 40):
        expected = None
        for one in (rb, restored, through_torchrl, from_disk):
            one.extend(records([2 * i, 2 * i + 1]))
            batch = one.sample(3)
            if expected is not None:
                assert (batch == expected).all()
            expected = batch


@pytest.mark.parametrize(
    ("other", "words"),
    [((2, 5, 4), "holds 54 windows, this run keeps 5"), ((1, 60, 4), "num_envs=2, this run has 1")],
)
def test_a_state_of_another_replay_is_refused_by_torchrls_words_too(
    make: Any, records: Any, tmp_path: Path, other: Any, words: str
) -> None:
    rb = make(2, 60, 4)
    for i in range(30):
        rb.extend(records([2 * i, 2 * i + 1], is_first=i == 0))
    rb.dumps(tmp_path / "rb")
    for load in (
        lambda: make(*other).load_state_dict(rb.state_dict()),
        lambda: make(*other).loads(tmp_path / "rb"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load()


def test_full_segments_are_saved_without_a_copy(make: Any, records: Any) -> None:
    rb = make(1, 640, 4)
    for i in range(35):
        rb.extend(records([i]))
    state = rb_state(rb)["storage"]
    whole = state["0/0/obs/image"]
    assert whole.shape[0] == state["segment"] == 10  # 640 / 64
    assert whole.untyped_storage().nbytes() == whole.nbytes
    assert state["0/3/obs/image"].shape[0] == 5  # 35 = 3 segments and a half


def test_a_state_of_another_replay_is_refused(make: Any, records: Any) -> None:
    rb = make(1, 12, 4)
    for i in range(10):
        rb.extend(records([i], is_first=i == 0))
    assert rb.windows == 7
    with pytest.raises(CheckpointError, match="length=4, this run has 5"):
        load_rb_state(make(1, 12, 5), rb_state(rb))
    with pytest.raises(CheckpointError, match="holds 7 windows, this run keeps 6.*capacity=7 or"):
        load_rb_state(make(1, 6, 4), rb_state(rb))


def test_the_capacity_may_be_another_where_what_is_held_fits(make: Any, records: Any) -> None:
    rb, exact = make(1, 12, 4), make(1, 7, 4)
    for i in range(10):
        rb.extend(records([i], is_first=i == 0))
    state = copied(rb_state(rb))
    assert "capacity" not in state["facts"]
    load_rb_state(exact, state)
    old = {**state, "facts": {**state["facts"], "capacity": 12}}  # as older ones have it
    load_rb_state(make(1, 7, 4), old)
    assert exact.windows == 7 and (exact.sample(4) == rb.sample(4)).all()


def test_a_longer_replay_takes_the_state_of_a_shorter_one(make: Any, records: Any) -> None:
    rb, longer, fresh = make(1, 5, 4), make(1, 9, 4), make(1, 9, 4)
    rb.extend(records([0], is_first=True))
    for i in range(1, 20):
        rb.extend(records([i]))
    assert rb.windows == 5
    load_rb_state(longer, copied(rb_state(rb)))
    for i in range(20, 23):
        longer.extend(records([i]))
    assert longer.windows == 8  # the 5 that were there, none evicted for the 3 new ones
    load_rb_state(fresh, copied(rb_state(longer)))
    for i in range(23, 30):
        longer.extend(records([i]))
        fresh.extend(records([i]))
    assert longer.windows == fresh.windows == 9
    assert (longer.sample(4) == fresh.sample(4)).all()


# Latents.


def test_bfloat16_latents_come_back(spaces: Spaces, records: Any) -> None:
    options = {"deter": 5, "stoch_shape": (2,), "latent_dtype": torch.bfloat16}
    rb = make_replay(spaces, 1, 10, 1, 2, **options)
    for i in range(4):
        rb.extend(records([i]))
    batch = rb.sample()
    assert batch["deter"].dtype == torch.bfloat16
    assert batch["deter"][0, :, 0].tolist() == batch["reward"][0].tolist()
    again = make_replay(spaces, 1, 10, 1, 2, **options)
    load_rb_state(again, copied(rb_state(rb)))
    assert (again[batch["index"]] == rb[batch["index"]]).all()


def test_latents_of_records_that_have_gone_are_dropped(make: Any, records: Any) -> None:
    rb = make(1, 8, 3)
    for i in range(5):
        rb.extend(records([i]))
    index = torch.arange(5)[None]
    for i in range(5, 13):  # the first window of three that is left starts at record 3
        rb.extend(records([i]))
    marks = {
        "deter": torch.full((1, 5, 5), -1.0),
        "stoch": torch.full((1, 5, 2), 6, dtype=torch.uint8),
    }
    write_back(rb, index, TensorDict(marks, batch_size=[1, 5]))
    left = rb[torch.arange(3, 13)]
    assert left["deter"][:, 0].tolist() == [-1, -1, *range(5, 13)]
    assert left["stoch"][:2].eq(6).all()
    for i in range(13, 40):
        rb.extend(records([i]))
    write_back(rb, index, TensorDict(marks, batch_size=[1, 5]))  # their segment is used again
    assert rb[torch.arange(30, 40)]["deter"][:, 0].tolist() == list(range(30, 40))


def test_latents_of_other_columns_or_not_finite_are_refused(make: Any, records: Any) -> None:
    rb = make(1, 50, 4, latent_dtype=torch.bfloat16)
    for i in range(10):
        rb.extend(records([i]))
    batch, before = rb.sample(), rb[:]
    index, latents = batch["index"], batch.select("deter", "stoch")
    latents["deter"] = latents["deter"] + 20
    with pytest.raises(UsageError, match=r"'deter' is \[2, 4, 5\] for an index \[2, 3\]: pass"):
        write_back(rb, index[:, 1:], latents)
    with pytest.raises(UsageError, match=r"is \[8, 5\] for an index \[8\]"):
        write_back(rb, index.reshape(-1), latents.reshape(-1))
    odd = latents.clone()
    odd["deter"][1, 2, 3] = float("nan")
    with pytest.raises(UsageError, match="'deter' holds nan: .* finite in bfloat16; the weights"):
        write_back(rb, index, odd)
    assert (rb[:] == before).all()
    write_back(rb, index[:, ::3], latents[:, ::3])  # not neighbours: one by one
    changed = rb[:]["deter"][:, 0] - before["deter"][:, 0]
    assert set(changed.nonzero().flatten().tolist()) == set(index[:, ::3].flatten().tolist())
    assert changed.unique().tolist() == [0, 20]


def test_a_state_that_was_not_finite_when_acting_is_kept(make: Any, records: Any) -> None:
    """Updates on it are left out, and the run goes on; refusing the record would end it."""
    rb, record = make(1, 10, 3), records([0])
    record["deter"][0, 4] = float("nan")
    rb.extend(record)
    assert rb[:]["deter"].isnan().sum() == 1


# As a TorchRL buffer.


def test_user_transforms_and_torchrl_calls_work(make: Any, records: Any) -> None:
    rb = make(2, 50, 3)
    assert not rb.can_sample(2)
    for i in range(6):
        rb.extend(records([2 * i, 2 * i + 1]))
    assert rb.can_sample(2) and len(rb) == 12 and rb.write_count == 12
    assert rb.stats()["size"] == 12
    batch, info = rb.sample(return_info=True)
    assert torch.equal(info["index"], batch["index"])
    assert rb[5]["reward"] == 10  # the record at position 5 of env 0
    assert rb[:]["reward"].tolist() == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]
    assert rb[5:8]["reward"].tolist() == [10, 1, 3]
    rb.append_transform(lambda td: td.set("twice", td["reward"] * 2))
    rb.append_transform(ToTensorImage(in_keys=[("obs", "image")], out_keys=["pixels"]))
    batch = next(iter(rb))
    assert torch.equal(batch["twice"], batch["reward"] * 2)
    assert batch["pixels"].shape == (2, 3, 3, 4, 4)  # channels before height and width
    assert torch.equal(batch["pixels"][..., 0, 0, 0] * 255, batch["obs", "image"][..., 0, 0, 0])
    rb.empty()
    assert len(rb) == 0 and rb.windows == 0
    with pytest.raises(UsageError, match="no window of 3"):
        rb.sample()


def test_an_index_of_any_form_finds_its_records(make: Any, records: Any) -> None:
    rb = make(2, 50, 3)
    for i in range(6):
        rb.extend(records([2 * i, 2 * i + 1], is_first=i == 4))
    odd = rb[:]["reward"] % 4 == 1
    assert rb[odd]["reward"].tolist() == [1, 5, 9]  # a mask over all records, as rb[:] has them
    apart = torch.tensor([[0, 2, 4], [STREAM + 5, STREAM, 3]])
    found = rb[apart]
    assert found["reward"].tolist() == [[0, 4, 8], [11, 1, 6]]
    assert found["obs", "height"].tolist() == found["reward"].tolist()
    assert not found["is_last"].any()  # no record here stands before the reset at 4
    assert rb[torch.tensor([[2, 3, 4]])]["is_last"].tolist() == [[False, True, False]]
    with pytest.raises(IndexError, match=r"position 6 .*: an index is a position.* slice counts"):
        rb[6]  # the first record of env 1 when all are counted


def test_a_state_of_another_buffer_is_refused(make: Any, tmp_path: Path) -> None:
    theirs = ReplayBuffer(storage=LazyTensorStorage(4))
    theirs.extend(TensorDict({"x": torch.zeros(2)}, [2]))
    theirs.dumps(tmp_path / "theirs")
    for take in (
        lambda rb: rb.load_state_dict(theirs.state_dict()),
        lambda rb: rb.loads(tmp_path / "theirs"),
    ):
        with pytest.raises(CheckpointError, match="so it is of another replay buffer"):
            take(make(1, 10, 3))


def test_records_of_one_env_can_come_at_once(make: Any, records: Any) -> None:
    rb = make(2, 50, 3)
    positions = rb.extend(records([0, 1, 2, 3]), env=[1, 1, 0, 1])
    assert positions.tolist() == [STREAM, STREAM + 1, 0, STREAM + 2]
    rb.add(records([9])[0].set("env", torch.tensor(1)))
    assert rb.windows == 2


# Errors.


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (("obs", "vector"), torch.tensor([[1.0, float("nan")]]), "'obs/vector' holds nan"),
        ("reward", torch.tensor([1e300], dtype=torch.float64), "'reward' holds 1e[+]300"),
        ("action", torch.tensor([[float("inf"), 0, 0]]), "'action' holds inf"),
        (("obs", "image"), torch.zeros(1, 4, 4, 3), "'obs/image' is torch.float32"),
        (("obs", "image"), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"\[4, 4, 3\]"),
        (("obs", "kind"), torch.tensor([300]), "'obs/kind' holds 300"),
        (("obs", "height"), torch.zeros(1, 1), "'obs/height' has shape"),
        ("extra", torch.zeros(1), "'extra'"),
        ("reward", None, "no 'reward'"),
    ],
)
def test_a_bad_record_is_named(make: Any, records: Any, key: Any, value: Any, words: str) -> None:
    record = records([0])
    if value is None:
        del record[key]
    else:
        record[key] = value
    with pytest.raises(UsageError, match=words):
        make(1, 10, 3).extend(record)


@pytest.mark.parametrize("sampling", [{}, {"sampling": "episodes", "context": 0, "online": False}])
def test_a_capacity_beyond_all_memory_is_refused(make: Any, sampling: Any) -> None:
    with pytest.raises(UsageError, match="replay.capacity=1,125,899,906,842,624 records; lower it"):
        make(1, 2**50, 3, **sampling)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("context", 2, "context must be 0 or 1, got 2"),
        ("context", -1, "context must be at least 0, got -1"),
        ("seed", -1, "seed must be at least 0, got -1"),
        ("capacity", 1000.0, "capacity must be a whole number, got 1000.0"),
        ("length", "8", "length must be a whole number, got '8'"),
    ],
)
def test_a_wrong_size_is_named(spaces: Spaces, option: str, value: Any, words: str) -> None:
    sizes = {"num_envs": 1, "capacity": 10, "batch_size": 2, "length": 3} | {option: value}
    with pytest.raises(UsageError, match=words):
        make_replay(spaces, **sizes, deter=5, stoch_shape=(2,))


def test_wrong_counts_are_named(make: Any, records: Any) -> None:
    rb = make(2, 10, 3)
    with pytest.raises(UsageError, match="env="):
        rb.extend(records([0]))
    with pytest.raises(UsageError, match="2 records for 3 envs"):
        make(3, 10, 3).extend(records([0, 1]))
    with pytest.raises(UsageError, match="of env 2, but the replay has 2 streams, from 0"):
        rb.extend(records([0, 1]), env=[1, 2])
    with pytest.raises(UsageError, match=r"shape \[\] for records \[2\]: name the env of each"):
        rb.extend(records([0, 1]), env=7)
    with pytest.raises(UsageError, match="as one TensorDict, got a list: stack"):
        rb.extend([records([0, 1])])
    with pytest.raises(UsageError, match="capacity must be at least 1"):
        make(1, 0, 3)
    with pytest.raises(UsageError, match="do not change"):
        rb[0] = records([0])
    with pytest.raises(IndexError, match="position 7"):
        rb[7]


def test_the_estimate_is_what_a_full_replay_takes(make: Any, records: Any, spaces: Spaces) -> None:
    rb = make(2, 400, 5)
    for i in range(1000):
        rb.extend(records([2 * i, 2 * i + 1]))
    segments = [s for env in rb.storage._segments for s in env.values()] + rb.storage._free
    taken = sum(array.nbytes for segment in segments for array in segment)
    estimate = replay_bytes(spaces, 5, (2,), 400, num_envs=2, length=4)
    assert estimate["total"] == estimate["records"] + estimate["latents"]
    # By hand: image 48, vector 8, height 4, kind int32 4, action 12, reward 4, flags 3, deter 20,
    # stoch 2 bytes.
    assert estimate["per_record"] == 105 == sum(f.nbytes for f in record_fields(spaces, 5, (2,)))
    assert taken == pytest.approx(estimate["total"] - 8 * 400, rel=0.25)


def test_records_made_elsewhere_are_counted(make: Any, records: Any) -> None:
    rb = make(1, 100, 4, online=False)
    rb.count_from(50)
    rb.extend(records([1]))
    assert rb.written == 51 and len(rb) == 1


def test_a_batch_that_finds_no_room_is_not_taken_at_all(make: Any, records: Any) -> None:
    """The error asks to make room and go on: no record may be there twice, or without the rest."""
    rb = make(2, 100, 4, online=False)
    storage = rb._storage
    allocate, calls = storage._make, []

    def scarce(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise MemoryError
        return allocate(*args)

    storage._make = scarce
    for step in range(24):
        try:
            rb.extend(records([step, 100 + step]))
        except (MemoryError, UsageError):
            rb.extend(records([step, 100 + step]))
    assert len(calls) > 4 and storage.heads == [24, 24]
    for start in rb.sampler.windows.state_dict()["line"].tolist():
        env, first = divmod(start, STREAM)
        found = rb[torch.tensor([[start + i for i in range(4)]])]["reward"].flatten().tolist()
        assert found == records([100 * env + first + i for i in range(4)])["reward"].tolist()


def test_what_was_emptied_takes_no_latents(make: Any, records: Any) -> None:
    rb = make(1, 100, 4, online=False)
    for step in range(12):
        rb.extend(records([step]))
    batch = rb.sample()
    rb.empty()
    latents = {key: batch[key] for key in ("deter", "stoch")}
    rb.write_back(batch["index"], TensorDict(latents, batch_size=batch.batch_size))
    assert len(rb) == 0
    for step in range(12):  # other records, under positions of their own
        rb.extend(records([step]))
    latents["deter"] = torch.full_like(latents["deter"], -1.0)
    rb.write_back(batch["index"], TensorDict(latents, batch_size=batch.batch_size))
    assert rb.windows == 9 and not (rb[:]["deter"] == -1).any()

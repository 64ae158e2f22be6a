"""Replay: windows and their order, context, and how many updates are due."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from tensordict import TensorDict

from dreamer_plugin.build import build_agent
from dreamer_plugin.config.schema import Config
from dreamer_plugin.data.ratio import TrainRatio
from dreamer_plugin.data.replay import RecordReplay, make_replay, mark_cuts, rb_state
from dreamer_plugin.spaces import Spaces

from ..reading import Golden
from .parts import discrete
from .training import FLAGS, records

SAMPLED = ("is_first", "is_last", "is_terminal", "reward")


def train_ratio(g: Golden) -> None:
    """Updates due per call."""
    for case in g.variants("ratio_f64"):
        # The file's ratio is updates per step; ours counts replayed steps, here one per update.
        ratio = TrainRatio(g.number(f"{case}/ratio_f64"), 1)
        due = [ratio.updates(int(step)) for step in g.array(f"{case}/steps")]
        g.check(f"{case}/repeats", np.array(due))


def replay_windows(g: Golden) -> None:
    """Which windows exist, their order, what sampling marks."""
    rb, ids = _filled(g)
    state = rb_state(rb)["sampler"]
    inside = [ids[start] for start in state["line"].tolist()]
    g.check("window_start_global_ids_in_buffer", np.array(inside, np.int32))
    # The official queue keeps windows that were evicted meanwhile and passes over them; ours drops
    # them when they go. What is served is the same.
    length = int(g.number("meta/length"))
    queue = g.array("online_queue_windows_global_ids").reshape(-1, length)
    served = [ids[start] for start in state["queue"].tolist()]
    alive = queue[np.isin(queue[:, 0], inside)]
    if served != alive[:, 0].tolist():
        g.failures.append(f"online queue: we serve windows from {served}, expected {alive[:, 0]}")
    g.compared += 1
    _compare_samples(g, rb, ids, set(inside), served)


def _spaces() -> Spaces:
    """An observation that names its record."""
    obs = gym.spaces.Dict({"id": gym.spaces.Box(0, np.inf, (), np.float32)})
    return Spaces.from_gym(obs, gym.spaces.Discrete(2))


def _filled(g: Golden) -> tuple[RecordReplay, dict[int, int]]:
    """The replay after everything was added, and global id by position."""
    workers, length = int(g.number("meta/workers")), int(g.number("meta/length"))
    sizes = {"capacity": int(g.number("meta/capacity")), "batch_size": int(g.number("meta/batch"))}
    rb = make_replay(_spaces(), workers, length=length - 1, deter=1, stoch_shape=[1], **sizes)
    added = {name: torch.from_numpy(value) for name, value in g.under("added/").items()}
    counts, ids = [], {}
    for row in range(len(added["reward"])):
        one = TensorDict({name: added[name][row : row + 1] for name in SAMPLED}, [1])
        one["obs"] = TensorDict({"id": added["global_id"][row : row + 1].float()}, [1])
        one["action"] = torch.zeros(1, 2)
        one["deter"], one["stoch"] = torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.uint8)
        (position,) = rb.extend(one, env=added["worker"][row : row + 1].long()).tolist()
        ids[position] = int(added["global_id"][row])
        counts.append(rb.windows)
    g.check("items_after_each_add", np.array(counts))
    return rb, ids


def _compare_samples(
    g: Golden, rb: RecordReplay, ids: dict[int, int], inside: set[int], served: list[int]
) -> None:
    """Sampled windows: those of the queue in their order, all with their annotations.

    Which windows a generator draws once the queue is empty is its own business.
    """
    expected = g.under("sampled/")
    starts = expected["global_id"][:, 0]
    batches = -(-len(starts) // rb.batch_size)
    ours = torch.cat([rb.sample() for _ in range(batches)])[: len(starts)]
    drawn = ours["obs", "id"].long().numpy()
    from_queue = min(len(served), len(drawn))
    if drawn[:from_queue, 0].tolist() != served[:from_queue]:
        g.failures.append(f"sampled: our first windows start at {drawn[:from_queue, 0]}")
    if not set(drawn[:, 0].tolist()) <= inside:
        g.failures.append("sampled: a window that is not in the buffer")
    theirs = [start for start in starts.tolist() if start in served][:from_queue]
    if theirs != drawn[: len(theirs), 0].tolist():
        g.failures.append(f"sampled: the file serves {theirs} first, we {drawn[:, 0].tolist()}")
    _compare_annotations(g, rb, ids, expected, inside)


def _compare_annotations(
    g: Golden,
    rb: RecordReplay,
    ids: dict[int, int],
    expected: dict[str, np.ndarray],
    inside: set[int],
) -> None:
    """Every sampled window of the file that we hold, read again and marked as sampling does."""
    where = {global_id: position for position, global_id in ids.items()}
    added = dict(zip(g.arrays["added/global_id"].tolist(), range(len(ids)), strict=True))
    kept = [row for row in expected["global_id"] if row[0] in inside]
    positions = torch.tensor([[where[int(i)] for i in row] for row in kept])
    windows = mark_cuts(rb.storage.get(positions))
    rows = [i for i, row in enumerate(expected["global_id"]) if row[0] in inside]
    for name in SAMPLED:
        g.compared += 1
        if not np.array_equal(windows[name].numpy(), expected[name][rows]):
            g.failures.append(f"sampled/{name}: other values than ours")
    for name in ("worker", "t"):
        rewritten = [[g.arrays[f"added/{name}"][added[int(i)]] for i in row] for row in kept]
        if not np.array_equal(np.array(rewritten), expected[name][rows]):
            g.failures.append(f"sampled/{name}: other records than were added")


def replay_context(g: Golden) -> None:
    """Where training starts in a window, and what is written back."""
    arrays = g.under("data/")
    spaces = _context_spaces(g, arrays)
    batch = records(spaces, arrays)
    agent = _context_agent(spaces, batch, g.arrays["out_carry_stoch"].shape[-2:])
    carry = g.tensor("stream_carry_deter"), g.tensor("stream_carry_stoch")
    if arrays["consec"][0, 0]:
        # A stream that goes on starts from its own latents: they stand where stored ones would.
        batch["deter"][:, 0] = carry[0]
        batch["stoch"][:, 0] = carry[1].argmax(-1).to(torch.uint8)
    g.under("stream_prevact/")  # led to the context column, which is not trained on
    batch["index"] = _numbered(arrays["stepid"], arrays["stepid"])
    out = agent.unroll_context(batch)
    g.check("out_carry_deter", out["start", "deter"][:, 0])
    g.check("out_carry_stoch", out["start", "stoch"][:, 0])
    for name in ("reward", *FLAGS):
        g.check(f"out_obs/{name}", out[name])
    for key in spaces.obs:
        g.check(f"out_obs/{key.name}", out["obs", key.name])
    native = g.under("out_prevact/")
    if not np.array_equal(out["prev_action"].numpy(), spaces.encode_action(native)):
        g.failures.append("out_prevact: other actions than ours")
    # Where latents are written back: the columns that were trained on.
    trained = batch["index"][:, -out.batch_size[1] :]
    if not trained.equal(_numbered(g.array("out_stepid"), arrays["stepid"])):
        g.failures.append("out_stepid: latents would be written back elsewhere")
    g.compared += len(native) + 1


def _context_spaces(g: Golden, arrays: dict[str, np.ndarray]) -> Spaces:
    """Spaces of a file without `meta/`: names and types of its arrays tell them."""
    actions: dict[str, gym.Space] = {}
    for name in g.names("stream_prevact/"):
        shape = arrays[name].shape[2:]
        if arrays[name].dtype.kind == "f":
            actions[name] = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        else:
            used = max(g.arrays[f"{k}/{name}"].max() for k in ("data", "stream_prevact"))
            actions[name] = discrete(shape, int(used) + 2)
    known = {"reward", *FLAGS, *actions}
    obs = [name for name in g.names("out_obs/") if name not in known]
    boxes = {
        name: gym.spaces.Box(0, 255, arrays[name].shape[2:], np.uint8)
        if arrays[name].dtype == np.uint8
        else gym.spaces.Box(-np.inf, np.inf, arrays[name].shape[2:], np.float32)
        for name in obs
    }
    return Spaces.from_gym(gym.spaces.Dict(boxes), gym.spaces.Dict(actions))


def _context_agent(spaces: Spaces, batch: TensorDict, latent: tuple[int, ...]) -> object:
    """An agent with these latents; its nets take no part, so it reads a plain vector."""
    cfg = Config(precision="float32")
    cfg.model.groups, cfg.model.classes = map(int, latent)
    cfg.model.deter, cfg.model.blocks = batch["deter"].shape[-1], 1
    cfg.model.hidden = cfg.model.units = 4
    plain = gym.spaces.Dict({"vector": gym.spaces.Box(-1, 1, (1,), np.float32)})
    return build_agent(cfg, Spaces.from_gym(plain, gym.spaces.Discrete(spaces.action_size + 1)))


def _numbered(stepids: np.ndarray, known: np.ndarray) -> torch.Tensor:
    """Step ids as integers, the same for the same id."""
    numbers = {row.tobytes(): i for i, row in enumerate(known.reshape(-1, known.shape[-1]))}
    flat = [numbers[row.tobytes()] for row in stepids.reshape(-1, stepids.shape[-1])]
    return torch.tensor(flat).reshape(stepids.shape[:-1])


KINDS = {
    "train_ratio": train_ratio,
    "replay_windows": replay_windows,
    "replay_context": replay_context,
}

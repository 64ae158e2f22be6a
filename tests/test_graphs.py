"""Recorded updates are the plain ones, whatever is new: shown by a recorder that needs no GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dreamer_plugin.agent import Agent
from dreamer_plugin.compiling import compile_agent
from dreamer_plugin.errors import NotFiniteUpdate
from dreamer_plugin.graphs import WARM_UP, CudaGraph, GraphedUpdates
from dreamer_plugin.optim import Numbers
from dreamer_plugin.run import parts
from dreamer_plugin.study import workloads
from dreamer_plugin.study.bench_update import not_replayed

from . import tiny


class _Notes(TorchDispatchMode):
    """Notes every operation with the very tensors that it took and gave.

    A CPU takes float32 products to this library or that one by a setting, which a graph would hold.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        products = torch.get_float32_matmul_precision()
        self.made.append((func, args, kwargs or {}, out, products))
        return out


class Tape:
    """Does what a CUDA graph does: the same operations on the same memory, and nothing else.

    Python is not run again, so whatever a recorded update took from it stays as it was.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent, self.operations, self.replays = agent, [], 0

    def warm_up(self, work):
        return work()

    def record(self, work):
        """The operations must be done to be noted; what they changed is put back."""
        lasting = [*self.agent.parameters(), *self.agent.buffers()]
        lasting += [
            slot for slots in self.agent.optimizer.state.values() for slot in slots.values()
        ]
        before, noise = [x.clone() for x in lasting], self.agent.generator.get_state()
        with _Notes() as notes:
            updated = work()
        self.operations = notes.made
        with torch.no_grad():
            for tensor, old in zip(lasting, before, strict=True):
                tensor.copy_(old)
        self.agent.generator.set_state(noise)
        for value in [updated.finite, updated.each_finite, *updated.metrics.values()]:
            value.fill_(0)  # only a replay gives what is asked for
        return updated

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        outside = torch.get_float32_matmul_precision()
        for func, args, kwargs, given, products in self.operations:
            torch.set_float32_matmul_precision(products)
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(given), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        torch.set_float32_matmul_precision(outside)


def _pair(**values) -> tuple[Agent, Agent, list[Tape]]:
    """The same agent twice, the second one with recorded updates."""
    plain, graphed = (tiny.agent(tiny.setting(**values)) for _ in range(2))
    tapes = []

    def recorder(generator, beside):
        assert generator is graphed.generator and beside in [None, *tapes]
        tapes.append(Tape(graphed))
        return tapes[-1]

    graphed.updating = GraphedUpdates(recorder)
    plain.updating = _with_numbers_on_the_device
    return plain, graphed, tapes


def _with_numbers_on_the_device(agent, batch, turn, numbers):
    rows = [Numbers(*row.unbind()) for row in torch.tensor(numbers, device=agent.device)]
    return agent.update_on_device(batch, turn, rows)


def _same(one: Agent, other: Agent) -> None:
    theirs = other.training_state()
    odd = [name for name, value in one.training_state().items() if not value.equal(theirs[name])]
    assert odd == []


@pytest.mark.parametrize(
    "values",
    [
        {"optim__warmup": 4, "optim__anneal": 9, "optim__schedule": "linear"},
        {"behavior__critic__slow_every": 3, "optim__weight_decay": 0.1},
        {"optim__kind": "adam", "optim__groups": "separate", "optim__clip": 9.0, "optim__agc": 0.0},
        {"optim__model_turns": 2, "optim__behavior_turns": 1, "optim__groups": "separate"},
        {"behavior__actor__gradient": "dynamics", "world__learned_start": True},
        {"world__core__kind": "plain_gru", "world__latent__kind": "gaussian"},
        {"world__recompute": 2},
    ],
    ids=lambda values: next(iter(values)),
)
def test_recorded_updates_are_the_plain_ones(values) -> None:
    """Rates, counts of averages, turns, the slow critic's steps and noise are not recorded."""
    plain, graphed, tapes = _pair(**values)
    for seed in range(12):
        expected, metrics = plain.update(tiny.batch(seed=seed))
        latents, ours = graphed.update(tiny.batch(seed=seed))
        assert all(latents[name].equal(value) for name, value in expected.items())
        assert all(ours[name].equal(value) for name, value in metrics.items())
        assert ours.keys() == metrics.keys()
        _same(graphed, plain)
    assert graphed.updates == 12
    assert sum(tape.replays for tape in tapes) >= 12 - 1 - WARM_UP * len(tapes)
    assert any(tape.replays for tape in tapes)


def test_numbers_on_the_device_are_those_of_the_host() -> None:
    """But for rounding: a rate is multiplied before it is subtracted."""
    host, device = (
        tiny.agent(tiny.setting(optim__warmup=3, optim__weight_decay=0.1)) for _ in range(2)
    )
    device.updating = _with_numbers_on_the_device
    for seed in range(4):
        host.update(tiny.batch(seed=seed))
        device.update(tiny.batch(seed=seed))
    theirs = host.state_dict()
    for name, value in device.state_dict().items():
        scale = theirs[name].abs().max().clamp(min=1e-3)
        assert (value - theirs[name]).abs().max() <= 2e-5 * scale, name


def test_what_is_not_finite_changes_nothing_and_is_told() -> None:
    """The verdict is replayed like everything else; the next update is whole again."""
    plain, graphed, tapes = _pair()
    bad = tiny.batch(seed=50)
    bad["reward"][0, 2] = float("nan")
    for seed in range(6):
        plain.update(tiny.batch(seed=seed))
        graphed.update(tiny.batch(seed=seed))
    told = []
    for agent in (plain, graphed):
        with pytest.raises(NotFiniteUpdate) as error:
            agent.update(bad)
        told.append((str(error.value), error.value.gradients))
    assert told[0] == told[1] and graphed.updates == 6
    for seed in (60, 61):
        plain.update(tiny.batch(seed=seed))
        graphed.update(tiny.batch(seed=seed))
    _same(graphed, plain)
    assert len(tapes) == 1 + 1  # the averages came with the first update; none since


def test_another_shape_is_recorded_by_itself() -> None:
    plain, graphed, tapes = _pair()
    for seed in range(12):
        rows = 3 if seed % 2 else 2
        plain.update(tiny.batch(rows=rows, seed=seed))
        graphed.update(tiny.batch(rows=rows, seed=seed))
    _same(graphed, plain)
    assert [tape.replays for tape in tapes][-2:] == [3, 2]


def test_a_loaded_state_is_gone_on_from() -> None:
    """Its averages lie in other places than those that were recorded."""
    plain, graphed, _ = _pair()
    for seed in range(6):
        graphed.update(tiny.batch(seed=seed))
    saved = graphed.training_state()
    plain.load_training_state(saved)
    graphed.load_training_state(saved)
    for seed in range(6):
        plain.update(tiny.batch(seed=seed))
        graphed.update(tiny.batch(seed=seed))
        _same(graphed, plain)


def test_a_copy_records_by_itself() -> None:
    _, graphed, _ = _pair()
    for seed in range(6):
        graphed.update(tiny.batch(seed=seed))
    graphed.updating._recorder = lambda generator, beside: Tape(other)
    other = copy.deepcopy(graphed)
    assert other.updating is not graphed.updating
    before = graphed.training_state()
    before = {name: value.clone() for name, value in before.items()}
    for seed in range(6):
        other.update(tiny.batch(seed=seed))
    assert all(value.equal(before[name]) for name, value in graphed.training_state().items())


def test_what_was_returned_stays() -> None:
    _, graphed, _ = _pair()
    kept = []
    for seed in range(8):
        latents, metrics = graphed.update(tiny.batch(seed=seed))
        kept.append((latents, metrics, latents.clone(), {k: v.clone() for k, v in metrics.items()}))
    for latents, metrics, then, values in kept:
        assert (latents == then).all()
        assert all(metrics[name].equal(value) for name, value in values.items())


def test_a_run_chooses_it(monkeypatch) -> None:
    """All but the device that it needs; a measured phase is one of an update through Python."""
    monkeypatch.setattr(parts, "worth_compiling", lambda *_: (False, "said elsewhere"))
    tiny_one = workloads.find("tiny")
    with tiny_one.training(tiny_one.config(["compile=graph"], {})) as training:
        agent = training.parts.agent
        assert isinstance(agent.updating, GraphedUpdates)
        with not_replayed(agent):
            assert agent.updating is Agent.update_on_device
        assert isinstance(agent.updating, GraphedUpdates)


def test_a_failure_while_recording_leaves_nothing_behind() -> None:
    """Such as memory that is used up: the same update can be tried again."""
    plain, graphed, tapes = _pair()
    record, broken = Tape.record, [True]

    def fail_once(tape, work):
        updated = record(tape, work)
        if broken.pop() if broken else False:
            raise MemoryError("used up")
        return updated

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tape, "record", fail_once)
        for seed in range(12):
            plain.update(tiny.batch(seed=seed))
            if seed == 1 + WARM_UP:
                with pytest.raises(MemoryError):
                    graphed.update(tiny.batch(seed=seed))
            graphed.update(tiny.batch(seed=seed))
    _same(graphed, plain)
    assert tapes[-1].replays


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", [f"cuda:{i}" for i in range(max(1, torch.cuda.device_count()))])
def test_a_cuda_graph_makes_the_plain_updates(device, precision, compiled) -> None:
    """From the same state: small roundings grow from update to update."""
    plain, graphed = tiny.image_agent().to(device), tiny.image_agent().to(device)
    plain.precision = graphed.precision = precision
    for agent in (plain, graphed) if compiled else ():
        compile_agent(agent)
    plain.updating, graphed.updating = _with_numbers_on_the_device, GraphedUpdates(CudaGraph)
    tolerance = 1e-3 if precision == torch.float32 else 5e-2
    for seed in range(10):
        plain.load_training_state(graphed.training_state())
        batch = tiny.image_batch(seed=seed).to(device)
        expected, metrics = plain.update(batch)
        latents, ours = graphed.update(batch)
        torch.testing.assert_close(ours, metrics, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(latents["deter"], expected["deter"], rtol=0, atol=tolerance)

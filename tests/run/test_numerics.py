"""Updates that are not finite: left out, back to a checkpoint, or the end with a report."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.errors import DeviceMemoryError, DiskFullError, NotFiniteError, NotFiniteUpdate
from dreamer_plugin.run import checkpoint, limits
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.metrics import read_metrics
from dreamer_plugin.run.numerics import NotFiniteWarning, Numerics
from dreamer_plugin.updating import finite_each
from tests.run.test_planes import last_of


@pytest.fixture
def spoil(monkeypatch):
    """Makes the loss of some updates NaN, by how many updates were tried before."""
    whole, tried = Agent.losses, []

    def install(wanted):
        def losses(agent, *given, **words):
            found = whole(agent, *given, **words)
            tried.append(agent.updates)
            if wanted(len(tried), agent.updates):
                return dataclasses.replace(found, total=found.total * float("nan"))
            return found

        monkeypatch.setattr(Agent, "losses", losses)
        return tried

    return install


def finite(path):
    tree = checkpoint.read(path, ["agent"])["agent"]
    return all(t.isfinite().all() for t in tree.values() if t.is_floating_point())


def test_an_update_that_is_not_finite_changes_nothing(tiny, quiet, monkeypatch):
    seen = []

    def look(training):
        if training.progress.updates < 5 or seen:
            return
        agent, whole = training.parts.agent, Agent.losses
        before = {k: v.clone() for k, v in agent.training_state().items()}

        def losses(*given, **words):
            found = whole(agent, *given, **words)
            return dataclasses.replace(found, total=found.total * float("inf"))

        monkeypatch.setattr(agent, "losses", losses, raising=False)
        with pytest.raises(NotFiniteUpdate, match="the gradient of") as error:
            agent.update(training.parts.replay.sample())
        monkeypatch.undo()
        after = agent.training_state()
        seen.append([k for k in before if not torch.equal(before[k], after[k])])
        assert error.value.gradients and error.value.losses.keys() >= {"reward", "value"}
        assert any("return_norm" in name for name in before)

    train(tiny(**{"run.steps": 50}), console=quiet, callbacks=[look])
    assert seen == [["generator"]]


@pytest.mark.parametrize(
    ("factor", "finite"), [(1e18, True), (1e20, False), (math.inf, False), (math.nan, False)]
)
def test_what_overflows_when_squared_is_not_finite(factor, finite):
    """The optimiser averages squares in float32, which end at 3.4e38."""
    grad = torch.ones(3, 4)
    grad[-1, -1] = factor
    assert finite_each([grad, torch.ones(2)]).tolist() == [finite, True]


def test_a_gradient_alone_is_noticed(tiny, quiet, monkeypatch):
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * float("inf")

    whole, done = Agent.losses, []

    def losses(agent, *given, **words):
        found = whole(agent, *given, **words)
        if agent.updates == 3 and not done:
            done.append(1)
            return dataclasses.replace(found, total=Poison.apply(found.total))
        return found

    monkeypatch.setattr(Agent, "losses", losses)
    with pytest.warns(NotFiniteWarning, match="not finite: the gradient of"):
        result = train(tiny(), console=quiet)
    assert result.steps == 80 and finite(last_of(result.run_dir))


def test_a_few_are_left_out_and_counted(tiny, quiet, spoil):
    spoil(lambda tried, _: tried in (3, 6, 8))
    with pytest.warns(NotFiniteWarning, match="Left out an update at step"):
        result = train(tiny(), console=quiet)
    assert (result.steps, result.updates) == (80, 1 + (80 - 28) // 4 - 3)
    assert read_metrics(result.run_dir)[-1]["updates_left_out"] == 3
    assert all("updates_left_out" not in row for row in read_metrics(result.run_dir)[:1])
    tree = checkpoint.read(last_of(result.run_dir), ["replay", "loop"])
    latents = [v for k, v in tree["replay"]["storage"].items() if k.endswith("deter")]
    assert latents and all(v.isfinite().all() for v in latents)
    assert tree["loop"]["numerics"]["skipped"] == [2, 4, 5]


@pytest.mark.parametrize("processes", [False, True])
def test_many_send_the_run_back_to_a_checkpoint_with_other_batches(tiny, quiet, spoil, processes):
    # Updates 9 and on fail four times in a row, which is once too often; then all is well.
    tried = spoil(lambda count, updates: updates == 8 and tried.count(8) <= 4)
    starts = []

    def look(training):
        starts.append((training.step, training.parts.replay.sampler._numpy_rng.bit_generator.state))

    cfg = tiny(**{"env.processes": processes})
    with pytest.warns(NotFiniteWarning, match="going on from .*step-000000040"):
        result = train(cfg, console=quiet, callbacks=[look])
    assert result.steps == 80 and finite(last_of(result.run_dir))
    again = [str(state) for step, state in starts if step == 46]
    assert len(again) == 2 and again[0] != again[1]
    rows = [row["step"] for row in read_metrics(result.run_dir) if "replay/windows" in row]
    assert rows == [20, 40, 60, 80]
    state = checkpoint.read(last_of(result.run_dir), ["loop"])["loop"]["numerics"]
    assert state == {"skipped": [], "rolled_back": [8], "total": 4}


def test_what_does_not_end_ends_the_run_with_a_report_and_exit_code_3(tiny, quiet, spoil):
    spoil(lambda _, updates: updates >= 8)
    with (
        pytest.warns(NotFiniteWarning),
        pytest.raises(NotFiniteError, match=r"16 so far, 3 times anew.*--resume") as error,
    ):
        train(tiny(), console=quiet)
    assert error.value.exit_code == 3
    folder = Path(tiny().run.logdir)
    report = json.loads((folder / "not-finite.json").read_text())
    assert report["total"] == 16 and report["rolled_back"] == [8, 8, 8]
    assert report["last"]["losses"].keys() >= {"reward", "policy"}
    assert {row["env"] for row in report["last"]["records"]} <= {0, 1}
    assert len(report["last"]["records"]) == 2 and report["last"]["fields_not_finite"] == []
    assert checkpoint.newest(folder / "checkpoints").name == "step-000000040"
    assert finite(last_of(folder))


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(tiny, quiet, spoil):
    spoil(lambda *_: True)
    with pytest.warns(NotFiniteWarning), pytest.raises(NotFiniteError, match=r"4 so far\. .*says"):
        train(tiny(**{"run.save_every": 1000}), console=quiet)


def test_counts_are_of_the_last_updates_only():
    numerics = Numerics()
    assert not any(numerics.too_many(update) for update in (1, 2, 3, 1002, 1003, 1004))
    assert numerics.too_many(1005)
    numerics.rolled_back = [5, 6, 7]
    assert not numerics.may_roll_back(9_000) and numerics.may_roll_back(10_005)


def test_the_best_agent_is_never_one_that_is_not_finite(tiny, quiet):
    def poison(training):
        if training.step == 60:
            next(iter(training.parts.agent.parameters())).data.view(-1)[0] = float("nan")

    with pytest.raises(NotFiniteError, match="not finite"):
        train(tiny("toy/recall", **{"run.steps": 60}), console=quiet, callbacks=[poison])
    best = checkpoint.best(Path(tiny().run.logdir) / "checkpoints")
    assert best is None or finite(best)


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_memory_that_is_used_up_says_what_to_change(tiny, quiet, monkeypatch, raised):
    def update(*_):
        raise raised

    monkeypatch.setattr(Agent, "update", update)
    words = r"do not fit.*memory.*replay\.batch_size \(now 2\).*world\.recompute=8.*--resume"
    with pytest.raises(DeviceMemoryError, match=words) as error:
        train(tiny(), console=quiet)
    assert "GPU 0" not in str(error.value)


def test_a_disk_that_is_full_for_the_log_is_told_too(tiny, quiet, monkeypatch):
    def write(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dreamer_plugin.run.metrics.MetricsLog.write", write)
    with pytest.raises(DiskFullError, match="there is none yet.*Free space") as error:
        train(tiny(), console=quiet)
    assert error.value.exit_code == 4


def test_other_errors_pass_as_they_are(tiny):
    with pytest.raises(RuntimeError, match="shape"), limits.limits_told(tiny(), None):
        raise RuntimeError("shape mismatch")
    with pytest.raises(PermissionError), limits.limits_told(tiny(), Path(".")):
        raise PermissionError(13, "denied")

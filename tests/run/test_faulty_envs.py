"""A run whose env keeps failing goes on, and its replay tells no lies about what was cut."""

from pathlib import Path

import pytest

from dreamer_envs.errors import EnvError
from dreamer_plugin.run import training
from dreamer_plugin.run.loop import train

ODD = Path(__file__).parent.parent / "envs" / "odd"


@pytest.fixture
def makers(monkeypatch):
    """A well env and one that ends its process at every fourth kind of action."""
    monkeypatch.syspath_prepend(str(ODD))
    import odd_envs

    return [odd_envs.plain, odd_envs.Troubled("die")]


def test_the_run_goes_on_and_cut_episodes_are_not_terminal(tiny, quiet, makers):
    seen = {}

    def look(run):
        storage = run.parts.replay.storage
        seen.update(heads=storage.heads, faults=len(run.parts.vector.faults), storage=storage)

    options = {"run.steps": 120, "env.processes": True, "env.max_faults": 1000}
    cfg = tiny("", **{"env.id": "", **options})
    result = train(cfg, env_makers=makers, console=quiet, callbacks=[look])
    assert seen["faults"] >= 2  # each env draws one of four actions per step
    assert 120 <= result.steps == sum(seen["heads"]) <= 121
    assert 1 < seen["heads"][1] < seen["heads"][0]  # it was down at times
    flags = seen["storage"].get([range(seen["heads"][0]), range(seen["heads"][0])])
    assert not flags["is_terminal"].any() and not flags["is_last"].any()
    own = seen["storage"].get([range(1 << 40, (1 << 40) + seen["heads"][1])])["is_first"][0]
    assert own.sum() >= 2 and own[0]  # every life of the env begins with a reset


def test_a_run_survives_a_fault_of_its_only_env(tiny, quiet, monkeypatch):
    """Then nothing arrives for a while; its observations are classes, whose range is checked."""
    monkeypatch.syspath_prepend(str(ODD))
    import odd_envs

    faults = []
    options = {"run.steps": 60, "env.processes": True, "env.max_faults": 1000, "env.num_envs": 1}
    cfg = tiny("", **{"env.id": "", **options})
    looks = [lambda run: faults.append(len(run.parts.vector.faults))]
    result = train(cfg, env_makers=[odd_envs.stumbling], console=quiet, callbacks=looks)
    assert result.steps == 60 and faults[-1] >= 1


def test_a_failing_evaluation_does_not_end_the_run(tiny, quiet, makers, monkeypatch):
    def fail(*_, **__):
        raise EnvError("Env 0 (x) failed: it fell.\nand a traceback")

    monkeypatch.setattr(training, "evaluate", fail)
    cfg = tiny(**{"run.eval_every": 20, "run.steps": 40})
    result = train(cfg, console=quiet)
    assert result.steps == 40 and "no evaluation at 40: Env 0 (x) failed: it fell." in (
        quiet.export_text()
    )

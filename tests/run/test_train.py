"""The loop ends by itself, counts as the protocol says and leaves a run folder."""

import json
import os
import re
import signal

import pytest

from dreamer_plugin.config import load_config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.folder import RunFolder, find_run
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.metrics import read_metrics
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.training import Training


def test_a_run_ends_by_itself_and_leaves_its_folder(tiny, quiet):
    cfg = tiny()
    result = train(cfg, console=quiet)
    folder = RunFolder(result.run_dir)
    assert (result.steps, result.interrupted, result.exit_code) == (80, "", 0)
    assert load_config(folder.config_path) == cfg
    assert [step for step, _ in checkpoint.steps(folder.checkpoints)] == [80, 40]
    meta = checkpoint.verify(checkpoint.newest(folder.checkpoints))
    assert meta["step"] == 80 and meta["updates"] == result.updates and meta["resume"] == "exact"
    assert len(list(folder.path.glob("events.out.tfevents.*"))) == 1
    assert not list(folder.checkpoints.glob(".tmp-*"))
    text = quiet.export_text()
    for told in ("gym/CartPole-v1", "float32", "rssm", "windows", f"evaluate {result.run_dir}"):
        assert told in text


def test_updates_begin_with_the_prefill_and_follow_the_train_ratio(tiny, quiet):
    # Two envs and windows of 9: after t steps of each there are 2 (t - 8) windows, so 12 of them
    # after t = 14, at step 28. The first call gives one update; then 4/16 per agent step.
    seen = []
    result = train(
        tiny(), console=quiet, callbacks=[lambda t: seen.append((t.step, t.progress.updates))]
    )
    assert [step for step, updates in seen if updates == 0][-1] == 26
    assert dict(seen)[28] == 1 and dict(seen)[36] == 3
    assert result.updates == 1 + (80 - 28) // 4


def test_rows_have_every_axis_and_episodes_are_logged(tiny, quiet):
    result = train(tiny("toy/recall"), console=quiet)
    rows = read_metrics(result.run_dir)
    episodes = [row for row in rows if "episode/return" in row]
    # A recall episode has 9 transitions, so 10 frames: every env ends one at its step 10, 20, ...
    assert [row["step"] for row in episodes] == [20, 20, 40, 40, 60, 60, 80, 80]
    assert {row["episode/length"] for row in episodes} == {9}
    assert {row["episode/return"] for row in episodes} <= {0.0, 1.0}
    losses = [row for row in rows if "loss/reward" in row]
    assert [row["step"] for row in losses] == [40, 60, 80]  # the one at 20 precedes all updates
    for row in losses:
        assert row["frames"] == row["step"] and row["updates"] > 0 and row["seconds"] > 0
        assert {"loss/vector", "loss/cont", "loss/dyn", "loss/rep", "loss/policy"} <= row.keys()


def test_best_goes_by_the_training_returns_when_there_is_no_evaluation(tiny, quiet):
    result = train(tiny("toy/recall", **{"run.steps": 120}), console=quiet)
    best = json.loads((result.run_dir / "checkpoints" / "best" / "best.json").read_text())
    rows = [row for row in read_metrics(result.run_dir) if "episode/return" in row]
    until = [row["episode/return"] for row in rows if row["step"] <= best["step"]]
    assert best["measure"] == "mean of the last 10 episodes"
    assert best["value"] == pytest.approx(sum(until[-10:]) / 10)


def test_a_best_of_few_episodes_is_given_up_when_the_run_goes_on(tiny, quiet):
    first = train(tiny("toy/recall", **{"run.steps": 40}), console=quiet)
    best = first.run_dir / "checkpoints" / "best" / "best.json"
    assert json.loads(best.read_text())["measure"] == "mean of the last 4 episodes"
    train(tiny("toy/recall", **{"run.steps": 120}), resume="auto", console=quiet)
    assert json.loads(best.read_text())["measure"] == "mean of the last 10 episodes"


def test_evaluation_in_the_loop_decides_which_is_best(tiny, quiet):
    options = {"run.eval_every": 30, "run.eval_episodes": 3}
    result = train(tiny("toy/recall", **options), console=quiet)
    evaluations = [row for row in read_metrics(result.run_dir) if "eval/mean" in row]
    assert [row["step"] for row in evaluations] == [30, 60]
    best = json.loads((result.run_dir / "checkpoints" / "best" / "best.json").read_text())
    assert best["measure"] == "mean of 3 evaluation episodes"
    first = max(evaluations, key=lambda row: row["eval/mean"])  # the earliest of equals
    assert (best["step"], best["value"]) == (first["step"], first["eval/mean"])


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 75), ("SIGUSR1", 75)])
def test_a_signal_ends_the_run_after_the_step_and_saves(tiny, quiet, name, code):
    def strike(training):
        if training.step == 10:
            os.kill(os.getpid(), getattr(signal, name))

    before = signal.getsignal(getattr(signal, name))
    result = train(tiny(), console=quiet, callbacks=[strike])
    assert (result.steps, result.interrupted, result.exit_code) == (10, name, code)
    latest = checkpoint.newest(result.run_dir / "checkpoints")
    assert checkpoint.verify(latest)["step"] == 10
    assert f"--resume {result.run_dir}" in quiet.export_text()
    assert signal.getsignal(getattr(signal, name)) == before


def test_a_callback_can_end_the_run(tiny, quiet):
    result = train(tiny(), console=quiet, callbacks=[lambda training: training.step < 10])
    assert (result.steps, result.interrupted) == (10, "")


def test_a_second_run_in_the_same_folder_is_refused(tiny, quiet):
    cfg = tiny(**{"run.steps": 4})
    train(cfg, console=quiet)
    with pytest.raises(UsageError, match="already holds a run.*--resume .*pass another"):
        train(cfg, console=quiet)


def test_a_folder_in_use_is_refused(tiny, quiet):
    cfg = tiny(**{"run.steps": 4})
    with (
        RunFolder(cfg.run.logdir).locked(),
        pytest.raises(UsageError, match="in use by another run"),
    ):
        train(cfg, console=quiet)


def test_without_logdir_the_folder_is_named_after_the_run(tiny, quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = tiny(**{"run.steps": 4, "run.logdir": ""})
    result = train(cfg, console=quiet)
    assert result.run_dir.parent.name == "runs"
    assert result.run_dir.name.startswith(f"gym-CartPole-v1-v3-{cfg.size}-s3-")
    assert find_run("runs") == result.run_dir


@pytest.mark.parametrize(("steps", "which"), [(8, " --which latest"), (40, "")])
def test_the_next_command_names_a_checkpoint_that_is_there(tiny, quiet, steps, which):
    """A recall episode has 9 steps, so after 8 of 2 envs none has ended and there is no best."""
    result = train(tiny("toy/recall", **{"run.steps": steps}), console=quiet)
    assert f"evaluate {result.run_dir} --episodes 20{which}\n" in quiet.export_text()


def test_a_run_without_updates_says_so_and_names_steps_that_learn(tiny, quiet):
    result = train(tiny(**{"run.steps": 2, "run.prefill": 30}), console=quiet)
    told = quiet.export_text()
    assert result.updates == 0 and "Nothing was learned" in told
    steps = int(re.search(r"--resume \S+ --steps (\d+)", told)[1])
    more = tiny(name="more", **{"run.steps": steps, "run.prefill": 30})
    assert train(more, console=quiet).updates > 0


@pytest.mark.parametrize("option", [{"device": "cuda:77"}, {"device": "gpu"}])
def test_a_wrong_device_is_one_line(tiny, quiet, option):
    with pytest.raises(UsageError, match="evice"):
        train(tiny(**option), console=quiet)


def test_a_better_agent_on_the_disk_is_kept_when_a_run_goes_on_from_before_it(tiny):
    cfg, measure = tiny(), "mean of 2 evaluation episodes"
    found = []
    for values in ((10.0, 50.0), (20.0,), (60.0,)):  # a process each
        folder = RunFolder(cfg.run.logdir)
        with Training(cfg, build_parts(cfg, source_of(cfg)), folder) as training:
            for value in values:
                training._save_best(value, measure)
        found.append(checkpoint.meta(checkpoint.best(folder.checkpoints))["value"])
    assert found == [50.0, 50.0, 60.0]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu", "Unknown device 'gpu'. Use auto, cpu, cuda"),
        ("meta", "Unknown device 'meta'. Use auto, cpu, cuda"),
        ("mps", "Device 'mps' is not here. Use auto or cpu."),
    ],
)
def test_a_device_that_no_agent_can_run_on(monkeypatch, name, told):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UsageError, match=told):
        choose_device(name)

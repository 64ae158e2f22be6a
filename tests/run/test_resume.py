"""A resumed run is the run that was not interrupted, to the bit where envs can save their state."""

import json
import os
import shutil
import signal
from dataclasses import replace

import gymnasium as gym
import pytest
import torch
from gymnasium import spaces

import dreamer_envs
from dreamer_plugin.agent import Agent
from dreamer_plugin.config import compose, load_config
from dreamer_plugin.doors import cli_show
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.metrics import TIMES, read_metrics
from dreamer_plugin.run.training import Training


def rows_of(run):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(run)]


def tensors_of(path):
    files = json.loads((path / "manifest.json").read_text())["files"]
    return {name: facts["sha256"] for name, facts in files.items() if "safetensors" in name}


def interrupted_copy(run, step, target):
    """The run as a kill after the save at `step` would have left it, later rows included."""
    shutil.copytree(run, target)
    for saved, path in checkpoint.steps(target / "checkpoints"):
        if saved > step:
            shutil.rmtree(path)
    return target


@pytest.mark.parametrize(
    ("env", "processes"),
    [
        ("gym/CartPole-v1", False),
        ("gym/CartPole-v1", True),
        ("gym/Pendulum-v1", False),
        ("toy/catch", False),
        ("toy/mixed", False),
    ],
)
def test_a_resumed_run_is_bit_equal(tiny, quiet, tmp_path, env, processes):
    options = {"env.processes": processes}
    cfg = tiny(env, name="whole", **options)
    whole = train(cfg, console=quiet).run_dir
    part = interrupted_copy(whole, 40, tmp_path / "part")
    resumed = train(tiny(env, name="part", **options), resume=part, console=quiet)
    assert "exactly" in quiet.export_text()
    assert resumed.steps == 80 and resumed.run_dir == part
    last = "checkpoints/step-000000080"
    assert tensors_of(part / last) == tensors_of(whole / last)
    assert rows_of(part) == rows_of(whole)
    assert any("loss/dyn" in row and row["step"] > 40 for row in rows_of(part))


def test_a_resume_from_between_two_log_rows_is_bit_equal_too(tiny, quiet, tmp_path):
    # Saves at 30 and 60, rows at 40 and 80: the means of the row at 80 span the resume.
    options = {"run.save_every": 30, "run.log_every": 40}
    whole = train(tiny(name="whole", **options), console=quiet).run_dir
    part = interrupted_copy(whole, 60, tmp_path / "part")
    train(tiny(name="part", **options), resume=part, console=quiet)
    assert rows_of(part) == rows_of(whole)


def test_a_run_killed_before_its_first_save_begins_anew_and_so_does_its_log(tiny, quiet, tmp_path):
    whole = train(tiny(name="whole"), console=quiet).run_dir
    part = tmp_path / "part"
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints")
    train(tiny(name="part"), resume=part, console=quiet)
    assert rows_of(part) == rows_of(whole)


def test_envs_that_step_during_updates_change_nothing(tiny, quiet, monkeypatch):
    begun = []
    update = Training.update

    def look(training, batch):
        begun.append((training.step, training.parts.vector.begun))
        return update(training, batch)

    monkeypatch.setattr(Training, "update", look)
    apart, here = (
        train(tiny("toy/catch", name=name, **{"env.processes": name == "apart"}), console=quiet)
        for name in ("apart", "here")
    )
    assert apart.updates == here.updates > 10
    early = [step < 80 for step, _ in begun]  # nothing is begun that nobody will see
    assert [ahead for _, ahead in begun] == early[: apart.updates] + [False] * here.updates
    assert any(early)
    last = "checkpoints/step-000000080"
    assert tensors_of(apart.run_dir / last) == tensors_of(here.run_dir / last)
    assert rows_of(apart.run_dir) == rows_of(here.run_dir)  # losses, returns


@pytest.mark.parametrize("processes", [False, True])
def test_a_signal_between_two_updates_is_obeyed_at_once_and_costs_nothing(
    tiny, quiet, tmp_path, monkeypatch, processes
):
    # 48/16 updates per agent step, so 6 for the two envs: the run stops after 10 of 6 + 6 ...
    options = {"run.train_ratio": 48, "run.steps": 40, "env.processes": processes}
    whole = train(tiny(name="whole", **options), console=quiet)
    update = Agent.update

    def strike(agent, batch):
        result = update(agent, batch)
        if agent.updates == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(Agent, "update", strike)
    part = train(tiny(name="part", **options), console=quiet)
    assert (part.updates, part.interrupted) == (10, "SIGINT")
    rest = train(tiny(name="part", **options), resume=part.run_dir, console=quiet)
    assert rest.updates == whole.updates > 20
    last = "checkpoints/step-000000040"
    assert tensors_of(rest.run_dir / last) == tensors_of(whole.run_dir / last)
    assert rows_of(rest.run_dir) == rows_of(whole.run_dir)


def test_a_run_can_be_prolonged_and_counts_on(tiny, quiet):
    first = train(tiny(**{"run.steps": 40}), console=quiet)
    second = train(tiny(**{"run.steps": 60}), resume="auto", console=quiet)
    assert second.run_dir == first.run_dir
    assert (first.steps, second.steps) == (40, 60) and second.updates > first.updates
    third = train(tiny(**{"run.steps": 60}), resume="auto", console=quiet)
    assert (third.steps, third.updates) == (60, second.updates)


class Amnesic(gym.Env):
    """Counts to 7; nobody knows how to save it."""

    observation_space = spaces.Box(0, 10, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.observation_space.low, {}

    def step(self, action):
        self.count += 1
        return self.observation_space.low + self.count, 1.0, self.count == 7, False, {}


def amnesic_pole():
    return dreamer_envs.wrap(ForgetfulPole(gym.make("CartPole-v1")))


class ForgetfulPole(gym.Wrapper):
    """No wrapper that is known, so its state cannot be saved; its episodes end after 4 steps."""

    def reset(self, **kwargs):
        self.count = 0
        return super().reset(**kwargs)

    def step(self, action):
        self.count += 1
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, self.count == 4, info


def other_env():
    return dreamer_envs.make("gym/Pendulum-v1")


def amnesic():
    return dreamer_envs.wrap(Amnesic())


def test_envs_that_cannot_save_begin_new_episodes_and_the_open_one_is_cut(tiny, quiet):
    makers = [amnesic, amnesic]
    cfg = {"run.steps": 36, "env.id": ""}
    first = train(tiny("", **cfg), env_makers=makers, console=quiet)
    saved = checkpoint.newest(first.run_dir / "checkpoints")
    assert checkpoint.verify(saved)["resume"] == "consistent"
    cuts = []

    def look(training):
        # 18 records of each env: the third episode was open at its record 16 + 2.
        storage = training.parts.replay.storage
        if training.step == 38:
            window = training.parts.replay._collate_fn(storage.get([[15, 16, 17, 18]]))
            cuts.append({k: window[k][0].tolist() for k in ("is_first", "is_last", "is_terminal")})

    result = train(
        tiny("", **{**cfg, "run.steps": 60}),
        resume="auto",
        env_makers=makers,
        console=quiet,
        callbacks=[look],
    )
    assert result.steps == 60 and "new episodes" in quiet.export_text()
    (cut,) = cuts
    assert cut["is_first"][1:] == [True, False, True]
    assert cut["is_last"] == [True, False, True, False]
    assert cut["is_terminal"] == [True, False, False, False]


def test_episodes_after_a_resume_are_not_those_the_run_began_with(tiny, quiet):
    starts = []

    def look(training):
        frames = training.parts.collector.frames
        starts.extend(frames.obs["vector"][frames.is_first].tolist())

    cfg = {"env.id": "", "env.num_envs": 1}
    for steps in (20, 40, 60):
        train(
            tiny("", **cfg, **{"run.steps": steps}),
            resume="auto",
            env_makers=[amnesic_pole],
            console=quiet,
            callbacks=[look],
        )
    assert len(starts) > 3 and len({tuple(start) for start in starts}) == len(starts)


def test_an_env_with_other_spaces_is_told_from_another_version(tiny, quiet):
    train(tiny("", **{"env.id": "", "run.steps": 20}), env_makers=[amnesic_pole], console=quiet)
    cfg = tiny("", **{"env.id": "", "run.steps": 30})
    with pytest.raises(UsageError, match=r"vector \[3\].*the agent knows.*vector \[4\]"):
        train(cfg, resume="auto", env_makers=[other_env], console=quiet)


def test_a_damaged_checkpoint_is_passed_over(tiny, quiet):
    run = train(tiny(), console=quiet).run_dir
    damaged = run / "checkpoints" / "step-000000080" / "agent.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.warns(checkpoint.DamagedCheckpointWarning, match="agent.safetensors"):
        result = train(tiny(), resume=run, console=quiet)
    assert result.steps == 80 and checkpoint.verify(damaged.parent)["step"] == 80


def test_a_damaged_segment_of_records_costs_its_records_alone(tiny, quiet):
    run = train(tiny(), console=quiet).run_dir
    newest, older = [path for _, path in checkpoint.steps(run / "checkpoints")]
    name = "0/0"  # in both checkpoints
    assert name in checkpoint.segments(older) and len(checkpoint.segments(newest)) > 2
    file = run / "records" / checkpoint.segments(newest)[name]["file"]
    file.write_bytes(file.read_bytes()[:-1])
    assert checkpoint.damaged_segments(newest) == [name]
    with pytest.warns(checkpoint.DamagedCheckpointWarning, match="lacks 1 segments"):
        result = train(tiny(**{"run.steps": 120}), resume=run, console=quiet)
    assert result.steps == 120 and "some of its records were damaged" in quiet.export_text()
    latest = checkpoint.newest(run / "checkpoints")
    assert latest.name == "step-000000120"  # whole again: the copy was written
    assert checkpoint.segments(latest)[name]["file"] != file.name
    again = train(tiny(**{"run.steps": 124}), resume=run, console=quiet)
    assert again.steps == 124


def test_nothing_starts_anew_over_a_run_whose_checkpoints_are_all_damaged(tiny, quiet):
    run = train(tiny(**{"run.steps": 20}), console=quiet).run_dir
    (run / "checkpoints" / "step-000000020" / "manifest.json").write_text("{}")
    with (
        pytest.warns(checkpoint.DamagedCheckpointWarning),
        pytest.raises(CheckpointError, match="No checkpoint in .* is whole"),
    ):
        train(tiny(), resume=run, console=quiet)


def test_changed_settings_are_shown_and_must_be_allowed(tiny, quiet):
    train(tiny(**{"run.steps": 20}), console=quiet)
    free = {"run.steps": 24, "run.log_every": 8, "run.keep": 1, "env.timeout": 5.0}
    train(tiny(**free), resume="auto", console=quiet)
    other = tiny(**free | {"optim.lr": 1e-3, "seed": 4})
    with pytest.raises(
        UsageError, match=r"seed: 3 -> 4; optim\.lr: 0\.0003 -> 0\.001.*--allow-config"
    ):
        train(other, resume="auto", console=quiet)
    cfg = tiny(**free | {"optim.lr": 1e-3, "run.steps": 28})
    result = train(cfg, resume="auto", console=quiet, allow_config_change=True)
    text = quiet.export_text()
    assert result.steps == 28 and "changed  optim.lr: 0.0003 -> 0.001" in text
    assert "step-000000024 with other settings." in text


def test_show_knows_who_set_what_of_a_run_that_went_on(repo, quiet, tmp_path):
    tiny, run = repo / "tests" / "run" / "tiny.yaml", tmp_path / "run"

    def go(config, resume=None, **options):
        made = compose("toy/reach", config=config, options={"run.logdir": str(run)} | options)
        allowed = {"layers_report": made.report, "allow_config_change": True}
        train(made.config, resume=resume, console=quiet, **allowed)
        return cli_show.resolve_words([str(run)], "", [], {})

    first = go([tiny], **{"run.steps": 8, "optim.lr": 1e-3})
    again = go([run], run, **{"run.steps": 12, "optim.eps": 1e-6})
    assert again.history["optim.eps"][-1] == (1e-6, "--eps")
    assert again.history["run.steps"] == [*first.history["run.steps"], (12, "--steps")]
    same = first.history.keys() - {"optim.eps", "run.steps"}
    assert {k: again.history[k] for k in same} == {k: first.history[k] for k in same}
    # One that goes on without a report says nothing of who; the file has it all the same.
    train(load_config(run), resume=run, console=quiet)
    cfg = replace(again.config, run=replace(again.config.run, steps=16))
    train(cfg, resume=run, console=quiet)
    shown = cli_show.resolve_words([str(run)], "", [], {})
    assert shown.why("run.steps").startswith(f"run.steps = 16, set by {run / 'config.yaml'}\n")


def test_another_number_of_envs_is_refused_by_both_numbers(tiny, quiet):
    run = train(tiny(**{"run.steps": 20}), console=quiet).run_dir
    with pytest.raises(CheckpointError, match="2 envs.*3"):
        train(tiny(**{"env.num_envs": 3}), resume=run, console=quiet)


def test_another_machine_is_gone_on_with_and_told(tiny, quiet, monkeypatch):
    run = train(tiny(**{"run.steps": 40}), console=quiet).run_dir
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    noise = []

    def look(training):
        # As from a GPU, whose generators have 16 bytes of state where those of a CPU have 5056.
        agent = training.parts.agent
        state = agent.training_state()
        for end in (16, 16, 24):
            agent.load_training_state(state | {"generator": state["generator"][:end]})
            noise.append(agent.noise(3).tolist())

    result = train(tiny(**{"run.steps": 42}), resume=run, console=quiet, callbacks=[look])
    assert result.steps == 42 and noise[0] == noise[1] != noise[2]
    text = quiet.export_text()
    assert "made with PyTorch" in text and ", 7 threads)" in text


def test_resume_of_what_is_no_run(tiny, quiet, tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        train(tiny(), resume=tmp_path / "nothing", console=quiet)
    result = train(tiny(**{"run.steps": 4}), resume="auto", console=quiet)  # nothing there yet
    assert result.steps == 4


def test_auto_finds_a_run_by_what_it_is_and_not_by_its_name(tiny, quiet, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    first = train(tiny(**{"run.steps": 20, "run.logdir": "runs/mine"}), console=quiet).run_dir
    train(tiny(**{"run.steps": 20, "run.logdir": "runs/other", "seed": 9}), console=quiet)
    found = train(tiny(**{"run.steps": 24, "run.logdir": ""}), resume="auto", console=quiet)
    assert found.run_dir == first and found.steps == 24
    new = train(
        tiny(**{"run.steps": 4, "run.logdir": "", "seed": 11}), resume="auto", console=quiet
    )
    assert new.run_dir not in (first, tmp_path / "runs" / "other")
    assert "Nothing to continue: a new run begins." in quiet.export_text()


def test_a_refused_resume_leaves_the_runs_own_settings(tiny, quiet):
    run = train(tiny(), console=quiet).run_dir
    before = (run / "config.yaml").read_text()
    cfg = tiny(**{"run.steps": 90, "env.num_envs": 3})
    with pytest.raises(CheckpointError, match="envs"):
        train(cfg, resume=run, console=quiet, allow_config_change=True)
    with pytest.raises(UsageError, match="a run goes on in its own folder. Leave run.logdir out"):
        train(tiny(name="other", **{"run.steps": 90}), resume=run, console=quiet)
    assert (run / "config.yaml").read_text() == before
    with pytest.raises(UsageError, match="is at step 80.*for 30 more say --steps 110"):
        train(tiny(**{"run.steps": 30}), resume=run, console=quiet)
    assert train(tiny(**{"run.steps": 90}), resume=run, console=quiet).steps == 90

"""Each alarm is raised by the fault it is for, in real trainings, and by nothing else."""

import io
import json
import random
import time

import gymnasium as gym
import pytest
from rich.console import Console

import dreamer_envs
from dreamer_plugin.config import compose, save_config
from dreamer_plugin.ops import returns
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.metrics import read_metrics
from dreamer_plugin.run.reporter import Reporter
from dreamer_plugin.run.symptoms import Alarm, Watch
from dreamer_plugin.study import doctor
from dreamer_plugin.study.doctor import examine, of_episodes
from tests.cli.calling import call

# Some 600 updates with a high rate, a minute each.
SMALL = {
    "run.steps": 640,
    "run.train_ratio": 32,
    "run.prefill": 40,
    "run.log_every": 80,
    "run.save_every": 640,
    "replay.capacity": 2000,
    "replay.batch_size": 4,
    "replay.batch_length": 8,
    "model.deter": 32,
    "model.units": 32,
    "model.hidden": 32,
    "behavior.imag_horizon": 3,
    "optim.lr": 4e-3,
    "optim.warmup": 20,
    "optim.anneal": 0,
}
CARTPOLE, REACH = "gym/CartPole-v1", "toy/reach"


class Slow(gym.Wrapper):
    """An env on a bad day."""

    def step(self, action):
        time.sleep(0.1)
        return super().step(action)


class Shuffled(gym.Wrapper):
    """An env that pays what some earlier step earned."""

    def __init__(self, env):
        super().__init__(env)
        self.past, self.random = [], random.Random(0)

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        self.past.append(reward)
        return obs, self.random.choice(self.past), *rest


def wrapped(wrapper, env):
    return [lambda: wrapper(dreamer_envs.make(env))] * 2


@pytest.fixture
def early(monkeypatch):
    """Episodes are judged after so few updates that a test can make them."""
    monkeypatch.setattr(doctor, "EXAMINED", 300)


def trained(repo, folder, env=CARTPOLE, makers=None, **options):
    """A short training as `dreamer-plugin train` makes it; what it said on the screen."""
    config = [repo / "tests" / "run" / "tiny.yaml"]
    given = SMALL | options | {"run.logdir": str(folder)}
    cfg = compose(env, config=config, options=given).config
    screen = Console(file=io.StringIO(), width=400)
    train(cfg, console=screen, env_makers=makers, judge=doctor.judge)
    return screen.file.getvalue()


def names(folder, episodes=0):
    return [alarm.name for alarm in examine(str(folder), episodes).alarms]


@pytest.mark.slow
def test_a_healthy_run_raises_none(repo, tmp_path, early):
    screen = trained(repo, tmp_path / "run", REACH)
    assert names(tmp_path / "run", 2) == [] and "warning" not in screen
    assert call("doctor", tmp_path / "run").stdout.count("nothing is wrong") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_agents_that_learned_their_task_are_well(name):
    assert names(f"pretrained/{name}", 3) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alarm", "options"),
    [
        (
            "posterior collapse",
            {"loss_scales.dyn": 100.0, "loss_scales.rep": 100.0, "world.free_nats": 0.0},
        ),
        ("dead actor", {"loss_scales.policy": 0.0, "behavior.actor.outscale": 0.0}),
        ("actor without choice", {"behavior.actor.entropy": -1.0}),  # certainty is paid for
        ("replay too small", {"replay.capacity": 60, "run.train_ratio": 4}),
    ],
)
def test_a_fault_that_the_logs_show(repo, tmp_path, alarm, options):
    screen = trained(repo, tmp_path / "run", **options)
    assert alarm in names(tmp_path / "run")
    assert f"warning  {alarm}: " in screen and screen.count(f"warning  {alarm}") == 1
    assert alarm in call("doctor", tmp_path / "run", code=1).stdout


@pytest.mark.slow
def test_values_of_rewards_that_the_env_does_not_pay(repo, tmp_path, monkeypatch):
    def in_another_unit(reward, live, value, lambda_):
        return plain(1000 * reward, live, value, lambda_)

    plain = returns.lambda_return
    monkeypatch.setattr(returns, "lambda_return", in_another_unit)
    screen = trained(repo, tmp_path / "run", **{"behavior.horizon": 20, "run.steps": 480})
    assert "warning  value drift" in screen and "value drift" in names(tmp_path / "run")


@pytest.mark.slow
def test_an_env_that_is_slow(repo, tmp_path):
    few = {"run.train_ratio": 2, "run.steps": 400, "run.log_every": 60}
    screen = trained(repo, tmp_path / "run", makers=wrapped(Slow, CARTPOLE), **few)
    assert "warning  env bottleneck" in screen
    assert "env bottleneck" in names(tmp_path / "run", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alarm", "env", "wrapper", "options"),
    [
        ("reward-head error", REACH, Shuffled, {}),
        (
            "imagination divergence",
            "toy/recall",
            None,
            {"loss_scales.dyn": 0.0, "loss_scales.rep": 0.0},
        ),
        (  # two episodes of each env, and a hundred updates for each of their frames
            "overfitting of the world model",
            REACH,
            None,
            {
                "run.steps": 80,
                "run.train_ratio": 320,
                "run.prefill": 20,
                "run.log_every": 10,
                "run.eval_every": 40,
                "run.eval_episodes": 2,
            },
        ),
    ],
)
def test_a_fault_that_episodes_show(repo, tmp_path, early, alarm, env, wrapper, options):
    makers = wrapped(wrapper, env) if wrapper else None
    screen = trained(repo, tmp_path / "run", env, makers, **options)
    # Two short episodes of an evaluation show overfitting surely, the others by chance.
    assert screen.count(f"warning  {alarm}: ") == ("run.eval_every" in options)
    assert alarm in names(tmp_path / "run", 3)
    assert alarm in call("doctor", tmp_path / "run", code=1).stdout


HEALTHY = {  # as of a run of CartPole with 20,000 updates, rounded
    "kl": 0.27,
    "vector: reconstruction error": 0.012,
    "vector: error 5 ahead": 0.023,
    "reward error": 0.0002,
    "held-out over training loss": 0.73,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"reward error": 0.79}, []),
        ({"reward error": 1.0}, ["reward-head error"]),  # as good as the mean
        ({"vector: error 5 ahead": 0.49}, []),
        ({"vector: error 5 ahead": 1.0}, ["imagination divergence"]),
        # What is not even reconstructed cannot be followed.
        ({"vector: error 5 ahead": 1.0, "vector: reconstruction error": 0.9}, []),
        ({"held-out over training loss": 20.0}, []),  # both tiny
        (
            {"held-out over training loss": 20.0, "vector: reconstruction error": 0.1},
            ["overfitting of the world model"],
        ),
    ],
)
def test_thresholds_of_what_episodes_show(change, expected):
    cfg = compose("gym/CartPole-v1").config
    assert [alarm.name for alarm in of_episodes(cfg, HEALTHY | change)] == expected


def rows(count, **values):
    """Rows as a run logs them, with numbers or functions of the position."""
    for i in range(1, count + 1):
        row = {"step": 100 * i, "seconds": 10.0 * i, "updates": 200 * i}
        yield row | {k: v(i) if callable(v) else v for k, v in values.items()}


def watching(*sources, env="gym/CartPole-v1", **options):
    watch = Watch(compose(env, options=options).config)
    for source in sources:
        for row in source:
            watch.add(row)
    return [alarm.name for alarm in watch.alarms()]


FALLING = {"loss/vector": lambda i: 1 / i, "kl": 1.0, "entropy": lambda i: 0.7 - 0.01 * i}


def test_thresholds_by_hand():
    assert watching(rows(5, **FALLING)) == []
    assert watching(rows(5, **FALLING | {"kl": 0.02})) == []
    assert watching(rows(5, **FALLING | {"kl": 0.005})) == ["posterior collapse"]
    assert watching(rows(5, **FALLING | {"entropy": 0.69})) == ["dead actor"]
    # An episode of CartPole pays 1 a step, 333 over the horizon; five times that is 1,665.
    paid = rows(10, **{"episode/return": 20.0, "episode/length": 20})
    assert watching(list(paid), rows(5, **FALLING | {"value": 1600.0})) == []
    paid = rows(10, **{"episode/return": 20.0, "episode/length": 20})
    assert watching(list(paid), rows(5, **FALLING | {"value": 1700.0})) == ["value drift"]


def test_waiting_for_envs_counts_and_nothing_else_does():
    # rows are ten seconds apart
    assert watching(rows(5, **FALLING | {"waited": lambda i: 5.9 * i})) == []
    assert watching(rows(5, **FALLING | {"waited": lambda i: 6.1 * i})) == ["env bottleneck"]
    assert watching(rows(2, **FALLING | {"waited": lambda i: 6.1 * i})) == []  # too few


def test_a_policy_without_choice_that_got_worse():
    returns = {"episode/return": lambda i: 100.0 if i < 20 else 1.0, "episode/length": 100}
    gone = FALLING | {"entropy": lambda i: 0.7 if i < 4 else 1e-4}
    assert watching(rows(40, **returns), rows(9, **gone)) == ["actor without choice"]
    good = {"episode/return": lambda i: float(i), "episode/length": 100}
    assert watching(rows(40, **good), rows(9, **gone)) == []
    # A density's entropy may fall through zero: that of toy/reach went from 2.6 to -0.7.
    density = FALLING | {"entropy": lambda i: 2.6 - 0.4 * i}
    for count in range(3, 10):
        assert watching(rows(40, **returns), rows(count, **density)) == []


def test_before_much_was_learned_only_settings_are_judged():
    early = ({"step": i, "seconds": 1.0 * i, "updates": i, "loss/vector": 1.0, "kl": 0.0,
              "entropy": 0.69} for i in range(1, 6))  # fmt: skip
    assert watching(early) == []
    assert watching(rows(1, **FALLING), **{"replay.capacity": 500}) == ["replay too small"]


def test_updates_count_before_losses_are_logged(tmp_path):
    save_config(compose("gym/CartPole-v1").config, tmp_path / "config.yaml")
    row = {"step": 300, "seconds": 1.0, "updates": 14, "episode/return": 9.0, "episode/length": 9}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    found = examine(str(tmp_path), episodes=0)
    assert found.evidence["updates"] == 14
    assert "No losses were logged yet (run.log_every is 1,000 steps)" in found.notes[0]


def test_an_alarm_is_told_once():
    found = [Alarm("lost", "1 of 2.", "chance.", "again")]
    reporter = Reporter(compose("gym/CartPole-v1").config, None, lambda *_: found * 2)
    for step, row in enumerate(rows(5, **FALLING | {"entropy": 0.69})):
        reporter.write(step, {name: value for name, value in row.items() if name != "step"})
    reporter.look()
    reporter.judge(None, reporter.recorder())
    assert [alarm.name for alarm in reporter.news()] == ["dead actor", "lost"]
    reporter.look()
    reporter.judge(None, reporter.recorder())
    assert reporter.news() == []


def test_steps_that_are_played_again_are_judged_once(tmp_path):
    cfg = compose("gym/CartPole-v1").config
    reporter = Reporter(cfg, RunFolder(tmp_path), None)
    reporter.open(0)
    slow = list(rows(3, **FALLING))
    for row in slow:
        reporter.write(row["step"], {**row, "waited": 0.0})
    reporter.go_back(100)
    # Slower than at first, so that time goes by between two rows of the same step.
    reporter.write(200, {**slow[1], "seconds": 25.0, "waited": 14.0})
    reporter.look()
    assert reporter.news() == []  # of the rows that stand there are two: too few
    reporter.write(300, {**slow[2], "seconds": 40.0, "waited": 28.0})
    reporter.look()
    assert [alarm.name for alarm in reporter.news()] == ["env bottleneck"]
    reporter.close()
    again = Watch(cfg)
    for row in read_metrics(tmp_path):
        again.add(row)
    assert [row["seconds"] for row in again.logs] == [10.0, 25.0, 40.0]
    # (28 - 0) of (40 - 10) seconds, over 200 steps
    assert again.alarms()[0].evidence.startswith("93% of the time")
    assert again.alarms()[0].evidence.endswith("140.0 ms a step.")


def test_the_command_on_logs_alone(tmp_path):
    save_config(compose("gym/CartPole-v1").config, tmp_path / "config.yaml")
    lines = [json.dumps(row) for row in rows(5, **FALLING | {"entropy": 0.69})]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    text = call("doctor", tmp_path, "--episodes", 0, code=1).stdout
    assert "dead actor\n  evidence  After 1,000 updates" in text and "  try  " in text
    found = json.loads(call("doctor", tmp_path, "--json", code=1).stdout)
    assert [alarm["name"] for alarm in found["alarms"]] == ["dead actor"]
    assert found["notes"][0].startswith("No episode was played")

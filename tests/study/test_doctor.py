"""Each alarm is raised by the fault it is for, in real trainings, and by nothing else."""

import io
import json
import time

import gymnasium as gym
import pytest
from rich.console import Console

from dreamer_plugin.config import compose
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.symptoms import Watch, new_alarms
from dreamer_plugin.study.doctor import examine, of_episodes
from tests.cli.calling import call

SMALL = {
    "run.steps": 800,
    "run.train_ratio": 32,
    "run.prefill": 64,
    "run.log_every": 80,
    "run.save_every": 800,
    "replay.capacity": 2000,
    "replay.batch_size": 4,
    "replay.batch_length": 16,
    "model.deter": 64,
    "model.units": 32,
    "model.hidden": 32,
    "behavior.imag_horizon": 8,
    "optim.lr": 2e-3,
    "optim.warmup": 20,
    "optim.anneal": 0,
}


class Slow(gym.Wrapper):
    """CartPole on a bad day."""

    def step(self, action):
        time.sleep(0.1)
        return super().step(action)


def slow():
    import dreamer_envs

    return Slow(dreamer_envs.make("gym/CartPole-v1"))


def trained(repo, folder, makers=None, **options):
    """A short training; what it said on the screen."""
    config = [repo / "tests" / "run" / "tiny.yaml"]
    given = SMALL | options | {"run.logdir": str(folder)}
    cfg = compose("gym/CartPole-v1", config=config, options=given).config
    screen = Console(file=io.StringIO(), width=400)
    train(cfg, console=screen, env_makers=makers)
    return screen.file.getvalue()


def names(folder, episodes=0):
    return [alarm.name for alarm in examine(str(folder), episodes).alarms]


@pytest.mark.slow
def test_a_healthy_run_raises_none(repo, tmp_path):
    screen = trained(repo, tmp_path / "run")
    assert names(tmp_path / "run", 2) == [] and "warning" not in screen
    assert call("doctor", tmp_path / "run").stdout.count("nothing is wrong") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alarm", "options"),
    [
        (
            "posterior collapse",
            {"loss_scales.dyn": 100.0, "loss_scales.rep": 100.0, "world.free_nats": 0.0},
        ),
        ("dead actor", {"loss_scales.policy": 0.0, "behavior.actor.outscale": 0.0}),
    ],
)
def test_a_fault_of_the_settings(repo, tmp_path, alarm, options):
    screen = trained(repo, tmp_path / "run", **options)
    assert alarm in names(tmp_path / "run")
    assert f"warning  {alarm}: " in screen and screen.count(f"warning  {alarm}") == 1
    assert alarm in call("doctor", tmp_path / "run", code=1).stdout


@pytest.mark.slow
def test_an_env_that_is_slow(repo, tmp_path):
    few = {"run.train_ratio": 2, "run.steps": 400, "run.log_every": 60}
    screen = trained(repo, tmp_path / "run", makers=[slow] * 2, **few)
    assert "warning  env bottleneck" in screen
    assert "env bottleneck" in names(tmp_path / "run", 0)


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
        ({"vector: error 5 ahead": 0.59}, []),
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


def test_a_policy_without_choice_that_got_worse():
    returns = {"episode/return": lambda i: 100.0 if i < 20 else 1.0, "episode/length": 100}
    gone = FALLING | {"entropy": lambda i: 0.7 if i < 4 else 1e-4}
    assert watching(rows(40, **returns), rows(9, **gone)) == ["actor without choice"]
    good = {"episode/return": lambda i: float(i), "episode/length": 100}
    assert watching(rows(40, **good), rows(9, **gone)) == []


def test_before_much_was_learned_only_settings_are_judged():
    early = ({"step": i, "seconds": 1.0 * i, "updates": i, "loss/vector": 1.0, "kl": 0.0,
              "entropy": 0.69} for i in range(1, 6))  # fmt: skip
    assert watching(early) == []
    assert watching(rows(1, **FALLING), **{"replay.capacity": 500}) == ["replay too small"]


def test_an_alarm_is_told_once():
    watch, told = Watch(compose("gym/CartPole-v1").config), set()
    for row in rows(5, **FALLING | {"entropy": 0.69}):
        watch.add(row)
    assert [alarm.name for alarm in new_alarms(watch, told)] == ["dead actor"]
    assert list(new_alarms(watch, told)) == [] and told == {"dead actor"}


def test_the_command_on_logs_alone(tmp_path):
    from dreamer_plugin.config import save_config

    save_config(compose("gym/CartPole-v1").config, tmp_path / "config.yaml")
    lines = [json.dumps(row) for row in rows(5, **FALLING | {"entropy": 0.69})]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    text = call("doctor", tmp_path, "--episodes", 0, code=1).stdout
    assert "dead actor\n  evidence  After 1,000 updates" in text and "  try  " in text
    found = json.loads(call("doctor", tmp_path, "--json", code=1).stdout)
    assert [alarm["name"] for alarm in found["alarms"]] == ["dead actor"]
    assert found["notes"][0].startswith("No episode was played")

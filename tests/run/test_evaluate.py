"""Evaluation plays whole episodes, reports them, and finds checkpoints by name."""

import json
import statistics

import gymnasium as gym
import numpy as np
import pytest

from dreamer_plugin import Dreamer
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import evaluate, evaluate_run
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.parts import build_parts


def test_the_report_says_what_was_evaluated_and_how(finished):
    report = evaluate_run(finished, episodes=5, seed=1)
    data = json.loads(report.to_json())
    assert data["episodes"] == len(data["returns"]) == len(data["lengths"]) == 5
    assert data["checkpoint"] == "step-000000120" and data["step"] == 120
    assert data["env"] == "gym/CartPole-v1" and data["deterministic"] is False
    # CartPole pays 1 per transition, so return and length are the same number.
    assert data["returns"] == data["lengths"] and min(data["returns"]) >= 8
    assert data["mean"] == statistics.fmean(data["returns"])
    assert data["std"] == statistics.pstdev(data["returns"])
    assert data["median"] == sorted(data["returns"])[2]
    assert (data["min"], data["max"]) == (min(data["returns"]), max(data["returns"]))


def test_the_same_seed_gives_the_same_episodes_and_another_gives_others(finished):
    once, again = (evaluate_run(finished, episodes=4, seed=5).returns for _ in range(2))
    assert once == again
    assert evaluate_run(finished, episodes=4, seed=6).returns != once


def test_checkpoints_are_found_by_name(finished):
    best = checkpoint.verify(finished / "checkpoints" / "best")["step"]
    assert evaluate_run(finished, 1, which="best").step == best
    assert evaluate_run(finished, 1, which="latest").step == 120
    assert evaluate_run(finished, 1, which="80").step == 80
    with pytest.raises(CheckpointError, match="'lates'.*'latest'"):
        evaluate_run(finished, 1, which="lates")
    with pytest.raises(UsageError, match="not a run folder"):
        evaluate_run(finished / "nothing")
    with pytest.raises(UsageError, match="episodes=0"):
        evaluate_run(finished, 0)


def test_short_episodes_are_not_counted_more_often(tiny):
    # Three envs and four episodes: 2 + 1 + 1, whichever env is quickest.
    cfg = tiny()
    with_source = source_of(cfg)
    parts = build_parts(cfg, with_source)
    report = evaluate(parts.agent, with_source, episodes=4, num_envs=3)
    parts.vector.close()
    alone = evaluate(parts.agent, with_source, episodes=1, num_envs=1)
    assert len(report.returns) == 4
    assert report.returns[0] == alone.returns[0]  # env 0 plays the same whoever stands beside it


def test_evaluation_does_not_change_the_run(tiny, quiet):
    plain = train(tiny("toy/recall", name="a"), console=quiet).run_dir
    options = {"run.eval_every": 20, "run.eval_episodes": 2}
    evaluated = train(tiny("toy/recall", name="b", **options), console=quiet).run_dir
    last = "checkpoints/step-000000080/agent.safetensors"
    assert (plain / last).read_bytes() == (evaluated / last).read_bytes()


def test_deterministic_uses_modes(finished):
    once = evaluate_run(finished, episodes=3, deterministic=True, seed=5)
    assert once.deterministic and len(once.returns) == 3


def test_without_a_finished_episode_there_is_no_best(tiny, quiet):
    run = train(tiny("toy/recall", **{"run.steps": 10}), console=quiet).run_dir
    with pytest.raises(CheckpointError, match="no episode ended.*--which latest"):
        evaluate_run(run, 1, which="best")
    assert evaluate_run(run, 1).step == 10


class Reaching(gym.Env):
    """Two steps an episode; the first of every three episodes is solved, says its info."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.episode, self.count = 0, 0

    def reset(self, *, seed=None, options=None):
        self.episode, self.count = self.episode + 1, 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        done = self.count == 2
        return np.zeros(2, np.float32), 1.0, done, False, {"success": self.episode % 3 == 1}


def test_success_is_counted_where_the_env_tells_it(repo):
    agent = Dreamer(Reaching, config=repo / "tests" / "run" / "tiny.yaml")
    report = agent.evaluate(episodes=6, num_envs=1)
    assert report.successes == [True, False, False, True, False, False]
    assert report.summary()["success"] == 1 / 3


def test_without_a_word_of_the_env_there_is_no_rate(finished):
    report = evaluate_run(finished, episodes=1)
    assert report.successes is None and "success" not in report.to_dict()

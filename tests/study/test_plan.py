"""A plan adds up what a run takes, and refuses what cannot fit."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dreamer_plugin import Dreamer
from dreamer_plugin.config import compose
from dreamer_plugin.run.parts import planned_updates
from dreamer_plugin.study import plan as planning
from dreamer_plugin.study.plan import make_plan
from tests.cli.calling import call


@pytest.fixture(scope="module")
def made(repo):
    config = [repo / "tests" / "run" / "tiny.yaml"]
    options = {"run.steps": 1000, "replay.capacity": 500, "run.keep": 2}
    cfg = compose("gym/CartPole-v1", config=config, options=options).config
    return make_plan(cfg)


def test_what_a_small_run_takes(made):
    assert (made.env, made.envs, made.device) == ("gym/CartPole-v1", 2, "cpu")
    # 4 trained steps for each agent step, of 2 rows of 8: an update every 4 steps. Begun with the
    # 12th window of both envs, each of 8 records and one of context.
    assert made.first_update == 2 * (8 + 6)
    assert made.updates == 1 + (1000 - made.first_update) / 4 and made.capacity == 500
    assert set(made.parameters) >= {"encoder", "rssm", "decoder", "reward", "actor", "critic"}
    assert made.replay > 500 * (4 + 32) * 4  # an observation and a deter of float32 each, at least
    assert made.disk > made.replay - made.replay // 2 and made.memory > made.replay
    assert made.update > 0 and made.step > 0 and made.problems() == []


def test_hours_are_those_of_updates_and_steps(made):
    fixed = replace(made, update=0.1, step=0.02)
    # 500 steps of both envs, and 244 updates.
    assert fixed.seconds == pytest.approx(500 * 0.02 + 244 * 0.1)
    assert fixed.steps_per_second == pytest.approx(1000 / 34.4)


@pytest.mark.parametrize(("prefill", "learns"), [(12, True), (43, True), (44, True), (45, False)])
def test_only_updates_that_are_made_are_counted(repo, prefill, learns):
    """A run of 60 steps: two envs that give a window each from their ninth step on."""
    run = {"steps": 60, "prefill": prefill, "pretrain": 3}
    agent = Dreamer("toy/reach", repo / "tests" / "run" / "tiny.yaml", env__num_envs=2, run=run)
    agent.learn(60, progress=False)
    assert planned_updates(agent.config) == agent.agent.updates
    assert (agent.agent.updates > 3) == learns


def test_a_run_that_ends_before_its_first_update_is_told(made):
    (note,) = replace(made, steps=20, updates=0).notes()
    assert "run.steps is 20, and no update is made before step 28" in note and made.notes() == []


def test_what_cannot_fit_is_refused_with_what_would(made):
    tight = replace(made, replay=1000 * 10**6, free_memory=100 * 10**6)
    (problem,) = tight.problems()
    assert "replay.capacity=45 or replay.storage=disk" in problem  # 0.9 of a tenth of 500
    assert replace(tight, replay_on_disk=True).problems() == []
    elsewhere = replace(made, replay_on_disk=True, replay_disk=made.replay - 1)
    (problem,) = elsewhere.problems()
    assert "the replay needs" in problem and "another replay.folder" in problem
    (problem,) = replace(made, free_disk=made.disk - 1).problems()
    assert "of disk" in problem and "run.keep=1" in problem


def test_the_command(repo, monkeypatch):
    words = ("plan", "--env", "gym/CartPole-v1", "--config", repo / "tests" / "run" / "tiny.yaml")
    result = call(*words, "--steps", 1000)
    assert "parameters  " in result.stdout and "steps a second" in result.stdout
    monkeypatch.setattr(planning, "free_disk", lambda folder: 10)
    result = call(*words, "--json", code=2)
    assert json.loads(result.stdout)["problems"] and "This cannot fit: it needs" in result.stderr


def test_a_replay_with_a_disk_of_its_own_is_not_counted_on_another(monkeypatch, tmp_path):
    """The disk of the run has room for its checkpoints alone, that of the replay for the replay."""
    options = {"replay.storage": "disk", "run.logdir": "small", "run.keep": 1}
    cfg = compose("toy/reach", options=options).config
    free = {"small": 10**9, str(tmp_path): 10**12}
    sizes = dict.fromkeys(("total", "records", "latents"), 2 * 10**9)
    monkeypatch.setattr(planning, "free_disk", lambda place: free[str(place)])
    monkeypatch.setattr(planning, "replay_needs", lambda *args, **words: sizes)
    monkeypatch.setattr(planning, "saved_bytes", lambda *args: 0)
    monkeypatch.setattr(planning, "latent_sizes", lambda agent: {})
    monkeypatch.setattr(planning, "components", lambda agent: {})
    agent = SimpleNamespace(
        parameters=lambda: [torch.zeros(10)], device=torch.device("cpu"), precision="float32"
    )
    spaces, vector = SimpleNamespace(spaces=None), SimpleNamespace(num_envs=1)
    parts = SimpleNamespace(agent=agent, native=spaces, vector=vector)
    (problem,) = planning._added_up(cfg, parts, 0.1, 0.1).problems()
    assert "of disk" in problem
    own = replace(cfg, replay=replace(cfg.replay, folder=str(tmp_path)))
    made = planning._added_up(own, parts, 0.1, 0.1)
    assert made.problems() == []
    # The kept one, the best one and one in the making; of each number two more of the optimiser.
    assert made.disk == 3 * 3 * 10 * 4
    free[str(tmp_path)] = 10**9
    (problem,) = planning._added_up(own, parts, 0.1, 0.1).problems()
    assert "another replay.folder" in problem

"""A contest is made cell by cell, goes on where it was cut, and survives a cell that fails."""

import csv
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.metadata import version

import gymnasium as gym
import numpy as np
import pytest
import torch

from dreamer_plugin import Dreamer
from dreamer_plugin.config import compose
from dreamer_plugin.doors import cli_compare
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.evaluate import evaluate
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.machine import note_machine, read_machines
from dreamer_plugin.run.training import RunResult
from dreamer_plugin.study import baselines, contest, contest_results
from dreamer_plugin.study.contest import Contest
from tests.cli.calling import call

TASK = Contest("gym/CartPole-v1", ["ppo", "dqn"], 2, 30, 10, 2, {"ppo": "zoo", "dqn": "zoo"})


@pytest.fixture
def made(monkeypatch):
    """Cells that are made in no time; those in `broken` fail."""
    calls, broken = [], set()

    def train(agent, cfg, folder, steps, eval_every, episodes, tell):
        calls.append(f"{agent}-s{cfg.seed}")
        if calls[-1] in broken:
            raise ArithmeticError("the pole fell")
        score = 100.0 * cfg.seed + (50 if agent == "ppo" else 0)
        rows = [
            {"step": step, "seconds": step / 10, "eval/mean": score + step}
            for step in range(eval_every, steps + 1, eval_every)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    monkeypatch.setattr(contest, "train_baseline", train)
    return calls, broken


def go(task, folder):
    contest.enter(task, folder)
    cfg = compose(task.env).config
    lines = []
    return contest.run_cells(task, folder, lambda cell: cfg, lines.append), lines


def test_every_cell_is_made_once_and_more_can_be_added(made, tmp_path):
    calls, _ = made
    assert go(TASK, tmp_path / "c")[0] == []
    assert calls == ["ppo-s0", "dqn-s0", "ppo-s1", "dqn-s1"]
    _, lines = go(replace(TASK, seeds=3), tmp_path / "c")
    assert calls[4:] == ["ppo-s2", "dqn-s2"] and lines[0] == "[1/6] ppo-s0: done before"
    go(replace(TASK, agents=["a2c"], settings={"a2c": "defaults"}), tmp_path / "c")
    assert contest.read_contest(tmp_path / "c").agents == ["ppo", "dqn", "a2c"]
    assert contest.read_contest(tmp_path / "c").seeds == 3


def test_a_failure_leaves_the_rest_and_is_tried_again(made, tmp_path):
    calls, broken = made
    broken.add("dqn-s0")
    failed, lines = go(TASK, tmp_path / "c")
    assert failed == ["dqn-s0"] and calls[-1] == "dqn-s1"
    assert contest.failures(TASK, tmp_path / "c") == {"dqn-s0": "ArithmeticError: the pole fell"}
    assert any("failed, ArithmeticError: the pole fell" in line for line in lines)
    broken.clear()
    assert go(TASK, tmp_path / "c")[0] == [] and calls[4:] == ["dqn-s0"]
    assert contest.failures(TASK, tmp_path / "c") == {}


def test_another_contest_is_refused(made, tmp_path):
    go(TASK, tmp_path / "c")
    with pytest.raises(UsageError, match="steps 30 there, 40 here"):
        contest.enter(replace(TASK, steps=40), tmp_path / "c")
    with pytest.raises(UsageError, match="ppo has zoo there, zoo, seed=1 here"):
        contest.enter(replace(TASK, settings={"ppo": "zoo, seed=1"}), tmp_path / "c")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        contest.enter(TASK, tmp_path / "d")
    with pytest.raises(UsageError, match="compares nothing"):
        contest.read_contest(tmp_path / "d")


def test_curves_are_read_at_steps(made, tmp_path):
    go(TASK, tmp_path / "c")
    (first, *_) = contest_results.read_curves(TASK, tmp_path / "c")
    assert (first.agent, first.seed, first.means) == ("ppo", 0, [60.0, 70.0, 80.0])
    assert first.at(15) == 70.0 and np.isnan(first.at(31))


def test_estimates_of_agents_that_do_not_overlap():
    pytest.importorskip("rliable")
    scores = {"a": np.array([[4.0], [5.0], [6.0], [20.0]]), "b": np.array([[1.0], [2.0]])}
    found = contest_results.estimates(scores, draws=200)
    # The middle half of 4, 5, 6, 20; of two values both.
    assert found.iqm["a"][0] == 5.5 and found.iqm["b"][0] == 1.5
    assert 4.0 <= found.iqm["a"][1] <= 5.5 <= found.iqm["a"][2] <= 20.0
    assert found.improvement[("a", "b")] == (1.0, 1.0, 1.0)
    assert found.improvement[("b", "a")][0] == 0.0
    share = found.profiles["a"][0]
    assert found.taus[0] == 1.0 and share[0] == 1.0 and share[-1] == 0.0
    assert contest_results.estimates({}).iqm == {}


def test_intervals_are_those_of_their_seed():
    pytest.importorskip("rliable")
    scores = {"a": np.array([[4.0], [5.0], [6.0], [20.0]]), "b": np.array([[1.0], [7.0], [9.0]])}
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first, again = (contest_results.estimates(scores, 50, seed=1) for _ in range(2))
    assert first == again and first != contest_results.estimates(scores, 50, seed=2)
    assert (np.random.get_state()[1] == before).all()


def test_seconds_are_of_the_seeds_that_count(made, tmp_path):
    pytest.importorskip("rliable")
    go(TASK, tmp_path / "c")
    log = tmp_path / "c" / "ppo-s1" / "metrics.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])  # cut after 10 of 30 steps
    files = contest_results.write_results(TASK, tmp_path / "c", draws=50)
    with files[1].open() as file:
        ppo = next(csv.DictReader(file))
    assert (ppo["seeds"], ppo["seconds"]) == ("1", "3.0")


def test_the_files_tell_what_was_found(made, tmp_path):
    pytest.importorskip("rliable")
    made[1].add("dqn-s1")
    go(TASK, tmp_path / "c")
    files = contest_results.write_results(TASK, tmp_path / "c", draws=100)
    names = ["curves.csv", "summary.csv", "curves.svg", "report.html"]
    assert [file.name for file in files] == names
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 and float(rows[-1]["mean"]) == 180.0
    with files[1].open() as file:
        ppo, dqn = csv.DictReader(file)
    assert (ppo["seeds"], ppo["mean"], dqn["seeds"], dqn["iqm"]) == ("2", "130.0", "1", "30.0")
    drawn = ET.fromstring(files[2].read_text())
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg" and "dqn" in "".join(drawn.itertext())
    text = files[3].read_text()
    assert "ArithmeticError: the pole fell" in text and text.count("<svg") == 3
    assert "Not noted by ppo-s0, dqn-s0, ppo-s1, dqn-s1" in text  # cells that were made up


def test_the_page_tells_what_each_cell_was_made_on(made, tmp_path):
    pytest.importorskip("rliable")
    go(TASK, tmp_path / "c")
    note_machine(tmp_path / "c" / "dqn-s1", torch.device("cpu"), 0, ["pytest"])
    page = contest_results.write_results(TASK, tmp_path / "c", draws=100)[3].read_text()
    assert (
        f"<td>{pytest.__version__}</td>" in page and "Not noted by ppo-s0, dqn-s0, ppo-s1." in page
    )


def test_steps_may_end_between_two_evaluations(made, tmp_path):
    pytest.importorskip("rliable")
    task = replace(TASK, steps=35)  # measured at 10, 20 and 30
    go(task, tmp_path / "c")
    files = contest_results.write_results(task, tmp_path / "c", draws=100)
    with files[1].open() as file:
        # Seeds 0 and 1 of the fixture score 0 and 100, ppo 50 more, and the step.
        assert [row["mean"] for row in csv.DictReader(file)] == ["130.0", "80.0"]
    assert "after 30 steps" in files[3].read_text()


def test_without_rliable_nothing_begins(monkeypatch):
    monkeypatch.setattr(contest_results, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package rliable: pip install"):
        contest_results.require_rliable()


def test_agents_that_cannot_act_are_refused(monkeypatch):
    pytest.importorskip("stable_baselines3")
    box, discrete = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(3)
    baselines.require_baseline("ppo", box)
    with pytest.raises(UsageError, match="ppo takes any actions"):
        baselines.require_baseline("ppo", gym.spaces.Dict(a=box, b=discrete))
    with pytest.raises(UsageError, match="dqn takes discrete actions.*These can: dreamer, ppo"):
        baselines.require_baseline("dqn", box)
    with pytest.raises(UsageError, match="sac takes continuous actions"):
        baselines.require_baseline("sac", discrete)
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package sb3_contrib: pip install sb3-contrib"):
        baselines.require_baseline("tqc", box)


def test_settings_are_the_zoos_where_it_has_them():
    settings, origin = baselines.settings_of("ppo", "gym/CartPole-v1")
    assert (settings["n_envs"], settings["learning_rate"], origin) == (
        8,
        "lin_0.001",
        "RL Baselines3 Zoo",
    )
    assert baselines.settings_of("sac", "dmc/walker-walk") == (
        {},
        "defaults of Stable-Baselines3",
    )
    cfg = compose("toy/catch", overrides=["env.size=8"]).config
    assert contest.origin("dreamer-v1", cfg).startswith("preset v1")
    assert contest.origin("dreamer", cfg, ["size=1m"]).endswith("suite, size=1m, env.size=8")
    told = contest.origin("sac", cfg, ["optim.lr=1e-3"])  # a Dreamer's alone
    assert told == "defaults of Stable-Baselines3, env.size=8"


def test_an_agent_without_a_part_is_one_of_its_own():
    names = ["dreamer", "dreamer-without-two-hot", "sac"]
    resolved = cli_compare._resolved("gym/Pendulum-v1", names, ["optim.lr=1e-3"], {})
    configs = {name: each.config for name, each in resolved.items()}
    outputs = [cfg.world.reward.output for cfg in configs.values()]
    assert outputs == ["twohot", "symexp_mse", "twohot"]
    assert {cfg.optim.lr for cfg in configs.values()} == {1e-3}
    origin = contest.origin("dreamer-without-two-hot", configs["dreamer-without-two-hot"])
    assert origin.startswith("preset v3 without_two_hot and the protocol")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("symlog", []),  # of vectors; the ball is an image
        ("return-norm", ["behavior.return_norm.kind=none"]),
        ("replay-value", ["loss_scales.repval=0"]),
    ],
)
def test_a_part_that_is_not_there_cannot_be_left_out(tmp_path, part, words):
    name = f"dreamer-without-{part}"
    given = ["compare", "--env", "toy/catch", "--agents", f"dreamer,{name}", *words]
    result = call(*given, "--out", tmp_path / "c", code=2)
    assert f"{name}: V3 has no such part to leave out on toy/catch" in result.output
    assert not (tmp_path / "c").exists()


def test_agents_that_see_other_envs_are_told_and_not_averaged(tmp_path):
    resolved = cli_compare._resolved("dmc/walker-walk", ["dreamer", "dreamer-v1", "sac"], [], {})
    configs = {name: each.config for name, each in resolved.items()}
    told = cli_compare._unlike(configs)
    assert any("obs is proprio for dreamer, pixels for dreamer-v1, proprio for sac" in line
               for line in told)  # fmt: skip
    same = ["env.obs=proprio", "env.action_repeat=2"]
    resolved = cli_compare._resolved("dmc/walker-walk", ["dreamer", "dreamer-v2"], same, {})
    assert cli_compare._unlike({name: each.config for name, each in resolved.items()}) == []
    origins = {name: contest.origin("sac", cfg) for name, cfg in configs.items()}
    task = Contest("dmc/walker-walk", ["sac"], 1, 30, 10, 2, {"sac": origins["sac"]})
    contest.enter(task, tmp_path / "c")
    with pytest.raises(UsageError, match="sac has .*env.obs=proprio.* there, .*env.obs=pixels"):
        contest.enter(replace(task, settings={"sac": origins["dreamer-v1"]}), tmp_path / "c")


def test_a_cell_that_another_process_makes_is_left_alone(made, tmp_path):
    folder = tmp_path / "c"
    go(replace(TASK, seeds=1), folder)
    (folder / "ppo-s0" / "done.json").unlink()
    before = (folder / "ppo-s0" / "metrics.jsonl").read_text()
    with RunFolder(folder / "ppo-s0").locked():
        failed, _ = go(replace(TASK, seeds=1), folder)
        assert failed == ["ppo-s0"]
        assert (folder / "ppo-s0" / "metrics.jsonl").read_text() == before
    (folder / "ppo-s0" / "done.json").write_text('{"step": 30}')  # the other one ends
    assert go(replace(TASK, seeds=1), folder)[0] == []
    assert contest.failures(TASK, folder) == {}


def test_notes_that_were_cut_are_no_tracebacks(made, tmp_path):
    folder = tmp_path / "c"
    go(replace(TASK, seeds=1), folder)
    (folder / "ppo-s0" / "done.json").write_text("")
    calls = made[0]
    go(replace(TASK, seeds=1), folder)
    assert calls[2:] == ["ppo-s0"]  # made again
    (folder / "contest.json").write_text("{")
    with pytest.raises(UsageError, match="contest.json is damaged: name another folder"):
        contest.enter(TASK, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is a file: name a folder with --out"):
        contest.enter(TASK, tmp_path / "file")


def test_a_cell_without_a_finite_return_says_so(monkeypatch, tmp_path):
    def train(agent, cfg, folder, *rest):
        (folder / "metrics.jsonl").write_text('{"step": 10, "seconds": 1, "eval/mean": null}\n')

    monkeypatch.setattr(contest, "train_baseline", train)
    go(replace(TASK, agents=["ppo"], seeds=1), tmp_path / "c")
    assert (
        "no evaluation of ppo-s0 gave a finite" in contest.failures(TASK, tmp_path / "c")["ppo-s0"]
    )


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 75), ("SIGUSR1", 75)])
def test_a_signal_ends_with_its_own_code(monkeypatch, tmp_path, name, code):
    """As docs/reliability.md promises of `train`; 75 asks a scheduler to try again."""
    result = RunResult(tmp_path, 0, 0, None, name)
    monkeypatch.setattr(contest, "train", lambda *args, **words: result)
    line = ["compare", "--env", "toy/catch", "--agents", "dreamer", "--seeds", 1, "--steps", 20]
    pytest.importorskip("rliable")
    call(*line, "--out", tmp_path / "c", code=code)


class Constant:
    """A model that always does the same, whatever it sees."""

    def __init__(self, action):
        self.action = np.asarray(action)

    def predict(self, obs, deterministic):
        assert deterministic
        count = len(next(iter(obs.values())))
        return np.stack([self.action] * count), None


@pytest.mark.parametrize("action", [0, 1])
def test_a_baseline_is_evaluated_as_a_dreamer_is(repo, action):
    """CartPole falls within 8 to 11 steps when it is always pushed to one side."""
    agent = Dreamer("gym/CartPole-v1", config=repo / "tests" / "run" / "tiny.yaml")
    policy = baselines.Baseline(Constant(action), agent._native.spaces)
    report = evaluate(policy, agent._envs(), 4, deterministic=True)
    assert all(8 <= length <= 11 for length in report.lengths)


def test_a_real_agent_is_trained_and_measured(tmp_path):
    pytest.importorskip("stable_baselines3")
    cfg = compose("gym/CartPole-v1", options={"env.processes": False, "device": "cpu"}).config
    baselines.train_baseline("ppo", cfg, tmp_path, 512, 200, 2)
    rows = contest.evaluations(tmp_path)
    assert [row["step"] for row in rows] == [200, 400]
    assert 0 < rows[0]["seconds"] < rows[1]["seconds"] and rows[0]["eval/mean"] >= 8
    (noted,) = read_machines(tmp_path)
    assert noted["stable-baselines3"] == version("stable-baselines3") and noted["cores"] > 0


@pytest.mark.parametrize(
    ("env", "agent"),
    [
        ("toy/catch", "ppo"),  # an image, which the library turns round
        ("dmc/walker-walk", "ppo"),  # "height" is a lone number, which it cannot join
    ],
)
def test_a_real_agent_sees_images_and_lone_numbers(tmp_path, env, agent):
    pytest.importorskip("stable_baselines3")
    options: dict[str, object] = {"env.processes": False, "device": "cpu"}
    if env.startswith("dmc/"):
        pytest.importorskip("dm_control")
        options["env.options.action_repeat"] = 20
    cfg = compose(env, options=options).config
    baselines.train_baseline(agent, cfg, tmp_path, 16, 8, 1)
    assert [row["step"] for row in contest.evaluations(tmp_path)] == [8, 16]


def test_without_an_evaluation_there_is_no_picture(tmp_path):
    made = {file.name for file in contest_results.write_results(TASK, tmp_path)}
    assert made == {"curves.csv", "summary.csv", "report.html"}
    assert not (tmp_path / "curves.svg").exists()


def test_settings_that_the_command_makes_are_refused():
    line = ["compare", "--env", "gym/CartPole-v1"]
    assert "say it with --seeds." in call(*line, "seed=7", code=2).output
    assert "say it with --episodes." in call(*line, "run.eval_episodes=50", code=2).output
    alone = [*line, "--agents", "ppo,dqn"]
    assert "optim.lr=1e-3 is a setting of Dreamers" in call(*alone, "optim.lr=1e-3", code=2).output
    assert "--size 1m is a setting of Dreamers" in call(*alone, "--size", "1m", code=2).output

"""What the commands hand over and print."""

import json
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import pytest
import yaml

from dreamer_plugin import Dreamer
from dreamer_plugin.config import compose, load_config, save_config
from dreamer_plugin.doors import cli_config
from dreamer_plugin.run import loop
from dreamer_plugin.study import evaluation
from tests.cli.calling import call

pytestmark = pytest.mark.usefixtures("laptop")


@pytest.fixture
def trained(monkeypatch):
    """Calls of the loop, which does nothing here."""
    calls = []

    def train(cfg, **rest):
        calls.append((cfg, SimpleNamespace(**rest)))
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(loop, "train", train)
    return calls


def test_train_hands_over_every_option(trained, tmp_path):
    options = "--env toy_catch --size 12m --steps 1e3 --seed 7 --device cpu --precision float32"
    options += " --num-envs 3 --eval-every 500 --eval-episodes 4 optim.lr=1e-3 --config v3"
    call("train", *options.replace("toy_catch", "toy/catch").split(), "--logdir", tmp_path / "a")
    ((cfg, rest),) = trained
    assert (cfg.env.id, cfg.size, cfg.model.deter) == ("toy/catch", "12m", 2048)
    assert (cfg.run.steps, cfg.seed, cfg.device, cfg.precision) == (1000, 7, "cpu", "float32")
    assert (cfg.env.num_envs, cfg.run.eval_every, cfg.run.eval_episodes) == (3, 500, 4)
    assert (cfg.optim.lr, cfg.run.logdir) == (1e-3, str(tmp_path / "a"))
    assert cfg.protocol == "reduced" and rest.resume is None
    assert rest.layers_report.history["optim.lr"][-1] == (1e-3, "optim.lr=1e-3")


def test_atari_pong_with_no_other_option_starts_small(trained):
    pytest.importorskip("ale_py")
    call("train", "--env", "atari/Pong")
    ((cfg, rest),) = trained
    assert (cfg.size, cfg.env.num_envs, cfg.run.steps) == ("1m", 2, 51_000_000)
    # Half of the 6 GB free on a machine of 8 GB.
    assert rest.layers_report.needs.replay <= 3 * 10**9
    assert rest.layers_report.needs.replay > 2.9 * 10**9
    assert [row.setting for row in rest.layers_report.rows] == [
        "size",
        "env.num_envs",
        "replay.capacity",
    ]


def test_the_published_protocol_is_refused_with_the_sum():
    pytest.importorskip("ale_py")
    result = call("train", "--env", "atari/Pong", "--protocol", "published", code=2)
    assert "replay of 5,000,000 records" in result.stderr and "6.0 GB free" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_exit_code_is_the_loops(monkeypatch):
    monkeypatch.setattr(loop, "train", lambda cfg, **rest: SimpleNamespace(exit_code=130))
    call("train", "--env", "toy/catch", code=130)


@pytest.fixture
def run_folder(tmp_path):
    """A folder with what `train` leaves first."""
    resolved = compose("toy/catch", overrides=["optim.lr=1e-3"], options={"run.steps": 5000})
    save_config(resolved.config, tmp_path / "mine" / "config.yaml")
    resolved.report.save(tmp_path / "mine")
    (tmp_path / "mine" / "checkpoints" / "0005").mkdir(parents=True)
    return tmp_path / "mine"


@pytest.mark.parametrize("inside", ["", "checkpoints", "checkpoints/0005"])
def test_resume_takes_up_the_saved_settings(trained, run_folder, inside):
    path = run_folder / inside
    call("train", "--resume", path, "--steps", "9000")
    ((cfg, rest),) = trained
    assert rest.resume == str(path)
    assert (cfg.env.id, cfg.optim.lr, cfg.run.steps) == ("toy/catch", 1e-3, 9000)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--algo", "Dreamerv1"], "--config v1 is of the agent v1, and"),
        (["--config", "v2"], "leave it out, or begin a new run"),
        (["--logdir", "elsewhere"], "a run goes on in its own folder. Leave --logdir out"),
    ],
)
def test_resume_refuses_what_it_would_not_do(trained, run_folder, words, told):
    assert told in call("train", "--resume", run_folder, *words, code=2).stderr
    call("train", "--resume", run_folder, "--config", "v3", "--logdir", run_folder)
    assert trained[0][0].agent == "v3"


def test_resume_auto_of_a_logdir_needs_no_env(trained, run_folder):
    call("train", "--resume", "auto", "--logdir", run_folder)
    ((cfg, rest),) = trained
    assert (cfg.env.id, cfg.optim.lr, rest.resume) == ("toy/catch", 1e-3, "auto")


def test_resume_auto_of_an_env_starts_from_the_request(trained):
    call("train", "--resume", "auto", "--env", "toy/catch")
    ((cfg, rest),) = trained
    assert (cfg.env.id, rest.resume) == ("toy/catch", "auto")


def test_a_replay_on_disk_asks_the_disk_of_its_folder(trained, run_folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(cli_config, "free_disk", lambda path: asked.append(path) or 10**9)
    disk = "replay.storage=disk"
    call("train", "--env", "toy/catch", disk)
    call("train", "--env", "toy/catch", disk, "--logdir", tmp_path / "new")
    call("train", "--env", "toy/catch", disk, f"replay.folder={tmp_path}/fast", "--logdir", "x")
    # What a continued run has saved will be replaced, so it counts as free.
    (run_folder / "checkpoints" / "step-000000005").mkdir()
    saved = run_folder / "checkpoints" / "step-000000005" / "replay.safetensors"
    saved.write_bytes(bytes(1000))
    call("train", "--resume", run_folder, disk)
    assert asked == [Path("runs"), tmp_path / "new", tmp_path / "fast", run_folder]
    reports = [rest.layers_report for _, rest in trained]
    assert [report.machine.disk for report in reports] == [10**9] * 3 + [10**9 + 1000]
    assert all(report.needs.disk >= report.needs.replay > 0 for report in reports)
    call("train", "--env", "toy/catch")
    assert len(asked) == 4 and trained[-1][1].layers_report.needs.disk == 0


REPORT = {
    "run": "mine",
    "checkpoint": "best",
    "step": 4000,
    "env": "toy/catch",
    "episodes": 2,
    "seed": 3,
    "deterministic": True,
    "mean": 0.5,
    "std": 0.5,
    "median": 0.5,
    "min": 0.0,
    "max": 1.0,
    "iqm": 0.25,
    "iqm_low": 0.125,
    "iqm_high": 0.75,
    "length_mean": 9.0,
    "returns": [0.0, 1.0],
    "lengths": [9, 9],
}


def test_evaluate(monkeypatch, run_folder):
    calls = []

    def evaluate_fully(run, **rest):
        calls.append((run, rest))
        return SimpleNamespace(to_dict=lambda: REPORT)

    monkeypatch.setattr(evaluation, "evaluate_fully", evaluate_fully)
    text = call("evaluate", run_folder).stdout
    assert "toy/catch by mine, checkpoint best (step 4,000)" in text
    assert "mean 0.50" in text and "from 0.00 to 1.00" in text
    assert "2 episodes, likeliest actions" in text and "95 % interval 0.12 to 0.75" in text
    words = "--episodes 2 --which 4000 --seed 3 --deterministic --json --no-quality --both".split()
    assert json.loads(call("evaluate", run_folder, *words).stdout) == REPORT
    assert [run for run, _ in calls] == [Path(run_folder)] * 2
    assert calls[0][1] == {
        "episodes": 20,
        "which": "best",
        "seed": 0,
        "deterministic": None,
        "both": False,
        "device": "auto",
        "quality": True,
        "horizon": 45,
    }
    assert calls[1][1] | {"device": ""} == {
        "episodes": 2,
        "which": "4000",
        "seed": 3,
        "deterministic": True,
        "both": True,
        "device": "",
        "quality": False,
        "horizon": 45,
    }


def test_a_folder_of_runs_means_its_newest_and_says_so(monkeypatch, run_folder):
    called = []
    found = SimpleNamespace(to_dict=lambda: REPORT)
    monkeypatch.setattr(
        evaluation, "evaluate_fully", lambda run, **rest: called.append(run) or found
    )
    assert f"{run_folder} was written to last" in call("evaluate", run_folder.parent).stderr
    assert call("evaluate", run_folder).stderr == ""
    assert called == [run_folder, run_folder]


def test_a_run_of_an_env_object_is_sent_to_python(repo, tmp_path):
    """No command can make its env, and none asks for an id that it would refuse."""
    run, taken = tmp_path / "run", tmp_path / "taken"
    agent = Dreamer(lambda: gym.make("CartPole-v1"), repo / "tests" / "run" / "tiny.yaml")
    agent.save(run)
    line = f'say in Python Dreamer.load("{run}", env=YourEnv).'
    for words in (["evaluate"], ["evaluate", "--env", "toy/catch"], ["play"], ["play", "--dream"]):
        command, *rest = words
        assert f"{line}evaluate()." in call(command, run, *rest, code=2).stderr
    assert f"{line}learn(N)." in call("train", "--resume", run, code=2).stderr
    assert "--episodes 0" in call("push", run, tmp_path / "shared", code=2).stderr
    (run / "metrics.jsonl").write_text('{"step": 4, "updates": 1}\n')
    assert f"{line}evaluate(), or" in call("doctor", run, code=2).stderr
    call("doctor", run, "--episodes", 0)
    (run / "metrics.jsonl").unlink()
    call("push", run, tmp_path / "shared", "--episodes", 0)
    text = call("pull", tmp_path / "shared", taken).stdout
    assert f'Dreamer.load("{taken}", env=YourEnv)' in text and "plugin evaluate" not in text


def test_a_misspelt_run_names_the_nearest(run_folder):
    message = call("evaluate", run_folder.parent / "mien", code=2).stderr
    assert f"Did you mean '{run_folder}'?" in message


def test_show_is_yaml_with_sources():
    result = call("show", "--env", "toy/catch", "--size", "12m", "optim.lr=1e-3")
    expected = compose("toy/catch", overrides=["optim.lr=1e-3"], options={"size": "12m"}).config
    shown = yaml.safe_load(result.stdout)
    assert shown["model"]["deter"] == expected.model.deter == 2048
    assert shown["world"]["encoder"]["mults"] == [2, 3, 4, 4]
    lines = dict(line.split("#") for line in result.stdout.splitlines() if "#" in line)
    sources = {key.strip(): source.strip() for key, source in lines.items()}
    assert sources["lr: 0.001"] == "optim.lr=1e-3"
    assert sources["deter: 2048"] == "size/12m.yaml (chosen by --size)"
    assert sources["free_nats: 1.0"] == "agent/v3.yaml"
    assert "Protocol: reduced" in result.stderr


def test_show_knows_the_agent_of_2023():
    """Learning rate, core and ratio: danijar/dreamerv3 @ 423291a."""
    shown = yaml.safe_load(call("show", "--config", "v3_2023").stdout)
    assert (shown["agent"], shown["world"]["core"]["kind"]) == ("v3_2023", "gru")
    assert (shown["optim"]["lr"], shown["optim"]["actor"]["lr"]) == (1e-4, 3e-5)


def test_show_can_be_saved_and_used(tmp_path, trained):
    mine = tmp_path / "mine.yaml"
    mine.write_text(call("show", "--env", "toy/catch").stdout)
    assert load_config(mine).env.id == "toy/catch"
    call("train", "--config", mine)
    assert trained[0][0] == load_config(mine)


def test_show_json_and_why():
    shown = json.loads(call("show", "--env", "toy/catch", "--json").stdout)
    assert shown["config"]["env"]["id"] == "toy/catch"
    assert shown["sources"]["optim.lr"] == "protocol/v3/toy_catch.yaml"
    assert shown["report"]["machine"]["cores"] == 2
    words = ["show", "--env", "toy/catch", "optim.lr=1", "--why", "optim.lr"]
    lines = call(*words).stdout.splitlines()
    assert lines[0] == "optim.lr = 1.0, set by optim.lr=1"
    assert lines[-1] == "  over 4e-05 of agent/v3.yaml"
    why = json.loads(call(*words, "--json").stdout)
    assert (why["key"], why["value"], why["source"]) == ("optim.lr", 1.0, "optim.lr=1")
    assert why["over"][-1] == {"value": 4e-5, "source": "agent/v3.yaml"}


def test_show_of_a_run_remembers(run_folder):
    assert yaml.safe_load(call("show", run_folder).stdout)["optim"]["lr"] == 1e-3
    assert "set by optim.lr=1e-3" in call("show", run_folder, "--why", "optim.lr").stdout
    (run_folder / "layers.json").unlink()
    text = call("show", run_folder, "--why", "optim.lr").stdout
    assert text == f"optim.lr = 0.001, set by {run_folder / 'config.yaml'}\n"


def test_show_alone_shows_the_agent():
    assert yaml.safe_load(call("show").stdout)["model"]["deter"] == 8192


def test_envs():
    text = call("envs").stdout
    for suite in ("atari", "atari100k", "crafter", "dmc", "gym", "pinpad", "toy"):
        assert f" {suite} " in text
    toy = call("envs", "toy").stdout
    assert "toy/catch" in toy and "comes with dreamer-plugin" in toy
    assert "env.sticky=0.25" in call("envs", "atari").stdout
    assert "of its own (env.python=PATH), as it pins mujoco" in call("envs", "metaworld").stdout


def test_envs_of_a_suite_whose_tasks_only_its_package_knows(monkeypatch):
    monkeypatch.setattr("dreamer_envs.suites.envpool.find_spec", lambda name: None)
    monkeypatch.setattr("dreamer_envs.spec.SuiteSpec.installed", lambda self: not self.module)
    told = call("envs", "envpool").stdout
    assert told.startswith("envpool: ")
    assert "package: missing: pip install 'dreamer-plugin[envpool]'" in told
    assert json.loads(call("envs", "envpool", "--json").stdout)["tasks"] == []


def test_an_unknown_suite():
    said = call("envs", "nosuch", code=2).stderr
    assert "Unknown suite 'nosuch'. `dreamer-plugin envs` lists all." in said
    assert "Did you mean 'crafter'? `dreamer-plugin envs`" in call("envs", "craft", code=2).stderr


def test_envs_say_what_was_not_tested(monkeypatch):
    from dreamer_envs import spec

    found = {"toy": {"version": "", "date": "2026-01-02"}}
    monkeypatch.setattr(spec, "_results", lambda: found)
    assert "tested: 2026-01-02" in call("envs", "toy").stdout
    assert "tested: not tested" in call("envs", "pinpad").stdout
    found["minecraft"] = {"version": "0.4.4", "date": "2026-01-03", "standin": "a server"}
    assert "tested: with a stand-in 0.4.4 2026-01-03" in call("envs", "minecraft").stdout
    found["pinpad"] = {"failed": "timed out after 5 s", "date": "2026-01-04"}
    said = call("envs", "pinpad").stdout
    assert "tested: not tested: timed out after 5 s (2026-01-04)" in said


def test_envs_json():
    suites = {suite["name"]: suite for suite in json.loads(call("envs", "--json").stdout)}
    assert suites["atari"]["install"] == "pip install 'dreamer-plugin[atari]'"
    assert suites["toy"]["installed"] is True
    atari = json.loads(call("envs", "atari", "--json").stdout)
    assert "Pong" in atari["tasks"] and atari["options"]["sticky"] == 0.25


def test_envs_that_are_not_installed_say_how(monkeypatch):
    from dreamer_envs.spec import SuiteSpec

    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    assert "missing: pip install 'dreamer-plugin[crafter]'" in call("envs").stdout
    assert "Valid" not in call("envs", "crafter").stdout
    assert "missing: see dreamer-plugin envs minecraft" in call("envs").stdout
    assert "how to install: MineRL 0.4.4" in call("envs", "minecraft").stdout


def test_an_env_without_its_package_ends_with_2_and_the_recipe(monkeypatch):
    from dreamer_envs.spec import SuiteSpec

    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    for command in ("train", "check-env"):
        named = ("--env",) if command == "train" else ()
        result = call(command, *named, "minecraft/diamond", code=2)
        assert "install a JDK 8" in result.stderr and "python=PATH" in result.stderr


def test_version():
    lines = call("version").stdout.splitlines()
    assert lines[0].startswith("dreamer-plugin ") and lines[1].startswith("torch 2.")


@pytest.mark.parametrize("command", ["train", "evaluate", "show", "envs"])
def test_help_has_examples(command):
    assert f"dreamer-plugin {command} " in call(command, "--help").stdout


def test_a_gpu_is_looked_for_only_where_there_may_be_one(monkeypatch):
    monkeypatch.undo()
    assert cli_config.find_gpu("cpu") == ("", 0)
    monkeypatch.setattr(cli_config, "DRIVERS", ("/nonexistent",))
    monkeypatch.setattr(cli_config.sys, "platform", "linux")
    assert cli_config.find_gpu("auto") == ("", 0)


def test_a_gpu_is_found(monkeypatch, tmp_path):
    import torch

    monkeypatch.undo()
    monkeypatch.setattr(cli_config, "DRIVERS", (str(tmp_path),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (10 + index, 20))
    assert cli_config.find_gpu("auto") == ("GPU 0", 10)
    assert cli_config.find_gpu("cuda:1") == ("GPU 1", 11)
    assert cli_config.find_gpu("cuda:2") == ("", 0)


def test_a_resumed_run_remembers_who_set_what(trained, run_folder):
    call("train", "--resume", run_folder, "--steps", "9000")
    ((_, rest),) = trained
    history = rest.layers_report.history
    assert history["optim.lr"][-1] == (1e-3, "optim.lr=1e-3")
    assert history["optim.agc"] == [(0.3, "agent/v3.yaml")]
    assert [by for _, by in history["run.steps"]][-2:] == ["--steps", "--steps"]

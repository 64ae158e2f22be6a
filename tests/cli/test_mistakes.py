"""Every mistake: one line on stderr with the nearest valid thing, exit code 2, no traceback."""

import warnings

import pytest
from typer.testing import CliRunner

from dreamer_plugin.doors.cli import app

MISTAKES = {
    "trian": "Unknown command 'trian'. Did you mean 'train'?",
    "xyz": "Unknown command 'xyz'. Valid: train, evaluate, report, diff, compare, plan, doctor",
    "--vresion": "Unknown option '--vresion'.",
    "train --stpes 3": "Unknown option '--stpes'. Did you mean '--steps'? See ",
    "train --num_envs 3": "Unknown option '--num_envs'. Did you mean '--num-envs'?",
    "train --env": "--env",
    "train": "Which env? Say --env atari/Pong",
    "train toy/catch": "For an env write --env toy/catch.",
    "train --env toy/cacth": "Did you mean 'toy/catch'?",
    "train --env tyo/catch": "toy/catch",
    "train --env gym/no_such_module:Own-v0": "allow it with --allow-env-import no_such_module",
    "train --env toy/catch --allow-env-import no_such_module": "Cannot import 'no_such_module'",
    "train --env toy/catch --size 12": "Unknown size '12'. Did you mean '12m'?",
    "train --env toy/catch --steps many": "run.steps expects a whole number, got 'many', text (--s",
    "train --env toy/catch --steps 0": "run.steps is 0, but must be at least 1 (set by --steps).",
    "train --env toy/catch --seed 1.5": "seed expects a whole number",
    "train --env toy/catch --device gpu": "Unknown device 'gpu'.",
    "train --env toy/catch --precision fp16": "Unknown value of precision 'fp16'. Did you mean 'bf",
    "train --env toy/catch --protocol paper": "Unknown value of protocol 'paper'.",
    "train --env toy/catch --config v4": "Unknown config 'v4'. Did you mean 'v3'?",
    "train --env toy/catch --config none.yaml": "Cannot read none.yaml: No such file",
    "train --env toy/catch optim.lrr=1": "Unknown key 'optim.lrr' (optim.lrr=1). Did you mean 'o",
    "train --env toy/catch lr=1": "Did you mean 'optim.lr'?",
    "train --env toy/catch optim.lr=fast": "optim.lr expects a number, got 'fast', text",
    "train --env toy/catch run.logdir=${HOME}": "'${'",
    "train --env toy/catch env.colour=1": "toy/catch has no option 'colour'.",
    "train --env toy/catch optim.schedule=cosin": "'cosin'. Did you mean 'cosine'? Valid: consta",
    "train --env toy/catch world.encoder.downsample=max": "Valid: pool, stride, valid. (set by wo",
    "train --env toy/catch model.deter=100 model.blocks=8": "of model.blocks, 8; 96 would do",
    "train --env gym/CartPole-v1 env.obs=pixels env.size=50": "multiple of 16 from 48 to 256, such",
    "train --env gym/CartPole-v1 env.obs=pixels world.decoder.image_blocks=3": "no multiple of wor",
    "train --resume nowhere": "There is no run folder 'nowhere'.",
    "train --resume .": ". is not a run folder: it has no config.yaml.",
    "evaluate": "Missing argument 'RUN'",
    "evaluate nowhere": "There is no run folder 'nowhere'.",
    "evaluate . --episodes few": "Invalid value for '--episodes'",
    "evaluate . --episodes 0": "greater than or equal to 1, but it is '0'. See ",
    **{
        f"{command} --seed 4294967296": "less than or equal to 4294967295, but it is '4294967296'"
        for command in ("evaluate .", "play .", "report .", "doctor .", "push . there")
    },
    "play . --port 99999": "less than or equal to 65535, but it is '99999'. See ",
    "report": "Missing argument 'RUN...'",
    "report nowhere": "There is no run folder 'nowhere'.",
    "report .": ". is not a run folder: it has no config.yaml.",
    "report . .": "Where should the page of several runs lie? Add --out FILE.html.",
    "report . --out no/page.html": "Cannot write no/page.html: name a file in a folder that ex",
    "report . --episodes -1": "Invalid value for '--episodes'",
    "diff .": "Missing argument 'RUN_B'",
    "diff . nowhere": "There is no run folder 'nowhere'.",
    "compare": "Which env? Say --env gym/CartPole-v1",
    "compare --env toy/catch --agents dreamer,poo": "Unknown agent 'poo'. Did you mean 'ppo'?",
    "compare --env toy/catch --agents ,": "--agents names none",
    "compare --env toy/cacth": "Did you mean 'toy/catch'?",
    "compare --env toy/catch --steps 10 --eval-every 20": "--eval-every 20 is more than --steps 10",
    "compare --env toy/catch --seeds 0": "Invalid value for '--seeds'",
    "reproduce": "Which task? Say dmc/walker-walk; `dreamer-plugin reproduce --list` lists all.",
    "reproduce seed=1": "Which task? Say dmc/walker-walk",
    "reproduce crafter/rewrd": "Did you mean 'crafter/reward'? `dreamer-plugin reproduce --list`",
    "reproduce toy/catch": "Unknown task with a published curve 'toy/catch'.",
    "reproduce crafter/reward --agent v4": "Unknown agent 'v4'. Did you mean 'v3'? Valid: v1, v2,",
    "reproduce crafter/reward --budget much": "--budget much is neither frames, such as 100000,",
    "reproduce crafter/reward --budget 101%": "more than 0 frames, up to the 1,000,000 at whic",
    "reproduce crafter/reward --without twohot": "Unknown part to leave out 'twohot'. Did you mean",
    "reproduce crafter/reward --without symlog+symlog": "--without symlog+symlog names a part twi",
    "reproduce crafter/reward --record nowhere": "--record nowhere: there is no README.md",
    "reproduce --record nowhere": "nowhere is no folder of results: it has no README.md.",
    "reproduce --list dcm": "part of a task with a published curve 'dcm'. Did you mean 'dmc'?",
    "plan": "Which env? Say --env atari/Pong",
    "plan --env toy/catch --size 12": "Unknown size '12'. Did you mean '12m'?",
    "plan --env toy/catch --steps many": "run.steps expects a whole number",
    "doctor": "Missing argument 'RUN'",
    "doctor nowhere": "There is no run folder 'nowhere'.",
    "doctor .": ". is not a run folder: it has no config.yaml.",
    "play": "Missing argument 'RUN'",
    "play nowhere": "There is no run folder 'nowhere'.",
    "play .": ". is not a run folder: it has no config.yaml.",
    "export": "Missing argument 'RUN'",
    "export nowhere": "There is no run folder 'nowhere'.",
    "export . --format onxn": "Unknown format 'onxn'. Did you mean 'onnx'?",
    "export . a.pt": "a.pt does not say its format: end it in .onnx or .safetensors.",
    "export . a.onnx --format safetensors": "a.onnx ends in .onnx: leave one of them out.",
    "export . a.onnx --dtype bfloat16": "--dtype is of safetensors",
    "export . a.safetensors --sampled": "weights act both ways",
    "export . a.safetensors": ". is not a run folder: it has no config.yaml.",
    "import-weights": "Missing argument 'FILE.npz'",
    "import-weights w.npz": "Which env were the weights trained on? Say --env atari/Pong.",
    "import-weights w.npz --env toy/catch": "no file 'w.npz' to import weights from",
    "import-weights w.npz --env toy/catch --steps 3": "Unknown option '--steps'.",
    "export-weights nowhere w.npz": "There is no run folder 'nowhere'.",
    "export-weights . w.npz": ". is not a run folder: it has no config.yaml.",
    "export-weights . w.txt": "w.txt is no file of official weights: end it in .npz.",
    "show nowhere": "There is no run folder 'nowhere'.",
    "show toy/catch": "For an env write --env toy/catch.",
    "show --env toy/catch --why optim.lrr": "Did you mean 'optim.lr'?",
    "show --env toy/catch --why optim": "optim is a section: --why takes one key of it, such as op",
    "show --env toy/catch --why world.encoder": "such as world.encoder.",
    "show . --env toy/catch": "Show one run, or an env with its settings, not both.",
    "envs gmy": "Unknown suite 'gmy'. Did you mean 'gym'?",
    "version now": "now",
}


RUNS = {
    "train --resume runs/mien": "There is no run folder 'runs/mien'. Did you mean 'runs/mine'?",
    "train --resume runs": "runs is not a run folder: it has no config.yaml. Did you mean 'runs/mi",
    "show runs/mien": "There is no run folder 'runs/mien'. Did you mean 'runs/mine'?",
    "show a.txt": "a.txt is a file; name the folder of a run.",
    "evaluate a.txt": "a.txt is a file; name the folder of a run.",
    "report runs/mine --out page.pdf": "page.pdf is no page: end it in .html.",
    "push runs/mine hf:me/mine": "hf:me/mine is no place on the hub: write hf://user/name.",
    "push runs/mine https://huggingface.co/me/mine": "write hf://user/name.",
    "pull runs/mien here": "There is no run folder 'runs/mien'. Did you mean 'runs/mine'?",
    "pull a.txt here": "a.txt is a file; name the folder of a run.",
    "play a.safetensors": "name the folder of a run. Exported weights are for Dreamer.load.",
    "train --env toy/catch --logdir runs/mine": "continue it with --resume runs/mine, or pass ano",
    "train --env toy/catch --logdir a.txt": "Cannot write a run into a.txt: File exists; pass an",
    "train --env toy/catch --logdir a.txt/b": "Cannot write a run into a.txt/b: Not a directory;",
    "train --env toy/catch --logdir /proc/b": "Cannot write a run into /proc/b: No such file",
}


@pytest.mark.parametrize("line", MISTAKES | RUNS)
def test_one_line(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if line in RUNS:
        (tmp_path / "runs" / "mine").mkdir(parents=True)
        (tmp_path / "runs" / "mine" / "config.yaml").write_text("env: {id: toy/catch}\n")
        (tmp_path / "a.txt").touch()
        (tmp_path / "a.safetensors").touch()
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n")
    assert (MISTAKES | RUNS)[line] in result.stderr


def test_a_missing_package_names_the_extra(monkeypatch):
    from dreamer_envs.spec import SuiteSpec

    monkeypatch.setattr(SuiteSpec, "installed", lambda self: not self.module)
    result = CliRunner().invoke(app, ["train", "--env", "atari/Pong"])
    assert result.exit_code == 2
    assert "pip install 'dreamer-plugin[atari]'" in result.stderr
    assert result.stderr.count("\n") == 1
    # Looking at the settings needs no package.
    shown = CliRunner().invoke(app, ["show", "--env", "atari/Pong"])
    assert shown.exit_code == 0 and "id: atari/Pong" in shown.stdout


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a fault")

    monkeypatch.setattr("dreamer_plugin.doors.cli_config.resolve", broken)
    result = CliRunner().invoke(app, ["train", "--env", "toy/catch"])
    assert isinstance(result.exception, RuntimeError) and result.exit_code == 1


def test_an_interrupt_before_the_run_exits_130(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("dreamer_plugin.doors.cli_config.resolve", interrupted)
    result = CliRunner().invoke(app, ["train", "--env", "toy/catch"])
    assert result.exit_code == 130


def test_a_warning_is_one_line(tmp_path, monkeypatch):
    """Of a run whose newest checkpoint is damaged, as a cut or a full disk leaves it."""
    step = tmp_path / "run" / "checkpoints" / "step-000000010"
    step.mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("env: {id: toy/catch}\n")
    (step / "manifest.json").write_text("{")
    shown = []
    monkeypatch.setattr(
        warnings,
        "showwarning",
        lambda *words, **_: shown.append(warnings.formatwarning(*words[:4])),
    )
    before = warnings.formatwarning
    words = ["evaluate", str(tmp_path / "run"), "--which", "latest"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "has no whole checkpoint yet" in result.stderr
    assert len(shown) == 1 and warnings.formatwarning is before
    assert shown[0].startswith("warning  Passing over a damaged checkpoint") and shown[0].endswith(
        "\n"
    )
    assert shown[0].count("\n") == 1 and ".py" not in shown[0]

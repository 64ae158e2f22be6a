"""Command lines of other documents, and what they hand over."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from dreamer_plugin.config import compose, save_config
from dreamer_plugin.doors.dialects import words_cli
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import loop
from dreamer_plugin.study import evaluation
from tests.cli.calling import call

pytestmark = pytest.mark.usefixtures("laptop")


@pytest.fixture
def trained(monkeypatch):
    """Calls of the loop, which does nothing here."""
    calls = []

    def train(cfg, **rest):
        calls.append((cfg, rest["resume"]))
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(loop, "train", train)
    return calls


@pytest.fixture
def played(monkeypatch):
    """Calls of the evaluation, which plays nothing here."""
    calls = []

    def evaluate_fully(run, **rest):
        calls.append((run, rest["which"], rest["episodes"]))
        raise UsageError("played")

    monkeypatch.setattr(evaluation, "evaluate_fully", evaluate_fully)
    return calls


@pytest.fixture
def run_folder(tmp_path):
    """What a run leaves: a config and checkpoints, here without weights."""
    run = tmp_path / "walker"
    save_config(compose("toy/catch", options={"run.steps": 5000}).config, run / "config.yaml")
    for name in ("step-000000400", "step-000100000", "best"):
        (run / "checkpoints" / name).mkdir(parents=True)
        (run / "checkpoints" / name / "manifest.json").touch()
        (run / "checkpoints" / name / "agent.safetensors").touch()
    return run


@pytest.mark.parametrize(
    ("line", "agent", "env"),
    [
        # Other documents write these lines with the name of their own program.
        ("train dreamer --env gym/CartPole-v1 --device cpu", "v3", "gym/CartPole-v1"),
        ("train dreamer --env toy/catch --algo Dreamerv1 --device cpu", "v1", "toy/catch"),
        ("train dreamer --env gym/CartPole-v1 --algo Dreamerv2", "v2", "gym/CartPole-v1"),
        ("train --env toy/catch --algo dreamerv3 optim.lr=1e-3", "v3", "toy/catch"),
        ("train --env toy/catch --algo Dreamerv1 --config v1", "v1", "toy/catch"),
        ("train --env CartPole-v1 --suite gymnasium --steps 500000", "v3", "gym/CartPole-v1"),
        ("train --env gym/CartPole-v1 --suite gym", "v3", "gym/CartPole-v1"),
    ],
)
def test_train(trained, line, agent, env):
    call(*line.split())
    ((cfg, resume),) = trained
    assert (cfg.agent, cfg.env.id, resume) == (agent, env, None)


@pytest.mark.parametrize("line", ["--env dmc/walker-walk", "--env walker-walk --suite dmcontrol"])
def test_the_walker_of_other_documents(trained, line):
    pytest.importorskip("dm_control")
    call(*f"train dreamer {line} --algo Dreamerv1 env.obs=proprio".split())
    ((cfg, _),) = trained
    assert (cfg.agent, cfg.env.id) == ("v1", "dmc/walker-walk")


@pytest.mark.parametrize(
    ("line", "agent", "env", "needs"),
    [
        # Document 002.
        (
            "train dreamer --env dmc/walker-walk --algo Dreamerv1 --device cuda",
            "v1",
            "dmc/walker-walk",
            "dm_control",
        ),
        (
            "train dreamer --env atari/PongNoFrameskip-v4 --algo Dreamerv2 --device cuda",
            "v2",
            "atari/Pong",
            "ale_py",
        ),
        (
            "train dreamer --env dmc/walker-walk --device cuda",
            "v3",
            "dmc/walker-walk",
            "dm_control",
        ),
        # Document 003, whose program knows one agent.
        (
            "train --config seed003 --device cuda --steps 500000",
            "v3_2023",
            "dmc/walker-walk",
            "dm_control",
        ),
    ],
)
def test_lines_of_the_documents(trained, line, agent, env, needs):
    pytest.importorskip(needs)
    call(*line.split())
    ((cfg, _),) = trained
    assert (cfg.agent, cfg.env.id, cfg.device) == (agent, env, "cuda")
    assert cfg.run.steps == 500_000 or "--steps" not in line


def test_only_the_first_word_is_a_model(trained):
    message = call("train", "--env", "toy/catch", "optim.lr=1", "dreamer", code=2).stderr
    assert "'dreamer'" in message and not trained


@pytest.mark.parametrize(
    "name",
    ["", "checkpoints/step-000100000", "dreamer_step100000.pt", "dreamer_latest.pt"]
    + ["checkpoints/step-000100000.pt", "checkpoints/step-000100000/agent.safetensors"],
)
def test_resume(trained, run_folder, name):
    call("train", "--device", "cpu", "--resume", run_folder / name, "--steps", "9000")
    ((cfg, resume),) = trained
    assert (cfg.env.id, cfg.run.steps) == ("toy/catch", 9000)
    assert resume in (str(run_folder), str(run_folder / "checkpoints/step-000100000"))


@pytest.mark.parametrize("name", ["dreamer_step400.pt", "checkpoints/best"])
def test_resume_of_what_a_run_does_not_go_on_from(run_folder, name):
    message = call("train", "--resume", run_folder / name, code=2).stderr
    assert f"step-000100000. Say --resume {run_folder}." in message


@pytest.mark.parametrize(
    ("words", "path", "which"),
    [
        ("RUN", "", "best"),
        ("RUN --which 400", "", "400"),
        ("--checkpoint RUN", "", "best"),
        ("--checkpoint RUN.pt", "", "best"),
        ("--checkpoint RUN/dreamer_best.pt", "checkpoints/best", "best"),
        ("RUN/checkpoints/dreamer-step400.pt", "checkpoints/step-000000400", "best"),
        ("--checkpoint RUN/checkpoints/best/agent.pt", "checkpoints/best", "best"),
        ("--checkpoint RUN --env catch --suite toy", "", "best"),
    ],
)
def test_evaluate(played, run_folder, words, path, which):
    line = words.replace("RUN", str(run_folder))
    assert "played" in call("evaluate", *line.split(), "--episodes", 3, code=2).stderr
    assert played == [(run_folder / path, which, 3)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "train --env toy/catch --algo Dreamerv1 --config v2",
            "is --config v1, and --config v2 is",
        ),
        ("train --env toy/catch --algo Dreamerv1 --config torchwm_v2", "--config torchwm_v2 is"),
        ("train --env toy/catch --algo Dreamerv1 --config RUN", "is another agent: leave one"),
        ("train --env toy/catch --algo Dremerv1", "Unknown algo 'Dremerv1'. Did you mean 'Dream"),
        ("train --suite dmcontrol", "--suite dmcontrol says not which task: add --env TASK."),
        ("train --env toy/catch --suite toys", "is not of --suite toys: leave"),
        ("train --env toy/catch --suite gym", "is not of --suite gym: leave"),
        ("train --env catch --suite tyo", "Unknown suite 'tyo'"),
        ("evaluate RUN --checkpoint RUN", "not both"),
        ("evaluate RUN --video", "--video needs a place: add --save-dir DIR."),
        ("evaluate RUN --no-quality --horizon 9", "--horizon is of the world model's measures"),
        (
            "evaluate RUN/checkpoints/best --which best",
            "is a checkpoint already: leave out --which",
        ),
        ("evaluate RUN --env gym/CartPole-v1", "was trained on toy/catch"),
        ("evaluate RUN/dreamer_step7.pt", "holds best, step-000000400, step-000100000."),
        ("evaluate --checkpoint nothing/at_all.pt", "no run or checkpoint nothing/at_all.pt. Give"),
    ],
)
def test_mistakes(run_folder, words, message):
    stderr = call(*words.replace("RUN", str(run_folder)).split(), code=2).stderr
    assert message in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize("words", ["evaluate --checkpoint", "evaluate", "train --resume"])
def test_a_pickle_is_refused_unopened(tmp_path, words):
    file = tmp_path / "dreamer_best.pt"
    file.write_bytes(b"cos\nsystem\n")  # the beginning of a pickle that would call os.system
    file.chmod(0)
    assert "is not opened" in call(*words.split(), file, code=2).stderr


def test_a_checkpoint_is_played_itself(tmp_path, repo):
    from dreamer_plugin.run.evaluate import evaluate_run

    options = {"run.steps": 60, "run.logdir": str(tmp_path / "run")}
    tiny = repo / "tests" / "run" / "tiny.yaml"
    cfg = compose("toy/recall", config=[tiny], options=options).config
    run = loop.train(cfg, console=Console(file=io.StringIO())).run_dir
    path = words_cli.saved(run / "dreamer_step40.pt")
    assert evaluate_run(path, episodes=1).step == 40

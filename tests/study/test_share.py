"""Runs given to others and taken from strangers."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from dreamer_plugin import Dreamer
from dreamer_plugin.config import load_config
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import shared
from dreamer_plugin.run.evaluate import choose
from dreamer_plugin.study.share import Terms, pull, push
from tests.cli.calling import call

QUICK = Terms(episodes=0)


@pytest.fixture(scope="module")
def run(repo, tmp_path_factory):
    """A run with places of this machine in its settings, and a row that no number is in."""
    folder = tmp_path_factory.mktemp("share") / "run"
    tiny = repo / "tests" / "run" / "tiny.yaml"
    agent = Dreamer("gym/CartPole-v1", config=tiny, replay__folder="/home/me/replay")
    agent.save(folder, replay=False)
    text = (folder / "config.yaml").read_text().replace("logdir: ''", "logdir: /home/me/run")
    (folder / "config.yaml").write_text(text)
    rows = [{"step": 4, "kl": 0.5, "grad_norm/all": None}, {"step": 8, "where": "/home/me"}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "layers.json").write_text('{"source": "/home/me/mine.yaml"}')
    return folder


@pytest.fixture(scope="module")
def given(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "mine"
    push(run, str(folder), "latest", Terms(episodes=2, licence="mit", note="A | <b>note</b>"))
    return folder


def test_what_is_shared_is_a_run_and_data_alone(given):
    names = {path.relative_to(given).as_posix() for path in given.rglob("*") if path.is_file()}
    inside = {
        f"checkpoints/step-000000000/{part}"
        for part in (
            "agent.json",
            "agent.safetensors",
            "spaces.json",
            "spaces.safetensors",
            "manifest.json",
        )
    }
    assert names == inside | {
        "README.md",
        "config.yaml",
        "evaluation.json",
        "metrics.jsonl",
        "share.json",
    }
    text = "".join(path.read_text() for path in given.rglob("*.*") if path.suffix != ".safetensors")
    assert "/home/me" not in text and "optimizer.m" not in text
    assert (given / "metrics.jsonl").read_text().splitlines() == [
        '{"step": 4, "kl": 0.5, "grad_norm/all": null}',
        '{"step": 8}',
    ]
    cfg = load_config(given)
    assert (cfg.run.logdir, cfg.replay.folder, cfg.env.id) == ("", "", "gym/CartPole-v1")


def test_the_card_holds_what_was_played(given):
    text = (given / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["license"] == "mit" and front["library_name"] == "dreamer-plugin"
    assert "gym/CartPole-v1" in front["tags"]
    found = json.loads((given / "evaluation.json").read_text())
    assert found["episodes"] == 2 and "run" not in found
    (metric,) = front["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == f"{found['mean']:.2f} +/- {found['std']:.2f}"
    assert "A \\| &lt;b>note&lt;/b>" in body and "mine --episodes 20" in body
    assert "deter: 32" in body and "Of the weights: mit." in body


def test_weights_survive_the_trip(run, tmp_path):
    push(run, str(tmp_path / "a"), "latest", QUICK)
    facts = pull(str(tmp_path / "a"), tmp_path / "b")
    assert facts == {"checkpoint": "step-000000000", "step": 0, "env": "gym/CartPole-v1"}
    theirs, ours = (Dreamer.load(path, device="cpu").agent for path in (tmp_path / "b", run))
    for name, value in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value), name
    assert not list(tmp_path.glob(".part-*"))


def test_a_shared_agent_learns_on(given, tmp_path):
    agent = Dreamer.load(given, device="cpu")
    agent.learn(80, progress=False)
    assert agent.agent.updates > 0
    agent.save(tmp_path / "more")
    assert Dreamer.load(tmp_path / "more").num_timesteps == agent.num_timesteps


def test_bfloat16_halves_the_weights(run, tmp_path):
    push(run, str(tmp_path / "a"), "latest", QUICK)
    push(run, str(tmp_path / "b"), "latest", Terms("bfloat16", 0))
    a, b = ((tmp_path / name).rglob("agent.safetensors") for name in "ab")
    # The generator's state and the header are the same in both.
    assert next(b).stat().st_size < 0.7 * next(a).stat().st_size
    with pytest.raises(UsageError, match="Unknown dtype 'float8'"):
        push(run, str(tmp_path / "c"), "latest", Terms("float8", 0))


def test_a_private_folder_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="a is a folder, which is not private: name hf://"):
        push(run, str(tmp_path / "a"), "latest", Terms(private=True))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".part-*"))


def test_a_secret_is_not_shared(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "gym/CartPole-v1")  # as if the run's env held it
    with pytest.raises(UsageError, match="holds a secret of your environment.*nothing was shared"):
        push(run, str(tmp_path / "a"), "latest", QUICK)
    assert list(tmp_path.iterdir()) == []


def test_programs_of_this_machine_stay_here(run):
    cfg = load_config(run)
    programs = {"python": "/home/me/venv", "file_name": "/home/me/scene"}
    cfg.env.options = {**programs, "api_key": "abc", "size": 64}
    assert shared.portable(cfg).env.options == {"api_key": "abc", "size": 64}


def test_a_place_that_is_taken(run, given, tmp_path):
    (tmp_path / "a").mkdir()
    push(run, str(tmp_path / "a"), "latest", QUICK)  # it was empty
    with pytest.raises(UsageError, match="exists already"):
        push(run, str(tmp_path / "a"), "latest", QUICK)
    with pytest.raises(UsageError, match="exists already"):
        pull(str(given), tmp_path / "a")
    with pytest.raises(UsageError, match="exists already"):
        pull(str(given), tmp_path / "a" / "README.md")


def changed(given, tmp_path, change):
    """A copy of a shared run, with something done to it, its list made anew."""
    folder = tmp_path / "stranger"
    shutil.copytree(given, folder)
    change(folder)
    return folder


def listed(folder, **files):
    """Put entries into the list of a run."""
    body = json.loads((folder / "share.json").read_text())
    body["files"] |= {
        name: {"size": 1, "sha256": "0" * 64} | entry for name, entry in files.items()
    }
    (folder / "share.json").write_text(json.dumps(body))


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.json",
        "/etc/evil.json",
        "evil.py",
        "checkpoints/x/a.json",
        "a.pt",
        ".bashrc",
        "a.pkl",
        "checkpoints/step-000000000/../../../a.json",
        "a/b.json",
        "share.json",
        "a\n.json",
    ],
)
def test_names_that_lead_out_or_are_no_data(given, tmp_path, name):
    folder = changed(given, tmp_path, lambda folder: listed(folder, **{name: {}}))
    with pytest.raises(CheckpointError, match="nothing that is shared"):
        pull(str(folder), tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"stranger"}


def test_bytes_that_are_not_those_listed(given, tmp_path):
    def flip(folder):
        path = next(folder.rglob("agent.safetensors"))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    folder = changed(given, tmp_path, flip)
    with pytest.raises(CheckpointError, match="agent.safetensors is damaged"):
        pull(str(folder), tmp_path / "mine")
    (folder / "config.yaml").write_text("")
    with pytest.raises(CheckpointError, match="damaged|cut short"):
        pull(str(folder), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_list_that_agrees_with_a_damaged_checkpoint(given, tmp_path):
    """The list is the stranger's too; the manifest and the loading still notice."""

    def cut(folder):
        path = next(folder.rglob("agent.safetensors"))
        path.write_bytes(path.read_bytes()[:-8])
        shared.seal(folder)

    folder = changed(given, tmp_path, cut)
    with pytest.raises(CheckpointError):
        pull(str(folder), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2, "files": {}}', '{"format": 1, "files": [1]}', "[" * 99999],
)
def test_lists_that_are_none(given, tmp_path, text):
    folder = changed(given, tmp_path, lambda folder: (folder / "share.json").write_text(text))
    with pytest.raises(CheckpointError, match="share.json cannot be used"):
        pull(str(folder), tmp_path / "mine")


def test_too_much_is_not_fetched(given, tmp_path):
    folder = changed(
        given, tmp_path, lambda folder: listed(folder, **{"a.json": {"size": 1 << 40}})
    )
    with pytest.raises(CheckpointError, match="more than 64 files or 16 GB"):
        pull(str(folder), tmp_path / "mine")


@pytest.mark.parametrize("count", [0, 2])
def test_one_checkpoint_is_shared(given, tmp_path, count):
    def change(folder):
        checkpoint = folder / "checkpoints" / "step-000000000"
        if count:
            shutil.copytree(checkpoint, checkpoint.with_name("step-000000001"))
        else:
            shutil.rmtree(checkpoint)
        shared.seal(folder)

    with pytest.raises(CheckpointError, match=f"names {count} checkpoints, not one"):
        pull(str(changed(given, tmp_path, change)), tmp_path / "mine")


def test_the_folder_itself_may_be_a_link(given, tmp_path):
    (tmp_path / "link").symlink_to(given)
    assert pull(str(tmp_path / "link"), tmp_path / "here")


def test_links_are_not_followed(given, tmp_path):
    def link(folder):
        (folder / "README.md").unlink()
        (folder / "README.md").symlink_to(Path("/etc/hostname"))

    folder = changed(given, tmp_path, link)
    with pytest.raises(CheckpointError, match="has no file README.md"):
        pull(str(folder), tmp_path / "mine")


def test_a_strangers_settings_start_no_program(given, tmp_path):
    def ask(folder):
        path = folder / "config.yaml"
        path.write_text(
            re.sub(r"  options:\n", "  options:\n    python: /bin/evil\n", path.read_text())
        )
        shared.seal(folder)

    folder = changed(given, tmp_path, ask)
    pull(str(folder), tmp_path / "mine")  # data alone
    assert load_config(tmp_path / "mine").env.options["python"] == "/bin/evil"
    with pytest.raises(UsageError, match="would run the program '/bin/evil'"):
        call_evaluate = choose(tmp_path / "mine", "latest")
        from dreamer_plugin.study.play import open_env

        open_env(call_evaluate.cfg, None)


def test_a_folder_that_was_not_shared(run, tmp_path):
    with pytest.raises(
        CheckpointError, match="has no file share.json; `dreamer-plugin push` makes"
    ):
        pull(str(run), tmp_path / "mine")


def test_the_commands(run, tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    said = call("push", run, mine, "--which", "latest", "--episodes", 0).stdout
    assert f"{mine}, " in said and f"dreamer-plugin pull {mine} FOLDER" in said
    assert "Not played before" in (mine / "README.md").read_text()
    assert "not stated" in (mine / "README.md").read_text()
    said = call("pull", mine, theirs).stdout
    assert f"{theirs}: gym/CartPole-v1, step 0" in said
    call("evaluate", theirs, "--episodes", 1, "--no-quality")
    assert "no place on the hub" in call("pull", "hf://me", theirs / "x", code=2).stderr


def test_the_list_is_of_all_files(given):
    for name, entry in shared.read_list(given).items():
        data = (given / name).read_bytes()
        assert entry == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

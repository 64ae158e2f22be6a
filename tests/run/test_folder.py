"""A run folder holds its files itself, and none is left where nothing began."""

import shutil

import pytest

from dreamer_plugin.config import load_config
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import checkpoint, loop
from dreamer_plugin.run.evaluate import evaluate_run
from dreamer_plugin.run.folder import RunFolder, find_run
from dreamer_plugin.run.loop import train

NAMES = [
    "config.yaml",
    "metrics.jsonl",
    ".lock",
    "records",
    "checkpoints",
    "checkpoints/step-000000120",
    "checkpoints/step-000000120/agent.json",
    "checkpoints/step-000000120/manifest.json",
]


def contents(place):
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    return {str(path): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_a_link_is_refused_and_its_target_left_alone(finished, tiny, quiet, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    place, outside = run / name, tmp_path / "outside"
    place.rename(outside)
    place.symlink_to(outside)
    before = contents(outside)
    with pytest.raises(UsageError, match="is a link"):
        train(tiny(**{"run.steps": 130}), resume=run, console=quiet)
    with pytest.raises(UsageError, match="is a link"):
        evaluate_run(run, 1)
    assert contents(outside) == before
    if name.startswith("checkpoints/step"):
        with pytest.raises(CheckpointError):
            checkpoint.verify(run / "checkpoints" / "step-000000120")


def test_a_linked_segment_is_refused(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    segment = next((run / "records").iterdir())
    segment.rename(tmp_path / "elsewhere")
    segment.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        find_run(run)


def test_a_run_folder_that_is_itself_a_link_is_the_users_choice(finished, tmp_path):
    (tmp_path / "link").symlink_to(finished)
    assert find_run(tmp_path / "link") == tmp_path / "link"


def test_nothing_is_left_when_the_agent_cannot_be_built(tiny, quiet, tmp_path, monkeypatch):
    def build(*_, **__):
        raise UsageError("no such agent")

    monkeypatch.setattr(loop, "build_parts", build)
    with pytest.raises(UsageError, match="no such agent"):
        train(tiny(), console=quiet)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="no such agent"):
        train(tiny(), console=quiet)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_half_written_files_are_swept_when_a_run_goes_on(finished, tiny, quiet, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for name in (".config.yaml.a1b2c3d4", ".metrics.jsonl.a1b2c3d4", "records/.tmp-1234"):
        (run / name).write_text("half")
    train(tiny(**{"run.steps": 124}), resume=run, console=quiet)
    names = {path.name for path in run.rglob(".*")}
    assert names == {".lock"}


def test_the_lock_of_a_run_that_began_stays(finished):
    assert (RunFolder(finished).path / ".lock").exists()
    assert load_config(finished).seed == 3


def test_a_run_is_found_from_inside_and_by_an_unlucky_name(finished, tmp_path, monkeypatch):
    run = tmp_path / "out" / "checkpoints"  # a run of that name, beside another
    shutil.copytree(finished, run)
    shutil.copytree(finished, tmp_path / "out" / "other")
    assert find_run(run) == run
    step = run / "checkpoints" / "step-000000120"
    for place, name in (
        (run / "checkpoints", "step-000000120"),
        (run / "checkpoints", "."),
        (step, "."),
        (run, "checkpoints"),
    ):
        monkeypatch.chdir(place)
        assert find_run(name).resolve() == run, (place, name)

"""Checkpoints are there whole or not at all, and every damaged byte is noticed."""

import json
import os
import shutil

import pytest
import torch

from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.run import checkpoint

PARTS = {"agent": {"w": torch.arange(4.0)}, "loop": {"step": 12}}


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / checkpoint.step_name(12)
    return checkpoint.write(folder, PARTS, {"step": 12})


def test_a_checkpoint_comes_back_and_lists_its_files(saved):
    assert checkpoint.verify(saved) == {"step": 12}
    back = checkpoint.read(saved)
    assert back["agent"]["w"].tolist() == [0, 1, 2, 3] and back["loop"] == {"step": 12}
    manifest = json.loads((saved / "manifest.json").read_text())
    names = {"agent.safetensors", "agent.json", "loop.json"}
    assert manifest["format"] == 2 and set(manifest["files"]) == names
    assert not list(saved.parent.glob(".tmp-*"))


def test_part_names_are_checked(saved):
    assert set(checkpoint.read(saved, ["loop"])) == {"loop"}
    with pytest.raises(CheckpointError, match="replay"):
        checkpoint.read(saved, ["replay"])


@pytest.mark.parametrize("name", ["agent.safetensors", "agent.json", "loop.json", "manifest.json"])
def test_every_flipped_byte_is_noticed(saved, name):
    file = saved / name
    whole = file.read_bytes()
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.verify(saved)


@pytest.mark.parametrize("name", ["agent.safetensors", "agent.json", "manifest.json"])
def test_cut_and_missing_files_are_noticed(saved, name):
    file = saved / name
    whole = file.read_bytes()
    for length in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            checkpoint.read(saved)
    file.unlink()
    with pytest.raises(CheckpointError):
        checkpoint.read(saved)


def test_a_link_in_place_of_a_file_is_refused(saved, tmp_path):
    file = saved / "agent.json"
    file.rename(tmp_path / "elsewhere.json")
    os.symlink(tmp_path / "elsewhere.json", file)
    with pytest.raises(CheckpointError, match="agent.json"):
        checkpoint.verify(saved)


def test_the_newest_whole_one_is_found_and_a_damaged_one_is_passed_over(tmp_path):
    for step in (5, 30, 12):
        checkpoint.write(tmp_path / checkpoint.step_name(step), PARTS, {"step": step})
    assert checkpoint.newest(tmp_path).name == "step-000000030"
    (tmp_path / "step-000000030" / "agent.safetensors").write_bytes(b"short")
    with pytest.warns(checkpoint.DamagedCheckpointWarning, match="step-000000030"):
        assert checkpoint.newest(tmp_path).name == "step-000000012"
    assert checkpoint.newest(tmp_path / "nothing") is None


def test_retention_keeps_the_newest_and_never_touches_best(tmp_path):
    for name in ("step-000000001", "step-000000002", "step-000000003", checkpoint.BEST):
        checkpoint.write(tmp_path / name, PARTS, {})
    checkpoint.prune(tmp_path, keep=2)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["best", "step-000000002", "step-000000003"]


def test_best_is_replaced_and_survives_a_death_between_the_renames(tmp_path):
    folder = tmp_path / checkpoint.BEST
    checkpoint.write(folder, PARTS, {"value": 1})
    checkpoint.write(folder, PARTS, {"value": 2})
    assert checkpoint.verify(checkpoint.best(tmp_path)) == {"value": 2}
    folder.rename(tmp_path / ".old-best")  # what a kill between the two renames leaves
    (tmp_path / ".tmp-best-1").mkdir()
    assert checkpoint.verify(checkpoint.best(tmp_path)) == {"value": 2}
    checkpoint.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        checkpoint.write(tmp_path / "step-000000001", {"agent": {"bad": object()}}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_a_later_version_is_not_passed_over(tmp_path, monkeypatch):
    """It is whole: resuming once with an older version may not cost it or its records."""
    folder = tmp_path / "checkpoints"
    checkpoint.write(folder / checkpoint.step_name(10), PARTS, {"step": 10})
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    checkpoint.write(folder / checkpoint.step_name(20), PARTS, {"step": 20})
    monkeypatch.undo()
    (tmp_path / "records" / "inner").mkdir(parents=True)
    (tmp_path / "records" / "0-0.safetensors").touch()
    with pytest.raises(CheckpointError, match="000020 has format 3.*upgrade dreamer-plugin"):
        checkpoint.newest(folder, quarantine=True)
    checkpoint.sweep(folder)
    assert (folder / checkpoint.step_name(20)).is_dir()
    assert (tmp_path / "records" / "0-0.safetensors").is_file()
    shutil.rmtree(folder / checkpoint.step_name(20))
    checkpoint.sweep(folder)  # nothing names the segment now; a folder beside it is not ours
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["inner"]


def test_another_format_is_refused_by_number(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    with pytest.raises(CheckpointError, match="format 2"):
        checkpoint.verify(saved)

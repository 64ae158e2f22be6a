"""Checkpoints in two planes: segments of records are written once, the rest each time."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dreamer_plugin.data.frozen import Later
from dreamer_plugin.errors import CheckpointError, DiskFullError, NotFiniteError
from dreamer_plugin.run import checkpoint, records, tensorfile
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.numerics import NotFiniteWarning
from tests.run.test_resume import interrupted_copy, rows_of, tensors_of

OLD = Path(__file__).parent / "format_1"  # a run saved by the version before the two planes
OLD_SIZES = {
    f"model.{name}": size
    for name, size in [
        ("deter", 8),
        ("hidden", 4),
        ("units", 4),
        ("groups", 2),
        ("classes", 2),
        ("blocks", 2),
        ("depth", 1),
    ]
}


def last_of(run):
    return checkpoint.steps(run / "checkpoints")[0][1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of 80 steps with checkpoints at 40 and 80; not to be changed."""
    from tests.run.conftest import silent_console, tiny_config

    folder = tmp_path_factory.mktemp("planes")
    return train(tiny_config(folder), console=silent_console()).run_dir


@pytest.fixture
def run(saved, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "run"))


def test_later_checkpoints_share_the_segments_of_earlier_ones(saved):
    (_, second), (_, first) = checkpoint.steps(saved / "checkpoints")
    early, late = checkpoint.segments(first), checkpoint.segments(second)
    assert early and early.items() < late.items()
    files = {path.name for path in (saved / "records").iterdir()}
    assert files == {entry["file"] for entry in late.values()}
    fields = load_file(saved / "records" / late["0/0"]["file"])
    assert set(fields) == {"obs/vector", "action", "reward", "is_first", "is_last", "is_terminal"}


def test_every_damaged_segment_is_noticed_by_every_checkpoint_that_needs_it(run):
    name, entry = next(iter(checkpoint.segments(last_of(run)).items()))
    file = run / "records" / entry["file"]
    whole = file.read_bytes()
    for position in (0, len(whole) // 2, len(whole) - 1):
        flipped = bytes([whole[position] ^ 1])
        file.write_bytes(whole[:position] + flipped + whole[position + 1 :])
        with pytest.raises(CheckpointError, match=f"{entry['file']} is damaged"):
            checkpoint.verify(last_of(run))
    file.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="cut short"):
        checkpoint.verify(last_of(run))
    file.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.verify(last_of(run))


def test_a_manifest_may_not_name_segments_elsewhere(run):
    last = last_of(run)
    entries = checkpoint.segments(last)
    entries["0/0"]["file"] = "../config.yaml"
    shutil.rmtree(last)
    checkpoint.write(last, {"loop": {}}, {"step": 80}, entries)
    with pytest.raises(CheckpointError, match="outside"):
        checkpoint.verify(last)


def test_what_no_checkpoint_names_is_swept(run):
    kept = {entry["file"] for entry in checkpoint.segments(last_of(run)).values()}
    (run / "records" / ".tmp-1234").write_bytes(b"half")
    (run / "records" / "0-99-0123456789abcdef.safetensors").write_bytes(b"abandoned")
    (run / "checkpoints" / ".tmp-step-000000090-1234").mkdir()
    checkpoint.sweep(run / "checkpoints")
    assert {path.name for path in (run / "records").iterdir()} == kept
    assert not list((run / "checkpoints").glob(".tmp-*"))


def test_a_damaged_checkpoint_is_put_aside_when_a_whole_one_is_found(run):
    newest, older = [path for _, path in checkpoint.steps(run / "checkpoints")]
    (newest / "loop.json").write_text("{}")
    with pytest.warns(checkpoint.DamagedCheckpointWarning):
        assert checkpoint.newest(run / "checkpoints", quarantine=True) == older
    assert [path for _, path in checkpoint.steps(run / "checkpoints")] == [older]
    assert len(list((run / "checkpoints").glob(f"damaged-{newest.name}-*"))) == 1


def test_a_run_without_saved_latents_goes_on_and_says_so(tiny, quiet):
    options = {"checkpoint.latents": False}
    first = train(tiny(**options, **{"run.steps": 40}), console=quiet)
    saved = last_of(first.run_dir)
    assert checkpoint.verify(saved)["resume"] == "consistent"
    names = load_file(saved / "replay.safetensors")
    assert not any("deter" in name or "stoch" in name for name in names)
    second = train(tiny(**options, **{"run.steps": 60}), resume="auto", console=quiet)
    assert second.steps == 60 and "lacks the latents" in quiet.export_text()


def test_a_run_of_the_format_before_goes_on(tiny, quiet, tmp_path):
    old = Path(shutil.copytree(OLD, tmp_path / "old"))
    assert '"format": 1' in (last_of(old) / "manifest.json").read_text()
    options = {"run.steps": 60, **OLD_SIZES}
    result = train(tiny(name="old", **options), resume=old, console=quiet)
    assert result.steps == 60 and "exactly" in quiet.export_text()
    assert checkpoint.segments(last_of(old))
    again = train(tiny(name="old", **{**options, "run.steps": 64}), resume=old, console=quiet)
    assert again.steps == 64


def test_a_full_disk_ends_the_run_and_spares_the_last_checkpoint(tiny, quiet, monkeypatch):
    reserve = os.posix_fallocate
    calls = []

    def full(descriptor, start, size):
        calls.append(size)
        if len(calls) > 20:  # the first checkpoint has fewer files
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(descriptor, start, size)

    monkeypatch.setattr(tensorfile.os, "posix_fallocate", full)
    with pytest.raises(
        DiskFullError, match="step 80.*the one of step 40 stands.*--resume"
    ) as error:
        train(tiny(), console=quiet)
    assert error.value.exit_code == 4
    monkeypatch.undo()
    folder = Path(tiny().run.logdir)
    assert checkpoint.newest(folder / "checkpoints").name == "step-000000040"
    left = {path.name for path in (folder / "records").iterdir()}
    assert left == {entry["file"] for entry in checkpoint.segments(last_of(folder)).values()}
    assert train(tiny(), resume=folder, console=quiet).steps == 80


def test_an_agent_that_is_not_finite_is_never_saved(tiny, quiet):
    def poison(training):
        if training.step == 78:
            next(iter(training.parts.agent.parameters())).data.view(-1)[0] = float("nan")

    with (
        pytest.warns(NotFiniteWarning),
        pytest.raises(NotFiniteError, match=r"At step 80 .* not finite.*--resume") as error,
    ):
        train(tiny(), console=quiet, callbacks=[poison])
    assert error.value.exit_code == 3
    folder = Path(tiny().run.logdir)
    assert checkpoint.newest(folder / "checkpoints").name == "step-000000040"


def test_segments_written_after_the_checkpoint_are_replaced(saved, tiny, quiet, tmp_path):
    part = interrupted_copy(saved, 40, tmp_path / "part")
    train(tiny(name="part"), resume=part, console=quiet)
    assert tensors_of(last_of(part)) == tensors_of(last_of(saved))
    assert rows_of(part) == rows_of(saved)
    assert checkpoint.segments(last_of(part)) == checkpoint.segments(last_of(saved))


def test_tensor_files_are_read_by_the_library(tmp_path):
    tensors = {
        "half": torch.arange(5.0).to(torch.bfloat16),
        "flag": torch.tensor([True, False, True]),
        "scalar": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "lone": torch.ones(1).expand(1, 1),
        "still": torch.tensor(3.0).expand(1),
        "byte": torch.arange(7, dtype=torch.uint8).reshape(1, 7),
        "word": torch.tensor([1, 2**32 - 1], dtype=torch.uint32),  # of a generator's state
        "wide": torch.arange(6, dtype=torch.float64).reshape(2, 3),
    }
    later = Later((2, 2), torch.float32, lambda: torch.eye(2))
    facts = tensorfile.write_tensors(tmp_path / "file", {**tensors, "later": later})
    back = load_file(tmp_path / "file")
    assert back.keys() == {*tensors, "later"}
    for name, value in {**tensors, "later": torch.eye(2)}.items():
        torch.testing.assert_close(back[name], value, rtol=0, atol=0)
    data = (tmp_path / "file").read_bytes()
    assert facts == {"size": len(data), "sha256": tensorfile.hashlib.sha256(data).hexdigest()}


def test_records_are_written_once_and_carried_whole(tmp_path):
    files = records.RecordFiles(tmp_path / "a")
    one, two = {"reward": torch.ones(3)}, {"reward": torch.zeros(3)}
    first = files.write({"0/0": one})
    stamp = (tmp_path / "a" / first["0/0"]["file"]).stat().st_mtime_ns
    both = files.write({"0/0": one, "1/0": two})
    assert both["0/0"] == first["0/0"]
    assert (tmp_path / "a" / first["0/0"]["file"]).stat().st_mtime_ns == stamp
    records.RecordFiles(tmp_path / "b").carry(tmp_path / "a", both)
    read = records.read_segments(tmp_path / "b", both)
    assert read["0/0/reward"].tolist() == [1, 1, 1] and read["1/0/reward"].tolist() == [0, 0, 0]

"""A replay on disk: the same batches, no file with a name, errors for a full disk."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamer_plugin.data import segments
from dreamer_plugin.data.fields import Field
from dreamer_plugin.data.replay import load_rb_state, rb_state, write_back
from dreamer_plugin.data.segments import OnDisk, in_memory
from dreamer_plugin.errors import UsageError

# TorchRL says so once when a call asks for another number than the buffer was made for.
pytestmark = pytest.mark.filterwarnings("ignore:Got conflicting batch_sizes")

FIELDS = (
    Field("image", (5, 3), torch.uint8),
    Field("reward", (), torch.float32),
    Field("flag", (), torch.bool),
    Field("deter", (3,), torch.bfloat16),
    Field("kind", (2,), torch.int32),
)


def mapped(folder: Path) -> list[str]:
    """The files of this folder that this process has in its memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


def test_arrays_are_those_of_memory_and_apart_from_each_other(tmp_path: Path) -> None:
    on_disk, plain = OnDisk(tmp_path / "new")(FIELDS, 7), in_memory(FIELDS, 7)
    for number, (ours, theirs) in enumerate(zip(on_disk, plain, strict=True)):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert ours.flags.c_contiguous and ours.flags.aligned and ours.ctypes.data % 64 == 0
        ours[:] = number
    assert [set(array.reshape(-1).tolist()) for array in on_disk] == [{0}, {1}, {1}, {3}, {4}]


def test_batches_are_the_same_bit_for_bit(make: Any, records: Any, tmp_path: Path) -> None:
    options = {"seed": 5, "latent_dtype": torch.bfloat16}
    pair = make(2, 300, 4, **options), make(2, 300, 4, **options, folder=tmp_path)
    for i in range(400):
        for rb in pair:
            rb.extend(records([2 * i, 2 * i + 1], is_first=i % 9 == 0, is_last=i % 9 == 8))
        if i > 10 and i % 7 == 0:
            batch, other = (rb.sample(3) for rb in pair)
            assert (batch == other).all()
            latents = batch.select("deter", "stoch")
            latents["deter"] = latents["deter"] + 1
            for rb in pair:
                write_back(rb, batch["index"], latents)
    one, other = (rb_state(rb)["storage"] for rb in pair)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one if "/" in key)
    # Into a replay on disk from memory and the other way round; both go on alike.
    crossed = make(2, 300, 4, **options, folder=tmp_path), make(2, 300, 4, **options)
    for new, old in zip(crossed, pair, strict=True):
        load_rb_state(new, rb_state(old))
    assert (crossed[0].sample(5) == crossed[1].sample(5)).all()


def test_files_have_no_name_and_no_descriptor_and_go_with_the_replay(
    make: Any, records: Any, tmp_path: Path
) -> None:
    before = len(list(segments.OPEN_FILES.iterdir()))
    rb, other = make(1, 200, 4, folder=tmp_path), make(1, 200, 4, folder=tmp_path)
    for i in range(60):
        rb.extend(records([i]))
        other.extend(records([100 + i]))
    assert list(tmp_path.iterdir()) == []
    # Segments of four records: 15 of each replay, none shared.
    assert len(mapped(tmp_path)) == 30 and len(list(segments.OPEN_FILES.iterdir())) == before
    assert rb[torch.arange(60)]["reward"].tolist() == list(range(60))
    rb.empty()
    assert len(mapped(tmp_path)) == 15
    del rb, other
    gc.collect()
    assert mapped(tmp_path) == []


def test_the_blocks_are_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = []
    reserve = os.posix_fallocate

    def look(file: int, start: int, size: int) -> None:
        reserve(file, start, size)
        reserved.append((size, os.fstat(file).st_blocks * 512))

    monkeypatch.setattr(os, "posix_fallocate", look)
    OnDisk(tmp_path)(FIELDS, 10_000)
    # Bytes of a record by hand: 15 + 4 + 1 + 6 + 8; each array is a multiple of 64 long.
    ((size, blocks),) = reserved
    assert 340_000 <= size < 340_000 + 5 * 64 and blocks >= size


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("os.posix_fallocate", OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        ("torch.from_file", RuntimeError("unable to mmap"), "unable to mmap"),
    ],
)
def test_a_full_disk_is_said(
    make: Any, records: Any, tmp_path: Path, monkeypatch: Any, target: str, error: Any, words: str
) -> None:
    rb = make(1, 200, 4, folder=tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(target, fail)
    with pytest.raises(
        UsageError, match=f"another [0-9]+ bytes in .*{words}.*, [0-9,]+ free; lower"
    ):
        rb.extend(records([0]))
    assert len(rb) == 0


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, words in (
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "below", "Not a directory"),
        (Path("/proc/none"), "No such file"),
    ):
        with pytest.raises(UsageError, match=f"in {folder}: {words}.*; .* with replay.folder"):
            OnDisk(folder)


def test_a_folder_that_has_become_a_file_is_said(tmp_path: Path) -> None:
    on_disk = OnDisk(tmp_path / "replay")
    on_disk.folder.rmdir()
    on_disk.folder.write_text("")
    with pytest.raises(UsageError, match="File exists; .*another disk with replay.folder"):
        on_disk(FIELDS, 1)


def test_other_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "OPEN_FILES", tmp_path / "none")
    with pytest.raises(UsageError, match="needs Linux.*keep it in memory"):
        OnDisk(tmp_path)


def test_dumping_through_torchrl_works(make: Any, records: Any, tmp_path: Path) -> None:
    rb, again = make(1, 200, 4, folder=tmp_path / "a"), make(1, 200, 4, folder=tmp_path / "a")
    for i in range(30):
        rb.extend(records([i]))
    rb.dumps(tmp_path / "saved")
    again.loads(tmp_path / "saved")
    np.testing.assert_array_equal(again[torch.arange(30)]["reward"], np.arange(30))

"""The replay that a run gets, and what is said about its size."""

import ctypes
import json
import os
import shutil
from collections import namedtuple
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config
from dreamer_plugin.data.replay import load_rb_state, rb_state
from dreamer_plugin.data.segments import OnDisk
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run import replay as module
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.replay import (
    build_replay,
    latent_sizes,
    planned_sizes,
    replay_needs,
    replay_text,
    saved_bytes,
)
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces
from dreamer_plugin.world.latent import GaussianLatent

SPACES = Spaces((ObsKey("sensors", "vector", (3,)),), (ActionKey("action", "discrete", (), 2),))


def test_the_sizes_of_an_agent_are_those_of_its_config(tiny):
    cfg = tiny()
    sizes = latent_sizes(build_agent(cfg, SPACES, torch.device("cpu")))
    # The second is what the plan of the command line counts with, before there is an agent.
    assert sizes == planned_sizes(cfg)
    assert sizes == {"deter": cfg.model.deter, "stoch_shape": (4,), "stoch_dtype": torch.uint8}


def test_gaussian_latents_are_planned_and_kept_as_float32(tiny):
    cfg = tiny(**{"world.latent.kind": "gaussian"})
    latent, planned = GaussianLatent(cfg.model.groups), planned_sizes(cfg)
    assert planned["stoch_shape"] == latent.storage_shape
    assert planned["stoch_dtype"] == latent.storage_dtype == torch.float32
    plain = planned_sizes(tiny())
    more, less = (replay_needs(cfg, SPACES, 1, **sizes)["latents"] for sizes in (planned, plain))
    assert more - less == 3 * cfg.model.groups * (less // (4 * cfg.model.deter + cfg.model.groups))
    fields = build_replay(cfg, SPACES, 1, **planned).facts()["fields"]
    assert fields[-1] == ["stoch", list(latent.storage_shape), "float32"]


def test_latents_are_told_apart_and_halved_by_bfloat16(tiny):
    sizes = {"deter": 1000, "stoch_shape": (4,)}
    cfg = tiny(**{"replay.capacity": 100_000})
    half = tiny(**{"replay.capacity": 100_000, "replay.latent_dtype": "bfloat16"})
    need, less = (replay_needs(one, SPACES, 1, **sizes) for one in (cfg, half))
    # 4004 bytes of latents and 28 of records (12 + 8 + 4 + 3, a line of about 1), 100,000 times
    # and 1 or 2 % for unused ends.
    assert 4004e5 < need["latents"] < 1.02 * 4004e5 and 27e5 < need["records"] < 29e5
    assert less["records"] == need["records"]
    assert less["latents"] * 4004 == need["latents"] * 2004
    assert build_replay(half, SPACES, 1, **sizes).facts()["fields"][-2][2] == "bfloat16"
    assert "100,000 windows of 8, 407.4 MB" in replay_text(cfg, need)
    assert " MB of memory when full (2.8 MB records, 404.5 MB latents)" in replay_text(cfg, need)


def test_a_type_of_latents_that_no_preset_check_saw(tiny):
    cfg = Config()
    cfg = replace(cfg, replay=replace(cfg.replay, latent_dtype="float61"))
    with pytest.raises(UsageError, match="'float61'. Did you mean 'float16'"):
        build_replay(cfg, SPACES, 1, deter=1, stoch_shape=(1,))


# On disk.

DISK = {"replay.storage": "disk"}
SIZES = {"deter": 4, "stoch_shape": (1,)}


def hashes(run, step):
    """Hash of every tensor file of a checkpoint."""
    folder = run / "checkpoints" / checkpoint.step_name(step)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return {name: facts["sha256"] for name, facts in files.items() if "safetensors" in name}


def test_a_run_on_disk_is_the_run_in_memory_and_goes_on_exactly(tiny, quiet, tmp_path):
    kept = []
    look = {"callbacks": [lambda training: kept.append(training.parts.replay.storage._make)]}
    memory = train(tiny(name="memory"), console=quiet).run_dir
    disk = train(tiny(name="disk", **DISK), console=quiet, **look).run_dir
    assert isinstance(kept[-1], OnDisk) and kept[-1].folder == disk
    assert "on disk when full" in quiet.export_text(clear=False)
    assert hashes(disk, 80) == hashes(memory, 80)
    assert sorted(path.name for path in disk.iterdir() if "tfevents" not in path.name) == [
        ".lock", "checkpoints", "config.yaml", "machine.jsonl", "metrics.jsonl", "records"
    ]  # fmt: skip
    # From the middle, by a run that was on disk and now lies elsewhere on it.
    shutil.rmtree(disk / "checkpoints" / checkpoint.step_name(80))
    elsewhere = {"replay.folder": str(tmp_path / "scratch"), **DISK}
    train(tiny(name="disk", **elsewhere), resume=disk, console=quiet, **look)
    assert kept[-1].folder == tmp_path / "scratch" and list(kept[-1].folder.iterdir()) == []
    assert "exactly" in quiet.export_text()
    assert hashes(disk, 80) == hashes(memory, 80)


def memory(name):
    """A line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def taking_less_than(size):
    """Holds that what is done inside never takes so many bytes of memory more than before."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed must not serve again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < size


def test_saving_does_not_copy_the_replay_into_memory(tiny, tmp_path):
    image = Spaces((ObsKey("image", "image", (64, 64, 3)),), SPACES.actions)
    options = {"replay.capacity": 4000, "replay.batch_length": 8}
    rb = build_replay(tiny(**options, **DISK), image, 1, **SIZES, run=tmp_path)
    count = 100
    rows = {
        "obs": TensorDict({"image": torch.zeros(count, 64, 64, 3, dtype=torch.uint8)}, [count]),
        "action": torch.zeros(count, 2),
        "reward": torch.arange(float(count)),
        "deter": torch.zeros(count, 4),
        "stoch": torch.zeros(count, 1, dtype=torch.uint8),
    }
    rows |= {name: torch.zeros(count).bool() for name in ("is_first", "is_last", "is_terminal")}
    for _ in range(40):  # 4000 images of 12,288 bytes: 49 MB
        rb.extend(TensorDict(rows, [count]), env=[0] * count)
    with pytest.raises(AssertionError), taking_less_than(16 << 20):
        np.ones(256 << 20, np.uint8)  # much, as the kernel may take other pages back meanwhile
    with taking_less_than(16 << 20):
        folder = tmp_path / "checkpoints" / "step-000000001"
        checkpoint.write(folder, {"replay": rb_state(rb)}, {})
    assert saved_bytes(tmp_path) > 4000 * 12_288
    again = build_replay(tiny(**options, **DISK), image, 1, **SIZES, run=tmp_path)
    before = memory("RssAnon")
    load_rb_state(again, checkpoint.read(folder)["replay"])
    assert memory("RssAnon") - before < 16 << 20
    assert (again.sample() == rb.sample()).all()


def test_a_replay_on_disk_needs_a_folder(tiny):
    with pytest.raises(UsageError, match="set replay.folder, or run.logdir"):
        build_replay(tiny(**DISK), SPACES, 1, **SIZES)


def disks(monkeypatch, free):
    """Pretend so many bytes free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, free))


def test_too_small_a_disk_is_refused_before_the_run(tiny, tmp_path, monkeypatch):
    sizes = {"replay.capacity": 10_000, "run.steps": 20_000, "run.keep": 2, "run.save_every": 1000}
    cfg = tiny(**DISK, **sizes)
    need = replay_needs(cfg, SPACES, 1, **SIZES)
    # Records once, and a fifth more that two saves earlier were there; latents in three of them.
    saved = int(need["records"] * 1.2) + 3 * need["latents"]
    whole = need["total"] + saved
    disks(monkeypatch, whole)
    build_replay(cfg, SPACES, 1, **SIZES, run=tmp_path)
    disks(monkeypatch, whole - 1)
    with pytest.raises(UsageError) as caught:
        build_replay(cfg, SPACES, 1, **SIZES, run=tmp_path / "not" / "yet")
    message, text = str(caught.value), module.size_text
    assert f"disk of {tmp_path}: {text(whole)} needed, " in message
    takes = f"it takes {text(need['total'])}, and its up to 3 checkpoints {text(saved)}."
    assert takes in message
    assert "Lower replay.capacity or run.keep, set checkpoint.latents=false, or name" in message
    # A replay that holds the whole run loses nothing that an older checkpoint names.
    whole_run = replace(cfg, run=replace(cfg.run, steps=10_000))
    disks(monkeypatch, need["total"] + need["records"] + 3 * need["latents"])
    build_replay(whole_run, SPACES, 1, **SIZES, run=tmp_path)
    # Without latents in them, checkpoints are the records alone.
    bare = replace(cfg, checkpoint=replace(cfg.checkpoint, latents=False))
    disks(monkeypatch, need["total"] + int(need["records"] * 1.2))
    build_replay(bare, SPACES, 1, **SIZES, run=tmp_path)
    # Checkpoints that are there already take no more room, nor do steps that are never made.
    held = tmp_path / "checkpoints" / "step-000000001"
    held.mkdir(parents=True)
    with (held / "replay.safetensors").open("wb") as file:
        os.truncate(file.fileno(), saved)
    disks(monkeypatch, need["total"])
    build_replay(cfg, SPACES, 1, **SIZES, run=tmp_path)
    short = replace(cfg, run=replace(cfg.run, steps=1000))
    disks(monkeypatch, need["total"] // 2)
    build_replay(short, SPACES, 1, **SIZES, run=tmp_path)
    with pytest.raises(UsageError, match="does not fit"):
        build_replay(cfg, SPACES, 1, **SIZES, run=tmp_path)


def test_another_disk_takes_the_replay_and_not_its_checkpoints(tiny, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    cfg = tiny(**DISK, **{"replay.folder": str(other), "run.keep": 1, "run.steps": 1000})
    need = replay_needs(cfg, SPACES, 1, **SIZES)
    saved = int(need["records"] * (1 + 40 / 500)) + 2 * need["latents"]
    monkeypatch.setattr(module, "existing", lambda path: OneOf(path, path == other))
    disks(monkeypatch, saved)
    build_replay(cfg, SPACES, 1, **SIZES, run=tmp_path)
    disks(monkeypatch, saved - 1)
    with pytest.raises(UsageError, match=f"the disk of {tmp_path}: .* up to 2 checkpoints"):
        build_replay(cfg, SPACES, 1, **SIZES, run=tmp_path)
    # Without a run nothing is saved.
    disks(monkeypatch, need["total"])
    build_replay(cfg, SPACES, 1, **SIZES)


class OneOf:
    """A folder on a disk of this number."""

    def __init__(self, path, number):
        self.path, self.st_dev = path, number

    def stat(self):
        return self

    def __str__(self):
        return str(self.path)

"""What changes on a small machine, what is said about it, and what is refused."""

import json
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from dreamer_plugin.config import EnvFacts, MachineLayer, compose, save_config
from dreamer_plugin.config import machine as probes
from dreamer_plugin.config.history import saved_history
from dreamer_plugin.config.layers import training_bytes
from dreamer_plugin.config.machine import Machine
from dreamer_plugin.config.report import size_text
from dreamer_plugin.config.schema import Config
from dreamer_plugin.errors import UsageError

GB = 10**9
LAPTOP = Machine(cores=2, free=6 * GB)
SERVER = Machine(cores=32, free=900 * GB, gpu="a GPU", gpu_free=80 * GB)
GRAY96 = 96 * 96


def record_bytes(cfg):
    """96x96 gray, 18 actions, reward, three flags, latents: as the replay stores them."""
    return GRAY96 + 4 * 18 + 4 + 3 + 4 * cfg.model.deter + cfg.model.groups


FACTS = EnvFacts(replay_bytes=lambda cfg: cfg.replay.capacity * record_bytes(cfg), pixels=GRAY96)


def plan(machine, env="atari/Pong", facts=FACTS, **request):
    return compose(env, machine=MachineLayer(machine, facts), **request)


def rows(resolved):
    return {
        row.setting: (row.published, row.here, row.restore, row.neutral)
        for row in resolved.report.rows
    }


def test_without_a_gpu():
    resolved = plan(LAPTOP)
    cfg = resolved.config
    # 9216 + 72 + 7 + 4 * 512 + 32 = 11375 bytes a record; half of 6 GB holds 263,736 of them.
    assert record_bytes(cfg) == 11375
    assert (cfg.size, cfg.model.deter, cfg.env.num_envs) == ("1m", 512, 2)
    assert cfg.replay.capacity == 3 * GB // 11375 == 263_736
    assert cfg.protocol == "reduced"
    assert rows(resolved) == {
        "size": ("200m", "1m", "--size 200m", False),
        "env.num_envs": (16, 2, "--num-envs 16", False),
        "replay.capacity": (5_000_000, 263_736, "replay.capacity=5000000", False),
    }
    assert resolved.report.needs.replay == 263_736 * 11375
    assert resolved.why("model.deter").startswith(
        "model.deter = 512, set by size/1m.yaml (chosen by the machine layer)"
    )
    # What a published score depends on otherwise is untouched.
    assert (cfg.run.steps, cfg.run.train_ratio, cfg.optim.lr) == (51_000_000, 32, 4e-5)


@pytest.mark.parametrize("row", range(3))
def test_the_restoring_option_restores(row):
    found = plan(LAPTOP).report.rows[row]
    option, _, value = found.restore.rpartition(" ")
    if option:
        key = {"--size": "size", "--num-envs": "env.num_envs"}[option]
        resolved = plan(LAPTOP, options={key: value})
    else:
        resolved = plan(LAPTOP, overrides=[found.restore])
    assert found.setting not in rows(resolved)
    assert resolved.history[found.setting][-1][0] == found.published


def test_what_does_not_shrink_with_the_replay_is_counted():
    fixed = 10**9
    facts = EnvFacts(lambda cfg: fixed + cfg.replay.capacity * 1000, GRAY96)
    found = plan(LAPTOP, facts=facts)
    # (3 GB - 1 GB) / 1000 bytes
    assert found.config.replay.capacity == 2_000_000
    with pytest.raises(UsageError, match="Too little memory"):
        plan(Machine(2, 10**9), facts=facts)


def test_with_a_gpu_and_room_everything_is_as_published():
    resolved = plan(SERVER)
    assert resolved.report.rows == [] and resolved.report.settings == {}
    assert resolved.config == compose("atari/Pong").config
    assert resolved.config.protocol == "published"


def test_a_replay_that_does_not_fit_beside_a_gpu():
    machine = Machine(32, 100 * GB, "a GPU", 80 * GB)
    resolved = plan(machine)
    each = record_bytes(resolved.config)
    assert resolved.config.size == "200m"
    assert resolved.config.replay.capacity == int(90 * GB / each) == 2_138_021
    assert list(rows(resolved)) == ["replay.capacity"]
    assert "100.0 GB free memory" in resolved.report.rows[0].why


def test_a_gaussian_state_has_one_feature_for_each_number():
    plain = compose("dmc/walker-walk").config
    gaussian = compose("dmc/walker-walk", overrides=["world.latent.kind=gaussian"]).config
    saved = training_bytes(plain, 0, 4) - training_bytes(gaussian, 0, 4)
    # One float of every class but one, of every group, of every state of 16 x 64 dreams.
    features = plain.model.groups * (plain.model.classes - 1)
    assert saved == 4 * 16 * 64 * (plain.behavior.imag_horizon + 1) * features


def test_a_model_that_does_not_fit_on_the_gpu():
    machine = Machine(32, 900 * GB, "a GPU", 8 * GB)
    resolved = plan(machine)
    size = resolved.config.size
    fits = training_bytes(resolved.config, GRAY96, 2)
    larger = plan(machine, options={"size": "50m"}).config
    assert size == "25m"
    assert fits <= 0.9 * 8 * GB < training_bytes(larger, GRAY96, 2)
    assert rows(resolved)["size"] == ("200m", "25m", "--size 200m", False)


def test_a_run_that_ends_before_the_replay_is_full_loses_nothing():
    resolved = plan(SERVER, "atari100k/Pong")
    assert resolved.config.replay.capacity == 110_000
    assert rows(resolved) == {
        "replay.capacity": (5_000_000, 110_000, "replay.capacity=5000000", True)
    }
    assert resolved.config.protocol == "published"


def test_a_very_short_run_keeps_room_for_the_first_update():
    cfg = plan(LAPTOP, options={"run.steps": 100}).config
    # prefill 1024 windows, and twice 2 envs of 65 records.
    assert cfg.replay.capacity == 1024 + 2 * 2 * 65


def test_a_replay_larger_than_the_run_needs_what_the_run_fills():
    found = plan(LAPTOP, options={"run.steps": 5000, "replay.capacity": 10**9})
    assert found.config.replay.capacity == 10**9
    assert found.report.needs.replay == 5000 * record_bytes(found.config)


def test_the_replay_of_a_continued_run_is_fitted_anew(tmp_path):
    first = plan(LAPTOP, options={"run.steps": 5000})
    assert first.config.replay.capacity == 5000
    save_config(first.config, tmp_path / "config.yaml")
    first.report.save(tmp_path)
    longer = plan(LAPTOP, env="", config=[tmp_path], options={"run.steps": 9000})
    assert longer.config.replay.capacity == 9000
    chosen = plan(LAPTOP, env="", config=[tmp_path], options={"replay.capacity": 7000})
    assert chosen.config.replay.capacity == 7000
    (tmp_path / "config.yaml").write_text("env: {id: atari/Pong}\nrun: {steps: 9000}\n")
    assert plan(LAPTOP, env="", config=[tmp_path]).config.replay.capacity == 9000


def test_a_replay_cut_to_the_memory_stays_as_it_is_in_a_continued_run(tmp_path):
    first = plan(LAPTOP)
    save_config(first.config, tmp_path / "config.yaml")
    first.report.save(tmp_path)
    for free in (5 * GB, 7 * GB):
        later = plan(replace(LAPTOP, free=free), env="", config=[tmp_path])
        assert later.config.replay.capacity == first.config.replay.capacity == 263_736


def test_envs_that_are_no_processes_need_no_cores():
    assert plan(LAPTOP, "gym/CartPole-v1").config.env.num_envs == 4
    assert plan(Machine(1, 6 * GB), "dmc/walker-walk").config.env.num_envs == 1


def test_envs_of_a_pool_need_no_cores():
    pool = replace(FACTS, pooled=True)
    assert plan(LAPTOP, "envpool/Pong-v5", pool).config.env.num_envs == 16
    assert plan(LAPTOP, "envpool/Pong-v5", FACTS).config.env.num_envs == 2


def test_no_more_envs_than_published():
    cfg = plan(Machine(64, 60 * GB)).config
    assert cfg.env.num_envs == 16
    assert plan(Machine(64, 60 * GB), "crafter/reward").config.env.num_envs == 1


def test_user_settings_stay_and_count_in_the_plan():
    request = {"options": {"size": "12m", "env.num_envs": 5, "run.steps": 10_000_000}}
    resolved = plan(LAPTOP, **request)
    cfg = resolved.config
    assert (cfg.size, cfg.env.num_envs) == ("12m", 5)
    assert cfg.replay.capacity == 3 * GB // record_bytes(cfg)
    assert rows(resolved)["size"] == ("200m", "12m", "leave out --size", False)
    assert rows(resolved)["run.steps"] == (51_000_000, 10_000_000, "leave out --steps", False)
    kept = plan(LAPTOP, overrides=["replay.capacity=700000"])
    assert kept.config.replay.capacity == 700_000


def test_how_a_run_begins_and_groups_its_updates_is_compared():
    changed = {"burst": (1, 100), "pretrain": (0, 7), "random_prefill": (False, True)}
    overrides = [f"run.{key}={str(here).lower()}" for key, (_, here) in changed.items()]
    resolved = plan(SERVER, overrides=overrides)
    seen = {key: rows(resolved)[f"run.{key}"] for key in changed}
    assert {key: row[:2] for key, row in seen.items()} == changed
    assert not any(row[3] for row in seen.values())
    assert resolved.config.protocol == "reduced"


def test_published_forces_everything():
    resolved = plan(Machine(2, 900 * GB), options={"protocol": "published"})
    assert resolved.report.rows == []
    assert (resolved.config.size, resolved.config.env.num_envs) == ("200m", 16)
    assert resolved.config.protocol == "published"


def test_published_is_refused_with_the_sum():
    with pytest.raises(UsageError) as caught:
        plan(LAPTOP, options={"protocol": "published"})
    message = str(caught.value)
    # 5e6 records of 9216 + 72 + 7 + 4 * 8192 + 32 = 42095 bytes = 210.5 GB; training in float32.
    training = training_bytes(compose("atari/Pong").config, GRAY96, 4)
    total = size_text(5_000_000 * 42095 + training)
    assert "\n" not in message
    assert f"it needs {total} of memory" in message
    assert f"(replay of 5,000,000 records 210.5 GB + training {size_text(training)})" in message
    assert "6.0 GB free" in message and "Leave out --protocol published" in message


def test_published_is_refused_by_a_small_gpu_too():
    with pytest.raises(UsageError, match="on a GPU, 8.0 GB free") as caught:
        plan(Machine(8, 900 * GB, "a GPU", 8 * GB), options={"protocol": "published"})
    assert "of memory" not in str(caught.value)


def test_the_record_in_a_saved_file_is_no_demand(tmp_path):
    (tmp_path / "mine.yaml").write_text("protocol: published\n")
    assert plan(LAPTOP, config=[tmp_path / "mine.yaml"]).config.protocol == "reduced"


def test_too_little_memory_for_anything_is_said():
    with pytest.raises(UsageError, match="Too little memory: the smallest useful replay") as caught:
        plan(Machine(2, 10**7))
    assert "(1,284 records) takes 14.6 MB, and 5.0 MB of 10.0 MB free" in str(caught.value)


def test_settings_of_a_file_are_summed_up(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("optim: {lr: 1, warmup: 1, agc: 1}\nworld: {free_nats: 2}\nseed: 3\n")
    found = plan(SERVER, config=[mine]).report.rows
    assert [(row.setting, row.restore) for row in found] == [("4 settings", f"leave out {mine}")]
    assert plan(SERVER, options={"seed": 9, "device": "cpu"}).config.protocol == "published"


def on_disk(machine, disk, **options):
    return plan(replace(machine, disk=disk), options={"replay.storage": "disk", **options})


def test_a_replay_on_disk_is_bounded_by_the_disk_with_its_checkpoints():
    resolved = on_disk(LAPTOP, 100 * GB)
    # 90 GB for the replay and four checkpoints: three that are kept and one being written.
    assert resolved.config.replay.capacity == int(90 * GB / 5 / 11375) == 1_582_417
    (row,) = [row for row in resolved.report.rows if row.setting == "replay.capacity"]
    assert row.why == "what is to spare of 100.0 GB free on disk, checkpoints included"
    needs = resolved.report.needs
    assert (needs.replay, needs.disk) == (1_582_417 * 11375, 5 * 1_582_417 * 11375)
    line = resolved.report.memory_line()
    assert line.startswith("Disk: replay 18.0 GB, with checkpoints 90.0 GB, of 100.0 GB free. Mem")
    assert line.endswith(" of 6.0 GB free.") and "Memory: training about " in line
    # Where the records lie changes no result.
    assert not {"replay.storage", "replay.folder"} & rows(resolved).keys()


def test_records_are_on_the_disk_once_for_all_checkpoints():
    def facts(cfg):
        return EnvFacts(lambda _: 1000, latent_bytes=lambda _: 400).disk_bytes(cfg)

    disk = {"replay.storage": "disk", "run.keep": 3, "run.steps": 1_200_000}
    cfg = compose("toy/catch", options=disk).config
    cfg = replace(cfg, replay=replace(cfg.replay, capacity=600_000))
    assert facts(replace(cfg, run=replace(cfg.run, steps=600_000))) == 1000 + 600 + 4 * 400
    # 600 of records and a tenth of them from 3 x 20,000 steps before; latents four times.
    assert facts(cfg) == 1000 + 660 + 4 * 400
    assert facts(replace(cfg, checkpoint=replace(cfg.checkpoint, latents=False))) == 1660
    assert facts(replace(cfg, replay=replace(cfg.replay, folder="/scratch"))) == 1000
    assert facts(replace(cfg, replay=replace(cfg.replay, storage="memory"))) == 1000


def test_a_disk_of_its_own_holds_no_checkpoints():
    resolved = on_disk(SERVER, 100 * GB, **{"replay.folder": "/scratch"})
    each = record_bytes(resolved.config)
    assert resolved.config.replay.capacity == int(90 * GB / each)
    assert rows(resolved)["replay.capacity"][3] is False
    line = resolved.report.memory_line()
    assert line.startswith("Disk: replay 90.0 GB of 100.0 GB free. Memory: training about ")
    assert line.endswith(" on a GPU (80.0 GB free).")


def test_too_little_disk_for_anything_is_said():
    # As in memory: 1284 records of 11375 bytes; here five times.
    message = r"Too little disk: .* takes 73.0 MB, and 45.0 MB of 50.0 MB .*run.keep.*replay.folder"
    with pytest.raises(UsageError, match=message):
        on_disk(LAPTOP, 50 * 10**6)


def test_published_is_refused_by_a_small_disk():
    with pytest.raises(UsageError) as caught:
        on_disk(SERVER, GB, protocol="published")
    # 210.5 GB as above, five times; memory has enough for the rest.
    assert (
        "it needs 1.1 TB of disk (replay of 5,000,000 records 210.5 GB and its checkpoints), "
        "1.0 GB free" in str(caught.value)
    )
    assert "of memory" not in str(caught.value)
    small = replace(LAPTOP, free=10**9)
    with pytest.raises(UsageError, match=r"GB of memory \(training .*\), 1.0 GB free"):
        on_disk(small, 2000 * GB, protocol="published")


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert probes.existing(tmp_path / "a" / "b") == tmp_path
    (tmp_path / "file").write_text("")
    assert probes.existing(tmp_path / "file" / "c") == tmp_path
    free = probes.free_disk(tmp_path / "a" / "b")
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


def test_the_table_says_all_of_it():
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(plan(LAPTOP).report)
    text = console.export_text()
    for part in (
        "Differs from protocol/v3/atari.yaml",
        "setting",
        "published",
        "here",
        "why",
        "to restore",
        "no GPU",
        "2 CPU cores",
        "half of 6.0 GB free memory",
        "5,000,000",
        "--size 200m",
        "--num-envs 16",
        "replay.capacity=5000000",
        "Protocol: reduced. Memory: replay 3.0 GB of 6.0 GB free, training about",
    ):
        assert part in text


def test_brackets_in_the_table_are_no_markup():
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(plan(SERVER, overrides=["world.encoder.mults=[1, 2]", "env.x='[/b]'"]).report)
    text = console.export_text()
    assert "[2, 3, 4, 4]" in text and "[1, 2]" in text and "[/b]" in text


def test_the_report_is_kept_with_the_run(tmp_path):
    resolved = plan(LAPTOP)
    resolved.report.save(tmp_path)
    saved = json.loads((tmp_path / "layers.json").read_text())
    assert saved["protocol"] == "reduced" and saved["machine"]["cores"] == 2
    assert saved_history(tmp_path) == resolved.history
    assert saved_history(tmp_path / "none") == {}
    (tmp_path / "layers.json").write_text("[1]")
    with pytest.raises(UsageError, match="layers.json is damaged"):
        saved_history(tmp_path)


def test_without_the_env_only_memory_stays_unknown():
    resolved = plan(LAPTOP, facts=None)
    assert (resolved.config.size, resolved.config.env.num_envs) == ("1m", 2)
    assert resolved.config.replay.capacity == 5_000_000
    assert resolved.report.memory_line() == ""


def test_training_estimate_against_measured_peaks():
    # Peaks of a float32 eager update, batch 16x64, horizon 15: 24-dim vectors at size 1m 0.6-0.7 GB
    # resident, 64x64x3 images at size 12m 4.4 GB (2 cores of a Zen 5 server, PyTorch 2.13).
    small = training_bytes(compose("dmc/walker-walk").config, 0, 4)
    pixels = compose("dmc/walker-walk", overrides=["env.obs=pixels", "size=12m"]).config
    assert 0.5 * GB < small < 0.8 * GB
    assert 3.7 * GB < training_bytes(pixels, 64 * 64, 4) < 5.1 * GB


@pytest.fixture
def machine_files(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "CGROUP", tmp_path)
    monkeypatch.setattr(probes, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(probes.os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "meminfo").write_text("MemTotal: 32000 kB\nMemAvailable:   16000 kB\n")
    return tmp_path


def test_probe_of_a_bare_machine(machine_files):
    assert probes.probe() == Machine(8, 16000 * 1024)
    assert probes.probe("a GPU", 5) == Machine(8, 16000 * 1024, "a GPU", 5)


def test_probe_heeds_the_limits_of_a_container(machine_files):
    (machine_files / "cpu.max").write_text("250000 100000\n")
    (machine_files / "memory.max").write_text("9000000\n")
    (machine_files / "memory.current").write_text("5000000\n")
    (machine_files / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    assert probes.probe() == Machine(2, 5_000_000)


def test_probe_of_a_container_without_limits(machine_files):
    (machine_files / "cpu.max").write_text("max 100000\n")
    (machine_files / "memory.max").write_text("max\n")
    (machine_files / "memory.current").write_text("5000000\n")
    assert probes.probe() == Machine(8, 16000 * 1024)


def test_probe_of_the_older_kind_of_container(machine_files):
    old = machine_files / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("8000000\n")
    (old / "memory.usage_in_bytes").write_text("3000000\n")
    assert probes.probe().free == 5_000_000


def test_probe_where_nothing_says_what_is_available(machine_files):
    (machine_files / "meminfo").write_text("MemTotal: 32000 kB\n")
    total = probes.os.sysconf("SC_PAGE_SIZE") * probes.os.sysconf("SC_PHYS_PAGES")
    assert probes.probe().free == total // 2


def test_this_machine():
    machine = probes.probe()
    assert machine.cores >= 1 and 10**7 < machine.free < 10**14


def test_default_config_has_the_widths_of_its_size():
    assert Config().model == compose(config=["v3"]).config.model

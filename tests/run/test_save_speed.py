"""How long a save holds training up: a replay of 100,000 frames, latents and agent of size 12m."""

import json
import threading
import time

import pytest
import torch
from tensordict import TensorDict

from dreamer_plugin.data.frozen import copied
from dreamer_plugin.data.replay import freeze, make_replay, write_back
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.records import RecordFiles
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

FRAMES, ENVS, DETER = 100_000, 16, 2048
PARAMETERS = 4 * 12_000_000  # of the network, two moments and the slow critic, rounded up


def filled():
    spaces = Spaces(
        (ObsKey("image", "image", (64, 64, 3)),), (ActionKey("action", "discrete", (), 18),)
    )
    rb = make_replay(spaces, ENVS, FRAMES, 16, 64, deter=DETER, stoch_shape=(32,))
    flag = torch.zeros(ENVS, dtype=torch.bool)
    record = {
        "obs": TensorDict({"image": torch.randint(0, 256, (ENVS, 64, 64, 3)).byte()}, [ENVS]),
        "action": torch.zeros(ENVS, 18),
        "reward": torch.zeros(ENVS),
        "is_first": flag,
        "is_last": flag,
        "is_terminal": flag,
        "deter": torch.rand(ENVS, DETER),
        "stoch": torch.zeros(ENVS, 32, dtype=torch.uint8),
    }
    record = TensorDict(record, [ENVS])
    for _ in range(FRAMES // ENVS + 80):
        rb.extend(record)
    return rb


def train(rb, fresh):
    began = time.perf_counter()
    batch = rb.sample()
    write_back(rb, batch["index"][:, 1:], fresh)
    return time.perf_counter() - began


@pytest.mark.slow
def test_a_save_holds_training_up_for_less_than_a_second(tmp_path):
    rb = filled()
    network = [torch.rand(PARAMETERS // 48) for _ in range(48)]
    latents = {"deter": torch.rand(16, 64, DETER), "stoch": torch.zeros(16, 64, 32).byte()}
    fresh = TensorDict(latents, [16, 64])
    files = RecordFiles(tmp_path / "records")
    alone = max(train(rb, fresh) for _ in range(10))
    report = {}
    for number in range(2):
        wall, cpu = time.perf_counter(), time.thread_time()
        frozen = freeze(rb)
        trees = {"agent": copied({"network": network}), "replay": frozen.state}
        hold, work = time.perf_counter() - wall, time.thread_time() - cpu

        def write(number=number, frozen=frozen, trees=trees):
            entries = files.write(frozen.sealed)
            folder = tmp_path / "checkpoints" / checkpoint.step_name(number)
            checkpoint.write(folder, trees, {}, entries)

        before = {path.name for path in tmp_path.glob("records/*")}
        thread = threading.Thread(target=write)
        began = time.perf_counter()
        thread.start()
        during = [train(rb, fresh)]
        while thread.is_alive():
            during.append(train(rb, fresh))
        took = time.perf_counter() - began
        frozen.thaw()
        new = [path for path in tmp_path.glob("records/*") if path.name not in before]
        assert checkpoint.is_checkpoint(tmp_path / "checkpoints" / checkpoint.step_name(number))
        report[number] = {
            "hold_s": hold,
            "hold_cpu_s": work,
            "written_in_s": took,
            "new_records_MB": sum(path.stat().st_size for path in new) / 1e6,
            "sample_and_write_back_s": {"alone_max": alone, "during_max": max(during)},
            "updates_meanwhile": len(during),
        }
    print(json.dumps(report, indent=1))
    # The goal of the issue. What other programs take of the cores is not counted.
    assert max(row["hold_cpu_s"] for row in report.values()) < 1
    assert report[1]["new_records_MB"] < report[0]["new_records_MB"] / 100

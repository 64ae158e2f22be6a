"""`dreamer-plugin bench`: JSON alone on stdout, tables for people, mistakes in one line."""

import json

import pytest
from typer.testing import CliRunner

from dreamer_plugin.doors import cli_bench
from dreamer_plugin.doors.cli import app


def call(*words, code=0):
    result = CliRunner().invoke(app, ["bench", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_json_is_all_there_is_on_stdout():
    result = call("--workload", "tiny", "--only", "update", "--updates", "2", "--json", "seed=1")
    report = json.loads(result.stdout)
    assert report["workload"] == "tiny" and report["settings"] == ["seed=1"]
    assert {"device", "precision", "seconds_per_update", "breakdown", "memory"} <= set(report)
    assert "bench: updates" in result.stderr


def test_settings_reach_the_runs_on_envs_too(monkeypatch):
    monkeypatch.setattr(
        "dreamer_plugin.study.bench_envs.measure_envs",
        lambda resolve, tell: [{"env": "toy/catch", "skipped": str(resolve("toy/catch").seed)}],
    )
    words = ("--workload", "tiny", "--only", "envs", "--device", "cpu", "--json", "seed=7")
    assert json.loads(call(*words).stdout)["envs"][0]["skipped"] == "7"


REPORT = {
    "workload": "proprio1m",
    "device": "cpu",
    "precision": "float32",
    "device_name": "a CPU",
    "threads": 2,
    "torch": "2.13.0",
    "settings": ["replay.batch_size=8"],
    "seconds_per_update": 0.5,
    "seconds": {"each": [0.4, 0.5, 0.6], "min": 0.4, "max": 0.6, "spread": 0.2, "first": 3.0},
    "breakdown": {"observe": 0.3, "optimiser": 0.2},
    "flops_breakdown": {"observe": 3e9, "optimiser": 1234.4e9},
    "flops_per_update": 3e9,
    "flops_per_second": 6e9,
    "matmul_flops_per_second": {"float32": 60e9, "bfloat16": 120e9},
    "of_matmul_rate": 0.1,
    "memory": {"peak_rss": 2**30, "rss_before": None},
    "policy": [
        {"envs": 8, "seconds_per_step": 0.002, "seconds_act": 0.001, "decisions_per_second": 4000}
    ],
    "envs": [{"env": "atari/Pong", "skipped": "pip install 'dreamer-plugin[atari]'"}],
    "replay": {
        "records": 8192,
        "batch_bytes": 2**20,
        "seconds_per_sample": 0.003,
        "seconds_of_slices": 0.002,
        "ratio": 1.5,
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "proprio1m  float32  a CPU, 2 threads, torch 2.13.0",
        "with replay.batch_size=8",
        "observe   │ 300.0 │   60% │     3 │      10",
        "optimiser │ 200.0 │   40% │ 1,234 │   6,172",
        "median of 3: 0.5000 s, from 0.4000 to 0.6000",
        "float32 60 GFLOP/s, bfloat16 120 GFLOP/s; updates reach 10.0%",
        "memory: peak_rss 1.1 GB\n",
        "8 │        2.00 │         1.00 │       4,000",
        "a batch of 1.0 MB out of 8,192 records in 3.00 ms, 1.50 times contiguous slices",
        "atari/Pong skipped: pip install 'dreamer-plugin[atari]'",
    ],
)
def test_the_tables_say(text):
    shown = "\n".join(map(str.rstrip, cli_bench.rendered(cli_bench.tables(REPORT)).splitlines()))
    assert text in shown + "\n"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--workload", "vision12"), "Did you mean 'vision12m'?"),
        (("--only", "polcy"), "Did you mean 'policy'?"),
        (("--workload", "tiny", "--device", "gpu9"), "Unknown device 'gpu9'"),
    ],
)
def test_a_mistake_is_one_line(words, hint):
    stderr = call(*words, code=2).stderr
    assert hint in stderr and stderr.count("\n") == 1

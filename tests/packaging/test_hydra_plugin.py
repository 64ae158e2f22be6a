"""TorchRL's `train.py` finds `trainer=dreamer` in the installed wheel, without being told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("hydra")

# What TorchRL's own scripts consist of: its nodes, `instantiate`, `train`.
SCRIPT = """
import hydra
from torchrl.trainers.algorithms.configs import *

@hydra.main(config_path="config", config_name="config", version_base="1.3")
def main(cfg):
    trainer = hydra.utils.instantiate(cfg.trainer)
    trainer.train()
    print("updates", trainer.training.progress.updates)

if __name__ == "__main__":
    main()
"""
DISCOVER = """
import sys
from hydra.core.global_hydra import GlobalHydra
from hydra import compose, initialize
with initialize(version_base="1.3"):
    print(compose(overrides=["+trainer=dreamer"]).trainer.agent)
print("torch" in sys.modules)
"""
SMALL = [
    *(f"trainer.model.{key}=16" for key in ("deter", "hidden", "units")),
    "trainer.model.groups=4",
    "trainer.model.classes=4",
    "trainer.model.blocks=4",
    "trainer.replay.batch_size=2",
    "trainer.replay.batch_length=8",
    "trainer.behavior.imag_horizon=3",
    "trainer.run.prefill=12",
    "trainer.run.train_ratio=4",
    "trainer.progress_bar=false",
]


@pytest.fixture
def script(distributions, environment, repo, tmp_path):
    """Runs a copy of a folder's script with the wheel installed and overrides."""
    environment.install(str(distributions.wheel))

    def run(folder: Path | None, *overrides: str) -> str:
        work = tmp_path / "pipeline"
        if folder is None:
            (work / "config").mkdir(parents=True)
            (work / "train.py").write_text(SCRIPT)
            pipeline = repo / "examples" / "pipeline" / "config" / "config.yaml"
            shutil.copy(pipeline, work / "config" / "sac.yaml")
            (work / "config" / "config.yaml").write_text("")
        else:
            shutil.copytree(folder, work)
        return environment.run("train.py", *overrides, cwd=work)

    return run


def test_discovery_imports_no_torch(distributions, environment):
    environment.install(str(distributions.wheel))
    assert environment.run("-c", DISCOVER).split() == ["v3", "False"]


def test_a_pipeline_is_switched_by_one_word(script):
    out = script(None, "--config-name", "sac", "trainer=dreamer", *SMALL)
    assert out.split()[-1] == str(1 + (60 - 28) // 4)


@pytest.mark.parametrize("asked", [["+trainer=dreamer"], ["--config-name", "dreamer_v1"]])
def test_an_empty_config_needs_an_env_alone(script, asked):
    settings = ["trainer.env_id=toy/reach", "trainer.total_frames=600", "trainer.run.prefill=8"]
    made = int(script(None, *asked, *SMALL, *settings, "trainer.run.pretrain=0").split()[-1])
    assert made >= 1


@pytest.mark.parametrize(("name", "env"), [("sac", "HalfCheetah-v4"), ("ppo", "Pendulum-v1")])
def test_torchrls_own_scripts_unmodified(script, name, env):
    source = os.environ.get("TORCHRL_SOURCE")
    if not source:
        pytest.skip("set TORCHRL_SOURCE to a checkout of pytorch/rl")
    folder = Path(source) / "sota-implementations" / f"{name}_trainer"
    few = [
        "trainer.total_frames=200",
        "training_env.num_workers=2",
        "logger=wandb",
        "trainer.logger=null",
    ]
    base = f"training_env.create_env_fn.base_env.env_name={env}"
    script(folder, "trainer=dreamer", base, *few, *SMALL)

"""A TorchRL pipeline: SAC as its config says, Dreamer by one word. The script knows neither.

python examples/pipeline/train.py                    SAC
python examples/pipeline/train.py trainer=dreamer    Dreamer, on the same env, with the same logger
"""

import hydra
from torchrl.trainers.algorithms.configs import *  # noqa: F403  stores TorchRL's nodes

import dreamer_plugin

dreamer_plugin.register()  # not needed where the package is installed from a wheel


@hydra.main(config_path="config", config_name="config", version_base="1.3")
def main(cfg):
    """Build what the config describes, and train it."""
    trainer = hydra.utils.instantiate(cfg.trainer)
    trainer.train()
    print(f"{type(trainer).__name__}: {trainer.collected_frames} frames")


if __name__ == "__main__":
    main()

"""`"dreamer"` in Hydra pipelines: nodes for TorchRL's `train.py`, loading no torch.

train.py trainer=dreamer                                a pipeline of another algorithm, switched
train.py +trainer=dreamer trainer.env_id=Pendulum-v1    an empty config
"""

from __future__ import annotations

from dreamer_plugin.doors.hydra.store import register, store_nodes

__all__ = ["register", "store_nodes"]

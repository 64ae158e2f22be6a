"""How to install what `pip install` alone does not, a sentence each."""

from __future__ import annotations

MINERL = (
    "MineRL 0.4.4 (extra 'minerl') wants Java 8, Python 3.10 or 3.11 and old packages, so an "
    "environment of its own: install a JDK 8, make the environment with numpy==1.23.5 gym==0.19.0 "
    "'gymnasium>=1.0' pillow, install minerl==0.4.4 there, which builds Minecraft, then make the "
    "env with python=PATH of that environment (docs/environments.md, Minecraft)"
)
DMLAB = (
    "DeepMind Lab is on no package index: build its wheel with Bazel as the file "
    "python/pip_package/README.md of github.com/google-deepmind/lab says, install it, and if that "
    "is in another Python make the env with python=PATH of it"
)
UNITY = (
    "ML-Agents' Python side (extra 'unity') wants protobuf 3.20, so an environment of its own: pip "
    "install mlagents-envs protobuf==3.20.3 'numpy>=2' 'gymnasium>=1.0' pillow there, then make "
    "the env with python=PATH of that environment, and file_name=PATH of the scene that Unity built"
)
ISAAC = (
    "Isaac Lab needs an RTX GPU and Isaac Sim: install both as isaac-sim.github.io/IsaacLab says, "
    "gymnasium and pillow beside them, then make the env with python=PATH of that environment"
)

"""How to install what `pip install` alone does not, a sentence each."""

from __future__ import annotations

MINERL = (
    "MineRL 0.4.4 (extra 'minerl') wants Java 8, Python 3.10 or 3.11 and old packages, so an "
    "environment of its own: install a JDK 8, make the environment with numpy==1.23.5 gym==0.19.0 "
    "'gymnasium>=1.0' pillow, install minerl==0.4.4 there, which builds Minecraft, then make the "
    "env with python=PATH of that environment (docs/environments.md, Minecraft)"
)

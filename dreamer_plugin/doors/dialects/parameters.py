"""How many parameters an agent has, component by component."""

from __future__ import annotations

from torch import nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.run.parts import components

NAMES = {  # ours -> what the documents call it
    "encoder": "Encoder",
    "rssm": "RSSM",
    "decoder": "Decoder",
    "reward": "Reward head",
    "cont": "Continue head",
    "actor": "Actor",
    "critic": "Critic",
    "slow": "Critic, slow copy",
}


def parameter_counts(agent: Agent) -> dict[str, int]:
    """Parameters of each component by its name here; `slow` is the copy of the critic."""
    parts = {**components(agent), "slow": agent.behavior.slow}
    return {name: _count(part) for name, part in parts.items()}


def parameter_table(agent: Agent) -> str:
    """A line for every component and one for their sum."""
    counts = parameter_counts(agent)
    rows = {NAMES.get(name, name): count for name, count in counts.items()}
    rows["Total"] = sum(counts.values())
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {count:>13,}" for name, count in rows.items())


def _count(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())

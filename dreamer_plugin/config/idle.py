"""Settings that another one leaves without effect, refused where a user meant them to have one."""

from __future__ import annotations

from dataclasses import asdict

from dreamer_plugin.config.fields import flatten
from dreamer_plugin.config.schema import Config
from dreamer_plugin.config.stack import SCHEMA, Merged
from dreamer_plugin.errors import UsageError

# Switch -> the value under which the settings that follow, or sections of them, do nothing, and the
# section whose settings of the same names hold instead.
IDLE = {
    "optim.groups": ("joint", ("optim.actor.", "optim.critic."), "optim."),
    "optim.schedule": ("constant", ("optim.anneal", "optim.lr_end"), ""),
}


def refuse_idle(published: Merged, merged: Merged) -> None:
    """Refuse a new value without effect, unless its switch was turned after it, on purpose.

    What a preset or a saved run holds is no wish for an effect, nor is a default or the value that
    holds anyway.

    Args:
        published: without the user. merged: with all.

    Raises:
        UsageError: names the setting and what would give it an effect.
    """
    places = {key: place for place, layer in enumerate(merged.layers) for key in layer.values}
    defaults = flatten(asdict(Config()), SCHEMA)
    for switch, (off, idle, instead) in IDLE.items():
        if merged.value(switch) != off:
            continue
        for key in (key for key in places if key.startswith(idle)):
            layer, value = merged.layers[places[key]], merged.value(key)
            holding = [published.value(key), defaults[key]]
            if instead:
                holding.append(merged.value(instead + key.rpartition(".")[2]))
            meant = not layer.shelf and not layer.origins and value not in holding
            if meant and places[key] >= places.get(switch, 0):
                raise UsageError(
                    f"{key} is {value} (set by {layer.source}), but does nothing with "
                    f"{switch}={off}: leave it out, or set another {switch}."
                )

"""Words that the documents' constructors take, as keys of our configuration.

One word can mean two things: `num_categories` is the number of classes in one document and that of
variables in another. The words of a call tell which dialect it speaks; where they do not, the
caller says it with `dialect=`. Everything else is as in the preset of that document, see
`configs/reference`.

    dialect      words of its own
    nexus        hidden_dim (deter), num_categories (classes)
    rlox         deter_dim, stoch_classes, hidden
    seed003      as nexus, asked for with `dialect=`
    torchwm_v1   deter_size, stoch_size (normals), hidden_size
    torchwm_v2   deter_size, stoch_size (classes), num_categories (variables), hidden_size
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dreamer_plugin.config import Config
from dreamer_plugin.config.fields import check_values, flatten
from dreamer_plugin.config.presets import get
from dreamer_plugin.config.stack import Layer, merge_layers
from dreamer_plugin.errors import UsageError, choose, nearest
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces

Words = Mapping[str, tuple[str, ...]]

ACTION, EMBED = "action", "embed"  # sizes that come from outside, no keys of the configuration
_OUTSIDE: Words = {
    "action_dim": (ACTION,),
    "action_size": (ACTION,),
    "embed_dim": (EMBED,),
    "embed_size": (EMBED,),
    "obs_embed_size": (EMBED,),
}
_NEXUS: Words = {
    "hidden_dim": ("model.deter",),
    "stoch_dim": ("model.groups",),
    "num_categories": ("model.classes",),
}
_TORCHWM: Words = {
    "deter_size": ("model.deter",),
    "hidden_size": ("model.hidden",),
    "num_units": ("model.units",),
    "activation": ("nets.act",),
}

# Also the names of the presets in configs/reference, which have all that the words leave open.
DIALECTS: dict[str, Words] = {
    "nexus": _NEXUS,
    "rlox": {
        "deter_dim": ("model.deter",),
        "stoch_dim": ("model.groups",),
        "stoch_classes": ("model.classes",),
        "hidden": ("model.hidden", "model.units"),
    },
    "seed003": _NEXUS,
    "torchwm_v1": {**_TORCHWM, "stoch_size": ("model.groups",)},
    "torchwm_v2": {
        **_TORCHWM,
        "stoch_size": ("model.classes",),
        "num_categories": ("model.groups",),
    },
}
_NEEDED = {"torchwm_v2": {"num_categories"}}  # words without which a dialect is not spoken


def translate(words: Mapping[str, Any], table: Words) -> dict[str, Any]:
    """What words set.

    Raises:
        UsageError: at a word that the table lacks, or a second one for the same thing.
    """
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    for word, value in words.items():
        if word not in table:
            raise UsageError(nearest(word, table, "argument"))
        for key in table[word]:
            if key in said:
                raise UsageError(f"{said[key]!r} and {word!r} say the same thing: pass one of them")
            found[key], said[key] = value, word
    return found


def tell_dialect(words: Mapping[str, Any]) -> str:
    """The dialect of a call.

    Raises:
        UsageError: when no dialect has all the words, or two mean different things by one.
    """
    own = {word for word in words if word not in _OUTSIDE}
    speakers = [
        name
        for name, table in DIALECTS.items()
        if own <= set(table) and own >= _NEEDED.get(name, set())
    ]
    if not speakers:
        raise UsageError(_nobody(own))
    first = DIALECTS[speakers[0]]
    for word in sorted(own):
        for other in speakers[1:]:
            theirs = DIALECTS[other][word]
            if theirs != first[word]:
                raise UsageError(
                    f"{word!r} is {first[word][0]} to {speakers[0]} and {theirs[0]} to {other}: "
                    f"say which with dialect={speakers[0]!r} or dialect={other!r}"
                )
    return speakers[0]


def _nobody(own: set[str]) -> str:
    known = sorted({word for table in DIALECTS.values() for word in table})
    for word in sorted(own):
        if word not in known:
            return nearest(word, [*known, *_OUTSIDE], "argument")
    owners = (
        f"{word!r} of {', '.join(name for name, table in DIALECTS.items() if word in table)}"
        for word in sorted(own)
    )
    return f"no dialect has all of these arguments: {'; '.join(owners)}"


@dataclass(frozen=True)
class Call:
    """A constructor's call, read.

    Args:
        config: with what was said. outside: the sizes `action` and `embed`, as far as given.
    """

    config: Config
    outside: Mapping[str, int]

    def size(self, name: str, words: str) -> int:
        """A size from outside; an error asks for it by the `words` that give it."""
        if name not in self.outside:
            raise UsageError(f"how large? Pass {words}")
        return self.outside[name]


def read_call(dialect: str, words: Mapping[str, Any], parts: Mapping[str, Any] | None) -> Call:
    """The configuration that a constructor's words describe.

    Args:
        dialect: of `DIALECTS`; empty to tell it from the words.
        words: keyword arguments of the call. parts: further keys of the configuration.

    Raises:
        UsageError: naming what is wrong, or what would decide.
    """
    name = dialect or tell_dialect(words)
    said = translate(words, {**_OUTSIDE, **choose(DIALECTS, name, "dialect")})
    outside = {key: said.pop(key) for key in (ACTION, EMBED) if key in said}
    preset = get("reference", name)
    agent = get("agent", preset.tree["agent"])
    layers = [
        Layer(source, flatten(tree, source))
        for source, tree in (
            (agent.source, agent.tree),
            (preset.source, preset.tree),
            ("arguments", said),
            ("parts", parts or {}),
        )
    ]
    sources = {key: layer.source for layer in layers for key in layer.values}
    values = {key: value for layer in layers for key, value in layer.values.items()}
    check_values(values, sources)
    return Call(merge_layers(layers), outside)


def obs_key(shape: int | tuple[int, ...], name: str = "obs") -> ObsKey:
    """An observation by its shape: three axes are an image of bytes, a number is a vector."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return ObsKey(name, "image" if len(sizes) == 3 else "vector", sizes)


def action_key(size: int, discrete: bool) -> ActionKey:
    """So many numbers, or one choice among so many."""
    if discrete:
        return ActionKey("action", "discrete", (), size)
    return ActionKey("action", "continuous", (size,))


def simple_spaces(obs: ObsKey | None, action: int, discrete: bool) -> Spaces:
    """Spaces of one observation, or none, and one action."""
    return Spaces(() if obs is None else (obs,), (action_key(action, discrete),))

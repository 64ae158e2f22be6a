"""Weights of the official JAX code to ours, and back.

    official                             ours
    linear kernel  [in, out]             weight [out, in]
    conv kernel    [kh, kw, in, out]     weight [out, in, kh, kw]
    block kernel   [blocks, in, out]     weight, the same
    norm scale, bias                     weight, bias, the same

Every official name is derived from one of our parameter names by the rules below, for a whole V3
agent (`dyn/obs0/kernel`, the slow critic included) as for one of its modules (`obs0/kernel`).
Source of the names: danijar/dreamerv3 @ e3f0224, `dreamerv3/agent.py` and `dreamerv3/rssm.py`,
`embodied/jax/heads.py`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.errors import UsageError, nearest
from dreamer_plugin.nets.codec import Decoder, Encoder
from dreamer_plugin.nets.heads import (
    BinaryLayer,
    Head,
    LearnedSymexpMSELayer,
    MSELayer,
    NormalLayer,
    SymexpMSELayer,
    TwoHotLayer,
)
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.rssm import RSSM

Array = npt.NDArray[Any]
Rules = list[tuple[str, str]]  # pattern of our module path, official path

# What a damaged or foreign zip file raises on the way through zipfile, zlib and NumPy's own reader.
_UNREADABLE = (BadZipFile, ValueError, OSError, EOFError, zlib.error, RuntimeError, MemoryError)
_PREFIX = "param/"
_UNITS = "linear{}", "norm{}"
_OUTPUTS: dict[type[nn.Module], str] = {
    TwoHotLayer: "logits",
    BinaryLayer: "logit",
    MSELayer: "pred",
    NormalLayer: "pred",
    SymexpMSELayer: "pred",
    LearnedSymexpMSELayer: "pred",
}
_AGENT = {
    "world.encoder": "enc",
    "world.rssm": "dyn",
    "world.decoder": "dec",
    "world.reward": "rew",
    "world.cont": "con",
    "behavior.actor": "pol",
    "behavior.critic": "val",
    "behavior.slow.copy": "slowval",
}


def official_names(module: nn.Module) -> dict[str, str]:
    """Our parameter names to official ones, of an agent or one of its modules.

    Raises:
        UsageError: when a parameter has no official counterpart.
    """
    rules = [(re.compile(pattern), template) for pattern, template in _rules(module)]
    names = {}
    for ours, _ in module.named_parameters():
        path, _, leaf = ours.rpartition(".")
        found = ((pattern.fullmatch(path), template) for pattern, template in rules)
        official = next((match.expand(template) for match, template in found if match), None)
        if official is None:
            raise UsageError(f"parameter {ours!r} has no counterpart in the official code")
        names[ours] = "/".join(filter(None, [official, _leaf(module, path, leaf)]))
    return names


def import_official(module: nn.Module, arrays: Mapping[str, Array]) -> None:
    """Fill an agent, or one of its modules, with official weights, in place.

    Args:
        module: agent, encoder, RSSM, core, decoder, head, actor, MLP or single layer.
        arrays: official name to array; names must be exactly those of `official_names`. For a
            single module they have no module prefix.

    Raises:
        UsageError: a name is missing or unknown, or an array has another shape or is not finite;
            then nothing was changed.
    """
    names = official_names(module)
    _check_names(arrays.keys(), names.values())
    converted = {
        ours: _to_ours(names[ours], arrays[names[ours]], param)
        for ours, param in module.named_parameters()
    }
    with torch.no_grad():
        for ours, param in module.named_parameters():
            param.copy_(converted[ours])


def export_official(module: nn.Module) -> dict[str, Array]:
    """The inverse of `import_official`: official name to float32 array."""
    names = official_names(module)
    return {
        names[ours]: _to_official(param.detach()).float().cpu().contiguous().numpy().copy()
        for ours, param in module.named_parameters()
    }


def read_official(path: str | Path) -> dict[str, Array]:
    """Arrays of an npz file of official weights.

    Where names begin with `param/`, only those are taken and the prefix is dropped.

    Raises:
        UsageError: when there is no such file, or it is no npz file of plain arrays.
    """
    try:
        with open(path, "rb") as stream:
            if not is_zipfile(stream):  # NumPy would take it for a pickle, and advise to load that
                raise ValueError("it is no zip archive")
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            params = [name for name in file.files if name.startswith(_PREFIX)]
            arrays = {name: _numbers(name, file[name]) for name in params or file.files}
    except FileNotFoundError:
        raise UsageError(f"no file {str(path)!r} to import weights from") from None
    except _UNREADABLE as error:
        raise UsageError(f"{str(path)!r} is no npz file of plain arrays: {error}") from error
    return {name.removeprefix(_PREFIX) if params else name: arrays[name] for name in arrays}


def _numbers(name: str, array: Any) -> Array:
    """An array of numbers; a zip file may hold other things, another framework's pickles too."""
    if isinstance(array, np.ndarray) and array.dtype.kind in "fiub":
        return array
    found = array.dtype if isinstance(array, np.ndarray) else "no array"
    raise ValueError(f"{name!r} is {found}; save float32 arrays with numpy.savez")


def _rules(module: nn.Module) -> Rules:
    """What the modules inside `module` are called in the official code."""
    if isinstance(module, Agent):
        return [
            rule
            for ours, official in _AGENT.items()
            for rule in _below(ours, f"{official}/", _rules(module.get_submodule(ours)))
        ]
    if isinstance(module, Encoder):
        conv = r"cnn\.stages\.(\d+)\."
        vector = _units("mlp", "mlp{}", "mlp{}norm")
        return [*vector, (conv + "conv", r"cnn\1"), (conv + r"norm\.norm", r"cnn\1norm")]
    if isinstance(module, RSSM):
        if not isinstance(module.latent, CategoricalLatent):
            raise UsageError(
                f"{type(module.latent).__name__} has no counterpart in the official code, whose "
                "states are categorical: world.latent.kind=categorical"
            )
        return [
            *_below("core", "", _rules(module.core)),
            *_units(r"posterior\.0", "obs{}", "obs{}norm"),
            (r"posterior\.1", "obslogit"),
            *_units(r"prior\.0", "prior{}", "prior{}norm"),
            (r"prior\.1", "priorlogit"),
        ]
    if isinstance(module, BlockGRU):
        return _core_rules()
    if isinstance(module, Decoder):
        return _decoder_rules(module)
    if isinstance(module, Head):
        output = _OUTPUTS[type(module.layer)]
        return [*_units("mlp", *_UNITS, "mlp/"), (r"layer\.linear", f"head/{output}")]
    if isinstance(module, Actor):
        return _actor_rules(module)
    if isinstance(module, MLP):
        return _units("", *_UNITS)
    return [("", "")]  # a single layer


def _core_rules() -> Rules:
    inputs = ("from_deter", "from_stoch", "from_action")
    return [
        *((rf"{name}\.0", f"dynin{i}") for i, name in enumerate(inputs)),
        *((rf"{name}\.1", f"dynin{i}norm") for i, name in enumerate(inputs)),
        (r"mix\.(\d+)", r"dynhid\1"),
        (r"mix_norms\.(\d+)", r"dynhid\1norm"),
        ("gates", "dyngru"),
    ]


def _decoder_rules(decoder: Decoder) -> Rules:
    rules: Rules = []
    if decoder.vector is not None:
        rules += _below("vector", "", _units("mlp", *_UNITS, "mlp/"))
        for i, key in enumerate(decoder.vector.keys):
            output = "logits" if key.kind == "discrete" else "pred"
            rules.append((rf"vector\.heads\.{i}", _verbatim(f"vec/{key.name}/{output}")))
    if decoder.image is not None:
        last = len(decoder.image.stages) - 1  # officially numbered from the image inwards
        image = [
            (rf"stages\.{i}\.{part}", f"conv{last - i}{suffix}")
            for i in range(last + 1)
            for part, suffix in (("conv", ""), (r"norm\.norm", "norm"))
        ]
        single = {
            "from_deter": "sp0",
            r"from_stoch\.0\.0": "sp1",
            r"from_stoch\.0\.1": "sp1norm",
            r"from_stoch\.1": "sp2",
            r"norm\.norm": "spnorm",
            "out": "imgout",
        }
        rules += _below("image", "", [*image, *single.items()])
    return rules


def _actor_rules(actor: Actor) -> Rules:
    if actor.output != "bounded_normal" and any(key.kind == "continuous" for key in actor.keys):
        raise UsageError(
            f"a policy with output {actor.output!r} has no counterpart in the official code: "
            "behavior.actor.output=bounded_normal"
        )
    rules = _units("mlp", *_UNITS, "mlp/")
    for i, key in enumerate(actor.keys):
        outputs = ["logits"] if key.kind == "discrete" else ["mean", "stddev"]
        rules += [
            (rf"heads\.{i}\.{j}", _verbatim(f"head/{key.name}/{output}"))
            for j, output in enumerate(outputs)
        ]
    return rules


def _units(ours: str, linear: str, norm: str, prefix: str = "") -> Rules:
    """Rules of an MLP: unit i holds a linear layer and a norm."""
    inside = rf"{ours}\." if ours else ""
    both = ((0, linear), (1, norm))
    return [(rf"{inside}(\d+)\.{part}", prefix + name.format(r"\1")) for part, name in both]


def _below(ours: str, official: str, rules: Rules) -> Rules:
    """Rules of a module, for the module that holds it as `ours`."""
    path = re.escape(ours)
    return [(rf"{path}\.{pattern}", official + template) for pattern, template in rules]


def _verbatim(template: str) -> str:
    """Keys of a space are names, not templates."""
    return template.replace("\\", r"\\")


def _leaf(module: nn.Module, path: str, leaf: str) -> str:
    if leaf == "bias":
        return "shift" if isinstance(module.get_submodule(path), nn.LayerNorm) else "bias"
    norm = isinstance(module.get_submodule(path), nn.RMSNorm | nn.LayerNorm)
    return "scale" if norm else "kernel"


def _check_names(given: Iterable[str], expected: Iterable[str]) -> None:
    given, expected = list(given), list(expected)
    missing = sorted(set(expected) - set(given))
    unknown = sorted(set(given) - set(expected))
    if unknown:
        also = f" ({len(unknown)} names are unknown, {len(missing)} missing.)"
        raise UsageError(nearest(unknown[0], missing or expected, "official weight") + also)
    if missing:
        raise UsageError(
            f"official weight {missing[0]!r} is missing, one of {len(missing)} of {len(expected)}: "
            "the file is of an agent with fewer parts"
        )


def _to_ours(name: str, array: Array, param: Tensor) -> Tensor:
    # float32 as the official code has it, whatever the file's precision
    with np.errstate(over="ignore"):  # found below
        ours = torch.from_numpy(np.array(array, np.float32))
    if ours.ndim == 4:
        ours = ours.permute(3, 2, 0, 1)
    elif ours.ndim == 2:
        ours = ours.T
    if ours.shape != param.shape:
        expected = tuple(_to_official(param).shape)
        raise UsageError(
            f"official weight {name!r} is {array.shape}, this agent needs {expected}: "
            "it must have the size and settings the weights were trained with"
        )
    if not ours.isfinite().all():
        raise UsageError(f"official weight {name!r} holds values that are not finite")
    return ours


def _to_official(param: Tensor) -> Tensor:
    if param.ndim == 4:
        return param.permute(2, 3, 1, 0)
    return param.T if param.ndim == 2 else param

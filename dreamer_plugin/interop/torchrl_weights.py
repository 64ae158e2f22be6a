"""Weights of TorchRL's own DreamerV3 modules to ours, and back.

`torchrl_modules` lists what corresponds. Tensors mean the same on both sides and only names differ,
except where images enter:

- On sides of even length a filter of ours reaches one pixel further after than before (XLA's
  SAME), a filter of TorchRL as far in both directions. So filters are placed by the pixels they
  see, with zeros around them.
- Our feature maps are flattened as (h, w, c), TorchRL's as (c, h, w). So the posterior's columns
  are put in order where the RSSM reads an image.

Features are `[deter, stoch]` here: TorchRL's heads take belief first, then state.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.torchrl_modules import Paths, counterpart, first_part, in_features
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.nets.vision import ImageEncoder
from dreamer_plugin.world.rssm import RSSM

# What two modules must agree on beside shapes: attributes of TorchRL's modules.
_SETTINGS = "recurrent_model", "num_categoricals", "num_classes", "num_blocks", "unimix", "eps"


def to_torchrl(module: nn.Module, image_encoder: ImageEncoder | None = None) -> nn.Module:
    """TorchRL's module that computes what `module` computes, with copies of its weights.

    Args:
        module: one of ours that has a counterpart.
        image_encoder: with an RSSM, the encoder whose maps end its embeddings, if any.

    Returns:
        A module on the same device. An RSSM becomes an `RSSMRolloutV3` with TorchRL's usual keys;
        its parts are `rssm_prior.module` and `rssm_posterior.module`. Heads return logits or a
        raw number, to decode with `SymExpTwoHot` or a sigmoid.

    Raises:
        UsageError: TorchRL has no such module; the message says what differs.
    """
    theirs, paths = counterpart(module)
    names = _names(module, paths)
    order = _columns(module, image_encoder)
    expected = dict(theirs.named_parameters())
    weights = {}
    for ours, param in module.named_parameters():
        value, name = param.detach(), names[ours]
        if value.ndim == 4:
            value = _filters(value, _conv(module, ours), _conv(theirs, name))
        if ours in order:
            value = value[:, order[ours]]
        _check_shape(name, value.shape, expected[name].shape)
        weights[name] = value.clone()
    theirs.load_state_dict(weights, assign=True)
    return theirs.requires_grad_()


def from_torchrl(
    module: nn.Module, theirs: nn.Module, image_encoder: ImageEncoder | None = None
) -> None:
    """Fill one of our modules with the weights of TorchRL's, in place.

    Args:
        module: one of ours that has a counterpart, of the right sizes.
        theirs: its counterpart. image_encoder: as in `to_torchrl`.

    Raises:
        UsageError: TorchRL has no such module, or `theirs` is of another kind, size or setting;
            then nothing was changed.
    """
    expected, paths = counterpart(module)
    _check_kind(theirs, expected)
    names = _names(module, paths)
    given = dict(theirs.named_parameters())
    _check_names(set(given), set(names.values()))
    _check_parts(theirs, expected)
    order = _columns(module, image_encoder)
    values = {}
    for ours, param in module.named_parameters():
        name = names[ours]
        value = _finite(name, given[name].detach())
        if value.ndim == 4:
            value = _filters(value, _conv(theirs, name), _conv(module, ours))
        _check_shape(name, value.shape, param.shape)
        values[ours] = value[:, order[ours].argsort()] if ours in order else value
    with torch.no_grad():
        for ours, param in module.named_parameters():
            param.copy_(values[ours])


def _names(module: nn.Module, paths: Paths) -> dict[str, str]:
    """Our parameter names to TorchRL's."""
    split = ((name, *name.rpartition(".")) for name, _ in module.named_parameters())
    return {name: f"{paths[path]}.{leaf}" for name, path, _, leaf in split}


def _columns(module: nn.Module, encoder: ImageEncoder | None) -> dict[str, Tensor]:
    """Name of our parameter that reads image features, and which of its columns TorchRL's are."""
    if encoder is None:
        return {}
    if not isinstance(module, RSSM):
        raise UsageError(f"image_encoder goes with an RSSM, not with {type(module).__name__}")
    mlp = first_part(module.posterior, MLP)
    seen, image = in_features(mlp), encoder.out_features
    first = seen - image
    if first < module.core.deter:
        raise UsageError(
            f"the image encoder gives {image} features, the RSSM reads {seen - module.core.deter}: "
            "pass the encoder of the same agent"
        )
    if encoder.embed is not None:  # the linear layer's features, which have one order only
        return {}
    channels = [part for part in encoder.modules() if isinstance(part, nn.Conv2d)][-1].out_channels
    by_channel = torch.arange(image).unflatten(0, (-1, channels)).T.flatten()
    name = "posterior.0.0.0.weight" if len(mlp) else "posterior.1.weight"
    return {name: torch.cat([torch.arange(first), first + by_channel])}


def _filters(weight: Tensor, have: nn.Conv2d, want: nn.Conv2d) -> Tensor:
    """Filters `[out, in, k, k]` of one convolution, placed in those of another.

    Index i of a filter sees the pixel `i - padding`; a filter that loses a weight is an error.
    """
    before = int(want.padding[0]) - int(have.padding[0])
    after = want.kernel_size[0] - have.kernel_size[0] - before
    placed = F.pad(weight, (before, after, before, after))
    if placed.count_nonzero() != weight.count_nonzero():
        reach = int(have.padding[0])
        raise UsageError(
            f"filters that see {reach} pixels in each direction do not fit into ours of size "
            f"{want.kernel_size[0]}: build the encoder with kernel={2 * reach + 2}"
        )
    return placed


def _check_kind(theirs: nn.Module, expected: nn.Module) -> None:
    """Class and settings that names and shapes do not show."""
    if not isinstance(theirs, type(expected)):
        raise UsageError(
            f"TorchRL's {type(theirs).__name__} is no counterpart: pass a {type(expected).__name__}"
        )
    parts = dict(theirs.named_modules())
    for path, part in expected.named_modules():
        for setting in _SETTINGS:
            # Read past TensorDictModule, which answers for the module inside.
            want, have = (vars(p).get(setting) for p in (part, parts.get(path, part)))
            if want is not None and have is not None and want != have:
                raise UsageError(
                    f"TorchRL's {type(parts[path]).__name__} has {setting}={have!r}, here it is "
                    f"{want!r}: the two would not compute the same"
                )


def _check_names(given: set[str], expected: set[str]) -> None:
    for name in sorted(expected - given):
        raise UsageError(f"TorchRL's module has no parameter {name!r}: it has fewer layers")
    for name in sorted(given - expected):
        raise UsageError(f"TorchRL's parameter {name!r} has no place here: it has more layers")


def _check_parts(theirs: nn.Module, expected: nn.Module) -> None:
    """Layers without weights, which no name shows; a subclass passes."""
    have, want = (  # one that stands in several places is compared in each
        dict(module.named_modules(remove_duplicate=False)) for module in (theirs, expected)
    )
    for path in {**want, **have}:
        kind = type(want.get(path))
        if not isinstance(have.get(path), kind):
            raise UsageError(
                f"TorchRL's {path!r} is {_kind(have.get(path))}, here it is "
                f"{_kind(want.get(path))}: the two would not compute the same"
            )


def _kind(part: nn.Module | None) -> str:
    return "missing" if part is None else type(part).__name__


def _check_shape(name: str, have: torch.Size, want: torch.Size) -> None:
    if have != want:
        raise UsageError(f"TorchRL's {name!r} would be {tuple(have)}, it must be {tuple(want)}")


def _finite(name: str, value: Tensor) -> Tensor:
    if value.is_meta or not value.isfinite().all():
        raise UsageError(f"TorchRL's {name!r} holds no values, or some that are not finite")
    return value


def _conv(module: nn.Module, param: str) -> nn.Conv2d:
    """The convolution that holds a parameter."""
    conv = module.get_submodule(param.rpartition(".")[0])
    assert isinstance(conv, nn.Conv2d)
    return conv

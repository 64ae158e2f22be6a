"""State trees (nested dicts and lists) split into named tensors and plain JSON, and joined again.

    {"adam": {0: {"m": Tensor}}, "rng": {"state": 2**100}, "beta": nan}
       tensors  {"adam.0.m": Tensor}
       plain    {"adam": {"$pairs": [[0, {"m": {"$tensor": "adam.0.m"}}]]},
                 "rng": {"state": 2**100}, "beta": {"$float": "nan"}}

safetensors holds only tensors, and JSON only finite numbers and string keys; the four `$` forms
cover the rest, so that nothing has to be pickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamer_plugin.data.frozen import Later
from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.run.tensorfile import DTYPES

Tree = Any  # nested dict / list / tuple of tensors, arrays, numbers, strings, booleans and None


def pack(tree: Tree) -> tuple[dict[str, Tensor], Any]:
    """Split a state tree, as `pack_streamed`, with every tensor in memory."""
    tensors, plain = pack_streamed(tree)
    return {name: t.read() if isinstance(t, Later) else t for name, t in tensors.items()}, plain


def pack_streamed(tree: Tree) -> tuple[dict[str, Tensor | Later], Any]:
    """Split a state tree.

    Args:
        tree: nested dicts (any plain key), lists and tuples over tensors, numpy arrays, numbers,
            strings, booleans and None. Tuples come back as lists, and what is `Later` as a tensor.

    Returns:
        `tensors`, contiguous on the CPU and each with memory of its own, and `plain`, ready for
        `json.dumps`.

    Raises:
        TypeError: for a value of another kind, naming where it stands.
    """
    tensors: dict[str, Tensor | Later] = {}
    plain = _pack(tree, (), tensors)
    return _separate(tensors), plain


def unpack(tensors: Mapping[str, Tensor], plain: Any) -> Tree:
    """The tree that `pack` split, arrays as arrays and tensors as tensors on the CPU.

    Raises:
        CheckpointError: when `plain` names a tensor that is not there.
    """
    if isinstance(plain, list):
        return [unpack(tensors, item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        form, value = next(iter(plain.items()))
        if form == "$tensor":
            return _lookup(tensors, value)
        if form == "$array":
            return _lookup(tensors, value).numpy()
        if form == "$float":
            return float(value)
        if form == "$pairs":
            return {key: unpack(tensors, item) for key, item in value}
    return {key: unpack(tensors, item) for key, item in plain.items()}


def _lookup(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"The checkpoint names a tensor {name!r} that it does not hold.")
    return tensors[name]


def _pack(tree: Tree, path: tuple[str, ...], tensors: dict[str, Tensor | Later]) -> Any:
    if isinstance(tree, (Tensor, Later)):
        return {"$tensor": _store(tree, path, tensors)}
    if isinstance(tree, np.ndarray):
        return {"$array": _store(_tensor(tree, path), path, tensors)}
    if isinstance(tree, np.generic):
        tree = tree.item()
    if isinstance(tree, Mapping):
        return _pack_mapping(tree, path, tensors)
    if isinstance(tree, (list, tuple)):
        return [_pack(item, (*path, str(i)), tensors) for i, item in enumerate(tree)]
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"$float": repr(tree)}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    kind = type(tree).__name__
    raise TypeError(f"Cannot save {'.'.join(path)!r}: a {kind} is neither a tensor nor plain data.")


def _pack_mapping(
    tree: Mapping[Any, Tree], path: tuple[str, ...], tensors: dict[str, Tensor | Later]
) -> Any:
    keys = [key.item() if isinstance(key, np.generic) else key for key in tree]
    for key in keys:
        if not (key is None or isinstance(key, (bool, int, float, str))):
            where = f"{'.'.join(path)!r}: its key {key!r}"
            raise TypeError(f"Cannot save {where} is neither text nor a number.")
    values = zip(keys, tree.values(), strict=True)
    packed = [(key, _pack(value, (*path, str(key)), tensors)) for key, value in values]
    if all(isinstance(key, str) and not key.startswith("$") for key, _ in packed):
        return dict(packed)
    return {"$pairs": [list(pair) for pair in packed]}


def _tensor(array: np.ndarray[Any, Any], path: tuple[str, ...]) -> Tensor:
    """The array in this machine's order of bytes."""
    native = np.ascontiguousarray(array).reshape(array.shape)
    if native.dtype.kind in "biuf":
        with suppress(TypeError):  # longdouble
            return torch.from_numpy(native.astype(native.dtype.newbyteorder("="), copy=False))
    raise TypeError(f"Cannot save {'.'.join(path)!r}: it holds {array.dtype}, not numbers.")


def _store(
    tensor: Tensor | Later, path: tuple[str, ...], tensors: dict[str, Tensor | Later]
) -> str:
    name = ".".join(path) or "value"
    while name in tensors:  # {"a.b": x, "a": {"b": y}} would meet here
        name += "'"
    if isinstance(tensor, Tensor):
        if tensor.dtype not in DTYPES:
            raise TypeError(f"Cannot save {'.'.join(path)!r}: it holds {tensor.dtype}.")
        tensor = tensor.detach().to("cpu").contiguous()
    tensors[name] = tensor
    return name


def _separate(tensors: dict[str, Tensor | Later]) -> dict[str, Tensor | Later]:
    """Copies of those that share memory, which safetensors refuses; the others as they are."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if isinstance(tensor, Later):
            continue
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in seen:
            tensors[name] = tensor.clone()
        elif tensor.nbytes:
            seen.add(storage.data_ptr())
    return tensors

"""A golden file: its arrays as inputs, and the comparison of its arrays with our outputs.

Every array of a file must be read or compared; one that nobody asks for fails the file, so that a
new array in a new folder cannot go unnoticed. Only settings below `meta/` may stay unread: one that
matters and is not read shows in the outputs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DEFAULT = Path(__file__).parent / "data"
# Largest error relative to a tensor's largest magnitude: two independent float32 implementations
# differ by up to 5e-5 in gradients (README of the arrays); this leaves room for other seeds.
TOLERANCE = 2e-4


def folder() -> Path:
    """The folder under test."""
    return Path(os.environ.get("DREAMER_GOLDEN") or DEFAULT)


class Golden:
    """One file.

    Attributes:
        name: of the file, without suffix. compared: number of arrays compared so far.
        worst: largest error so far, relative to its tensor's largest magnitude; `worst_key` where.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        with np.load(path, allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files}
        self.unread = set(self.arrays)
        self.compared, self.worst, self.worst_key = 0, 0.0, ""
        self.failures: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def array(self, key: str) -> np.ndarray:
        """An input."""
        self.unread.discard(key)
        return self.arrays[key]

    def tensor(self, key: str, grad: bool = False) -> Tensor:
        """An input as tensor, a leaf that wants its gradient if `grad`."""
        value = torch.from_numpy(self.array(key).copy())
        return value.requires_grad_() if grad else value

    def number(self, key: str, default: float | int | None = None) -> float | int:
        """A setting of the file, or what the official code has where the file says nothing."""
        if default is not None and key not in self:
            return default
        number: float | int = self.array(key).item()
        return number

    def names(self, prefix: str) -> list[str]:
        """What follows `prefix` in the names of arrays, in the file's order."""
        return [key[len(prefix) :] for key in self.arrays if key.startswith(prefix)]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """All inputs below a prefix, by the rest of their names."""
        return {name: self.array(prefix + name) for name in self.names(prefix)}

    def variants(self, last: str) -> list[str]:
        """First parts of names that end in `/last`, in the file's order."""
        return [key[: -len(last) - 1] for key in self.arrays if key.endswith("/" + last)]

    def check(self, key: str, value: object, allowed: float | np.ndarray = TOLERANCE) -> None:
        """Compare our output with an array.

        Args:
            key: of the array. value: a tensor or array of the same shape.
            allowed: error relative to the array's largest magnitude, or absolute per element if
                it is an array. Integers, flags and words must be equal.
        """
        self.unread.discard(key)
        self.compared += 1
        expected = self.arrays[key]
        actual = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if actual.shape != expected.shape:
            self.failures.append(f"{key}: shape {actual.shape}, expected {expected.shape}")
        elif expected.dtype.kind != "f":
            wrong = int((actual != expected).sum())
            if wrong:
                self.failures.append(f"{key}: {wrong} of {expected.size} differ")
        else:
            self._check_close(key, actual.astype(np.float64), expected.astype(np.float64), allowed)

    def _check_close(
        self, key: str, actual: np.ndarray, expected: np.ndarray, allowed: float | np.ndarray
    ) -> None:
        if not expected.size:
            return
        # Where all is zero, so must ours be, but for the smallest float32.
        largest = max(np.abs(expected).max(), 1e-30)
        if not isinstance(allowed, np.ndarray):
            allowed = np.full(expected.shape, allowed * largest)
        error = np.abs(actual - expected)
        share = error / np.maximum(allowed, 1e-35)
        worst = float(np.where(np.isfinite(share), share, np.inf).max())
        if error.max() / largest > self.worst:
            self.worst, self.worst_key = float(error.max() / largest), key
        if worst > 1:
            at = np.unravel_index(np.argmax(np.nan_to_num(share, nan=np.inf)), share.shape)
            at = tuple(map(int, at))
            self.failures.append(
                f"{key}{list(at)}: {actual[at]:.8g}, expected {expected[at]:.8g}; "
                f"{worst:.3g} times the allowed error"
            )

    def check_all(self, prefix: str, values: dict[str, object], allowed: float = TOLERANCE) -> None:
        """Compare everything below a prefix; the names must be the same on both sides."""
        expected = set(self.names(prefix))
        for name in sorted(expected ^ values.keys()):
            side = "we lack" if name in expected else "only we have"
            self.failures.append(f"{prefix}{name}: {side} it")
        for name in sorted(expected & values.keys()):
            self.check(prefix + name, values[name], allowed)

    def check_grads(self, keys: dict[str, Tensor], allowed: float = TOLERANCE) -> None:
        """Compare gradients of leaves; one that got none has the gradient zero."""
        for key, leaf in keys.items():
            self.check(key, grad_of(leaf), allowed)

    def finish(self) -> None:
        """Raise if anything differed or was not asked for."""
        unread = sorted(key for key in self.unread if not key.startswith("meta/"))
        self.failures += [f"{key}: nobody read it" for key in unread]
        if not self.compared:
            self.failures.append("nothing was compared")
        if self.failures:
            shown = "\n  ".join(self.failures[:40])
            raise AssertionError(f"{self.name}: {len(self.failures)} arrays differ\n  {shown}")


def grad_of(leaf: Tensor) -> Tensor:
    """Gradient of a leaf, zeros where nothing reached it."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def stacked(rows: Iterable[Tensor]) -> np.ndarray:
    """Tensors of successive steps as one array."""
    return torch.stack([row.detach().clone() for row in rows]).numpy()

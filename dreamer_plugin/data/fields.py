"""What one record consists of: keys, shapes, types, and what may not be in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from dreamer_plugin import keys
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import ObsKey, Spaces

ENV = "env"  # int64 [], whose record it is; optional, where records of several envs are mixed
_MANY = 1 << 16  # numbers


@dataclass(frozen=True)
class Field:
    """One key of a record.

    Args:
        key: in a TensorDict. shape, dtype: of one record's value.
        checked: refuse values that are not finite.
        classes: refuse integers outside `0..classes-1`; 0 does not look.
    """

    key: str | tuple[str, str]
    shape: tuple[int, ...]
    dtype: torch.dtype
    checked: bool = False
    classes: int = 0

    @property
    def name(self) -> str:
        """The key as one string."""
        return self.key if isinstance(self.key, str) else "/".join(self.key)

    @property
    def is_latent(self) -> bool:
        """Whether it changes after it was recorded."""
        return self.key in (keys.DETER, keys.STOCH)

    @property
    def nbytes(self) -> int:
        """Bytes of one record's value."""
        return math.prod(self.shape) * self.dtype.itemsize

    def empty(self, *batch: int) -> np.ndarray:
        """An array to copy values of this field into, memory untouched."""
        return np.empty((*batch, *self.shape), _numpy_dtype(self.dtype))

    def to_array(self, tensor: Tensor) -> np.ndarray:
        """Values as this field's arrays have them; of bfloat16, which NumPy lacks, the bits."""
        tensor = tensor.detach().to("cpu", self.dtype)
        return tensor.view(torch.int16).numpy() if _has_no_numpy(self.dtype) else tensor.numpy()

    def to_tensor(self, array: np.ndarray) -> Tensor:
        """The inverse of `to_array`, on the same memory."""
        tensor = torch.from_numpy(array)
        return tensor.view(self.dtype) if _has_no_numpy(self.dtype) else tensor

    def read(self, records: TensorDictBase) -> np.ndarray:
        """This field of `records [N]` as an array `[N, *shape]`, checked.

        Raises:
            UsageError: names the key and what is wrong with it.
        """
        tensor = records.get(self.key, None)
        if tensor is None:
            raise UsageError(f"the record has no {self.name!r}")
        return self.take(tensor, self.checked)

    def take(self, tensor: Tensor, finite: bool) -> np.ndarray:
        """Values `[N, *shape]` as an array, checked; raises as `read` does.

        Args:
            finite: whether numbers must be.
        """
        if tensor.shape[1:] != self.shape or tensor.ndim == 0:
            shape = list(tensor.shape[1:])
            raise UsageError(
                f"{self.name!r} has shape {shape}, the replay keeps {list(self.shape)}"
            )
        if tensor.is_floating_point() != self.dtype.is_floating_point:
            raise UsageError(f"{self.name!r} is {tensor.dtype}, the replay keeps {self.dtype}")
        if self.classes:
            self._check_classes(tensor)
        elif self.dtype == torch.uint8 and tensor.dtype != torch.uint8:
            raise UsageError(f"{self.name!r} is {tensor.dtype}, the replay keeps {self.dtype}")
        array = self.to_array(tensor)
        if finite:
            self._check_finite(tensor, array)
        return array

    def _check_finite(self, tensor: Tensor, array: np.ndarray) -> None:
        """Look at what is kept, in which a number may be too large, and name what was given."""
        kept = self.to_tensor(array)
        # Latents come by the million: a sum takes half as long, and may itself be too large.
        if array.size > _MANY and math.isfinite(kept.sum()):
            return
        finite = np.isfinite(kept.float().numpy())  # NumPy lacks bfloat16
        if not finite.all():
            bad = tensor.flatten()[~finite.reshape(-1)][0].item()
            remedy = (
                "the weights of the agent, or what it saw, made its state so"
                if self.is_latent
                else "pass the env through dreamer_envs.wrap to learn which env and value it was"
            )
            raise UsageError(
                f"{self.name!r} holds {bad}: every number must be finite in "
                f"{str(self.dtype).removeprefix('torch.')}; {remedy}"
            )

    def _check_classes(self, tensor: Tensor) -> None:
        if not tensor.numel():
            return
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or high >= self.classes:
            bad = low if low < 0 else high
            raise UsageError(
                f"{self.name!r} holds {bad}, its space has {self.classes} values from 0"
            )


def record_fields(
    spaces: Spaces,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
    latent_dtype: torch.dtype = torch.float32,
) -> tuple[Field, ...]:
    """The fields of a record.

    Args:
        spaces: of the env.
        deter: D. stoch_shape, stoch_dtype: of the sample's storage form.
        latent_dtype: of the recurrent state in replay.
    """
    return (
        *(_obs_field(key) for key in spaces.obs),
        Field(keys.ACTION, (spaces.action_size,), torch.float32, checked=True),
        Field(keys.REWARD, (), torch.float32, checked=True),
        Field(keys.IS_FIRST, (), torch.bool),
        Field(keys.IS_LAST, (), torch.bool),
        Field(keys.IS_TERMINAL, (), torch.bool),
        Field(keys.DETER, (deter,), latent_dtype),
        Field(keys.STOCH, tuple(stoch_shape), stoch_dtype),
    )


def _obs_field(key: ObsKey) -> Field:
    name = (keys.OBS, key.name)
    if key.kind == "image":
        return Field(name, key.shape, torch.uint8)
    if key.kind == "vector":
        return Field(name, key.shape, torch.float32, checked=True)
    dtype = torch.uint8 if key.classes <= 256 else torch.int32
    return Field(name, key.shape, dtype, classes=key.classes)


def _has_no_numpy(dtype: torch.dtype) -> bool:
    return dtype == torch.bfloat16


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    stand_in = torch.int16 if _has_no_numpy(dtype) else dtype
    return torch.empty((), dtype=stand_in).numpy().dtype

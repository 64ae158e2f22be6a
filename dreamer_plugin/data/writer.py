"""How records come into replay: checked, then appended to the streams of their envs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data.replay_buffers.writers import Writer

from dreamer_plugin import keys
from dreamer_plugin.data.fields import ENV
from dreamer_plugin.data.storage import SegmentStorage, dump, load
from dreamer_plugin.errors import UsageError


class RecordWriter(Writer):  # type: ignore[misc]  # torchrl has no types
    """Checks records and appends them to their envs' streams."""

    _storage: SegmentStorage

    def __init__(self) -> None:
        super().__init__()
        self._write_count = 0
        self._known: set[str] | None = None

    def add(self, data: TensorDictBase) -> Tensor:
        """Append one record `[]`; returns its position."""
        return self.extend(data.unsqueeze(0))[0]

    def extend(self, data: TensorDictBase) -> Tensor:
        """Append records `[M]`, of the envs under `env` or else of 0 to M-1; their positions."""
        if self._known is None:
            self._check_keys(data)
        envs = self._envs(data)
        rows = [field.read(data) for field in self._storage.fields]
        positions = self._storage.append(envs, rows)
        self._write_count += len(envs)
        return torch.from_numpy(positions)

    @property
    def written(self) -> int:
        """Records ever appended."""
        return self._write_count

    def _envs(self, data: TensorDictBase) -> list[int]:
        given = data.get(ENV, None)
        count, num_envs = data.batch_size[0], self._storage.num_envs
        envs = list(range(count)) if given is None else given.reshape(-1).tolist()
        if given is None and count != num_envs:
            raise UsageError(f"{count} records for {num_envs} envs: say whose they are with env=")
        if len(envs) != count:
            raise UsageError(f"{count} records with {len(envs)} values of env: name one of each")
        odd = [env for env in envs if not 0 <= env < num_envs]
        if odd:
            raise UsageError(
                f"a record is of env {odd[0]}, but the replay has {num_envs} streams, from 0"
            )
        return envs

    def _check_keys(self, data: TensorDictBase) -> None:
        """Refuse keys that would be dropped silently; once, since a caller's keys do not change."""
        known = {field.key for field in self._storage.fields} | {ENV, keys.INDEX}
        extra = [key for key in data.keys(True, True) if key not in known]
        if extra:
            raise UsageError(f"the replay does not keep {extra}; drop these keys before extend")
        self._known = {str(key) for key in known}

    def _empty(self, empty_write_count: bool = True) -> None:
        if empty_write_count:
            self._write_count = 0

    def state_dict(self) -> dict[str, Any]:
        """The number of records written."""
        return {"write_count": self._write_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._write_count = state_dict["write_count"]

    def dumps(self, path: Path) -> None:
        """Write the state into a folder."""
        dump(self.state_dict(), path)

    def loads(self, path: Path) -> None:
        """Read what `dumps` wrote."""
        self.load_state_dict(load(path))

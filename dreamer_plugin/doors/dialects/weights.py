"""One agent in one file: safetensors, with `config.yaml` beside it. Nothing is pickled.

    runs/walker/ckpts/
      model.safetensors   weights, optimiser, normalisers, the env's spaces
      config.yaml         the whole configuration

A path that ends in `.pt` means the safetensors of that stem: a file of that name made by torch is a
pickle, which can run code when it is read, and is refused.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dreamer_plugin.config import Config, config_text, load_config
from dreamer_plugin.config.yamlfile import write_text
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run.packing import pack, unpack

SUFFIX = ".safetensors"
TORCH = (".pt", ".pth", ".ckpt")
FORMAT = "dreamer-plugin agent 1"
CONFIG = "config.yaml"


def is_weights(path: str | Path) -> bool:
    """Whether a path means one file rather than a folder."""
    return Path(path).suffix in (SUFFIX, *TORCH)


def save_weights(path: str | Path, parts: Mapping[str, Any], cfg: Config) -> Path:
    """Write parts of an agent, and its configuration beside them.

    Args:
        path: `model.safetensors`, or `model.pt`, for which that is written and a line printed.
        parts: name -> state tree. cfg: of the agent.

    Returns:
        The file written.

    Raises:
        UsageError: when the folder has the configuration of another agent.
    """
    file = Path(path).with_suffix(SUFFIX)
    text, config = config_text(cfg), file.parent / CONFIG
    if config.is_file() and config.read_text(encoding="utf-8") != text and _others(file):
        raise UsageError(f"{config} is of another agent: save {file.name} in a folder of its own.")
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors, plain = pack(dict(parts))
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        save_file(tensors, temporary, {"format": FORMAT, "plain": json.dumps(plain)})
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    write_text(text, config)
    if Path(path).suffix != SUFFIX:
        print(f"{path} is written as {file} and {config}: no pickles here.")
    return file


def read_weights(path: str | Path) -> tuple[Config, dict[str, Any]]:
    """What `save_weights` wrote.

    Raises:
        UsageError: when it is a pickle, or not there.
        CheckpointError: when it is damaged or of another make.
    """
    file = _file(Path(path))
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{file} does not hold an agent that was saved here.")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            parts = unpack(tensors, json.loads(metadata["plain"]))
    except (SafetensorError, ValueError, KeyError) as error:
        if isinstance(error, UsageError):
            raise
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    return load_config(file.parent / CONFIG), parts


def find_weights(folder: str | Path) -> Path | None:
    """The only file of weights in a folder, None where there is none.

    Raises:
        UsageError: when there are several.
    """
    found = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{folder} holds {names}: name the one you mean.")
    return found[0] if found else None


def _file(path: Path) -> Path:
    """The safetensors that a path means."""
    if path.suffix in TORCH and path.is_file():
        raise UsageError(
            f"{path} is a pickle of torch, which can run code when it is read: refused. "
            f"Agents are saved here as {path.stem}{SUFFIX}."
        )
    file = path.with_suffix(SUFFIX)
    if not file.is_file():
        raise UsageError(f"{file} does not exist.")
    return file


def _others(file: Path) -> bool:
    """Whether something else in the folder needs its configuration."""
    others = [path for path in file.parent.glob(f"*{SUFFIX}") if path != file]
    return bool(others) or (file.parent / "checkpoints").is_dir()

"""An agent as one file: a graph for ONNX runtimes, or its weights with all that they need.

    run -> FILE.onnx          one decision, see `interop.step`; facts as JSON in its metadata
    run -> FILE.safetensors   all weights, config and spaces -> Dreamer.load(FILE)

A file of weights has neither the optimiser nor the replay: it acts, dreams, and may learn anew.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config, config_text, parse_config
from dreamer_plugin.errors import CheckpointError, UsageError, choose
from dreamer_plugin.interop import step
from dreamer_plugin.run import evaluate
from dreamer_plugin.run.checkpoint import understood
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.evaluate import load_agent
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.run.packing import pack, unpack
from dreamer_plugin.run.telling import tell

FORMAT = 1
KEY = "dreamer_plugin"  # of the metadata in both kinds of file
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXTRA = "pip install 'dreamer-plugin[onnx]'"
OPSET = 18
_SPACES, _WEIGHTS = "spaces.", ("world.", "behavior.")


def export_onnx(
    run: str | Path, file: str | Path, which: str = "best", deterministic: bool | None = None
) -> dict[str, Any]:
    """Write one decision of a run's agent as an ONNX graph with a free number of rows.

    Args:
        run: folder of a run, or one checkpoint. file: to make; it must not exist.
        which: `"latest"`, `"best"` or a step, when `run` is not a checkpoint.
        deterministic: modes of posterior and policy, or draws from the noise; by default what the
            authors of the agent did (`behavior.eval_mode`).

    Returns:
        The facts in the file's metadata.

    Raises:
        UsageError: when there is no run, the file exists, or the packages of the extra `onnx` are
            missing.
    """
    require_new(file)
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UsageError(f"ONNX needs the package {missing[0]}: {EXTRA}")
    chosen = evaluate.choose(run, which)
    agent, native = load_agent(chosen.cfg, chosen.path, "cpu")
    modes = chosen.cfg.behavior.eval_mode if deterministic is None else deterministic
    tell("drawing the graph, a minute for large agents", 0, 0)
    env = {"options": chosen.cfg.env.options}
    facts = _origin(chosen) | env | _interface(agent, native, modes)
    program = _onnx_program(agent, native, modes)
    program.model.metadata_props[KEY] = json.dumps(facts)
    _write(file, program.save)
    return facts


def export_weights(
    run: str | Path, file: str | Path, which: str = "best", dtype: str = "float32"
) -> dict[str, Any]:
    """Write all weights of a run's agent, world model included, with config and spaces.

    Args:
        run, file, which: as of `export_onnx`.
        dtype: of the weights in the file, a key of `DTYPES`.

    Returns:
        Facts: what was exported.

    Raises:
        UsageError: as of `export_onnx`, and for another dtype.
    """
    stored = choose(DTYPES, dtype, "dtype")
    require_new(file)
    chosen = evaluate.choose(run, which)
    agent, native = load_agent(chosen.cfg, chosen.path, "cpu")
    facts = _origin(chosen) | {"version": version("dreamer-plugin"), "dtype": dtype}
    arrays, spaces = pack(native.to_dict())
    weights = {name: _narrow(tensor, stored) for name, tensor in agent.state_dict().items()}
    tensors = weights | {f"{_SPACES}{name}": array for name, array in arrays.items()}
    about = {"format": FORMAT, "facts": facts, "spaces": spaces}
    metadata = {KEY: json.dumps(about), "config": config_text(chosen.cfg)}
    _write(file, lambda path: save_file(tensors, path, metadata))
    return facts


def read_weights(
    file: str | Path, device: str = "auto"
) -> tuple[Config, Agent, NativeForm, dict[str, Any]]:
    """What `export_weights` wrote: config, agent on a device, spaces as its user sees them, facts.

    Raises:
        CheckpointError: when it is no such file, or it is damaged.
    """
    path = Path(file)
    try:
        with safe_open(path, "pt") as opened:
            metadata: Mapping[str, str] = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Cannot read the weights in {path}: {error}") from error
    if KEY not in metadata or "config" not in metadata:
        raise CheckpointError(f"{path} was not made by `dreamer-plugin export`.")
    arrays = {k.removeprefix(_SPACES): v for k, v in tensors.items() if k.startswith(_SPACES)}
    with understood(path):
        about = json.loads(metadata[KEY])
        if about["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {about['format']}, this version reads up to {FORMAT}: upgrade."
            )
        facts = dict(about["facts"])
        native = NativeForm.from_dict(unpack(arrays, about["spaces"]))
    cfg = parse_config(metadata["config"], str(path))
    agent = build_agent(cfg, native.spaces, choose_device(device))
    weights = {name: value for name, value in tensors.items() if name.startswith(_WEIGHTS)}
    try:
        agent.refuse_other(weights)
        agent.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error
    return cfg, agent, native, facts


def require_new(file: str | Path) -> None:
    """Refuse a file that exists, or whose folder does not."""
    path = Path(file)
    if path.exists():
        raise UsageError(f"{path} exists already: name another file, or remove it.")
    if not path.parent.is_dir():
        raise UsageError(f"Cannot write {path}: there is no folder {path.parent}.")


def _origin(chosen: evaluate.Chosen) -> dict[str, Any]:
    """What the file is of; not where that lies on this machine."""
    return {name: value for name, value in chosen.facts.items() if name != "run"}


def _interface(agent: Agent, native: NativeForm, deterministic: bool) -> dict[str, Any]:
    """What a caller of the graph must know, as plain data."""
    spaces = native.spaces.to_dict()
    kept = agent.initial(1)
    return {
        "format": FORMAT,
        "version": version("dreamer-plugin"),
        "deterministic": deterministic,
        "noise": agent.noise_size,
        "state": {name: list(kept[name].shape[1:]) for name in step.STATE},
        "obs": spaces["obs"],
        "actions": spaces["actions"],
        "native": spaces["native"],
        "dict_action": spaces["dict_action"],
    }


def _onnx_program(agent: Agent, native: NativeForm, deterministic: bool) -> Any:
    agent.requires_grad_(False)
    module = step.PolicyStep(agent, deterministic).eval()
    arguments = step.examples(agent, native.spaces)
    rows = torch.export.Dim("N")
    names = {key.name: {0: rows} for key in native.spaces.obs}
    free = (names, *({0: rows} for _ in arguments[1:]))
    with _quiet():
        program = torch.export.export(module, arguments, dynamic_shapes=free)
        return torch.onnx.export(
            program.run_decompositions(step.PLAIN),
            input_names=step.input_names(native.spaces),
            output_names=list(step.OUTPUTS),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet() -> Any:
    """Without the exporter's notes on packages and names that do not matter here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _narrow(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()


def _write(file: str | Path, save: Any) -> None:
    """Save to a neighbour first, so that the file is there whole or not at all."""
    path = Path(file)
    part = path.with_name(f".{path.name}.part")
    try:
        save(str(part))
        part.chmod(0o644)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"Cannot write {path}: {reason}.") from error
    finally:
        part.unlink(missing_ok=True)

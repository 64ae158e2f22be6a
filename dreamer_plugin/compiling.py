"""Compiled forms of what an update spends its time in, put in the place of the plain ones.

    piece                       calls per update     compiled with its backward pass
    one filtering step          T                    yes, or `world/scan.py`'s own, compiled too
    one dreamed step            H                    where the actor learns through dreams
    encoding, world losses      1                    yes
    all losses from dreams      1                    yes

Steps are compiled, not loops: a loop compiled as a whole takes minutes. Shapes are those of the
first update; acting keeps its plain form.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from tensordict import TensorDict

from dreamer_plugin.agent import Agent
from dreamer_plugin.errors import UsageError
from dreamer_plugin.world.rssm import plain_scan, scan_step
from dreamer_plugin.world.scan import DeferredScan

_LEAST_UPDATES = 3000  # from there on, time saved exceeds the time of compiling
# One library for each piece: half the work for the C++ compiler of one for each kernel, and calls
# that cost less. What only calls kernels is not worth the compiler's optimising.
_ON_A_CPU = {
    "cpp_wrapper": True,
    "cpp_wrapper_build_separate": True,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "cpp.vec_isa_ok": True,  # else it compiles programs to find out what the processor says itself
}
_PIECES = {"world": ("encode", "losses"), "behavior": ("losses",)}


def compile_agent(agent: Agent) -> None:
    """Replace the pieces of an agent, in place; each is compiled when it is first called.

    Parameters, checkpoints and acting stay as they are. Values differ by rounding alone.
    """
    compiled = functools.partial(_compiled, options=_options(agent.device))
    rssm = agent.world.rssm
    if isinstance(rssm.scan, DeferredScan):
        rssm.scan = DeferredScan(compiled, rssm.scan.small, exact=False)
    elif rssm.scan is plain_scan:  # that which computes values twice stays as it is
        rssm.scan = functools.partial(plain_scan, step=compiled(scan_step))
    agent.dream_step = compiled(agent.dream_step)
    for room, names in _PIECES.items():
        module = getattr(agent, room)
        for name in names:
            setattr(module, name, _on_plain_tensors(compiled(getattr(module, name))))


def worth_compiling(word: str, device: torch.device, updates: float) -> tuple[bool, str]:
    """Whether to compile, and what to tell about it.

    Args:
        word: `off`, `on`, `graph`: on, and replayed (`graphs.py`), or `auto`: on where a compiler
            is at hand and the run is long enough.
        device: where the agent learns. updates: how many the run will make.

    Raises:
        UsageError: when `on` or `graph` is asked for and nothing can be compiled, or replayed.
    """
    if word == "off":
        return False, "off"
    if word == "graph" and device.type != "cuda":
        raise UsageError(
            f"compile=graph: only CUDA devices replay updates, and this agent learns on "
            f"{device.type}: use compile=on"
        )
    missing = compiler_missing(device)
    if missing and word != "auto":
        raise UsageError(f"compile={word}: {missing}, or use compile=off")
    if missing:
        return False, f"off: {missing}"
    if word == "auto" and updates < _LEAST_UPDATES:
        return False, f"off: {updates:,.0f} updates do not pay for compiling"
    replayed = "; after some, they are replayed" if word == "graph" else ""
    return True, f"on: the first update waits for the compiler, a minute or two{replayed}"


def compiler_missing(device: torch.device) -> str:
    """Why nothing can be compiled for `device` here, empty when it can."""
    if device.type == "cpu":
        found = any(map(shutil.which, ("g++", "clang++", "c++")))
        return "" if found else "no C++ compiler found (Debian and Ubuntu: apt-get install g++)"
    if device.type != "cuda":
        return f"updates are compiled for processors and CUDA devices, not for {device.type}"
    if find_spec("triton") is None:
        return "no Triton found, which compiles for CUDA devices (pip install triton)"
    if not (os.environ.get("CC") or any(map(shutil.which, ("gcc", "clang", "cc")))):
        return "no C compiler found, which Triton needs (Debian and Ubuntu: apt-get install gcc)"
    if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < (7, 0):
        return f"Triton does not know {torch.cuda.get_device_name(device)}"
    return ""


def _options(device: torch.device) -> dict[str, Any]:
    """What the compiler is told beyond its defaults, as far as this version knows it."""
    if device.type != "cpu":
        return {}
    known = set(torch._inductor.list_options())
    return {name: value for name, value in _ON_A_CPU.items() if name in known}


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """A shape seen for the first time is compiled anew; nothing is left to the interpreter."""
    compiled: Callable[..., Any] = torch.compile(
        function, dynamic=False, fullgraph=True, options=options
    )
    return compiled


def _on_plain_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand over dictionaries instead of TensorDicts, which take long to trace."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*(x.to_dict() if isinstance(x, TensorDict) else x for x in args))

    return call

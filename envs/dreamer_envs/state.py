"""Saving and restoring environments in the middle of an episode, as plain data.

A saved state is made of dicts with string keys, numbers, strings, `None`, lists and numpy arrays.
`dumps` and `loads` turn it into JSON bytes and back; nothing is ever unpickled.

An env can be saved if its base env can (it has `can_save = True`, `get_state()`,
`set_state(state)`, or is one of Gymnasium's classic-control or toy-text envs) and the state of
every wrapper around it is known.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers

from dreamer_envs.errors import StateError

AnyEnv = gym.Env[Any, Any]
State = dict[str, Any]

# What Gymnasium's own wrappers remember. Ours say so in `state_attributes`.
_GYMNASIUM_WRAPPERS: dict[type, tuple[str, ...]] = {
    wrappers.TimeLimit: ("_elapsed_steps",),
    wrappers.OrderEnforcing: ("_has_reset",),
    wrappers.PassiveEnvChecker: (),
}

# What Gymnasium's simple envs remember from step to step; their settings come from the constructor.
_GYMNASIUM_ENVS: dict[str, tuple[str, ...]] = {
    "CartPoleEnv": ("state", "steps_beyond_terminated"),
    "MountainCarEnv": ("state",),
    "Continuous_MountainCarEnv": ("state",),
    "PendulumEnv": ("state", "last_u"),
    "AcrobotEnv": ("state",),
    "FrozenLakeEnv": ("s", "lastaction"),
    "CliffWalkingEnv": ("s", "lastaction"),
    "TaxiEnv": ("s", "lastaction", "fickle_step", "taxi_orientation"),
}
_GYMNASIUM_MODULES = ("gymnasium.envs.classic_control.", "gymnasium.envs.toy_text.")


def can_save(env: AnyEnv) -> bool:
    """Whether `get_state` works for this env and everything around it."""
    return _obstacle(env) is None


def get_state(env: AnyEnv) -> State:
    """State of an env and its wrappers.

    Raises:
        StateError: something in it has no known state; the message names it.
    """
    _require(env)
    base = env.unwrapped
    return {
        "class": type(base).__name__,
        "random": _get_random(base),
        "base": _get_base(base),
        "wrappers": [_get_attributes(layer, _remembers(layer)) for layer in _layers(env)],
    }


def set_state(env: AnyEnv, state: State) -> None:
    """Restores a state of `get_state` into an env of the same making; no reset is needed before.

    Raises:
        StateError: the env cannot be restored, or the state is of another env.
    """
    _require(env)
    base, layers = env.unwrapped, _layers(env)
    if state["class"] != type(base).__name__ or len(state["wrappers"]) != len(layers):
        raise StateError(
            f"This state is of a {state['class']} under {len(state['wrappers'])} wrappers, "
            f"not of a {type(base).__name__} under {len(layers)}."
        )
    _set_random(base, state["random"])
    if getattr(base, "can_save", False):
        base.set_state(state["base"])  # type: ignore[attr-defined]
    else:
        _set_attributes(base, state["base"])
    for layer, attributes in zip(layers, state["wrappers"], strict=True):
        _set_attributes(layer, attributes)
        if isinstance(layer, wrappers.PassiveEnvChecker):
            # Its checks of the first steps compare with data of the step before, which is gone.
            layer.checked_reset = layer.checked_step = layer.checked_data_reuse = True


def dumps(state: State) -> bytes:
    """JSON bytes of a state; arrays keep dtype, shape and every bit."""
    return json.dumps(state, default=_encode).encode()


def loads(data: bytes) -> State:
    """The state that `dumps` was given."""
    state: State = json.loads(data, object_hook=_decode)
    return state


def _require(env: AnyEnv) -> None:
    obstacle = _obstacle(env)
    if obstacle is not None:
        raise StateError(
            f"{obstacle} cannot save its state, so this env cannot be resumed exactly."
        )


def _obstacle(env: AnyEnv) -> str | None:
    """Name of the first layer whose state is unknown, or `None`."""
    for layer in _layers(env):
        if _remembers(layer) is None:
            return f"Wrapper {type(layer).__name__}"
    base = env.unwrapped
    if getattr(base, "can_save", False) or _known_attributes(base) is not None:
        return None
    return f"Env {type(base).__name__}"


def _layers(env: AnyEnv) -> list[gym.Wrapper[Any, Any, Any, Any]]:
    layers = []
    while isinstance(env, gym.Wrapper):
        layers.append(env)
        env = env.env
    return layers


def _remembers(layer: AnyEnv) -> tuple[str, ...] | None:
    """Attributes that hold a wrapper's state; `None` if it is not known."""
    declared: tuple[str, ...] | None = getattr(type(layer), "state_attributes", None)
    return _GYMNASIUM_WRAPPERS.get(type(layer)) if declared is None else declared


def _known_attributes(base: AnyEnv) -> tuple[str, ...] | None:
    kind = type(base)
    if not kind.__module__.startswith(_GYMNASIUM_MODULES):
        return None
    return _GYMNASIUM_ENVS.get(kind.__name__)


def _get_base(base: AnyEnv) -> State:
    if getattr(base, "can_save", False):
        state: State = base.get_state()  # type: ignore[attr-defined]
        return state
    return _get_attributes(base, _known_attributes(base))


def _get_attributes(owner: AnyEnv, names: tuple[str, ...] | None) -> State:
    return {name: _plain(getattr(owner, name, None)) for name in names or ()}


def _set_attributes(owner: AnyEnv, values: State) -> None:
    for name, value in values.items():
        setattr(owner, name, _alive(value))


def _plain(value: Any) -> Any:
    """A copy made of plain data: numpy scalars keep their dtype as arrays of no axes."""
    if isinstance(value, np.ndarray | np.generic):
        return np.array(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _alive(value: Any) -> Any:
    """What `_plain` was given: tuples and numpy scalars as such."""
    if isinstance(value, list):
        return tuple(_alive(item) for item in value)
    return value[()] if isinstance(value, np.ndarray) and not value.shape else value


def _get_random(base: AnyEnv) -> State | None:
    generator = base._np_random
    return (
        None
        if generator is None
        else {"seed": base._np_random_seed, "state": generator.bit_generator.state}
    )


def _set_random(base: AnyEnv, saved: State | None) -> None:
    if saved is None:
        base._np_random, base._np_random_seed = None, None
        return
    generator, _ = gym.utils.seeding.np_random(0)
    generator.bit_generator.state = saved["state"]
    base._np_random, base._np_random_seed = generator, saved["seed"]


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        data = base64.b64encode(array.tobytes()).decode("ascii")
        return {"__array__": data, "dtype": array.dtype.str, "shape": list(np.shape(value))}
    raise TypeError(f"A saved state holds plain data and arrays, not {type(value).__name__}.")


def _decode(item: dict[str, Any]) -> Any:
    if "__array__" not in item:
        return item
    data = base64.b64decode(item["__array__"])
    return np.frombuffer(data, np.dtype(item["dtype"])).reshape(item["shape"]).copy()

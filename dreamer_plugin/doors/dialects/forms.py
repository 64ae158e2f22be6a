"""Values of other documents in our form, each by a small function with a name.

The files in `names/` say which form a setting takes:
`discount: {to: behavior.horizon, as: discount}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dreamer_plugin.errors import UsageError, choose

ALGOS = {"Dreamerv1": "v1", "Dreamerv2": "v2", "Dreamerv3": "v3"}  # other documents' words
DIGITS = 9  # of a horizon: 1 / (1 - 0.997) is 333.333333333


def number(value: Any, what: str) -> float:
    """A finite number, which may be text such as `"1e6"`; an int stays one.

    Args:
        value: to read. what: it is, for the message.

    Raises:
        UsageError: it is something else.
    """
    try:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        found: float = value if plain else float(str(value))
        finite = math.isfinite(found)
    except (ValueError, OverflowError):
        finite = False
    if not finite:
        raise UsageError(f"{what} {value!r} is not a number, such as 0.5 or 1e6")
    return found


def whole(value: Any, what: str) -> int:
    """A whole number, however it is written: 64, 64.0 or `"64"`; see `number`.

    Raises:
        UsageError: it is another number, or none.
    """
    found = number(value, what)
    if found != int(found):
        raise UsageError(f"{what} {value!r} is not a whole number: take {round(found)}")
    return int(found)


def side(value: Any) -> int:
    """`(64, 64)` or 64, for a square image of 64 rows."""
    given = value if isinstance(value, (list, tuple)) else [value]
    sides = {whole(each, "image size") for each in given}
    if len(sides) != 1:
        raise UsageError(f"image size {value!r}: images are square here, such as (64, 64)")
    return sides.pop()


def horizon(gamma: Any) -> float:
    """Steps that a discount looks ahead, `1 / (1 - gamma)`."""
    discount = number(gamma, "discount")
    if not 0 <= discount < 1:
        raise UsageError(f"discount {gamma!r}: it must be at least 0 and below 1")
    return round(1 / (1 - discount), DIGITS)


def one_minus(decay: Any) -> float:
    """The rate of a slow copy from its decay."""
    return round(1 - number(decay, "decay"), DIGITS)


def activation(value: Any) -> str:
    """`"ELU"`, `nn.ELU` or `"elu"`."""
    return str(getattr(value, "__name__", value)).lower()


def version(value: Any) -> str:
    """`"Dreamerv1"`, `"DreamerV1"` or `"v1"` as `v1`.

    Raises:
        UsageError: naming the nearest.
    """
    word = str(value).lower().replace("_", "").replace("-", "").removeprefix("dreamer")
    return word if word in ALGOS.values() else choose(ALGOS, str(value), "algo")


def _words(kind: str, **meanings: Any) -> Callable[[Any], Any]:
    """A form that looks a value up, as text."""

    def look_up(value: Any) -> Any:
        word = "none" if value is None else str(value).lower()
        return choose(meanings, word, kind)

    return look_up


FORMS: Mapping[str, Callable[[Any], Any]] = {
    "activation": activation,
    "amp": _words("use_amp", true="bfloat16", false="float32"),
    "bits": _words("precision", **{"16": "bfloat16", "32": "float32"}),
    "cpu": _words("no_gpu", true="cpu", false="auto"),
    "discount": horizon,
    "flag": _words("choice", true=True, false=False),
    "gradient": _words(
        "actor_grad", dynamics="dynamics", reinforce="reinforce", both="mixed", auto="auto"
    ),
    "head": _words("choice", true="binary", false="none"),
    "mean": _words("free_avg", true="mean", false="each"),
    "noise": _words("expl", additive_gaussian="", epsilon_greedy=""),
    "one_minus": one_minus,
    "policy": _words(
        "action_dist",
        tanh_normal="tanh_normal",
        trunc_normal="trunc_normal",
        normal="normal",
        onehot="tanh_normal",  # of classes, for which this choice is not asked
    ),
    "side": side,
    "transform": _words(
        "clip_rewards", none="identity", identity="identity", sign="sign", tanh="tanh"
    ),
    "version": version,
}

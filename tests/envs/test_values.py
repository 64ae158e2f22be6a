"""Values of options that no suite takes are told in the same words."""

import math

import pytest

from dreamer_envs import values
from dreamer_envs.errors import EnvOptionError

OBS = ("proprio", "pixels", "both")


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (
            lambda: values.one_of("dmc/walker-walk", obs=("pixel", OBS)),
            "obs is 'pixel' for dmc/walker-walk; choose one of proprio, pixels, both. "
            "Did you mean 'pixels'?",
        ),
        (
            lambda: values.one_of("a/b", obs=("both", OBS), mode=("zzz", {"easy": 1})),
            "mode is 'zzz' for a/b; choose one of easy.",
        ),
        (
            lambda: values.at_least("a/b", size=(1, 1), length=(-1, 0)),
            "length is -1 for a/b; it must be at least 0.",
        ),
        (lambda: values.at_least("a/b", speed=(math.nan, 0.0)), "speed is nan for a/b"),
        (lambda: values.positive("a/b", speed=0.5, patience=0.0), "patience is 0.0 for a/b"),
        (
            lambda: values.drawing("a/b", "human"),
            "render_mode is 'human' for a/b; use 'rgb_array'.",
        ),
    ],
)
def test_what_is_refused_is_named_with_what_would_do(check, told):
    with pytest.raises(EnvOptionError) as error:
        check()
    assert str(error.value).startswith(told)


def test_what_does_is_not_refused():
    values.one_of("a/b", obs=("both", OBS))
    values.at_least("a/b", size=(1, 1))
    values.positive("a/b", speed=0.1)
    for mode in (None, "rgb_array"):
        values.drawing("a/b", mode)

"""A small run of the whole program."""

import io
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

TINY = Path(__file__).parent / "tiny.yaml"


def tiny_config(folder, env="gym/CartPole-v1", name="run", **options):
    from dreamer_plugin.config import compose

    base = {"run.steps": 80, "run.logdir": str(folder / name), "seed": 3}
    return compose(env, config=[TINY], options=base | options).config


def silent_console():
    return Console(record=True, file=io.StringIO(), width=200)


@pytest.fixture
def tiny(tmp_path):
    """Makes the config of a small run: `tiny("toy/recall", **{"run.steps": 60})`."""
    return partial(tiny_config, tmp_path)


@pytest.fixture
def quiet():
    """A console that shows nothing and remembers what it was told."""
    return silent_console()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run of 120 steps of CartPole; not to be changed."""
    from dreamer_plugin.run.loop import train

    cfg = tiny_config(tmp_path_factory.mktemp("finished"), **{"run.steps": 120})
    return train(cfg, console=silent_console()).run_dir

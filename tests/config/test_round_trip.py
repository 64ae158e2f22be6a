"""Saved configurations come back as they were."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer_plugin.config import compose, config_text, load_config, save_config
from dreamer_plugin.config.fields import flatten
from dreamer_plugin.config.schema import Config, EnvConfig, OptimConfig
from dreamer_plugin.config.stack import Layer, merge_layers
from dreamer_plugin.config.yamlfile import parse_yaml
from dreamer_plugin.errors import UsageError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(
        lambda text: "${" not in text and text != "???"
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=20, deadline=None)
@given(
    options=st.dictionaries(st.from_regex(r"[a-z][a-z_0-9.]*", fullmatch=True), plain, max_size=4),
    lr=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_any_config_survives_its_text(options, lr, seed):
    cfg = Config(seed=seed, env=EnvConfig(options=options), optim=OptimConfig(lr=lr))
    text = config_text(cfg)
    assert "${" not in text
    layer = Layer("x", flatten(parse_yaml(text, "x"), "x"))
    assert merge_layers([layer]) == cfg


@pytest.mark.parametrize("env", ["atari/Pong", "dmc/walker-walk", "gym/CartPole-v1", "toy/catch"])
def test_a_resolved_config_survives_its_file(env, tmp_path):
    cfg = compose(env, overrides=["env.size=64"] if env == "atari/Pong" else []).config
    save_config(cfg, tmp_path / "run" / "config.yaml")
    assert load_config(tmp_path / "run" / "config.yaml") == cfg
    assert load_config(tmp_path / "run") == cfg
    assert compose(config=[tmp_path / "run"]).config == cfg


def test_loading_is_strict(tmp_path):
    path = tmp_path / "config.yaml"
    for text, message in (
        ("optim: {lrr: 1}", "Did you mean 'optim.lr'"),
        ("run: {steps: x}", "run.steps expects a whole number"),
        ("run: {steps: 0}", "must be at least 1"),
        ("size: ${x}", "'${'"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message.replace("$", r"\$")):
            load_config(path)
    with pytest.raises(UsageError, match="Cannot read"):
        load_config(tmp_path / "none")


def test_older_files_take_defaults_for_keys_that_came_later(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 4\n")
    assert load_config(tmp_path) == replace(Config(), seed=4)


def test_merging_changes_no_default():
    before = asdict(Config())
    compose("atari/Pong", overrides=["world.encoder.mults=[1]", "env.foo=1"])
    assert asdict(Config()) == before

"""Passwords and keys of services are not written anywhere."""

import json

import pytest

from dreamer_plugin.config import changes, compose, config_text, load_config, save_config
from dreamer_plugin.config.secrets import HIDDEN, hidden, require
from dreamer_plugin.doors import cli_show
from dreamer_plugin.errors import UsageError

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "name", ["api_key", "apikey", "env.options.hf_token", "PASSWORD", "client_secret", "passwd"]
)
def test_hidden_by_name(name):
    assert hidden(name, SECRET) == HIDDEN
    assert hidden(name, "") == "" and hidden(name, 3) == 3


@pytest.mark.parametrize("name", ["url", "keyboard", "key", "run.logdir"])
def test_hidden_by_the_environment(name, monkeypatch):
    assert hidden(name, f"x{SECRET}") == f"x{SECRET}"
    monkeypatch.setenv("MY_TOKEN", SECRET)
    assert hidden(name, f"x{SECRET}") == HIDDEN
    assert hidden("", {"a": [f"{SECRET}", 1]}) == {"a": [HIDDEN, 1]}
    monkeypatch.setenv("MY_TOKEN", "short")
    assert hidden(name, "a short one") == "a short one"


@pytest.fixture
def told():
    overrides = [f"env.api_key={SECRET}", "env.sutton_barto_reward=true"]
    return compose("gym/CartPole-v1", overrides=overrides)


def test_nothing_written_or_shown_has_it(told, tmp_path):
    assert told.config.env.options["api_key"] == SECRET
    save_config(told.config, tmp_path / "config.yaml")
    told.report.save(tmp_path)
    texts = [path.read_text() for path in tmp_path.iterdir()]
    texts += [config_text(told.config), told.why("env.api_key"), str(told.report.rows)]
    texts += [cli_show.as_yaml(told), cli_show.as_json(told)]
    texts += [cli_show.why(told, "env.api_key", True), json.dumps(told.report.to_dict())]
    for text in texts:
        assert SECRET not in text
    assert all(HIDDEN in text for text in texts[:2])


def test_a_saved_run_asks_for_it_again(told, tmp_path):
    save_config(told.config, tmp_path / "config.yaml")
    saved = load_config(tmp_path)
    with pytest.raises(
        UsageError, match=r"env\.api_key is a secret and .* only train --resume takes"
    ):
        require(saved.env.options)
    again = compose(config=[tmp_path], overrides=[f"env.api_key={SECRET}"]).config
    require(again.env.options)
    assert again == told.config and changes(saved, again) == []
    other = compose(config=[tmp_path], overrides=["env.api_key=another", "optim.lr=1"]).config
    assert changes(told.config, other)[0] == f"env.options.api_key: {HIDDEN} -> {HIDDEN}"


def test_no_interpolation_comes_in_by_options_either():
    with pytest.raises(UsageError, match=r"run\.logdir has '\$\{'"):
        compose("toy/catch", options={"run.logdir": "${oc.env:HOME}"})


@pytest.mark.parametrize(
    "value", [{"headers": {"token": SECRET}}, {"servers": [{"token": SECRET}]}]
)
def test_a_secret_inside_an_option_is_asked_for_too(value):
    require(value)
    with pytest.raises(UsageError, match="is a secret and was not saved"):
        require(hidden("env.options", value))

"""A file starts no program: the Python of an env must have been typed."""

import pytest

from dreamer_plugin.config import compose, load_config, save_config
from dreamer_plugin.config.trust import allow_program, require_allowed
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.study.play import open_env


def test_typed_it_is_allowed_and_named_by_a_file_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("dreamer_plugin.config.trust._ALLOWED", set())
    (tmp_path / "config.yaml").write_text("env: {id: toy/catch, options: {python: /x/python}}\n")
    for cfg in (load_config(tmp_path), compose(config=[tmp_path]).config):
        for make in (source_of, lambda cfg: open_env(cfg, None)):
            with pytest.raises(UsageError, match="would run the program '/x/python'.*--allow-env-"):
                make(cfg)
    typed = compose("toy/catch", overrides=["env.python=/x/python"]).config
    require_allowed(typed.env.options)
    save_config(typed, tmp_path / "config.yaml")
    require_allowed(load_config(tmp_path).env.options)  # as long as this process lives
    with pytest.raises(UsageError, match="/z/scene'.*env.file_name=/z/scene"):
        require_allowed({"file_name": "/z/scene"})
    require_allowed(compose("toy/catch", overrides=["env.file_name=/z/scene"]).config.env.options)
    with pytest.raises(UsageError, match="/y/python"):
        require_allowed({"python": "/y/python"})
    allow_program("/y/python")
    require_allowed({"python": "/y/python"})
    require_allowed({"python": None})

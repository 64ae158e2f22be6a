"""A file starts no program: the Python of an env must have been typed."""

import pytest

from dreamer_plugin.config import compose, load_config, save_config
from dreamer_plugin.config.trust import allow_program, require_allowed
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.study.play import open_env
from tests.cli.calling import call


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


@pytest.mark.parametrize("command", ["evaluate", "doctor", "play", "report"])
def test_commands_that_play_a_saved_run_may_be_told_to_start_its_program(command, tmp_path):
    """The option is read before the run is looked for, which is not there."""
    program = f"/x/of/{command}"
    with pytest.raises(UsageError, match=f"--allow-env-python {program} elsewhere"):
        require_allowed({"python": program})
    told = call(command, str(tmp_path / "none"), "--allow-env-python", program, code=2).output
    assert "none" in told and "No such option" not in told
    require_allowed({"python": program})

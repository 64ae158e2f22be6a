"""`check-env`: what it says of clean and of broken envs, and its picture."""

from __future__ import annotations

import importlib
import json
import sys

import gymnasium as gym
import pytest
from PIL import Image

from dreamer_plugin.doors import cli_check
from tests.cli.calling import call


def findings(*words, code=0):
    told = json.loads(call("check-env", *words, "--json", code=code).stdout)
    return {finding["check"]: finding for finding in told["findings"]}


def test_a_clean_env():
    pytest.importorskip("stable_baselines3")
    found = findings("gym/CartPole-v1", "--steps", "200")
    assert {found[name]["grade"] for name in ("frames", "ends", "seeds", "Gymnasium", "SB3")} == {
        "ok"
    }
    assert found["TorchRL"]["grade"] == "ok"


def test_a_table_and_a_picture(tmp_path):
    path = tmp_path / "deep" / "frames.png"
    text = call("check-env", "pinpad/three", "length=10", "--steps", "20", "--picture", path).stdout
    assert "pinpad/three: nothing to repair" in text
    assert "2 ended" not in text and "limit" in text
    with Image.open(path) as picture:
        assert picture.size == (8 * (64 * 3 + 2), 64 * 3 + 2)
        assert picture.getpixel((64 * 3, 9)) == (255, 255, 255)  # parts frames that are dark


def test_a_broken_env_ends_with_1(odd_module):
    found = findings(f"{odd_module}:Nan-v0", "--steps", "20", code=1)
    assert found["frames"]["grade"] == "fault" and "nan" in found["frames"]["says"]
    assert "finite" in found["frames"]["fix"]
    assert list(found) == ["frames"]  # the others' checkers would stumble over the same


@pytest.mark.parametrize(
    "error, grade, words",
    [
        ("Deterministic step observations are not equivalent", "note", "see seeds above"),
        ("reset function does not call `super().reset(seed=seed)`.", "fault", "self.np_random"),
        ("`reset` and `step` share an object, therefore", "fault", "a copy"),
    ],
)
def test_what_others_find_is_said_plainly(error, grade, words):
    """The errors are Gymnasium 1.4's."""

    def checker(env):
        raise AssertionError(error)

    found = cli_check._foreign("Gymnasium", checker, lambda: gym.make("CartPole-v1"))
    assert found.grade == grade and words in found.fix and error not in found.says


def test_images_that_the_agent_refuses_are_a_fault():
    """`train` refuses the same env by the same words."""
    words = ["check-env", "gym/CartPole-v1", "obs=pixels", "size=50", "--steps", "5", "--json"]
    found = {each["check"]: each for each in json.loads(call(*words, code=1).stdout)["findings"]}
    assert found["DreamerV3"]["grade"] == "fault"
    assert "such as 48x48" in found["DreamerV3"]["says"] and "env.size" in found["DreamerV3"]["fix"]
    fine = findings("gym/CartPole-v1", "obs=pixels", "size=64", "--steps", "5")["DreamerV3"]
    assert (fine["grade"], fine["says"]) == ("ok", "it takes images of 64x64")


def test_no_picture_without_images(tmp_path):
    path = tmp_path / "frames.png"
    found = findings("gym/CartPole-v1", "--steps", "20", "--picture", path)["picture"]
    assert found["grade"] == "note" and "obs=pixels" in found["fix"] and not path.exists()


@pytest.fixture
def odd_module(tmp_path, monkeypatch):
    (tmp_path / "broken_for_check.py").write_text(
        "import gymnasium as gym, numpy as np\n"
        "from gymnasium import spaces\n"
        "class Nan(gym.Env):\n"
        "    observation_space = spaces.Box(-1, 1, (2,), np.float32)\n"
        "    action_space = spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        return np.zeros(2, np.float32), {}\n"
        "    def step(self, action):\n"
        "        return np.full(2, np.nan, np.float32), 0.0, False, False, {}\n"
        "gym.register('Nan-v0', Nan)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("broken_for_check")
    return "broken_for_check"


@pytest.mark.parametrize(
    "words, message",
    [
        (["atri/Pong"], "Did you mean 'atari/Pong'?"),
        (["toy/catch", "size"], "Expected an option as key=value, got 'size'."),
        (["pinpad/three", "lenth=3"], "Did you mean 'length'?"),
    ],
)
def test_mistakes(words, message):
    assert message in call("check-env", *words, code=2).output


@pytest.mark.parametrize("name", ["frames", "frames.pgn", "folder.png", "file/frames.png"])
def test_a_picture_that_cannot_be_is_refused_before_anything_is_made(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cli_check, "examine", lambda *args, **options: 1 / 0)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    words = ("toy/catch", "--picture", tmp_path / name)
    told = "Cannot write into" if "/" in name else "name a file that ends in .png."
    assert told in call("check-env", *words, code=2).stderr


def test_a_package_that_the_env_lacks_is_its_fault():
    """A checker that is missing is a note; what the env itself cannot import is not."""

    class Env:
        def close(self):
            self.closed = True

    def lacking(module):
        def checker(env):
            importlib.import_module(module)

        return cli_check._foreign("SB3", checker, Env)

    own = lacking("physics_that_nobody_has")
    assert own.grade == "fault" and "physics_that_nobody_has" in own.says


def test_a_checker_that_is_not_installed_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.env_checker", None)
    found = findings("gym/CartPole-v1", "--steps", "20")["SB3"]
    assert found["grade"] == "note" and found["fix"] == "pip install stable-baselines3"

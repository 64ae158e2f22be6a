"""import-weights and export-weights, with parameters that the official code computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from tests.cli.calling import call

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
F32 = np.float32


class LikeOfficial(gym.Env):
    """An env with the observations and actions of a golden file; an episode has four steps."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), 1.0, not self.left, False, {}


def box(*shape):
    return spaces.Box(-1, 1, shape, F32)


# Spaces and widths as the files' own `meta/` says; `prefix` is of the official parameters.
CASES = {
    "cont": {
        "file": "full_loss_cont.npz",
        "prefix": "param/",
        "spaces": (spaces.Dict(orientations=box(4), velocity=box(3)), box(3)),
        "model": "deter=24 hidden=10 groups=3 classes=5 blocks=8 depth=2 units=12",
        "bins": 255,
        "layers": 3,
        "decoder": "",
    },
    "disc": {
        "file": "train_steps_disc.npz",
        "prefix": "param_final/",
        "spaces": (
            spaces.Dict(
                image=spaces.Box(0, 255, (16, 16, 3), np.uint8), vector=box(5), height=box()
            ),
            spaces.Discrete(5),
        ),
        "model": "deter=32 hidden=12 groups=4 classes=4 blocks=4 depth=2 units=14",
        "bins": 41,
        "layers": 2,
        "decoder": "world.decoder.image_blocks=4 world.encoder.mults=[2,4]"
        " world.decoder.mults=[2,4]",
    },
}


def settings(case):
    layered = ("world.encoder", "world.decoder", "behavior.actor", "behavior.critic")
    return [
        *(f"model.{word}" for word in case["model"].split()),
        *(f"{part}.layers={case['layers']}" for part in layered),
        f"world.reward.bins={case['bins']}",
        f"behavior.critic.bins={case['bins']}",
        *case["decoder"].split(),
        *"precision=float32 device=cpu env.num_envs=2 env.processes=false".split(),
        *"replay.capacity=200 replay.batch_size=2 replay.batch_length=4 run.prefill=8".split(),
        *"behavior.imag_horizon=2 run.steps=16 run.train_ratio=4 optim.lr=1e-5".split(),
    ]


@pytest.fixture(params=CASES)
def official(request, tmp_path, monkeypatch):
    """Official parameters, a file of them, and the words that say what they are of."""
    case, monkey = CASES[request.param], f"Official-{request.param}-v0"
    monkeypatch.chdir(tmp_path)
    observation, action = case["spaces"]
    gym.register(monkey, lambda: LikeOfficial(observation, action))
    with np.load(GOLDEN / case["file"], allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith(case["prefix"])]
        arrays = {name.removeprefix(case["prefix"]): file[name] for name in names}
    if case["prefix"] == "param/":  # as it is, with everything else that stands in it
        shutil.copy(GOLDEN / case["file"], "weights.npz")
    else:
        np.savez("weights.npz", **arrays)
    yield arrays, ["--env", f"gym/{monkey}", *settings(case)]
    del gym.registry[monkey]


def refused(*words):
    """The one line of a refusal."""
    result = call(*words, code=2)
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")
    return result.stderr


def test_a_run_of_official_weights(official):
    arrays, words = official
    said = call("import-weights", "weights.npz", *words, "--logdir", "run").stdout
    count = sum(array.size for array in arrays.values())
    assert said.startswith(f"{count:,} weights imported into run\n")
    assert "dreamer-plugin evaluate run" in said and "train --resume run" in said

    from dreamer_plugin import Dreamer
    from dreamer_plugin.interop.weights import export_official

    loaded = export_official(Dreamer.load("run", device="cpu").agent)
    assert loaded.keys() == arrays.keys()
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)

    report = json.loads(call("evaluate", "run", "--episodes", 2, "--json").stdout)
    assert (report["checkpoint"], report["step"], report["returns"]) == ("best", 0, [4.0, 4.0])

    call("export-weights", "run", "back.npz")
    with np.load("back.npz", allow_pickle=False) as back:
        assert sorted(back.files) == sorted(arrays)
        assert all(np.array_equal(back[name], arrays[name]) for name in arrays)


def test_training_goes_on_from_them(official):
    arrays, words = official
    call("import-weights", "weights.npz", *words, "--logdir", "run")
    call("train", "--resume", "run", "--steps", 80)
    call("export-weights", "run", "trained.npz", "--which", "latest")
    with np.load("trained.npz", allow_pickle=False) as trained:
        learned = [name for name in arrays if not name.startswith("slowval/")]
        moved = max(np.abs(trained[name] - arrays[name]).max() for name in learned)
    # Some 40 updates move a weight by about the rate each; fresh weights would differ by over 0.1.
    assert 0 < moved < 1e-3
    said = call("export-weights", "run/checkpoints/step-000000000", "first.npz").stdout
    assert "weights of step-000000000 written" in said
    with np.load("first.npz", allow_pickle=False) as first:  # not of `best`, which is step 80
        assert all(np.array_equal(first[name], arrays[name]) for name in arrays)
    twice = ("export-weights", "run/checkpoints/best", "x.npz", "--which", "latest")
    assert "is a checkpoint already: leave out --which latest." in refused(*twice)
    best = json.loads(Path("run/checkpoints/best/best.json").read_text())
    assert best["step"] == 80 and best["value"] == 4.0  # no longer the imported ones


@pytest.mark.parametrize("env", ["toy/recall", "gym/CartPole-v1"])
def test_envs_that_save_their_state_continue_exactly(env, tmp_path, monkeypatch):
    """The envs of the checkpoint were never reset."""
    from dreamer_plugin import Dreamer

    monkeypatch.chdir(tmp_path)
    tiny = Path(__file__).parents[1] / "run" / "tiny.yaml"
    Dreamer(env, config=tiny).save("made")
    call("export-weights", "made", "made.npz", "--which", "latest")
    call("import-weights", "made.npz", "--env", env, "--config", tiny, "--logdir", "run")
    said = call("train", "--resume", "run", "--steps", 60).stdout
    assert "step-000000000 exactly" in said and "Finished at step 60" in said


def test_what_does_not_fit_is_one_line_and_leaves_nothing(official):
    arrays, words = official
    words = [*words, "--logdir", "run"]
    name = "dyn/dyngru/kernel"
    missing = f"official weight '{name}' is missing, one of 1 of {len(arrays)}"
    changes = {
        "misspelt": ({"dyn/dyngru/kernl": arrays[name]}, "Did you mean 'dyn/dyngru/kernel'?"),
        "missing": ({name: None}, missing),
        "superfluous": ({"opt/state": np.zeros(3, F32)}, "Unknown official weight 'opt/state'"),
        "shape": ({name: arrays[name][..., :-1]}, f"official weight '{name}' is ("),
        "nan": ({name: np.full_like(arrays[name], np.nan)}, f"'{name}' holds values that are not"),
        "words": ({name: np.array(["a"])}, f"'{name}' is <U1; save float32 arrays"),
        "pickled": ({name: np.array([{}], object)}, "Object arrays cannot be loaded"),
    }
    for case, (change, message) in changes.items():
        wrong = {key: value for key, value in (arrays | change).items() if value is not None}
        np.savez(f"{case}.npz", **wrong)
        assert message in refused("import-weights", f"{case}.npz", *words), case
    assert "size and settings" in refused("import-weights", "weights.npz", *words, "model.units=16")
    assert not Path("run").exists()


def test_files_that_are_none(official):
    _, words = official
    Path("text.npz").write_text("weights")
    raw = Path("weights.npz").read_bytes()
    Path("cut.npz").write_bytes(raw[: len(raw) // 2])
    shutil.make_archive("other", "zip", ".", "text.npz")
    np.save("one.npy", np.zeros(3))
    for name, why in {
        "none.npz": "no file 'none.npz' to import weights from",
        "text.npz": "it is no zip archive",
        "cut.npz": "it is no zip archive",
        "one.npy": "it is no zip archive",
        ".": "Is a directory",
        "other.zip": "'text.npz' is no array",
    }.items():
        assert why in refused("import-weights", name, *words, "--logdir", "run")
    assert not Path("run").exists()


def test_neither_command_overwrites(official):
    arrays, words = official
    call("import-weights", "weights.npz", *words, "--logdir", "run")
    again = refused("import-weights", "weights.npz", *words, "--logdir", "run")
    assert "run already holds a run:" in again
    assert "weights.npz exists already: name another file, or remove it." in refused(
        "export-weights", "run", "weights.npz"
    )
    assert "Did you mean 'run'?" in refused("export-weights", "rum", "new.npz")
    assert "Unknown checkpoint '7'" in refused("export-weights", "run", "new.npz", "--which", 7)
    assert not Path("new.npz").exists()

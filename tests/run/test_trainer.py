"""The loop as TorchRL's Trainer: the command line's numbers, exact counts, resume, refusals."""

import json
import shutil
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import NonTensorData, TensorDict
from torchrl.checkpoint import Checkpoint, CheckpointRotation, StateDictCheckpointAdapter
from torchrl.data import MultiOneHot, OneHot, Unbounded
from torchrl.envs import (
    CatFrames,
    Compose,
    GymEnv,
    GymWrapper,
    SerialEnv,
    StepCounter,
    TransformedEnv,
)
from torchrl.record.loggers import CSVLogger
from torchrl.trainers import CountFramesLog, Trainer

from dreamer_plugin.config import load_config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.vector import TorchRLVector, _action, _obs_space
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import evaluate_run
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.torchrl_env import TorchRLSource
from dreamer_plugin.run.trainer import DreamerTrainer
from dreamer_plugin.run.training import Training


def trainer_of(cfg, source=None, **options):
    training = Training(cfg, build_parts(cfg, source or source_of(cfg)))
    return DreamerTrainer(training, progress_bar=False, **options)


def losses_seen(training):
    """Every update's total, in order, from here on."""
    seen, update = [], training.update

    def watched(batch):
        metrics = update(batch)
        seen.append(sum(value.item() for name, value in metrics.items() if "loss/" in name))
        return metrics

    training.update = watched
    return seen


def test_the_losses_are_those_of_the_command_line(tiny, quiet, monkeypatch):
    # 28 steps of prefill, then a quarter of an update per step: more than 50 after 240 steps.
    cfg = tiny(**{"run.steps": 240})
    theirs, update = [], Training.update

    def watched(self, batch):
        metrics = update(self, batch)
        theirs.append(sum(v.item() for name, v in metrics.items() if "loss/" in name))
        return metrics

    with monkeypatch.context() as patch:
        patch.setattr(Training, "update", watched)
        train(cfg, console=quiet)
    trainer = trainer_of(tiny(name="other", **{"run.steps": 240, "run.logdir": ""}))
    ours = losses_seen(trainer.training)
    assert isinstance(trainer, Trainer)
    trainer.train()
    assert len(theirs) == 54 and ours == theirs


def test_updates_follow_the_train_ratio_exactly(tiny):
    trainer = trainer_of(tiny(**{"run.logdir": ""}), total_frames=160, frame_skip=2)
    counts = []
    trainer.register_op("post_steps", lambda: counts.append(trainer._optim_count))
    trainer.train()
    # As in test_train: one update at step 28, then 4/16 per agent step; two envs per batch.
    assert trainer.collected_frames == 160 and trainer.training.step == 80
    assert counts[12:18] == [0, 1, 1, 2, 2, 3]
    assert counts[-1] == 1 + (80 - 28) // 4 == trainer.training.progress.updates


@pytest.mark.parametrize("case", ["turns", "left out"])
def test_updates_of_one_batch_may_learn_different_things(tiny, case):
    """Two updates for each batch of two envs: TorchRL averages what all of them have."""
    turns = {"optim.model_turns": 1, "optim.behavior_turns": 1} if case == "turns" else {}
    trainer = trainer_of(
        tiny(**{"run.logdir": "", "run.train_ratio": 16, **turns}), total_frames=60
    )
    if case == "left out":
        update, calls = trainer.training.update, []

        def sometimes(batch):
            calls.append(batch)
            if len(calls) % 2 == 0:  # the first of each batch
                trainer.training.progress.owed -= 1
                return {}
            return update(batch)

        trainer.training.update = sometimes
    trainer.train()
    assert trainer._optim_count > 10


def test_hooks_of_a_pipeline_see_what_arrives_and_what_is_learned_from(tiny):
    trainer = trainer_of(tiny("toy/recall", **{"run.logdir": "", "run.steps": 40}))
    rewards, samples = [], []
    trainer.register_op("batch_process", lambda td: rewards.append(td["next", "reward"]))
    trainer.register_op("process_optim_batch", lambda td: samples.append(tuple(td.shape)))
    trainer.train()
    assert {tuple(reward.shape) for reward in rewards} == {(2, 1)} and len(rewards) == 20
    assert set(samples) == {(2, 9)}


def test_means_go_to_a_logger_of_torchrl(tiny, tmp_path):
    logger = CSVLogger("csv", log_dir=str(tmp_path))
    cfg = tiny("toy/recall", **{"run.logdir": "", "run.steps": 60})
    trainer = trainer_of(cfg, logger=logger, log_interval=19)
    trainer.train()
    rows = {path.stem: path.read_text() for path in tmp_path.rglob("*.csv")}
    lines = next(text for name, text in rows.items() if name.endswith("optim_steps")).splitlines()
    # Every more than 19 frames: at 20, 40 and 60, when 0, 1 + 12 // 4 and 1 + 32 // 4 were made.
    assert [line.split(",") for line in lines] == [
        ["20", "0.0"],
        ["40", "4.0"],
        ["60", "9.0"],
    ]
    assert any(name.endswith("return") for name in rows) and any("dyn" in name for name in rows)


def test_a_checkpoint_inside_the_loop_continues_exactly(tiny, tmp_path):
    options = {"run.logdir": "", "run.steps": 120}
    whole = trainer_of(tiny(**options))
    expected = losses_seen(whole.training)
    whole.train()

    first = trainer_of(
        tiny(**options),
        total_frames=60,
        checkpoint=Checkpoint(),
        checkpoint_rotation=CheckpointRotation(tmp_path / "saved", keep_last=2),
        save_trainer_interval=39,
    )
    begun = losses_seen(first.training)
    first.train()
    saved = first.checkpoint_rotation.checkpoints()
    assert len(saved) == 2  # after 40 frames, inside the loop, and at the end

    again = trainer_of(tiny(**options), checkpoint=Checkpoint())
    again.load_from_file(saved[0])
    assert (again.collected_frames, again.training.step) == (40, 40)
    assert again._optim_count == again.training.progress.updates == 4
    resumed = losses_seen(again.training)
    again.train()
    assert begun == expected[: len(begun)]
    assert resumed == expected[4:]


def test_a_doctored_replay_is_refused(tiny, tmp_path):
    cfg = tiny(**{"run.logdir": "", "run.steps": 40})
    trainer = trainer_of(cfg, save_trainer_file=tmp_path / "saved")
    trainer.train()
    folders = {path.parent for path in (tmp_path / "saved").rglob("state.safetensors")}
    held = {path for path in (tmp_path / "saved").rglob("*") if path.suffix in (".pkl", ".pt")}
    assert len(folders) == 3 and not held  # agent, replay, loop; nothing that is unpickled
    plain = next(f for f in folders if f.name.endswith("replay_buffer")) / "state.json"
    text = plain.read_text()
    plain.write_text(text.replace('"num_envs": 2', '"num_envs": 3'))
    assert plain.read_text() != text
    fresh = trainer_of(cfg, checkpoint=Checkpoint())
    with pytest.raises(Exception, match=r"state\.json is (damaged|cut short)"):
        fresh.load_from_file(tmp_path / "saved")
    fresh.shutdown()


class Harm:
    """Touches a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


class Stateful:
    """Stands for any part that TorchRL would read back by its own adapter."""

    def load_state_dict(self, state_dict):
        self.state = state_dict


def as_torchrl_reads_it(folder, mark):
    """Puts a state dict in TorchRL's format in the place of a part; reading it does harm."""
    shutil.rmtree(folder)
    harm = TensorDict({"x": NonTensorData(Harm(mark))}, [])
    harm.memmap(str(folder / "state"))
    (folder / "state.json").write_text(json.dumps({"kind": "dict", "items": []}))


def test_no_part_of_a_checkpoint_is_ever_unpickled(tiny, tmp_path):
    cfg = tiny(**{"run.logdir": "", "run.steps": 30})
    mark, saved = tmp_path / "harmed", tmp_path / "saved"
    hook = CountFramesLog(frame_skip=1, log_pbar=False)
    options = {"logger": CSVLogger("csv", log_dir=str(tmp_path / "logs"))}
    trainer = trainer_of(cfg, save_trainer_file=saved, **options)
    hook.register(trainer)
    trainer.train()
    manifest = json.loads((saved / "manifest.json").read_text())
    parts = {name: saved / record["path"] for name, record in manifest["components"].items()}
    assert {"trainer_state", "logger", "collector", "loss_module", "replay_buffer"} < set(parts)
    assert any(name.startswith("trainer_module.") for name in parts)
    for name, record in manifest["components"].items():
        whole = tmp_path / "whole"
        shutil.copytree(parts[name], whole)
        as_torchrl_reads_it(parts[name], mark)
        with pytest.warns(FutureWarning, match="pickled"):
            StateDictCheckpointAdapter().load(
                Stateful(),
                parts[name],
                map_location=None,
                tensor_load_kwargs={},
                args=(),
                kwargs={},
            )
        assert mark.exists(), "the part would do no harm to anyone"
        mark.unlink()
        for adapter in (record["adapter"], StateDictCheckpointAdapter.adapter_id):
            changed = {**manifest["components"], name: {**record, "adapter": adapter}}
            text = json.dumps({**manifest, "components": changed})
            (saved / "manifest.json").write_text(text)
            fresh = trainer_of(cfg, **options)
            CountFramesLog(frame_skip=1, log_pbar=False).register(fresh)
            with pytest.raises(Exception, match="manifest"):
                fresh.load_from_file(saved)
            fresh.shutdown()
            assert not mark.exists(), name
        shutil.rmtree(parts[name])
        shutil.move(whole, parts[name])


def test_older_formats_of_torchrl_are_not_read(tiny, tmp_path):
    trainer = trainer_of(tiny(**{"run.logdir": "", "run.steps": 30}))
    torch.save({}, tmp_path / "old.pt")
    with pytest.raises(UsageError, match=r"old\.pt is no checkpoint"):
        trainer.load_from_file(tmp_path / "old.pt")
    trainer.shutdown()


def test_a_run_folder_is_left_for_the_other_doors(tiny):
    cfg = tiny("toy/recall", **{"run.steps": 40})
    trainer_of(cfg).train()
    assert load_config(cfg.run.logdir) == cfg
    report = evaluate_run(cfg.run.logdir, episodes=2)
    assert report.step == 40 and report.lengths == [9, 9]


@pytest.mark.parametrize(
    ("key", "value", "off"),
    [("eval_every", 10, 0), ("csv", True, False), ("wandb", "offline", "off")],
)
def test_what_the_command_lines_loop_does_beside_training_is_refused(tiny, key, value, off):
    with pytest.raises(UsageError, match=f"run.{key}={value}: .*; set it to {off}"):
        trainer_of(tiny(**{"run.logdir": "", f"run.{key}": value}))


def test_films_are_refused(tiny):
    with pytest.raises(UsageError, match="run.video_every=8: TorchRL's trainer makes no films"):
        trainer_of(tiny("toy/catch", **{"run.logdir": "", "run.video_every": 8}))


def pendulum():
    return TransformedEnv(SerialEnv(2, lambda: GymEnv("Pendulum-v1")), StepCounter(max_steps=9))


def test_it_trains_on_a_torchrl_env(tiny):
    cfg = tiny("gym/Pendulum-v1", **{"run.logdir": "", "run.steps": 60})
    trainer = trainer_of(cfg, TorchRLSource((), fresh=False, made=TorchRLVector(pendulum(), 3)))
    trainer.train()
    replay = trainer.training.parts.replay
    stored = replay.storage.get(torch.arange(30)[None])[0]
    # Nine steps and a reset: every tenth record is a first one, and the one before it a last one.
    assert stored["is_first"].nonzero().flatten().tolist() == [0, 10, 20]
    assert stored["is_last"].nonzero().flatten().tolist() == [9, 19, 29]
    assert not stored["is_terminal"].any() and list(stored["obs"].keys()) == ["observation"]
    assert stored["reward"][1:10].lt(0).all() and trainer.training.progress.updates > 5


def test_a_torchrl_env_begins_other_episodes_with_new_seeds():
    vector = TorchRLVector(pendulum(), 3)
    firsts = []
    for number in (None, 40, 0):
        if number is not None:
            vector.reseed(number)
        firsts.append(vector.step([None] * 2, [True] * 2).obs["observation"].copy())
    vector.close()
    assert (firsts[0] != firsts[1]).any() and (firsts[0] == firsts[2]).all()


class Counting(gym.Env):
    """Observes its steps since the reset, and ends after so many."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float32)
    action_space = gym.spaces.MultiDiscrete([2, 3])

    def __init__(self, length):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), 1.0, self.steps >= self.length, False, {}


@pytest.mark.parametrize("low, high", [(0.0, np.inf), (-3.4e38, 3.4e38)])
def test_bounds_that_no_action_can_be_scaled_to_are_refused(low, high):
    env = Counting(3)
    env.action_space = gym.spaces.Box(low, high, (1,), np.float32)
    with pytest.raises(UsageError, match=r"action space Box.* has the bounds"):
        TorchRLVector(GymWrapper(env), 0)


@pytest.mark.parametrize("categorical", [False, True])
def test_rows_of_a_torchrl_env_end_one_by_one(categorical):
    """Lengths 3, 5 and 50: after its reset a row goes on while no other one is reset."""
    lengths = (3, 5, 50)
    makers = [
        lambda n=n: GymWrapper(Counting(n), categorical_action_encoding=categorical)
        for n in lengths
    ]
    vector, reset = TorchRLVector(SerialEnv(3, makers), 0), np.ones(3, bool)
    seen = []
    for _ in range(20):
        frames = vector.step([np.array([1, 2])] * 3, reset)
        seen.append(frames.obs["observation"][:, 0].tolist())
        reset = frames.is_last.copy()
    vector.close()
    expected = [[step % (n + 1) for n in lengths] for step in range(20)]
    assert seen == expected


def test_frames_are_stacked_in_each_env_and_not_around_them():
    """Around several rows a stack would be begun anew wherever another row begins an episode."""
    stack = partial(CatFrames, N=3, dim=-1, in_keys=["observation"])

    def make(length):
        return GymWrapper(Counting(length), categorical_action_encoding=True)

    around = TransformedEnv(SerialEnv(2, [lambda: make(2), lambda: make(9)]), Compose(stack()))
    with pytest.raises(UsageError, match="put CatFrames into each env of the SerialEnv"):
        TorchRLVector(around, 0)
    inside = [lambda n=n: TransformedEnv(make(n), stack()) for n in (2, 9)]
    vector, reset = TorchRLVector(SerialEnv(2, inside), 0), np.ones(2, bool)
    for _ in range(5):
        frames = vector.step([np.array([1, 2])] * 2, reset)
        reset = frames.is_last.copy()
    vector.close()
    assert frames.obs["observation"][1].tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: _action(OneHot(3, shape=(2, 3))), r"one-hot \[2, 3\], of several agents"),
        (lambda: _action(MultiOneHot((2, 3), shape=(2, 5))), r"one-hot \[2, 5\], of several"),
        (lambda: _obs_space("o", Unbounded((9, 64, 64))), r"'o' is .* \[9, 64, 64\]: images must"),
        (lambda: _obs_space("o", Unbounded((64, 64, 9), dtype=torch.uint8)), "up to 4 channels"),
        (
            lambda: _obs_space("o", Unbounded((3,), dtype=torch.int8)),
            "DTypeCastTransform .* obs_keys",
        ),
    ],
)
def test_what_would_be_one_action_or_a_vector_is_refused(read, words):
    with pytest.raises(UsageError, match=words):
        read()


def test_a_folder_of_another_run_is_refused_before_training(tiny, tmp_path):
    cfg = tiny("gym/CartPole-v1", **{"run.steps": 20})
    trainer_of(cfg).train()
    kept = Path(cfg.run.logdir, "config.yaml").read_text()
    second = trainer_of(tiny("gym/CartPole-v1", **{"run.steps": 10, "seed": 9}))
    with pytest.raises(UsageError, match="already holds a run: name another run.logdir"):
        second.train()
    second.training.close()
    assert Path(cfg.run.logdir, "config.yaml").read_text() == kept

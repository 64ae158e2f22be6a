"""The Python door: env in any form, learn, predict as in Stable-Baselines3, save, load."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torchrl.envs import GymEnv

from dreamer_envs import wrap
from dreamer_plugin import Dreamer, make_env
from dreamer_plugin.config import compose
from dreamer_plugin.data.storage import SegmentStorage
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run.envs import EnvSource, source_of
from dreamer_plugin.run.evaluate import evaluate_run
from dreamer_plugin.run.snapshot import Snapshot

TINY = Path(__file__).parents[1] / "run" / "tiny.yaml"


def small(env, **overrides):
    return Dreamer(env, config=TINY, **overrides)


def cartpole():
    return gym.make("CartPole-v1")


def play(agent, env, steps, seed=0, **options):
    """Actions of an episode-crossing rollout."""
    obs, _ = env.reset(seed=seed)
    state, start, actions = None, True, []
    for _ in range(steps):
        action, state = agent.predict(obs, state, episode_start=start, **options)
        obs, _, terminated, truncated, _ = env.step(action)
        start = terminated or truncated
        if start:
            obs, _ = env.reset()
        actions.append(action)
    return actions


@pytest.mark.parametrize(
    ("env", "overrides", "count"),
    [
        ("gym/CartPole-v1", {}, 2),  # the preset's number of envs
        (cartpole, {}, 1),
        (cartpole, {"env__num_envs": 2}, 2),
        (cartpole(), {}, 1),
        ([cartpole, cartpole(), "gym/CartPole-v1"], {}, 3),
    ],
    ids=["id", "function", "functions", "object", "list"],
)
def test_env_in_every_form_learns(env, overrides, count):
    agent = small(env, **overrides)
    assert agent.learn(30, progress=False) is agent
    assert agent._training.parts.vector.num_envs == count
    assert agent.num_timesteps >= 30 and agent.num_timesteps % count == 0


def test_learn_twice_goes_on_where_the_first_ended():
    once, twice = small("gym/CartPole-v1"), small("gym/CartPole-v1")
    once.learn(60, progress=False)
    twice.learn(40, progress=False).learn(20, progress=False)
    assert once.num_timesteps == twice.num_timesteps == 60
    assert once.agent.updates == twice.agent.updates > 0
    a, b = once.agent.training_state(), twice.agent.training_state()
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_predict_takes_raw_observations_and_gives_native_actions():
    env = gym.make("Pendulum-v1")  # torques within [-2, 2], normalised inside
    agent = small(lambda: gym.make("Pendulum-v1"))
    actions = np.array(play(agent, env, 40))
    assert actions.shape == (40, 1) and actions.dtype == np.float32
    assert np.abs(actions).max() <= 2 and np.abs(actions).max() > 1


def test_predict_for_a_vector_equals_predict_for_each_alone():
    agent = small(cartpole)
    obs = np.stack([cartpole().reset(seed=i)[0] for i in range(3)])
    state, states = None, [None] * 3
    for _ in range(3):
        actions, state = agent.predict(obs, state, deterministic=True)
        alone = [agent.predict(o, s, deterministic=True) for o, s in zip(obs, states, strict=True)]
        states = [after for _, after in alone]
        assert actions.shape == (3,)
        assert actions.tolist() == [int(action) for action, _ in alone]
        for part, parts in zip(state, zip(*states, strict=True), strict=True):
            np.testing.assert_allclose(part, np.concatenate(parts), atol=1e-6)
        obs = obs + 0.1


def test_episode_start_forgets_and_its_absence_remembers():
    agent = small(cartpole)
    obs = np.ones((2, 4), np.float32)
    _, fresh = agent.predict(obs, deterministic=True)
    _, state = agent.predict(obs, fresh, deterministic=True)
    _, mixed = agent.predict(obs, state, np.array([True, False]), deterministic=True)
    np.testing.assert_allclose(mixed[0][0], fresh[0][0], atol=1e-6)
    assert np.abs(mixed[0][1] - fresh[0][1]).max() > 1e-4


def test_sampled_actions_follow_the_seed():
    runs = [np.array(play(small(cartpole, seed=s), cartpole(), 30)) for s in (1, 1, 2)]
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


class Both(gym.Env):
    """Image and vector seen, a class and a force to choose."""

    observation_space = spaces.Dict(
        {"eye": spaces.Box(0, 255, (64, 64, 3), np.uint8), "arm": spaces.Box(-9, 9, (2,))}
    )
    action_space = spaces.Dict({"grip": spaces.Discrete(3), "push": spaces.Box(0, 10, (2,))})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.observation_space.sample(), 1.0, False, False, {}


def test_dict_spaces_are_taken_and_given():
    agent = small(Both)
    env = Both()
    obs, _ = env.reset()
    action, state = agent.predict(obs)
    assert env.action_space.contains(action)
    batch = {key: np.stack([value] * 3) for key, value in obs.items()}
    actions, _ = agent.predict(batch)
    assert actions["grip"].shape == (3,) and actions["push"].shape == (3, 2)
    agent.learn(4, progress=False)


def test_wrong_observations_are_one_line():
    agent = small(cartpole)
    with pytest.raises(UsageError, match=r"\(5,\); one has \(4,\)"):
        agent.predict(np.zeros(5))
    _, state = agent.predict(np.zeros((2, 4)))
    with pytest.raises(UsageError, match="3 rows"):
        agent.predict(np.zeros((3, 4)), state)
    with pytest.raises(UsageError, match="arm"):
        small(Both).predict({"eye": np.zeros((64, 64, 3), np.uint8)})


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_loaded_agent_acts_the_same(tmp_path, replay, deterministic):
    agent = small(lambda: gym.make("Pendulum-v1")).learn(60, progress=False)
    agent.save(tmp_path / "agent", replay=replay)
    loaded = Dreamer.load(tmp_path / "agent", device="cpu")
    env = gym.make("Pendulum-v1")
    ours = play(agent, env, 20, deterministic=deterministic)
    theirs = play(loaded, env, 20, deterministic=deterministic)
    assert (np.array(ours) == np.array(theirs)).all()
    assert loaded.num_timesteps == agent.num_timesteps == 60


def test_a_loaded_agent_learns_on_exactly(tmp_path):
    whole = small("toy/recall").learn(40, progress=False)
    whole.save(tmp_path / "agent")
    loaded = Dreamer.load(tmp_path / "agent", device="cpu").learn(20, progress=False)
    whole.learn(20, progress=False)
    a, b = whole.agent.training_state(), loaded.agent.training_state()
    assert loaded.num_timesteps == 60
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_saving_a_loaded_agent_keeps_what_it_needs_to_learn(tmp_path):
    agent = small(cartpole()).learn(40, progress=False)
    agent.save(tmp_path / "first")
    Dreamer.load(tmp_path / "first", device="cpu").save(tmp_path / "second")
    again = Dreamer.load(tmp_path / "second", env=agent._source.makers[0].make.env, device="cpu")
    assert again._begin().progress.windows == agent._training.progress.windows > 0


def test_saving_into_the_folder_of_another_run_sets_that_aside(tmp_path):
    """`load` would give the agent of the later step, under the settings of the last save."""
    agent = small(cartpole, seed=0).learn(30, progress=False)
    agent.save(tmp_path / "a")
    other = small(cartpole, seed=1).learn(16, progress=False)
    with pytest.warns(UserWarning, match=r"a held another run, which is .*a\.1 now"):
        other.save(tmp_path / "a")
    with pytest.warns(UserWarning, match=r"a held another run, which is .*a\.2 now"):
        agent.save(tmp_path / "a.1" / ".." / "a")
    found = [Dreamer.load(tmp_path / name, env=cartpole) for name in ("a", "a.1", "a.2")]
    assert [each.num_timesteps for each in found] == [30, 30, 16]
    assert [each.config.seed for each in found] == [0, 0, 1]


def test_saving_again_into_ones_own_folder(tmp_path, recwarn):
    """Where it was loaded from, where it saved before, where it trains."""
    small(cartpole).learn(30, progress=False).save(tmp_path / "a")
    loaded = Dreamer.load(tmp_path / "a", env=cartpole)
    loaded.learn(4, progress=False).save(tmp_path / "a")
    loaded.save(tmp_path / "b")
    loaded.learn(4, progress=False).save(tmp_path / "b")
    assert Dreamer.load(tmp_path / "b").num_timesteps == 38
    there = str(tmp_path / "run")
    trained = small(cartpole, run__logdir=there).learn(8, progress=False)
    trained.learn(4, progress=False).save(there)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "run"} and not recwarn


def test_saving_below_a_later_step_says_how_to_load_it(tmp_path, recwarn):
    agent = small(cartpole).learn(20, progress=False)
    agent.save(tmp_path / "a")
    agent.learn(20, progress=False).save(tmp_path / "a")
    assert not recwarn
    early = Dreamer.load(tmp_path / "a", env=cartpole, which=20).learn(4, progress=False)
    with pytest.warns(UserWarning, match="holds step 40, which load gives: ask for which=24 there"):
        early.save(tmp_path / "a")
    assert Dreamer.load(tmp_path / "a").num_timesteps == 40
    again = Dreamer.load(tmp_path / "a", which=24)
    a, b = early.agent.training_state(), again.agent.training_state()
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_saving_where_another_run_trains_is_refused(tmp_path):
    place, other = tmp_path / "run", small(cartpole)
    agent = small(cartpole, run__logdir=str(place))

    def save(_):
        with pytest.raises(UsageError, match="in use by another run: wait until that ends"):
            other.save(place)
        agent.save(place)

    agent.learn(4, callback=save, progress=False)
    assert Dreamer.load(place).num_timesteps == 4


def test_a_replay_on_disk_is_saved_and_goes_on(tmp_path):
    options = {"replay__storage": "disk", "replay__capacity": 200}
    with pytest.raises(UsageError, match="set replay.folder, or run.logdir"):
        small("gym/CartPole-v1", **options).learn(4, progress=False)
    agent = small("gym/CartPole-v1", **options, replay__folder=str(tmp_path / "scratch"))
    agent.learn(40, progress=False).save(tmp_path / "saved")
    assert list((tmp_path / "scratch").iterdir()) == []
    loaded = Dreamer.load(tmp_path / "saved").learn(20, progress=False)
    agent.learn(20, progress=False)
    ours, theirs = (one._training.parts.replay for one in (agent, loaded))
    assert ours.storage._make.folder == theirs.storage._make.folder == tmp_path / "scratch"
    assert (ours.sample() == theirs.sample()).all()
    # Without a folder of its own, beside what it was loaded from.
    config = tmp_path / "saved" / "config.yaml"
    config.write_text(config.read_text().replace(str(tmp_path / "scratch"), "''"))
    again = Dreamer.load(tmp_path / "saved").learn(2, progress=False)
    assert again._training.parts.replay.storage._make.folder == tmp_path / "saved"
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        ".lock",
        "config.yaml",
        "checkpoints",
        "records",
    }


def test_an_agent_made_with_an_object_needs_an_env_to_learn_again(tmp_path):
    small(cartpole()).learn(20, progress=False).save(tmp_path / "agent")
    with pytest.raises(UsageError, match="pass env to Dreamer.load"):
        Dreamer.load(tmp_path / "agent").learn(4, progress=False)
    with pytest.raises(UsageError, match="The env has"):
        Dreamer.load(tmp_path / "agent", env=gym.make("Pendulum-v1"))
    agent = Dreamer.load(tmp_path / "agent", env=cartpole()).learn(4, progress=False)
    assert agent.num_timesteps == 24


def test_another_env_may_be_named(tmp_path):
    """Of the same suite with the same options; one with other spaces is refused."""
    words = {"env__action_repeat": 2, "env__num_envs": 1}
    small("gym/CartPole-v1", **words).learn(20, progress=False).save(tmp_path / "agent")
    loaded = Dreamer.load(tmp_path / "agent", env="gym/CartPole-v0")
    assert loaded.config.env.id == "gym/CartPole-v0"
    assert loaded._envs().makers[0].id == "gym/CartPole-v0" and loaded._envs().action_repeat() == 2
    with pytest.raises(UsageError, match="The env has"):
        Dreamer.load(tmp_path / "agent", env="gym/Acrobot-v1")
    small(cartpole).learn(20, progress=False).save(tmp_path / "mine", replay=False)
    assert Dreamer.load(tmp_path / "mine", env="CartPole-v1").learn(4, progress=False)


def test_a_loaded_agent_outlives_what_it_was_loaded_from(tmp_path):
    small(cartpole).learn(40, progress=False).save(tmp_path / "agent", replay=False)
    loaded = Dreamer.load(tmp_path / "agent", env=cartpole, device="cpu")
    shutil.rmtree(tmp_path / "agent")
    assert loaded.num_timesteps == 40
    loaded.save(tmp_path / "again", replay=False)
    assert Dreamer.load(tmp_path / "again", env=cartpole).num_timesteps == 40
    assert loaded.learn(4, progress=False).num_timesteps == 44


def test_noise_of_exploration_goes_on_where_it_was(tmp_path):
    """`explore.amount` halves every `decay` agent steps, with a replay or without."""
    explore = {"amount": 0.4, "decay": 20.0}
    agent = small(cartpole, behavior__explore=explore).learn(60, progress=False)
    agent.save(tmp_path / "agent", replay=False)
    loaded = Dreamer.load(tmp_path / "agent", env=cartpole, device="cpu")
    loaded.learn(1, progress=False)
    policy = loaded._training.parts.collector.policy
    assert policy._amount() == pytest.approx(0.4 / 2 ** (61 / 20))


def test_a_saved_agent_is_evaluated_as_its_best(tmp_path):
    """It has no log, so no episode chose among its checkpoints."""
    small("gym/CartPole-v1").learn(40, progress=False).save(tmp_path / "agent")
    assert evaluate_run(tmp_path / "agent", 1, which="best").step == 40


def test_an_env_of_other_wrappers_cannot_go_on(tmp_path):
    small(cartpole).learn(40, progress=False).save(tmp_path / "agent")
    wrapped = gym.wrappers.TimeLimit(cartpole(), 9)
    loaded = Dreamer.load(tmp_path / "agent", env=wrapped, device="cpu")
    with pytest.raises(CheckpointError, match="saved with other envs: .*wrappers.*weights alone"):
        loaded.learn(4, progress=False)


def test_what_is_learned_on_without_a_replay_is_what_is_loaded(tmp_path):
    agent = small(cartpole).learn(60, progress=False)
    agent.save(tmp_path / "agent", replay=False)
    more = Dreamer.load(tmp_path / "agent", env=cartpole, device="cpu").learn(30, progress=False)
    assert more.num_timesteps == 90 and more.agent.updates > agent.agent.updates
    more.save(tmp_path / "agent")
    again = Dreamer.load(tmp_path / "agent", device="cpu")
    assert again.num_timesteps == 90 and again.agent.updates == more.agent.updates
    a, b = more.agent.training_state(), again.agent.training_state()
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_a_first_step_that_fails_may_be_tried_again(tmp_path, monkeypatch):
    """Neither a half-restored training nor the folder of a run that never began is left."""
    small(cartpole, env__num_envs=2).learn(40, progress=False).save(tmp_path / "two")
    loaded = Dreamer.load(tmp_path / "two", env=[cartpole], device="cpu")
    for _ in range(2):
        with pytest.raises(UsageError, match="of 2 envs, this run has 1: pass as many, or go on"):
            loaded.learn(4, progress=False)
    broken = [True]

    def sometimes():
        if broken:
            broken.pop()
            raise OSError("no room")
        return cartpole()

    agent = small(cartpole, run__logdir=str(tmp_path / "run"))
    agent._source = source_of(agent.config, [lambda: wrap(sometimes())])
    with pytest.raises(OSError, match="no room"):
        agent.learn(4, progress=False)
    assert agent.learn(4, progress=False).num_timesteps == 4


def test_one_object_is_not_stepped_as_several_envs():
    agent = small(cartpole())
    with pytest.raises(UsageError, match="3 envs side by side, but an env that is passed as"):
        agent.evaluate(3, num_envs=3)


def test_training_begins_new_episodes_after_an_evaluation_that_was_cut(monkeypatch):
    """It played on the one object that there is."""
    agent = small(cartpole()).learn(5, progress=False)
    act = agent.agent.act

    def cut(*given, **words):
        monkeypatch.setattr(agent.agent, "act", act)
        raise KeyboardInterrupt

    monkeypatch.setattr(agent.agent, "act", cut)
    with pytest.raises(KeyboardInterrupt):
        agent.evaluate(2)
    agent.learn(1, progress=False)
    records = agent._training.parts.replay.storage.get(np.arange(6)[None])[0]
    assert records["is_first"].tolist() == [True, False, False, False, False, True]


def test_saving_waits_for_the_checkpoint_that_is_being_written(tmp_path, monkeypatch):
    """Both freeze the replay, which can only be frozen once."""
    frozen, freeze, write = [], SegmentStorage.freeze, Snapshot.write

    def watched(storage):
        frozen.append(storage._frozen is None)
        return freeze(storage)

    def slow(*arguments):
        time.sleep(0.2)
        return write(*arguments)

    monkeypatch.setattr(SegmentStorage, "freeze", watched)
    monkeypatch.setattr(Snapshot, "write", slow)
    agent = small(cartpole, run__logdir=str(tmp_path / "run"), run__save_every=10)
    agent.learn(40, callback=lambda one: one.save(tmp_path / "copy"), progress=False)
    assert len(frozen) > 40 and all(frozen)


@pytest.mark.parametrize("capacity", [64, 99])
def test_a_replay_that_is_too_small_to_begin_is_refused(capacity):
    with pytest.raises(UsageError, match=f"run.prefill=100 .* replay.capacity={capacity}"):
        small(cartpole, run__prefill=100, replay__capacity=capacity).learn(4, progress=False)


def test_a_run_folder_and_one_checkpoint_are_loaded_alike(tmp_path):
    agent = small("toy/recall", run={"logdir": str(tmp_path / "run")}).learn(40, progress=False)
    assert (tmp_path / "run" / "metrics.jsonl").exists()
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "step-000000040"):
        loaded = Dreamer.load(path, device="cpu")
        obs, _ = make_env("toy/recall").reset(seed=0)
        assert (
            loaded.predict(obs, deterministic=True)[0] == agent.predict(obs, deterministic=True)[0]
        )
    assert json.loads(evaluate_run(tmp_path / "run", 2).to_json())["step"] == 40
    with pytest.raises(UsageError, match=r"rum is neither .* Did you mean '.*run'\?"):
        Dreamer.load(tmp_path / "rum")


def test_evaluate_leaves_a_users_env_open_and_training_goes_on():
    env = cartpole()
    agent = small(env).learn(20, progress=False)
    report = agent.evaluate(episodes=2)
    assert len(report.returns) == 2
    agent.learn(20, progress=False)
    env.reset()  # a closed env would still do this; the state must be the user's again
    assert agent.num_timesteps == 40


def test_learning_after_an_evaluation_begins_other_episodes():
    starts = []

    class Noted(gym.Wrapper):
        def reset(self, **kwargs):
            obs, info = super().reset(**kwargs)
            starts.append(tuple(obs))
            return obs, info

    agent = small(Noted(gym.make("CartPole-v1", max_episode_steps=5)))
    rounds = []
    for _ in range(3):
        starts.clear()
        agent.learn(12, progress=False)
        rounds.append(list(starts))
        agent.evaluate(episodes=1)
    assert len(set(sum(rounds, []))) == len(sum(rounds, [])) >= 6


def test_a_file_says_size_seed_and_widths_unless_the_call_does(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("size: 12m\nseed: 7\nmodel: {units: 100}\n")
    said = Dreamer("gym/CartPole-v1", config=file, env__num_envs=1).config
    assert (said.size, said.seed, said.model.units, said.model.deter) == ("12m", 7, 100, 2048)
    called = Dreamer("gym/CartPole-v1", config=file, size="1m", seed=1, env__num_envs=1).config
    assert (called.size, called.seed, called.model.deter) == ("1m", 1, 512)


def test_without_a_word_v3_is_small_and_v1_as_published():
    assert Dreamer("gym/CartPole-v1", env__num_envs=1).config.size == "1m"
    assert Dreamer(cartpole()).config.size == "1m"
    assert Dreamer("gym/Pendulum-v1", config="v1", env__num_envs=1).config.model.deter == 200


def test_a_folder_does_not_stand_in_for_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small("gym/CartPole-v1").save("v3")
    assert Dreamer("gym/CartPole-v1", env__num_envs=1).config.replay.batch_length == 16
    again = Dreamer("gym/CartPole-v1", config="./v3", env__num_envs=1)
    assert again.config.replay.batch_length == 8


def test_a_loaded_agent_of_several_envs_plays_on_one_object(tmp_path):
    small("gym/CartPole-v1", env__num_envs=2).learn(24, progress=False).save(tmp_path / "run")
    loaded = Dreamer.load(tmp_path / "run", env=cartpole(), which=24, device=torch.device("cpu"))
    assert loaded.config.env.num_envs == 1 and len(loaded.evaluate(1).returns) == 1
    loaded.save(tmp_path / "again")
    assert Dreamer.load(tmp_path / "again", env=cartpole()).config.device == "auto"
    with pytest.raises(UsageError, match="Unknown device 'cpu:0'"):
        Dreamer.load(tmp_path / "run", device="cpu:0")


def test_numbers_of_numpy_are_numbers():
    agent = small(cartpole(), seed=np.int64(7), optim__lr=np.float32(0.5), run__burst=np.int32(3))
    cfg = agent.config
    assert (cfg.seed, cfg.optim.lr, cfg.run.burst) == (7, 0.5, 3)
    assert all(type(n) in (int, float) for n in (cfg.seed, cfg.optim.lr, cfg.run.burst))
    assert compose("", overrides=[], options={"world.encoder.mults": (2, 3, 4, 4)})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run__steps", float("inf")),
        ("optim__lr", float("nan")),
        ("optim__actor__lr", -1),
        ("loss_scales__rep", -1),
        ("world__free_nats", -1),
        ("world__reward__bins", -1),
    ],
)
def test_numbers_that_no_run_can_use_are_refused(key, value):
    with pytest.raises(UsageError, match=key.replace("__", "[.]")):
        small(cartpole(), **{key: value})


def test_an_env_that_has_other_spaces_now_is_told(tmp_path, monkeypatch):
    small("gym/CartPole-v1").learn(20, progress=False).save(tmp_path / "run")
    loaded = Dreamer.load(tmp_path / "run")
    other = EnvSource([lambda: make_env("gym/Pendulum-v1")])
    monkeypatch.setattr(loaded, "_source", other)
    for play in (lambda: loaded.evaluate(1), lambda: loaded.learn(5, progress=False)):
        with pytest.raises(UsageError, match=r"The env has .*vector \[3\].*knows .*vector \[4\]"):
            play()


def test_evaluation_in_training_needs_envs_of_its_own():
    with pytest.raises(UsageError, match="eval_every needs envs of its own"):
        small(cartpole(), run__eval_every=10).learn(4, progress=False)


def test_callback_sees_the_agent_and_can_stop_it():
    seen = []

    def stop(agent):
        seen.append(agent.num_timesteps)
        return agent.num_timesteps < 10

    agent = small("gym/CartPole-v1").learn(40, progress=False, callback=stop)
    assert seen == [2, 4, 6, 8, 10] and agent.num_timesteps == 10


def test_ctrl_c_ends_the_step_first():
    agent = small("gym/CartPole-v1")
    with pytest.raises(KeyboardInterrupt):
        agent.learn(100, progress=False, callback=lambda a: os.kill(os.getpid(), signal.SIGINT))
    assert agent.num_timesteps == 2
    assert agent.learn(4, progress=False).num_timesteps == 6


class Spaceless(gym.Env):
    """An env that forgot what it shows and takes."""


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"env": "gym/CartPole-v1", "size": "7m"}, "7m"),
        ({"env": "gym/CartPole-v1", "optim__lrr": 1}, "optim.lr"),
        ({"env": "gym/CartPol-v1"}, "CartPole"),
        ({"env": 7}, "pass an id"),
        ({"env": dict}, r"env is dict, which makes {}: pass an id"),
        ({"env": []}, "empty"),
        ({"env": Spaceless}, "Spaceless declares no observation_space: set it"),
    ],
    ids=["size", "key", "id", "kind", "class", "nothing", "spaces"],
)
def test_mistakes_are_named(arguments, match):
    with pytest.raises(Exception, match=match) as caught:
        Dreamer(**arguments)
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)


def test_overrides_reach_the_config():
    agent = small("toy/recall", optim__lr=1e-3, run={"train_ratio": 8})
    assert (agent.config.optim.lr, agent.config.run.train_ratio) == (1e-3, 8)


def test_stable_baselines_evaluates_it():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    from stable_baselines3.common.vec_env import DummyVecEnv

    agent = small(cartpole)
    envs = DummyVecEnv([cartpole, cartpole])
    with pytest.warns(UserWarning, match="Monitor"):
        returns, lengths = evaluation.evaluate_policy(
            agent, envs, n_eval_episodes=3, deterministic=False, return_episode_rewards=True
        )
    assert len(returns) == 3 and returns == lengths


def test_stable_baselines_evaluates_it_on_one_env():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    from stable_baselines3.common.monitor import Monitor

    env = Monitor(gym.make("Pendulum-v1"))
    agent = small(gym.make("Pendulum-v1"))
    mean, std = evaluation.evaluate_policy(agent, env, n_eval_episodes=1, deterministic=True)
    assert mean == pytest.approx(env.get_episode_rewards()[0], abs=1e-5) and std == 0


def test_importing_the_package_loads_no_torch():
    code = "import dreamer_plugin, sys; dir(dreamer_plugin); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", [False, True])
def test_evaluation_is_as_the_authors_did_unless_told_otherwise(mode):
    agent = small("gym/CartPole-v1", behavior__eval_mode=mode)
    assert agent.evaluate(episodes=1).deterministic is mode
    assert agent.evaluate(episodes=1, deterministic=not mode).deterministic is not mode


@pytest.mark.parametrize("steps", [0, -3, 10.5, "10", None])
def test_numbers_of_steps_and_episodes_that_are_none_are_refused(steps):
    agent = small(cartpole())
    words = f"={steps!r}: must be a whole number of at least 1"
    with pytest.raises(UsageError, match=f"total_timesteps{words}"):
        agent.learn(steps)
    with pytest.raises(UsageError, match=f"episodes{words}"):
        agent.evaluate(steps)
    if steps is not None:
        with pytest.raises(UsageError, match=f"num_envs{words}"):
            agent.evaluate(1, num_envs=steps)


def test_saving_where_a_file_is_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UsageError, match="Cannot save into .*a: File exists"):
        small(cartpole()).save(tmp_path / "a")


@pytest.mark.parametrize(
    ("obs", "words"),
    [
        (7, r"observation is 7; one has the parts \[0, 1\]"),
        ((np.zeros(3),), r"observation has \[0\]; one has the parts \[0, 1\]"),
        ((np.zeros(3), 4), r"observation 1 is 4; one has the parts \['z'\]"),
        ((np.zeros((2, 3)), {"z": 1}), r"as many rows in each part as \{0: 2, 1: 0\}"),
    ],
)
def test_predict_names_the_part_of_a_nested_observation_that_does_not_fit(obs, words):
    inner = gym.spaces.Dict(z=gym.spaces.Discrete(2))
    agent = small(lambda: Sees(gym.spaces.Tuple((gym.spaces.Box(-1, 1, (3,)), inner))))
    with pytest.raises(UsageError, match=words):
        agent.predict(obs)


def test_predict_names_rows_and_states_that_do_not_fit():
    mixed = gym.spaces.Dict(x=gym.spaces.Box(-1, 1, (3,)), y=gym.spaces.Discrete(2))
    agent = small(lambda: Sees(mixed))
    with pytest.raises(UsageError, match="as many rows in each part as {'x': 2, 'y': 0}"):
        agent.predict({"x": np.zeros((2, 3), np.float32), "y": 1})
    with pytest.raises(
        UsageError, match=r"observation has \['x'\]; one has the parts \['x', 'y'\]"
    ):
        agent.predict({"x": np.zeros(3, np.float32)})
    with pytest.raises(UsageError, match=r"observation 'x' is ragged: one has shape \(3,\)"):
        agent.predict({"x": [[1.0], [1.0, 2.0]], "y": 1})
    one = {"x": np.zeros(3, np.float32), "y": 1}
    with pytest.raises(UsageError, match=r"episode_start has shape \(2,\), and obs 1 rows"):
        agent.predict(one, episode_start=np.ones(2))
    with pytest.raises(UsageError, match="not one that predict returned for 1 rows"):
        agent.predict(one, (np.zeros((1, 3)),) * 3)
    with pytest.raises(UsageError, match="not one that predict returned for 1 rows"):
        agent.predict(one, 3)
    _, state = agent.predict(one)
    with pytest.raises(UsageError, match="The state holds numbers that are not finite"):
        agent.predict(one, tuple(np.full_like(part, np.nan) for part in state))
    with pytest.raises(UsageError, match="episode_start is 'x'; it takes a bool"):
        agent.predict(one, state, episode_start="x")
    agent.predict(one, tuple(part.astype(np.float64) for part in state), episode_start=False)


def test_settings_that_contradict_what_was_passed_are_refused():
    with pytest.raises(UsageError, match="env.num_envs is 3, but 1 envs were passed"):
        small(cartpole(), env__num_envs=3)
    with pytest.raises(UsageError, match="env.num_envs is 5, but 2 envs were passed"):
        small([cartpole, cartpole], env__num_envs=5)
    with pytest.raises(UsageError, match="optim.lr is set twice"):
        small(cartpole, optim={"lr": 1e-3}, optim__lr=2e-3)
    with pytest.raises(UsageError, match="an env of TorchRL: pass an id"):
        small(GymEnv("CartPole-v1"))
    agent = small(cartpole)
    for words, message in (
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"num_envs": 0}, "num_envs=0: must be a whole"),
    ):
        with pytest.raises(UsageError, match=message):
            agent.evaluate(1, **words)


class Sees(gym.Env):
    """Shows anything of its space."""

    def __init__(self, space):
        self.observation_space, self.action_space = space, gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}

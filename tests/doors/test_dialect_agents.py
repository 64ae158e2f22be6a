"""Agents under the names and calls of other documents: they are `Dreamer` with those settings."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dreamer_plugin.config import load_config
from dreamer_plugin.doors.dialects import (
    Dreamer,
    DreamerAgent,
    DreamerConfig,
    DreamerV3Config,
    Trainer,
    create_model,
)
from dreamer_plugin.errors import CheckpointError, UsageError

# Widths at which an update takes milliseconds, in each document's words, and few updates.
RLOX = {
    "deter_dim": 16,
    "stoch_dim": 2,
    "stoch_classes": 4,
    "hidden": 8,
    "batch_size": 2,
    "seq_len": 4,
    "imagination_horizon": 2,
    "buffer_size": 200,
    "run": {"prefill": 12, "train_ratio": 2},
    "env": {"num_envs": 1, "processes": False},
}
TORCHWM = {
    "deter_size": 8,
    "stoch_size": 4,
    "num_units": 8,
    "obs_embed_size": 8,
    "model.hidden": 8,
    "model.depth": 1,
    "batch_size": 2,
    "train_seq_len": 4,
    "imagine_horizon": 2,
    "buffer_size": 200,
    "seed_steps": 30,
    "collect_steps": 20,
    "update_steps": 1,
    "total_steps": 60,
    "no_gpu": True,
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Runs are written below the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cartpole():
    return gym.make("CartPole-v1")


def agent(**words):
    return DreamerAgent(DreamerConfig(env_instance=cartpole(), **{**TORCHWM, **words}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An agent that learned a little, in a run folder of its own."""
    made = agent(log_dir=str(tmp_path_factory.mktemp("trained") / "run"))
    return made, made.train(progress=False)


def test_training_ends_at_the_steps_of_the_settings(trained):
    made, metrics = trained
    assert metrics["steps"] == 60 == made.dreamer.num_timesteps
    assert metrics["updates"] == made.dreamer.agent.updates > 0
    assert {"mean_reward", "seconds", "loss/reward", "loss/policy"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert made.dreamer.train(progress=False)["steps"] == 60  # none are left


def test_training_leaves_a_run_that_goes_on(trained):
    made, _ = trained
    run = made.dreamer.config.run.logdir
    assert load_config(run).model.units == 8
    again = DreamerAgent.from_pretrained(run)
    assert again.dreamer.num_timesteps == 60 and again.dreamer.agent.updates > 0


def test_a_run_folder_is_made_where_none_is_named(folder):
    made = agent(total_steps=1)
    made.train(progress=False)
    (run,) = (folder / "runs").iterdir()
    assert (run / "config.yaml").is_file() and list(run.glob("checkpoints/step-*"))
    named = agent(total_steps=1, exp_name="mine")
    assert named.dreamer.config.run.logdir == "runs/mine"


def test_saved_weights_act_as_before(trained, folder, capsys):
    made, _ = trained
    made.dreamer.save("runs/walker/ckpts/model.pt")
    assert sorted(path.name for path in (folder / "runs/walker/ckpts").iterdir()) == [
        "config.yaml",
        "model.safetensors",
    ]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("runs/walker/ckpts/model.pt is written as")
    assert line.count("model.safetensors") == line.count("config.yaml") == 1
    obs = np.ones((1, 4), np.float32)
    expected = made.dreamer.predict(obs, deterministic=True)[1]
    for path in ("runs/walker/ckpts", "runs/walker/ckpts/model.pt"):
        restored = DreamerAgent.from_pretrained(path, device="cpu")
        found = restored.dreamer.predict(obs, deterministic=True)[1]
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)
        assert restored.summary()["updates"] == made.dreamer.agent.updates
    state, loaded = made.dreamer.agent.training_state(), restored.dreamer.agent.training_state()
    assert set(state) == set(loaded)
    assert all(torch.equal(state[name], loaded[name]) for name in state)


def test_a_folder_of_weights_keeps_one_configuration(trained, folder):
    made, _ = trained
    made.dreamer.save("ckpts/a.safetensors")
    made.dreamer.save("ckpts/b.safetensors")  # the same settings
    with pytest.raises(UsageError, match=r"ckpts holds a.safetensors, b.safetensors: name"):
        Dreamer.from_pretrained("ckpts")
    other = agent(imagine_horizon=3)
    with pytest.raises(UsageError, match=r"config.yaml is of another agent: save c.safetensors"):
        other.save("ckpts/c.pt")
    assert not (folder / "ckpts" / "c.safetensors").exists()


def test_a_pickle_is_refused_unread(folder):
    torch.save({"weights": torch.ones(2)}, folder / "model.pt")
    for load in (DreamerAgent.from_pretrained, Dreamer.from_pretrained):
        with pytest.raises(UsageError, match=r"model.pt is a pickle of torch.*: refused"):
            load("model.pt")
    with pytest.raises(UsageError, match=r"gone.safetensors does not exist"):
        DreamerAgent.from_pretrained("gone.pt")
    with pytest.raises(UsageError, match="neither a run folder nor"):
        DreamerAgent.from_pretrained("nowhere")


def test_other_and_damaged_files_are_refused(trained, folder):
    save_file({"weights": torch.ones(2)}, folder / "other.safetensors")
    with pytest.raises(CheckpointError, match="does not hold an agent that was saved here"):
        Dreamer.from_pretrained("other.safetensors")
    trained[0].dreamer.save("cut/model.pt")
    file = folder / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Dreamer.from_pretrained("cut")


def test_weights_that_do_not_fit_or_are_none_are_refused(trained, folder):
    made, _ = trained
    file = folder / "ckpts" / "model.safetensors"
    made.dreamer.save(file)
    config = file.with_name("config.yaml")
    text = config.read_text()
    config.write_text(text.replace("deter: 8", "deter: 16"))
    with pytest.raises(CheckpointError, match="weights are of another agent, the first world"):
        Dreamer.from_pretrained("ckpts")
    config.write_text(text)
    with safe_open(file, "pt") as opened:
        metadata, tensors = opened.metadata(), {k: opened.get_tensor(k) for k in opened.keys()}
    name = next(key for key in tensors if key.startswith("agent.world."))
    for wrong in (tensors[name] * torch.nan, tensors[name].int()):
        save_file(tensors | {name: wrong}, file, metadata)
        for load in (Dreamer.from_pretrained, made.dreamer.restore):
            with pytest.raises(UsageError, match=f"holds {wrong.dtype} that are no finite weights"):
                load(file)
    save_file(tensors, file, metadata | {"plain": "{}"})
    for load in (Dreamer.from_pretrained, made.dreamer.restore):
        with pytest.raises(CheckpointError, match="KeyError"):
            load(file)


def test_training_goes_on_from_a_checkpoint_path(trained, folder):
    made, _ = trained
    made.dreamer.save("model.pt")
    path = made.dreamer.config.run.logdir
    weights = made.dreamer.agent.state_dict()
    for checkpoint in (path, "model.pt"):
        again = agent(checkpoint_path=checkpoint, total_steps=1)
        loaded = again.dreamer.agent.state_dict()
        assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    with pytest.raises(UsageError, match="holds no weights for this agent: .* of another agent"):
        agent(checkpoint_path="model.pt", deter_size=16)
    with pytest.raises(UsageError, match="neither a file of weights nor a run"):
        agent(checkpoint_path="nowhere")


def test_parameters_by_component(trained):
    made, _ = trained
    summary, counts = made.summary(), made.summary()["parameters"]
    module = made.dreamer.agent
    assert counts["rssm"] == sum(p.numel() for p in module.world.rssm.parameters()) > 0
    assert set(counts) == {"encoder", "rssm", "decoder", "reward", "actor", "critic", "slow"}
    assert made.parameter_count() == summary["total_parameters"] == sum(counts.values())
    assert made.parameter_count() == sum(p.numel() for p in module.parameters())
    rows = [line.rsplit(maxsplit=1) for line in made.parameter_table().splitlines()]
    assert [name.strip() for name, _ in rows][:2] == ["Encoder", "RSSM"]
    *parts, total = (int(count.replace(",", "")) for _, count in rows)
    assert sum(parts) == total == made.parameter_count()


def test_settings_that_are_files_make_the_same_agent(folder):
    cfg = DreamerConfig(env="gym/Pendulum-v1", **TORCHWM)
    cfg["env.options.obs"] = "vector"
    cfg.to_yaml("configs/p.yaml")
    made = DreamerAgent.from_config("configs/p.yaml", seed=7)
    assert made.config.seed == made.dreamer.config.seed == 7 and cfg.seed == 0
    made.dreamer.save("saved")  # a whole run folder
    again = DreamerAgent.from_config("saved/config.yaml", seed=8)
    assert again.dreamer.config.seed == 8 and again.dreamer.config.model.units == 8
    assert again.dreamer.config.behavior == made.dreamer.config.behavior
    with pytest.raises(UsageError, match="keep that file instead"):
        again.config.to_yaml("x.yaml")


def test_trainer_takes_settings_in_both_forms():
    trainers = [
        Trainer("dreamer", env=cartpole(), seed=42, config=config)
        for config in (RLOX, DreamerV3Config.from_dialect(RLOX))
    ]
    for trainer in trainers:
        cfg = trainer.dreamer.config
        assert (cfg.seed, cfg.replay.batch_length, cfg.behavior.imag_horizon) == (42, 4, 2)
        assert cfg.world.core.kind == "gru"  # of the agent of 2023
    metrics = trainers[0].train(total_timesteps=30, progress=False)
    assert metrics["steps"] == 30 and metrics["updates"] > 0
    assert trainers[0].train(total_timesteps=10, progress=False)["steps"] == 40


def test_wrong_algorithms_are_named():
    with pytest.raises(UsageError, match="Unknown algorithm 'dreamr'. Did you mean 'dreamer'"):
        create_model("dreamr", env="CartPole-v1")
    with pytest.raises(UsageError, match="Unknown algorithm 'ppo'.*Valid: dreamer"):
        Trainer("ppo", env="CartPole-v1")


def test_a_name_with_a_version_is_of_that_version():
    made = create_model("dreamerv2", env="CartPole-v1", deter_size=8)
    assert made.dreamer.config.agent == "v2"
    with pytest.raises(UsageError, match="'dreamerv2', but .*torchwm. are of the agent v1"):
        create_model("dreamerv2", algo="v1", env="CartPole-v1")
    with pytest.raises(UsageError, match="'dreamerv1', but .*rlox. are of the agent v3_2023"):
        Trainer("dreamerv1", env="CartPole-v1")


def test_mistakes_come_before_any_env_is_made():
    with pytest.raises(UsageError, match="Did you mean 'seq_len'"):
        Trainer("dreamer", env="CartPole-v1", config={"seqlen": 50})
    with pytest.raises(UsageError, match="Did you mean 'total_steps'"):
        create_model("dreamer", env="walker-walk", total_step=5)

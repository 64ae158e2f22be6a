"""`trainer=dreamer` in pipelines of TorchRL's nodes: composed, refused, built and trained."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

hydra = pytest.importorskip("hydra")

import torchrl.trainers.algorithms.configs as nodes  # noqa: E402  stores TorchRL's nodes
from hydra.core.config_store import ConfigStore  # noqa: E402
from hydra.errors import (  # noqa: E402
    ConfigCompositionException,
    HydraException,
    InstantiationException,  # noqa: E402
)
from torchrl.trainers import Trainer  # noqa: E402
from torchrl.trainers.algorithms.configs import trainers as torchrl_nodes  # noqa: E402

import dreamer_plugin  # noqa: E402
from dreamer_plugin.config.fields import flatten, key_types  # noqa: E402
from dreamer_plugin.config.yamlfile import read_yaml  # noqa: E402
from dreamer_plugin.doors.cli_config import resolve  # noqa: E402
from dreamer_plugin.doors.hydra import nodes as ours  # noqa: E402
from dreamer_plugin.doors.hydra import store_nodes  # noqa: E402
from dreamer_plugin.errors import UsageError  # noqa: E402
from dreamer_plugin.run.loop import train  # noqa: E402
from dreamer_plugin.run.training import Training  # noqa: E402

PIPELINE = Path(__file__).parents[2] / "examples" / "pipeline" / "config"
TINY = Path(__file__).parents[1] / "run" / "tiny.yaml"
assert nodes


@pytest.fixture
def registered():
    """What `register` says it registered."""
    return dreamer_plugin.register()


def composed(*overrides, folder=PIPELINE, name="config"):
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        return hydra.compose(name, overrides=list(overrides))


def built(*overrides, **where):
    return hydra.utils.instantiate(composed(*overrides, **where).trainer)


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    return {"folder": tmp_path}


def small():
    """Settings of `tiny.yaml` as overrides of a trainer node, whose log and saves are TorchRL's."""
    settings = flatten(read_yaml(TINY), "")
    for key in ("run.log_every", "run.save_every"):
        del settings[key]
    return [f"trainer.{key}={value}" for key, value in settings.items()]


def test_registering_twice_is_registering_once(registered):
    assert {f"trainer/{name}" for name in ours.AGENTS} | {"dreamer", "toy/*"} <= set(registered)
    assert dreamer_plugin.register() == registered


def test_keys_of_a_pipelines_env_are_refused_beside_one_of_ours(registered):
    with pytest.raises(
        InstantiationException, match="obs_keys=.*'image'.* is for envs of create_env_fn"
    ):
        built("trainer=dreamer", "trainer.env_id=toy/catch", "trainer.obs_keys=[image]")


def test_another_packages_node_is_never_replaced(registered, monkeypatch):
    repository = ConfigStore.instance()
    monkeypatch.delitem(repository.repo["trainer"], "dreamer_v2.yaml")
    repository.store("dreamer_v2", {"theirs": 1}, group="trainer", provider="someone")
    with pytest.raises(UsageError, match="trainer/dreamer_v2"):
        dreamer_plugin.register()
    assert repository.load("trainer/dreamer_v2.yaml").node == {"theirs": 1}
    assert "trainer/dreamer" in store_nodes()[0]


def test_every_field_of_torchrls_trainer_nodes_is_declared():
    declared = {item.name for item in fields(ours.trainer_node("v3"))}
    for node in vars(torchrl_nodes).values():
        if is_dataclass(node) and issubclass(node, torchrl_nodes.TrainerConfig):
            assert {item.name for item in fields(node)} <= declared, node
    assert not {*ours.USED} & {*ours.UNUSED}


def test_the_node_has_the_keys_and_types_of_our_own_config():
    def keys(node, prefix=""):
        hints = get_type_hints(node)
        for item in fields(node):
            if is_dataclass(hints[item.name]):
                yield from keys(hints[item.name], f"{prefix}{item.name}.")
            else:
                yield prefix + item.name, hints[item.name]

    node = dict(keys(ours.trainer_node("v3")))
    forms = {dict[str, Any]: dict[str, Any]}
    ours_alone = {key for key in key_types() if key.partition(".")[0] in ours.USED}
    assert ours_alone == {"checkpoint.latents"}  # the name is TorchRL's there, see docs/hydra.md
    for key, kind in ((k, t) for k, t in key_types().items() if k not in ours_alone):
        expected = str if key == "agent" else forms.get(kind, kind | None)
        assert node.pop(key) == expected, key
    extra = {"_target_", "_recursive_", "env_id", "obs_keys", "config"}
    assert set(node) == extra | set(ours.USED) | set(ours.UNUSED)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.typo=1", "typo"),
        ("trainer.model.detr=1", "detr"),
        ("trainer.model.deter=wide", "wide"),
        ("trainer.total_frames=many", "many"),
        ("trainer.env.processes=5.5", "5.5"),
    ],
)
def test_wrong_keys_and_types_are_rejected(registered, empty, override, said):
    with pytest.raises((HydraException, ConfigCompositionException), match=said):
        composed("+trainer=dreamer", override, **empty)


def test_a_whole_config_goes_by_its_name(registered, empty):
    cfg = composed("trainer.env_id=gym/Pendulum-v1", name="dreamer_v2", **empty)
    assert cfg.trainer.agent == "v2" and cfg.trainer.env_id == "gym/Pendulum-v1"


def test_without_an_env_it_says_how_to_name_one(registered, empty):
    with pytest.raises(Exception, match=r"trainer\.env_id"):
        built("+trainer=dreamer", **empty)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["trainer.total_frames=100", "trainer.run.steps=60"], "leave one of them out"),
        (["trainer.total_frames=100", "trainer.frame_skip=0"], "frame_skip=0: it must be at least"),
    ],
)
def test_frames_that_are_not_the_steps_are_refused(registered, empty, settings, said):
    with pytest.raises(InstantiationException, match=said):
        built("+trainer=dreamer", "trainer.env_id=CartPole-v1", *small(), *settings, **empty)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("run.log_every=5", "set trainer.log_interval"),
        ("run.tensorboard=true", "set trainer.logger"),
        ("run.save_every=5", "set trainer.save_trainer_interval"),
        ("run.keep=5", "set trainer.checkpoint_rotation"),
        ("run.eval_episodes=5", "leave it out"),
        ("run.keep_memory=true", "leave it out"),
        ("run.csv=true", "logs with a logger of its own; set it to False"),
    ],
)
def test_settings_of_the_command_lines_loop_are_refused(registered, empty, setting, said):
    with pytest.raises(InstantiationException, match=f"{setting.partition('=')[0]}=.*{said}"):
        built("+trainer=dreamer", "trainer.env_id=CartPole-v1", f"trainer.{setting}", **empty)


def test_the_replay_of_a_pipeline_lies_on_disk(registered, tmp_path):
    settings = ["trainer.replay.storage=disk", f"trainer.replay.folder={tmp_path}"]
    cfg = built("trainer=dreamer", *small(), *settings).training.cfg
    assert (cfg.replay.storage, cfg.replay.folder) == ("disk", str(tmp_path))


def test_a_pipeline_of_sac_becomes_dreamer_by_one_word(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    monkeypatch.setattr("torchrl.logger.info", said.append)
    trainer = built("trainer=dreamer", *small())
    assert isinstance(trainer, Trainer)
    cfg = trainer.training.cfg
    assert (cfg.seed, cfg.run.steps, trainer.total_frames) == (4, 60, 60)
    unused = next(line for line in said if "does not use" in line)
    for section in ("loss_module", "optimizer", "replay_buffer", "target_net_updater"):
        assert section in unused
    assert any("step_count" in line for line in said)
    trainer.train()
    assert trainer.training.progress.updates == 1 + (60 - 28) // 4
    assert list(tmp_path.rglob("*optim_steps.csv"))


def test_an_empty_config_gives_the_losses_of_the_command_line(
    registered, empty, tmp_path, monkeypatch
):
    seen, update = [], Training.update

    def watched(self, batch):
        metrics = update(self, batch)
        seen.append({name: value.item() for name, value in metrics.items() if "loss/" in name})
        return metrics

    monkeypatch.setattr(Training, "update", watched)
    settings = ["trainer.env_id=CartPole-v1", "trainer.seed=7", "trainer.total_frames=232"]
    built("+trainer=dreamer", *small(), *settings, "trainer.progress_bar=false", **empty).train()
    here, seen[:] = list(seen), []

    options = {"seed": 7, "run.steps": 232, "run.logdir": str(tmp_path / "run")}
    train(resolve("CartPole-v1", config=["v3", TINY], options=options).config)
    assert len(here) == 52 and here == seen

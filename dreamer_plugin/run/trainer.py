"""The loop of the command line as a `torchrl.trainers.Trainer`.

    Trainer.train   for batch in LoopCollector:        one agent step of every env, into the replay
                        optim_steps_per_batch = owed   what the train ratio says
                        owed x (replay.sample -> other hooks -> UpdateStepper.step)
                        log, save

Collection, update and counters are those of `training.Training`, so the same config and seed give
the same losses as the command line. TorchRL counts frames: here agent steps over all envs, reset
frames included, times `frame_skip`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.checkpoint import Checkpoint
from torchrl.collectors import BaseCollector
from torchrl.trainers import OptimizationStepper, Trainer

from dreamer_plugin import keys
from dreamer_plugin.config import save_config
from dreamer_plugin.data.collect import EpisodeStats
from dreamer_plugin.data.replay import load_rb_state, rb_state
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint as native
from dreamer_plugin.run import snapshot
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.training import Training

# What the command line's loop does beside training: off, and what TorchRL's trainer does instead.
_BESIDE = {
    "eval_every": (0, "does not evaluate"),
    "csv": (False, "logs with a logger of its own"),
    "wandb": ("off", "logs with a logger of its own"),
    "video_every": (0, "makes no films"),
}


class LoopCollector(BaseCollector):  # type: ignore[misc]  # torchrl has no types
    """Yields what arrived at each agent step, after it went into the replay.

    A batch `[N]` holds the `action` (encoded) that led to each env's frame, and under `next` the
    frame's `obs`, `reward`, `done`, `terminated` and `truncated`. A reset frame is a row like
    any other, with a zero action and reward; an env that is down has none.

    Args:
        training: whose envs are stepped.
    """

    init_random_frames = 0  # the prefill of the replay decides when updates begin
    total_frames = -1

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.training = training
        self.frames_per_batch = training.parts.vector.num_envs
        self.requested_frames_per_batch = self.frames_per_batch
        self.episodes: list[EpisodeStats] = []
        self._open = True

    def iterator(self) -> Iterator[TensorDictBase]:
        """Agent steps without end."""
        collector = self.training.parts.collector
        while True:
            led = torch.from_numpy(collector.actions.copy())
            self.episodes += self.training.collect()
            yield self._batch(led)

    def _batch(self, led: torch.Tensor) -> TensorDict:
        frames = self.training.parts.collector.frames
        assert frames is not None
        count = [len(led)]
        present = torch.from_numpy(frames.present)
        done, terminated = torch.from_numpy(frames.is_last), torch.from_numpy(frames.terminated)
        led[torch.from_numpy(frames.is_first)] = 0
        arrived = {
            keys.OBS: TensorDict({k: torch.from_numpy(v) for k, v in frames.obs.items()}, count),
            "reward": torch.from_numpy(frames.reward)[:, None],
            "done": done[:, None],
            "terminated": terminated[:, None],
            "truncated": (done & ~terminated)[:, None],
        }
        batch = TensorDict({keys.ACTION: led, "next": TensorDict(arrived, count)}, count)
        return batch if frames.present.all() else batch[present]

    def shutdown(self, *_: Any, **__: Any) -> None:
        """Close the envs; may be called twice."""
        if self._open:
            self._open = False
            self.training.close()

    def set_seed(self, seed: int, static_seed: bool = False) -> int:
        """Nothing: the config seeded envs, noise and weights."""
        return seed

    def state_dict(self) -> OrderedDict[str, Any]:
        """Empty: the component `collector` of a checkpoint saves it in our own format."""
        return OrderedDict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Nothing."""


class UpdateStepper(OptimizationStepper):  # type: ignore[misc]
    """One update of the agent: all losses, one optimiser step, latents back into the replay.

    Args:
        training: whose agent learns.
    """

    def __init__(self, training: Training) -> None:
        self.training = training

    def step(self, trainer: Trainer, sub_batch: TensorDictBase) -> TensorDict:
        """Learn from a batch `[B, 1+T]` of our replay.

        Returns:
            Nothing: TorchRL averages what all updates of a batch have, and those that are left
            out or learn other parts have other losses. The trainer logs the training's means.
        """
        self.training.update(sub_batch)
        return TensorDict({}, batch_size=[])


class NativePart:
    """Part of a checkpoint in our own format: safetensors, JSON and hashes, nothing pickled.

    Args:
        save: gives the state. load: takes it back.
    """

    def __init__(self, save: Callable[[], Any], load: Callable[[Any], object]) -> None:
        self._save, self._load = save, load

    def dump(self, path: str | Path) -> None:
        """Write a folder."""
        native.write(Path(path), {"state": self._save()}, {})

    def load(self, path: str | Path) -> None:
        """Read a folder.

        Raises:
            CheckpointError: when a byte of it is not what was written.
        """
        self._load(native.read(Path(path), ["state"])["state"])


class DreamerTrainer(Trainer):  # type: ignore[misc]
    """TorchRL's `Trainer` around a run.

    `run.log_every`, `run.tensorboard`, `run.save_every` and `run.keep` count for the command line
    alone: `log_interval`, `logger`, `save_trainer_interval` and `checkpoint_rotation` stand here.

    Args:
        training: the run; the trainer closes it when `train` ends.
        total_frames: where to end; steps of the run times `frame_skip` by default.
        frame_skip: frames that TorchRL counts per agent step.
        logger: of TorchRL. log_interval: frames between two rows.
        progress_bar: show one.
        checkpoint: of TorchRL; made where none is given. All that the trainer puts into it, hooks
            and logger included, is written in our own format.
        options: `checkpoint_rotation`, `checkpoint_metadata`, `save_trainer_file`,
            `save_trainer_interval` and `log_timings` of `Trainer`.

    Raises:
        UsageError: where evaluation, CSV, W&B or films are asked for, which the command line does.
    """

    def __init__(
        self,
        training: Training,
        *,
        total_frames: int | None = None,
        frame_skip: int = 1,
        logger: Any = None,
        log_interval: int = 10_000,
        progress_bar: bool = True,
        checkpoint: Checkpoint | None = None,
        **options: Any,
    ) -> None:
        for key, (off, does) in _BESIDE.items():
            if (value := getattr(training.cfg.run, key)) != off:
                raise UsageError(f"run.{key}={value}: TorchRL's trainer {does}; set it to {off}.")
        checkpoint = Checkpoint() if checkpoint is None else checkpoint
        self.training = training
        self._continued = False
        _register_parts(checkpoint, training)
        counters = NativePart(self._counters, lambda t: self._checkpoint_state.load_state_dict(t))
        _register(checkpoint, "trainer_state", counters)
        if logger is not None:
            _register(checkpoint, "logger", _of_state_dict(logger))
        super().__init__(
            collector=LoopCollector(training),
            total_frames=total_frames or training.cfg.run.steps * frame_skip,
            frame_skip=frame_skip,
            optim_steps_per_batch=0,
            loss_module=training.parts.agent,
            optimization_stepper=UpdateStepper(training),
            replay_buffer=training.parts.replay,
            logger=logger,
            log_interval=log_interval,
            progress_bar=progress_bar,
            checkpoint=checkpoint,
            auto_log_optim_steps=False,  # it keeps every value of every step in memory
            **options,
        )
        self.register_op("pre_optim_steps", self._plan)
        self.register_op("process_optim_batch", self._sample)
        self.register_op("post_steps_log", self._means)
        self.register_op("shutdown", self._keep)

    def register_module(self, module_name: str, module: Any) -> None:
        """Note a hook whose state belongs into checkpoints."""
        if hasattr(module, "state_dict") and hasattr(module, "load_state_dict"):
            _register(self.checkpoint, f"trainer_module.{module_name}", _of_state_dict(module))
        super().register_module(module_name, module)

    def load_from_file(self, file: str | Path, **kwargs: Any) -> Trainer:
        """Continue from a folder or archive that such a trainer has written.

        Raises:
            UsageError: for a file of TorchRL's older formats, which may have to be unpickled.
        """
        if not Checkpoint.is_checkpoint(file):
            raise UsageError(f"{file} is no checkpoint that torchrl.checkpoint has written")
        loaded = super().load_from_file(file, **kwargs)
        self._continued = True
        return loaded

    def train(self) -> None:
        """Train to the end, and leave a run folder where one is named.

        Raises:
            UsageError: when that folder holds a run which is not continued.
        """
        logdir = self.training.cfg.run.logdir
        if logdir and not self._continued:
            RunFolder(logdir).refuse_run("name another run.logdir, or load_from_file first")
        super().train()

    def _counters(self) -> dict[str, Any]:
        state: dict[str, Any] = self._checkpoint_state.state_dict()
        return state

    def _plan(self) -> None:
        """As many updates as the train ratio makes due."""
        self.optim_steps_per_batch = self.training.progress.owed

    def _sample(self, batch: TensorDictBase) -> TensorDictBase:
        """A batch of the replay in the place of the frames that arrived."""
        return self.training.parts.replay.sample()

    def _means(self, batch: TensorDictBase) -> dict[str, Any] | None:
        """Means since the last row, when one is due by TorchRL's own count."""
        if self.collected_frames - self._last_log.get("optim_steps", 0) <= self._log_interval:
            return None
        values: dict[str, Any] = dict(self.training.metrics.drain())
        episodes, self.collector.episodes = self.collector.episodes, []
        if episodes:
            values["episode/return"] = sum(e.ret for e in episodes) / len(episodes)
            values["episode/length"] = sum(e.length for e in episodes) / len(episodes)
        return values | {"optim_steps": self.training.progress.updates}

    def _keep(self) -> None:
        """Leave a run folder where one is named, for `dreamer-plugin evaluate` and `load`."""
        logdir = self.training.cfg.run.logdir
        if logdir:
            folder = RunFolder(logdir)
            folder.path.mkdir(parents=True, exist_ok=True)
            save_config(self.training.cfg, folder.config_path)
            snapshot.save(self.training.state, folder)


def _register_parts(checkpoint: Checkpoint, training: Training) -> None:
    """Name agent, replay and loop before TorchRL would save them its own way."""
    state, parts = training.state, training.parts
    own = {
        "loss_module": NativePart(lambda: _finite(training), parts.agent.load_training_state),
        "replay_buffer": NativePart(
            lambda: rb_state(parts.replay), lambda tree: load_rb_state(parts.replay, tree)
        ),
        "collector": NativePart(
            lambda: snapshot.loop_state(state), lambda tree: _resume_loop(training, tree)
        ),
    }
    for name, part in own.items():
        _register(checkpoint, name, part)


def _register(checkpoint: Checkpoint, name: str, part: NativePart) -> None:
    """Name a part before TorchRL does, whose reader of state dicts unpickles what is put there."""
    if name not in checkpoint:
        checkpoint.register(name, part)


def _of_state_dict(component: Any) -> NativePart:
    return NativePart(component.state_dict, component.load_state_dict)


def _finite(training: Training) -> Any:
    """The agent's training state, or an error where it is not finite."""
    state = training.parts.agent.training_state()
    snapshot.check_finite(state, training.step, Path(training.cfg.run.logdir or "."))
    return state


def _resume_loop(training: Training, tree: Mapping[str, Any]) -> None:
    snapshot.load_loop_state(training.state, tree)

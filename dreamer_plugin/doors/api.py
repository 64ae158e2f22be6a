"""The agent as a Python object: learn, predict, evaluate, save, load.

agent = Dreamer("gym/CartPole-v1", size="1m", seed=0)
agent.learn(20_000)
action, state = agent.predict(obs, state, episode_start)
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from tensordict import TensorDict

import dreamer_envs
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config, load_config, save_config
from dreamer_plugin.config.fields import check_values
from dreamer_plugin.doors.api_env import EnvLike, flatten, makers_of, on_env, resolve
from dreamer_plugin.doors.run_paths import similar_run
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint, snapshot
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.display import Display
from dreamer_plugin.run.envs import EnvSource, source_of
from dreamer_plugin.run.evaluate import EvalReport, evaluate, find_checkpoint, load_agent
from dreamer_plugin.run.export import read_weights
from dreamer_plugin.run.folder import RunFolder, find_run
from dreamer_plugin.run.limits import limits_told
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.records import RecordFiles
from dreamer_plugin.run.signals import StopSignals
from dreamer_plugin.run.training import Training

State = tuple[npt.NDArray[np.float32], ...]
_STATE_KEYS = ("deter", "stoch", "prev_action")


class Dreamer:
    """A Dreamer agent for an environment.

    Args:
        env: an id (`"gym/CartPole-v1"`), a Gymnasium env, a class or function that makes one, or a
            list of these, one per env; any spaces that `dreamer_envs.wrap` takes.
        config: name of a preset (`"v3"`) or path of a YAML file.
        size: preset of the networks' widths, `"1m"` to `"400m"`; by default what a file says that
            names a size or widths, what V1 and V2 have, and `"1m"` of V3.
        seed: of weights, envs and noise; that of the file by default, else 0.
        overrides: config keys, with two underscores for a dot or as nested dicts:
            `optim__lr=1e-4` or `optim={"lr": 1e-4}`. `run__logdir="runs/x"` makes `learn` write a
            run folder; without it nothing is written before `save`.

    Raises:
        UsageError: one line with the wrong name or value and the nearest valid one.
    """

    def __init__(
        self,
        env: EnvLike | Sequence[EnvLike],
        config: str | Path = "v3",
        size: str | None = None,
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        said = {"size": size, "seed": seed}
        options = {name: value for name, value in said.items() if value is not None}
        options |= flatten(overrides)
        cfg, source, native = resolve(env, config, options)
        agent = build_agent(cfg, native.spaces, choose_device(cfg.device))
        self._set_up(cfg, source, native, agent)

    def _set_up(
        self, cfg: Config, source: EnvSource | None, native: NativeForm, agent: Any
    ) -> None:
        self.config = cfg
        self.agent = agent
        self._source, self._native = source, native
        self._rng = np.random.Generator(np.random.PCG64([cfg.seed, 2]))
        self._training: Training | None = None
        self._checkpoint: Path | None = None
        self._run: Path | None = None  # where it was loaded from
        self._own: set[tuple[Path, int]] = set()  # folders whose run is this agent's, with inodes
        self._loaded_step, self._loaded_replay = 0, False

    @property
    def num_timesteps(self) -> int:
        """Agent steps trained so far, over all envs, reset frames included."""
        if self._training is not None:
            return self._training.step
        return self._loaded_step

    def learn(
        self,
        total_timesteps: int,
        progress: bool = True,
        callback: Callable[[Dreamer], bool | None] | None = None,
    ) -> Dreamer:
        """Train for so many more agent steps; a second call continues where the first ended.

        Args:
            total_timesteps: agent steps over all envs, reset frames included.
            progress: show a live table (plain lines when the output is not a terminal).
            callback: called with this object after every agent step; False ends the call.

        Returns:
            This object.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the step in progress is finished; `learn` and
                `save` work after it.
            UsageError: when it is less than one step.
        """
        total_timesteps = _counted("total_timesteps", total_timesteps)
        training = self._begin()
        training.callbacks = [] if callback is None else [lambda _: callback(self)]
        display = Display(training.progress, Console(quiet=not progress))
        lock = training.folder.locked() if training.folder else nullcontext()
        run = training.folder.path if training.folder else None
        with lock, limits_told(self.config, run), StopSignals((signal.SIGINT,)) as signals:
            result = training.run(training.step + total_timesteps, display, signals)
        if result.interrupted:
            raise KeyboardInterrupt
        return self

    def predict(
        self,
        obs: Any,
        state: State | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, State]:
        """Decide, with the calling convention of Stable-Baselines3.

        Args:
            obs: what the env shows, one observation or a batch of them.
            state: what the last call returned; None at the beginning of episodes.
            episode_start: `[N]` or a bool: rows whose episode begins with this observation.
            deterministic: modes of posterior and policy instead of samples.

        Returns:
            The env's own actions (a batch for a batch), and the state for the next call.

        Raises:
            UsageError: when the shape of the observation or the number of states does not fit.
        """
        arrays, batched = self._native.observe(obs)
        count = len(next(iter(arrays.values())))
        is_first = np.full(count, state is None)
        if episode_start is not None:
            starts = np.asarray(episode_start)
            if starts.dtype.kind not in "biuf":
                given = f"episode_start is {episode_start!r}"
                raise UsageError(f"{given}; it takes a bool, or one of each row.")
            if starts.shape not in ((), (1,), (count,)):
                raise UsageError(f"episode_start has shape {starts.shape}, and obs {count} rows.")
            is_first |= starts.astype(bool)
        noise = self._rng.random((count, self.agent.noise_size), np.float32)
        device = self.agent.device
        action, after = self.agent.act(
            {name: torch.from_numpy(array).to(device) for name, array in arrays.items()},
            torch.from_numpy(is_first).to(device),
            self._recall(state, count),
            torch.from_numpy(noise).to(device),
            deterministic,
        )
        native = self._native.act(action.float().cpu().numpy(), batched)
        return native, tuple(after[key].float().cpu().numpy() for key in _STATE_KEYS)

    def evaluate(
        self,
        episodes: int = 10,
        deterministic: bool | None = None,
        seed: int = 0,
        num_envs: int | None = None,
    ) -> EvalReport:
        """Play whole episodes and report the returns.

        On an env that was passed as an object, which there is only once, the episode that training
        had open is given up.

        Args:
            episodes: how many.
            deterministic: modes of posterior and policy, or samples; by default what the authors of
                the agent did (`behavior.eval_mode`).
            seed: of envs and noise.
            num_envs: side by side; as many as in training by default.
        """
        check_values({"seed": seed}, {"seed": "evaluate"})
        episodes = _counted("episodes", episodes)
        num_envs = None if num_envs is None else _counted("num_envs", num_envs)
        if deterministic is None:
            deterministic = self.config.behavior.eval_mode
        source = self._envs()
        try:
            return evaluate(self.agent, source, episodes, seed, deterministic, num_envs)
        finally:
            if not source.fresh and self._training is not None:
                self._training.restart_envs()

    def save(self, path: str | Path, replay: bool = True) -> None:
        """Write the agent to a folder, as a run that `load` and the command line read.

        Args:
            path: folder; made if needed. What this agent saved there before at other steps stays,
                with a warning where one is later, since `load` gives the newest step; the run of
                another agent is set aside under a new name, with a warning.
            replay: also what `learn` needs to go on exactly; without it a loaded agent that learns
                more starts with an empty replay.

        Raises:
            UsageError: when no folder can be made there, or another run trains in it.
        """
        folder = RunFolder(Path(path).absolute())
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"Cannot save into {path}: {error.strerror}.") from error
        if folder.is_run() and _identity(folder.path) not in self._own:
            with folder.locked():
                aside = folder.set_aside()
            warnings.warn(f"{path} held another run, which is {aside} now.", stacklevel=2)
        trains = self._training.folder if self._training is not None else None
        here = trains is not None and trains.path.resolve() == folder.path.resolve()
        with nullcontext() if here else folder.locked():  # `learn` holds the lock of its own folder
            self._own.add(_identity(folder.path))
            save_config(self.config, folder.config_path)
            self._write(folder, replay)
        step, (newest, _) = self.num_timesteps, checkpoint.steps(folder.checkpoints)[0]
        if newest > step:
            message = f"{path} holds step {newest:,}, which load gives: ask for which={step} there."
            warnings.warn(message, stacklevel=2)

    def _write(self, folder: RunFolder, replay: bool) -> None:
        """The checkpoint of this moment, see `save`."""
        trees = {"predict": {"rng": self._rng.bit_generator.state}}
        if replay and self._training is not None:
            self._training.settle()
            snapshot.save(self._training.state, folder, trees)
        elif replay and self._checkpoint is not None:  # loaded, and no step made since
            meta, parts = checkpoint.verify(self._checkpoint), checkpoint.read(self._checkpoint)
            name = checkpoint.step_name(meta["step"])
            entries = checkpoint.segments(self._checkpoint)
            source = checkpoint.records_of(self._checkpoint)
            RecordFiles(folder.records).carry(source, entries)
            checkpoint.write(folder.checkpoints / name, parts | trees, meta, entries)
        else:
            snapshot.save_agent(self.agent, self._native, folder, self._facts(), trees)

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: EnvLike | Sequence[EnvLike] | None = None,
        which: str | int = "latest",
        device: str = "auto",
    ) -> Dreamer:
        """Read an agent from what `save` or a run left. Nothing in it is unpickled or imported.

        Args:
            path: folder given to `save`, run folder, one checkpoint, or a file of weights that
                `dreamer-plugin export` made: without optimiser and replay.
            env: needed to `learn` or `evaluate` when the agent was made with an env object.
            which: `"latest"`, `"best"` or a step, when `path` is not a checkpoint.
            device: where the agent runs.

        Raises:
            UsageError: when there is no run or no such device, or the env has other spaces.
            CheckpointError: when no checkpoint is whole.
        """
        run, found, device = None, None, str(device)
        check_values({"device": device}, {"device": "device"})
        if Path(path).is_file():
            cfg, agent, native, _ = read_weights(path, device)
        else:
            run, found = _saved(Path(path), which)
            cfg = load_config(RunFolder(run).config_path)
            agent, native = load_agent(cfg, found, device)
        cfg = replace(cfg, device=device, run=replace(cfg.run, logdir=""))
        source = None
        if env is not None:
            cfg = on_env(cfg, env)
            source, given = makers_of(cfg, env)
            native.spaces.refuse_other(given.spaces)
        loaded = cls.__new__(cls)
        loaded._set_up(cfg, source, native, agent)
        loaded._go_on_later(found, run)
        if found is not None and "predict" in checkpoint.part_names(found):
            with checkpoint.understood(found):
                state = checkpoint.read(found, ["predict"])["predict"]["rng"]
                loaded._rng.bit_generator.state = state
        return loaded

    def _begin(self) -> Training:
        """The training state, built at the first need: envs, replay and counters."""
        if self._training is None:
            folder = RunFolder(self.config.run.logdir) if self.config.run.logdir else None
            if folder is not None:
                folder.refuse_run("go on with Dreamer.load, or name another run.logdir")
                folder.path.mkdir(parents=True, exist_ok=True)
            # A replay on disk leaves no file behind, so a loaded agent's may lie in its old folder.
            place = folder.path if folder else self._run
            parts = build_parts(self.config, self._envs(), self.agent, self._native, place)
            training = Training(self.config, parts, folder)
            try:
                self._go_on(training)
            except BaseException:
                training.close()
                raise
            if folder is not None:  # not before: a folder with a config is a run
                self._own.add(_identity(folder.path))
                save_config(self.config, folder.config_path)
            self._training = training
        return self._training

    def _go_on_later(self, found: Path | None, run: Path | None) -> None:
        """Know where the weights are of; of the files, the replay alone is still needed.

        Args:
            found: the checkpoint, None where a file of weights was read. run: its folder.
        """
        self._checkpoint, self._run = found, run
        if run is not None:
            self._own.add(_identity(run))
        if found is not None:
            self._loaded_step = checkpoint.meta(found)["step"]
            self._loaded_replay = "replay" in checkpoint.part_names(found)

    def _go_on(self, training: Training) -> None:
        """Continue from what was loaded, with its replay where that was saved."""
        if self._checkpoint is None:
            return
        if self._loaded_replay:
            training.restore(self._checkpoint)
        else:
            training.go_on_from(self._loaded_step)

    def _envs(self) -> EnvSource:
        if self._source is None:
            if not self.config.env.id:
                raise UsageError(
                    "This agent was made with an env object: pass env to Dreamer.load."
                )
            self._source = source_of(self.config)
        return self._source

    def _recall(self, state: State | None, count: int) -> TensorDict:
        fresh = self.agent.initial(count)
        if state is None:
            return fresh
        shapes = [tuple(fresh[key].shape) for key in _STATE_KEYS]
        parts = state if isinstance(state, (tuple, list)) else ()
        if [np.shape(part) for part in parts] != shapes:
            raise UsageError(f"The state is not one that predict returned for {count} rows.")
        if not all(bool(torch.as_tensor(part).isfinite().all()) for part in parts):
            raise UsageError("The state holds numbers that are not finite: begin anew with None.")
        tensors = {
            key: torch.as_tensor(part, device=fresh[key].device).to(fresh[key].dtype)
            for key, part in zip(_STATE_KEYS, state, strict=True)
        }
        return TensorDict(tensors, batch_size=[count])

    def _facts(self) -> dict[str, Any]:
        return {
            "env": self.config.env.id,
            "step": self.num_timesteps,
            "updates": self.agent.updates,
        }


def _saved(path: Path, which: str | int) -> tuple[Path, Path]:
    """The run at a path, and the checkpoint that is meant."""
    run = find_run(path)
    if run is None:
        hint = "" if path.exists() else similar_run(path)
        raise UsageError(f"{path} is neither a run folder nor a checkpoint of one.{hint}")
    return run, path if checkpoint.is_checkpoint(path) else find_checkpoint(RunFolder(run), which)


def _identity(folder: Path) -> tuple[Path, int]:
    """What tells a folder from another that lay at its place before."""
    return folder.resolve(), folder.stat().st_ino


def _counted(name: str, value: Any) -> int:
    """An argument as a number of at least 1; 1e5 is one too.

    Raises:
        UsageError: when it is not.
    """
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or not float(value).is_integer() or value < 1:
        raise UsageError(f"{name}={value!r}: must be a whole number of at least 1.")
    return int(value)


def make_env(env_id: str, **options: Any) -> Any:
    """A Gymnasium env by name; see `dreamer_envs.make`."""
    return dreamer_envs.make(env_id, **options)

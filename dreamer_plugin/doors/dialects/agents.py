"""Agents under the names and calls of other documents, over `dreamer_plugin.Dreamer`.

Trainer("dreamer", env="CartPole-v1", seed=42, config={...}).train(total_timesteps=100_000)
create_model("dreamer", env_backend="dmc", env="walker-walk").train()
DreamerAgent(DreamerConfig()).train()
DreamerAgent.from_pretrained("runs/walker/ckpts").summary()["total_parameters"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer_plugin.build import build_agent
from dreamer_plugin.config import Config
from dreamer_plugin.doors import api, api_env
from dreamer_plugin.doors.dialects.parameters import parameter_counts, parameter_table
from dreamer_plugin.doors.dialects.settings import DreamerConfig, DreamerV3Config
from dreamer_plugin.doors.dialects.translate import Translation, translate_settings
from dreamer_plugin.doors.dialects.weights import (
    find_weights,
    is_weights,
    read_weights,
    save_weights,
)
from dreamer_plugin.errors import UsageError, nearest
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.evaluate import find_checkpoint
from dreamer_plugin.run.folder import RunFolder, find_run, new_folder
from dreamer_plugin.run.native import NativeForm

if TYPE_CHECKING:
    from typing_extensions import Self

ALGORITHMS = ("dreamer", "dreamerv1", "dreamerv2", "dreamerv3")


class Dreamer(api.Dreamer):
    """`dreamer_plugin.Dreamer` with the methods that other documents give it."""

    @classmethod
    def from_translation(cls, request: Translation) -> Self:
        """An agent, fitted to this machine."""
        for note in request.notes:
            print(note)
        made = cls.__new__(cls)
        cfg, source, native = api_env.resolve(request.env, request.preset, request.options)
        if not isinstance(request.env, str):  # a preset may name one
            cfg = replace(cfg, env=replace(cfg.env, id=""))
        made._set_up(
            cfg, source, native, build_agent(cfg, native.spaces, choose_device(cfg.device))
        )
        if request.load:
            made.restore(request.load)
        return made

    @classmethod
    def from_config(cls, config: DreamerConfig | str | Path, **words: Any) -> Self:
        """An agent of settings, or of a file of them; words replace some."""
        return cls.from_translation(translate_settings(_settings(config, words)))

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "auto") -> Self:
        """An agent from a file of weights, a folder that holds one, or a run."""
        folder = Path(path)
        file = folder if is_weights(folder) else find_weights(folder)
        if file is None:
            return cls.load(path, device=device)  # type: ignore[return-value]
        cfg, parts = read_weights(file)
        cfg = replace(cfg, device=device, run=replace(cfg.run, logdir=""))
        with checkpoint.understood(file):
            native, state = NativeForm.from_dict(parts["spaces"]), parts["agent"]
        made = cls.__new__(cls)
        made._set_up(cfg, None, native, build_agent(cfg, native.spaces, choose_device(device)))
        with checkpoint.understood(file):
            made.agent.load_training_state(state)
        return made

    def save(self, path: str | Path, replay: bool = True) -> None:
        """As `dreamer_plugin.Dreamer.save`; a path of a file writes the agent alone.

        Args:
            path: folder, or `model.safetensors`, or `model.pt`, for which that is written.
            replay: in a folder, also what `learn` needs to go on exactly.
        """
        if not is_weights(path):
            super().save(path, replay)
            return
        parts = {"agent": self.agent.training_state(), "spaces": self._native.to_dict()}
        save_weights(path, parts, self.config)

    def restore(self, path: str | Path) -> None:
        """Take the weights of a file or of a run, and of a run the replay at the next `learn`."""
        if is_weights(path):
            with checkpoint.understood(Path(path)):
                state = read_weights(path)[1]["agent"]
        else:
            run = find_run(path)
            if run is None:
                raise UsageError(f"{path} is neither a file of weights nor a run folder.")
            found = Path(path)
            if not checkpoint.is_checkpoint(found):
                found = find_checkpoint(RunFolder(run))
            state = checkpoint.read(found, ["agent"])["agent"]
            self._go_on_later(found, run)
        try:
            self.agent.load_training_state(state)
        except (RuntimeError, KeyError, ValueError) as error:
            raise UsageError(f"{path} holds no weights for this agent: {error}") from error

    def train(self, total_steps: int | None = None, progress: bool = True) -> dict[str, float]:
        """Train until the steps of the configuration are made, or so many more.

        Args:
            total_steps: agent steps over all envs; those of the configuration by default.
            progress: show a live table.

        Returns:
            `steps`, `updates` and `seconds` in all, `mean_reward`, which is the mean return of the
            last ten episodes, and the last means of the losses as `loss/<name>`.
        """
        left = self.config.run.steps - self.num_timesteps
        if total_steps is not None or left > 0:
            self.learn(left if total_steps is None else total_steps, progress)
        return self.metrics()

    def metrics(self) -> dict[str, float]:
        """What `train` returns."""
        found = {"steps": float(self.num_timesteps), "updates": float(self.agent.updates)}
        if self._training is None:
            return found
        state = self._training.progress
        found["seconds"] = state.seconds
        if state.last_return is not None:
            found["mean_reward"] = state.last_return
        means = {k: v for k, v in self._training.metrics.means().items() if k.startswith("loss/")}
        return found | (means or {f"loss/{name}": v for name, v in state.losses.items()})

    def parameter_count(self) -> int:
        """Parameters of all networks, the slow copy of the critic among them."""
        return sum(parameter_counts(self.agent).values())

    def parameter_table(self) -> str:
        """A line for every component and one for their sum."""
        return parameter_table(self.agent)

    def summary(self) -> dict[str, Any]:
        """What this agent is: env, spaces, parameters by component and in all, steps made."""
        spaces = self._native.spaces
        return {
            "agent": self.config.agent,
            "env": self.config.env.id,
            "device": str(self.agent.device),
            "observations": {key.name: list(key.shape) for key in spaces.obs},
            "actions": {key.name: key.size for key in spaces.actions},
            "parameters": parameter_counts(self.agent),
            "total_parameters": self.parameter_count(),
            "steps": self.num_timesteps,
            "updates": self.agent.updates,
        }


class DreamerAgent:
    """An agent of settings in torchwm's words, or another document's.

    Training writes a run folder: `logdir` of the settings, or a new one below `runs/`.

    Args:
        config: settings; the document's defaults if there are none.
        words: settings that replace some of them.

    Raises:
        UsageError: at a setting that cannot be had.
    """

    def __init__(self, config: DreamerConfig | None = None, **words: Any) -> None:
        self.config: DreamerConfig | None = _settings(config or DreamerConfig(), words)
        self.dreamer = Dreamer.from_config(self.config)

    @classmethod
    def from_config(cls, path: str | Path, **words: Any) -> Self:
        """An agent of a file that `DreamerConfig.to_yaml` or a run wrote; words replace some."""
        return cls(DreamerConfig.from_yaml(path, **words))

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "auto") -> Self:
        """An agent from a folder or file that `dreamer.save` wrote, or from a run."""
        made = cls.__new__(cls)
        made.config, made.dreamer = None, Dreamer.from_pretrained(path, device)
        return made

    def train(self, total_steps: int | None = None, progress: bool = True) -> dict[str, float]:
        """Train, into a run folder; see `Dreamer.train`."""
        dreamer = self.dreamer
        if not dreamer.config.run.logdir:
            dreamer.config = _with_folder(dreamer.config)
        return dreamer.train(total_steps, progress)

    def save(self, path: str | Path) -> None:
        """See `Dreamer.save`."""
        self.dreamer.save(path)

    def summary(self) -> dict[str, Any]:
        """See `Dreamer.summary`."""
        return self.dreamer.summary()

    def parameter_count(self) -> int:
        """See `Dreamer.parameter_count`."""
        return self.dreamer.parameter_count()

    def parameter_table(self) -> str:
        """See `Dreamer.parameter_table`."""
        return self.dreamer.parameter_table()


class Trainer:
    """An agent and its training in rlox's words.

    Nothing is written, unless the settings name a `run.logdir`.

    Args:
        algorithm: `"dreamer"`. env: id, or a Gymnasium env. seed: of weights, envs and noise.
        config: settings, a mapping or a `DreamerV3Config`.

    Raises:
        UsageError: at a setting that cannot be had.
    """

    def __init__(
        self,
        algorithm: str,
        env: Any,
        seed: int | None = None,
        config: Mapping[str, Any] | DreamerConfig | None = None,
    ) -> None:
        if not isinstance(config, DreamerConfig):
            config = DreamerV3Config.from_dialect(config or {})
        given = {"env": env} if seed is None else {"env": env, "seed": seed}
        self.config = _of_algorithm(algorithm, _settings(config, given))
        self.dreamer = Dreamer.from_config(self.config)

    def train(self, total_timesteps: int, progress: bool = True) -> dict[str, float]:
        """Train for so many agent steps; returns what `Dreamer.train` does."""
        return self.dreamer.train(total_timesteps, progress)

    def save(self, path: str | Path) -> None:
        """See `Dreamer.save`."""
        self.dreamer.save(path)


def create_model(name: str, **words: Any) -> DreamerAgent:
    """An agent by name, in torchwm's words.

    Args:
        name: `"dreamer"`, or with a version `"dreamerv2"`. words: settings of a `DreamerConfig`.

    Raises:
        UsageError: at another name, or a setting that cannot be had or is of another version.
    """
    return DreamerAgent(_of_algorithm(name, DreamerConfig(**words)))


def _of_algorithm(name: str, config: DreamerConfig) -> DreamerConfig:
    """Settings of the version that the name says, where it says one."""
    if name.lower() not in ALGORITHMS:
        raise UsageError(nearest(name, ALGORITHMS, "algorithm"))
    version, word = name.lower().removeprefix("dreamer"), config.dialect.version_word
    if version and word and word not in config.said:
        config[word] = version
    if version:
        agent = translate_settings(config).compose().agent
        if agent.partition("_")[0] != version:
            raise UsageError(
                f"{name!r}, but the settings ({config.dialect.name}) are of the agent {agent}: "
                "say 'dreamer', or give settings of that version."
            )
    return config


def _settings(config: DreamerConfig | str | Path, words: Mapping[str, Any]) -> DreamerConfig:
    """Settings of their own, with words that replace some."""
    if not isinstance(config, DreamerConfig):
        return DreamerConfig.from_yaml(config, **words)
    made = config.copy()
    made.update(words)
    return made


def _with_folder(cfg: Config) -> Config:
    return replace(cfg, run=replace(cfg.run, logdir=str(new_folder(cfg).path)))

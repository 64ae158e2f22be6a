"""A trained agent in its env, to look at: frames, actions and rewards of whole episodes.

env draws   render_mode=human: a window of the env's own; rgb_array: frames for a file
no frames   the image that the agent sees, where it sees one
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import dreamer_envs
from dreamer_envs.errors import EnvOptionError
from dreamer_envs.images import enlarged, in_colour
from dreamer_plugin.agent import Agent
from dreamer_plugin.config import Config
from dreamer_plugin.config.trust import usable
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.evaluate import Chosen, load_agent
from dreamer_plugin.run.films import FPS, LEAST_SIDE, write_gif
from dreamer_plugin.run.telling import counted, tell

Frame = npt.NDArray[np.uint8]

VIDEO = "pip install 'dreamer-plugin[video]'"


@dataclass
class Episode:
    """What was played.

    Args:
        frames: `[H, W, 3]`, that of the reset first; empty where a window showed them.
        rewards: of the steps. ended: by the task, not by a limit.
    """

    frames: list[Frame] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ended: bool = False


def open_env(cfg: Config, mode: str | None) -> tuple[Any, str | None]:
    """The env of a run that draws in the way asked for, or in the best way it has.

    Args:
        cfg: of the run. mode: `"human"`, `"rgb_array"`, or None for the agent's own image.

    Returns:
        The env, and the mode that it draws in.

    Raises:
        UsageError: for options that no file may set, or a secret that was not saved.
    """
    given = usable(cfg.env.options)
    for tried in dict.fromkeys((mode, "rgb_array", None)):
        options = given | ({} if tried is None else {"render_mode": tried})
        with suppress(EnvOptionError):
            return dreamer_envs.make(cfg.env.id, **options), tried
    raise AssertionError("an env takes the options that it was trained with")


def frames_per_second(env: Any) -> int:
    """As the env's authors mean it to be shown."""
    return max(1, round(env.metadata.get("render_fps") or FPS))


def play(
    chosen: Chosen,
    episodes: int = 1,
    seed: int = 0,
    deterministic: bool | None = None,
    mode: str | None = "rgb_array",
    device: str = "auto",
) -> Iterator[tuple[Episode, int]]:
    """Play episodes one after the other.

    Args:
        chosen: the checkpoint. episodes: how many. seed: of env and noise.
        deterministic: as of `run.evaluate.evaluate_run`. mode: as of `open_env`.
        device: where the agent runs.

    Yields:
        Each episode, and the frames per second to show it with.

    Raises:
        UsageError: when nothing can be seen of the env.
    """
    agent, native = load_agent(chosen.cfg, chosen.path, device)
    modes = chosen.cfg.behavior.eval_mode if deterministic is None else deterministic
    env, drawn = open_env(chosen.cfg, mode)
    try:
        if drawn is None and not native.spaces.images:
            raise UsageError(
                f"{chosen.cfg.env.id} draws nothing, and its agent sees no image: there is nothing "
                "to show. `dreamer-plugin report` draws what it sees as curves."
            )
        rng = np.random.default_rng([seed, 7])
        for number in range(episodes):
            tell("episodes", number, episodes)
            first = seed if number == 0 else None
            yield (
                _episode(env, agent, native.spaces, rng, first, modes, drawn),
                frames_per_second(env),
            )
    finally:
        env.close()


def _episode(
    env: Any,
    agent: Agent,
    spaces: Any,
    rng: np.random.Generator,
    seed: int | None,
    deterministic: bool,
    drawn: str | None,
) -> Episode:
    played, done, state = Episode(), False, agent.initial(1)
    obs, _ = env.reset(seed=seed)
    _see(played, env, obs, spaces, drawn)
    first = torch.ones(1, dtype=torch.bool, device=agent.device)
    while not done:
        tell("steps of this episode", len(played.rewards), 0)
        noise = torch.from_numpy(rng.random((1, agent.noise_size), np.float32))
        seen = {key.name: torch.as_tensor(np.asarray(obs[key.name])[None]) for key in spaces.obs}
        seen = {name: value.to(agent.device) for name, value in seen.items()}
        action, state = agent.act(seen, first, state, noise.to(agent.device), deterministic)
        first = torch.zeros_like(first)
        taken = spaces.decode_action(action[0].float().cpu().numpy())
        obs, reward, terminated, truncated, _ = env.step(taken)
        played.rewards.append(float(reward))
        played.ended, done = bool(terminated), bool(terminated or truncated)
        _see(played, env, obs, spaces, drawn)
    tell("steps of this episode", len(played.rewards), len(played.rewards))
    return played


def _see(played: Episode, env: Any, obs: Any, spaces: Any, drawn: str | None) -> None:
    """Keep the frame that is there now; a window has shown it already."""
    if drawn == "human":
        return
    if drawn == "rgb_array":
        played.frames.append(np.asarray(env.render(), np.uint8))
        return
    image = spaces.images[0].name
    played.frames.append(in_colour(np.asarray(obs[image], np.uint8)))


def write_video(path: Path, frames: list[Frame], fps: int) -> float:
    """Write an animated GIF or an mp4, by the ending of the name; small frames are enlarged.

    Returns:
        The frames a second that it has: a GIF cannot have all.

    Raises:
        UsageError: for another ending, or an mp4 without its package.
    """
    require_video(path)
    if path.suffix.lower() == ".gif":
        return write_gif(path, frames, fps)
    import imageio_ffmpeg

    large = (enlarged(frame, LEAST_SIDE) for frame in counted("frames drawn", frames))
    height, width, _ = enlarged(frames[0], LEAST_SIDE).shape
    height, width = height - height % 2, width - width % 2  # yuv420p halves both
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=fps, macro_block_size=1)
    writer.send(None)
    for frame in large:
        writer.send(np.ascontiguousarray(frame[:height, :width]))
    writer.close()
    return fps


def require_video(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is played."""
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise UsageError(f"{path} is neither a .gif nor an .mp4.")
    if ending == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise UsageError(f"An mp4 needs the package imageio-ffmpeg: {VIDEO}; a .gif needs none.")
    if not path.parent.is_dir():
        raise UsageError(f"Cannot write {path}: there is no folder {path.parent}.")
    fresh = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}; try --out.") from error
    if fresh:
        path.unlink()

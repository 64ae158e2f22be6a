"""Around the env: actions in and out, Atari images, and how a reset clears the last action."""

from __future__ import annotations

from unittest import mock

import gymnasium as gym
import numpy as np
import torch

import dreamer_envs
from dreamer_envs.suites import minecraft_logic as minecraft
from dreamer_envs.suites.atari import preprocess
from dreamer_envs.suites.pinpad import PinPad
from dreamer_envs.transforms import scaler
from dreamer_envs.vector import Frames
from dreamer_plugin.build import build_rssm
from dreamer_plugin.config.schema import Config, ModelConfig
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.ops.scaling import saturate
from dreamer_plugin.spaces import Spaces

from ..reading import Golden
from .parts import discrete

VECTOR = gym.spaces.Dict({"vector": gym.spaces.Box(-1, 1, (1,), np.float32)})


def action_wrappers(g: Golden) -> None:
    """Clipping and scaling of actions."""
    g.check("env_action", scaler(g.array("low"), g.array("high"))(g.array("policy_action")))


def atari_preprocessing(g: Golden) -> None:
    """Pooling, resizing and graying of Atari frames."""
    frames = [g.array("frame_old"), g.array("frame_new")]
    for name in g.names("image_"):
        size, color = name.split("_")
        g.check(f"image_{name}", preprocess(frames, int(size), gray=color == "gray"))
    g.check("is_terminal_when_last_without_game_over", _terminal_on_timeout())


def _terminal_on_timeout() -> np.ndarray:
    """Whether the record of an Atari frame that a limit ended is terminal."""
    info = dreamer_envs.suite_of("atari/Pong")
    spaces = Spaces.from_gym(VECTOR, gym.spaces.Discrete(2))
    aligner = Aligner(1, spaces, info.terminal_on_timeout)
    flags = {"is_first": False, "is_last": True, "terminated": False}
    frames = Frames(
        obs={"vector": np.zeros((1, 1), np.float32)},
        reward=np.zeros(1, np.float32),
        **{name: np.array([value]) for name, value in flags.items()},
        present=np.ones(1, np.bool_),
        success=np.full(1, -1, np.int8),
    )
    latents = {"deter": torch.zeros(1, 1), "stoch": torch.zeros(1, 1, dtype=torch.uint8)}
    record = aligner.from_frames(frames, torch.zeros(1, spaces.action_size), latents)
    return record["is_terminal"][0].numpy()


class OfficialDraws:
    """The generator of the official Pin Pad in place of ours, so that players start alike."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.RandomState(seed)

    def integers(self, count: int) -> int:
        return self._random.randint(count)


def pinpad(g: Golden) -> None:
    """Pin Pad: walls, pads, rewards, new starts, ends and images."""
    env = PinPad(g.name.removeprefix("pinpad_"), length=int(g.number("meta/length")))
    env.np_random = OfficialDraws(int(g.number("meta/numpy_randomstate_seed")))
    seen: dict[str, list[object]] = {
        name: [] for name in ("positions", "rewards", "is_last", "is_terminal", "frames")
    }
    frame_index = set(g.array("frame_index").tolist())
    over = True
    for t, action in enumerate([0, *g.array("actions").tolist()]):
        reward = 0.0
        if over:  # the first frame, and the one after an end, whatever the action
            image, over, terminated = env.reset()[0], False, False
        else:
            image, reward, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        seen["positions"].append(env.player)
        seen["rewards"].append(reward)
        seen["is_last"].append(over)
        seen["is_terminal"].append(terminated)
        if t in frame_index:
            seen["frames"].append(image)
    for name, values in seen.items():
        g.check(name, np.array(values))


def minecraft_logic(g: Golden) -> None:
    """Minecraft: actions, what is held down, pitch, milestones and health."""
    g.check("action_names", np.array(list(minecraft.ACTIONS)))
    for name in g.names("action_table/"):
        column = [_part(command, name) for command in minecraft.ACTIONS.values()]
        g.check(f"action_table/{name}", np.array(column))
    columns = g.array("result_columns").tolist()
    for run in g.variants("action_index"):
        sticky = minecraft.StickyActions(break_speed=float(run.removeprefix("break_speed_")))
        rows = []
        for index in g.array(f"{run}/action_index").tolist():
            command = sticky(index)
            known = {"accumulated_pitch": sticky.pitch}
            rows.append([known[c] if c in known else _part(command, c) for c in columns])
        g.check(f"{run}/result", np.array(rows, np.float32), allowed=0.0)
    g.check("reward/reward", _minecraft_rewards(g))


def _part(command: minecraft.Command, name: str) -> object:
    """An entry of a command; pitch and yaw are parts of the camera's."""
    if name.startswith("camera_"):
        return command["camera"][("camera_pitch", "camera_yaw").index(name)]
    return command[name]


def _minecraft_rewards(g: Golden) -> np.ndarray:
    items = g.array("reward/items").tolist()
    rewards = minecraft.Rewards("diamond")
    if sorted(items) != sorted(minecraft.MILESTONES):
        g.failures.append(f"reward/items: ours are {minecraft.MILESTONES}")
    series = [g.array(f"reward/{name}").tolist() for name in ("inventory", "is_first", "health")]
    paid = []
    for counts, is_first, health in zip(*series, strict=True):
        inventory = dict(zip(items, counts, strict=True))
        now = minecraft.Situation(inventory, health)
        if is_first:
            rewards.reset(now)
        paid.append(0.0 if is_first else rewards(now))
    return np.array(paid, np.float32)


def action_input(g: Golden) -> None:
    """Actions as the core sees them."""
    action = g.tensor("cont", grad=True)
    value = saturate(action)
    value.sum().backward()
    g.check("cont_normalised", value)
    g.check("cont_grad_of_sum", action.grad)
    _action_dict(g)


def _action_dict(g: Golden) -> None:
    order = g.array("meta/key_order").tolist()
    native = {name: g.array(f"dict/{name}") for name in order}
    reset = g.tensor("dict/reset")
    space = gym.spaces.Dict(_entries(native, g.arrays["dict/concat_without_reset"]))
    spaces = Spaces.from_gym(VECTOR, space)
    if [key.name for key in spaces.actions] != order:
        g.failures.append(f"meta/key_order: ours is {[key.name for key in spaces.actions]}")
    action = torch.from_numpy(spaces.encode_action(native))
    g.check("dict/concat_without_reset", action)
    g.check("dict/concat_after_reset_mask", _masked(action, reset))


def _entries(native: dict[str, np.ndarray], concat: np.ndarray) -> dict[str, gym.Space]:
    """Spaces of native actions; class counts are told by where the ones of a row stand."""
    spaces: dict[str, gym.Space] = {}
    at, names = 0, list(native)
    for i, name in enumerate(names):
        values = native[name]
        shape = values.shape[1:]
        count = int(np.prod(shape))
        if values.dtype.kind == "f":
            spaces[name] = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
            at += count
            continue
        rest = [native[later][0].ravel() for later in names[i + 1 :]]
        following = [values[0].ravel()[1:], *rest][0 if count > 1 else 1 :]
        if not following:
            classes = concat.shape[1] - at
        else:  # what comes next stands right behind this variable's classes
            first, then = int(values[0].ravel()[0]), following[0]
            gap = int(np.flatnonzero(concat[0, at + first + 1 :])[0]) + 1
            classes = first + gap - (int(then[0]) if then.dtype.kind != "f" else 0)
        spaces[name] = discrete(shape, classes)
        at += count * classes
    return spaces


def _masked(action: torch.Tensor, reset: torch.Tensor) -> torch.Tensor:
    """What the recurrent core gets to see of actions where episodes begin."""
    cfg = Config(model=ModelConfig(deter=8, hidden=4, groups=2, classes=2, blocks=1, units=4))
    rssm = build_rssm(cfg, action.shape[-1], embed=1)
    rows = len(action)
    with mock.patch.object(rssm.core, "embed_action", wraps=rssm.core.embed_action) as embed:
        rssm.observe(
            torch.zeros(rows, 1, 1),
            action.unsqueeze(1),
            reset.unsqueeze(1),
            rssm.initial(rows),
            torch.zeros(rows, 1, *rssm.latent.noise_shape),
        )
    (seen,) = embed.call_args.args
    return seen.squeeze(1)


KINDS = {
    "action_wrappers": action_wrappers,
    "atari_preprocessing": atari_preprocessing,
    "action_input": action_input,
    "pinpad": pinpad,
    "minecraft_logic": minecraft_logic,
}

"""Small tasks with known scores, the same on every machine from the same seed.

    task        tests                    actions          random   perfect   returns per episode
    toy/catch   seeing                   3 discrete       -0.78     1.0      -1 or 1 at the end
    toy/recall  remembering              2 discrete        0.5      1.0      0 or 1 at the end
    toy/reach   continuous control       2 continuous     -2.1     18.5      closeness, 20 steps
    toy/mixed   Dict spaces, both kinds  1 cont., 3 disc.  3.75    10.0      closeness and choice,
    10 steps

Random means uniform actions. The scores follow by counting, but for `reach`, random, which is the
mean of 10,000 episodes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamer_envs.errors import EnvOptionError

Obs = Any
Step = tuple[Obs, float, bool, bool, dict[str, Any]]


def make(task: str, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """Builds a toy.

    Args:
        task: `catch`, `recall`, `reach` or `mixed`.
        render_mode: `rgb_array` for `catch`, the only one that draws.
    """
    if render_mode not in (None, *TASKS[task].metadata["render_modes"]):
        raise EnvOptionError(f"toy/{task} has no render_mode {render_mode!r}.")
    env = TASKS[task]()
    env.render_mode = render_mode
    return env


class Toy(gym.Env[Any, Any]):
    """Base of the toys: each one's whole memory is the attributes named in `remembers`."""

    metadata = {"render_modes": []}
    remembers: ClassVar[tuple[str, ...]]
    can_save = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self._start()
        return self._obs(), {}

    def get_state(self) -> dict[str, Any]:
        """The memory of the episode, as numbers and lists."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in self.remembers}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Goes back to a state of `get_state`."""
        for name in self.remembers:
            value = saved[name]
            setattr(self, name, np.array(value, np.float64) if isinstance(value, list) else value)

    def _start(self) -> None:
        raise NotImplementedError

    def _obs(self) -> Obs:
        raise NotImplementedError


class Catch(Toy):
    """A ball falls through 9 columns; a paddle below moves left, stays or moves right.

    Observation: image `[64, 64, 3]`. Reward: 0, and at the bottom 1 if caught, -1 if missed. Every
    column can be reached in the 8 steps. A ball in a random column meets a blind paddle with
    probability 1/9, so a policy that does not look scores -7/9.
    """

    COLUMNS = 9
    CELL = 7  # pixels; 9 cells and a border of 1 make 64
    BALL, PADDLE = (255, 255, 0), (0, 160, 255)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}
    remembers = ("row", "ball", "paddle")

    def __init__(self) -> None:
        self.row = self.ball = self.paddle = 0
        self.observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = spaces.Discrete(3)

    def step(self, action: int) -> Step:
        """0 left, 1 stay, 2 right; then the ball falls by one row."""
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, self.COLUMNS - 1))
        self.row += 1
        landed = self.row == self.COLUMNS - 1
        reward = (1.0 if self.ball == self.paddle else -1.0) if landed else 0.0
        return self._obs(), reward, landed, False, {}

    def render(self) -> Any:
        """The observation."""
        return self._obs()

    def _start(self) -> None:
        self.row, self.paddle = 0, self.COLUMNS // 2
        self.ball = int(self.np_random.integers(self.COLUMNS))

    def _obs(self) -> Obs:
        image = np.zeros((64, 64, 3), np.uint8)
        self._fill(image, self.COLUMNS - 1, self.paddle, self.PADDLE)
        self._fill(image, self.row, self.ball, self.BALL)
        return image

    def _fill(self, image: np.ndarray, row: int, column: int, color: tuple[int, int, int]) -> None:
        top, left = row * self.CELL, column * self.CELL
        image[top : top + self.CELL, left : left + self.CELL] = color


class Recall(Toy):
    """A cue is shown at step 0 only; 8 steps later the question comes: which was it?

    Observation: vector `[3]`: the cue as one-hot (zeros after step 0), and 1 when the question is
    asked. The action taken on the question answers it, 1 for right and 0 for wrong, and ends the
    episode; earlier actions do nothing. Without memory no policy scores above 0.5.
    """

    DELAY = 8
    remembers = ("time", "cue")

    def __init__(self) -> None:
        self.time = self.cue = 0
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(2)

    def step(self, action: int) -> Step:
        """Names the cue; counts only when asked."""
        asked = self.time == self.DELAY
        self.time += 1
        reward = 1.0 if asked and int(action) == self.cue else 0.0
        return self._obs(), reward, asked, False, {}

    def _start(self) -> None:
        self.time = 0
        self.cue = int(self.np_random.integers(2))

    def _obs(self) -> Obs:
        obs = np.zeros(3, np.float32)
        if self.time == 0:
            obs[self.cue] = 1.0
        obs[2] = float(self.time == self.DELAY)
        return obs


class Reach(Toy):
    """A point in the plane moves towards a target 0.8 away, at most 0.2 per step, for 20 steps.

    Observation: vector `[4]`, position and target. Reward: 1 on the target, 0 at the distance of
        the
    start, linear in the distance. Straight to the target and staying there scores
    .25 + .5 + .75 + 17 = 18.5. The end is a time limit: `truncated`.
    """

    STEPS, SPEED, DISTANCE = 20, 0.2, 0.8
    remembers = ("time", "position", "target")

    def __init__(self) -> None:
        self.time, self.position, self.target = 0, np.zeros(2), np.zeros(2)
        self.observation_space = spaces.Box(-5.0, 5.0, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def step(self, action: np.ndarray) -> Step:
        """Moves by the action times 0.2; an action longer than 1 is shortened to 1."""
        push = np.asarray(action, np.float64)
        self.position = self.position + self.SPEED * push / max(1.0, float(np.linalg.norm(push)))
        self.time += 1
        reward = 1.0 - float(np.linalg.norm(self.position - self.target)) / self.DISTANCE
        return self._obs(), reward, False, self.time == self.STEPS, {}

    def _start(self) -> None:
        angle = self.np_random.uniform(0.0, 2.0 * np.pi)
        self.time, self.position = 0, np.zeros(2)
        self.target = self.DISTANCE * np.array([np.cos(angle), np.sin(angle)])

    def _obs(self) -> Obs:
        return np.concatenate([self.position, self.target]).astype(np.float32)


class Mixed(Toy):
    """Every step: point at a position and name a symbol, for 10 steps.

    Observation: `Dict` of `position` (vector `[1]` in [-1, 1]) and `symbol` (discrete, 3). Action:
        `Dict` of
    `point` (continuous `[1]`) and `name` (discrete, 3). Reward: half for the symbol, half falling
    linearly with the distance of the point, 0 from distance 1 on; random play has 10 (1/6 + 5/24) =
    3.75. Position and symbol are new at each step. The end is a time limit: `truncated`.
    """

    STEPS, SYMBOLS = 10, 3
    remembers = ("time", "position", "symbol")

    def __init__(self) -> None:
        self.time, self.position, self.symbol = 0, 0.0, 0
        position = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {"position": position, "symbol": spaces.Discrete(self.SYMBOLS)}
        )
        point = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Dict({"point": point, "name": spaces.Discrete(self.SYMBOLS)})

    def step(self, action: dict[str, Any]) -> Step:
        """Scores the action against what was shown, then shows the next."""
        distance = abs(float(np.asarray(action["point"])[0]) - self.position)
        named = float(int(action["name"]) == self.symbol)
        reward = 0.5 * named + 0.5 * max(0.0, 1.0 - distance)
        self.time += 1
        self._draw()
        return self._obs(), reward, False, self.time == self.STEPS, {}

    def _start(self) -> None:
        self.time = 0
        self._draw()

    def _draw(self) -> None:
        self.position = float(self.np_random.uniform(-1.0, 1.0))
        self.symbol = int(self.np_random.integers(self.SYMBOLS))

    def _obs(self) -> Obs:
        return {"position": np.array([self.position], np.float32), "symbol": np.int64(self.symbol)}


TASKS: dict[str, type[Toy]] = {"catch": Catch, "mixed": Mixed, "reach": Reach, "recall": Recall}

"""Walking through mazes and worlds of `dm_control.locomotion`: an ant, a person, a rodent.

    ant_maze_m          an ant looks for the target of a maze; s, m, l, xl and xxl are its sizes
    rodent_run_gaps     tasks that dm_control builds itself, with its names

The ant's mazes are those of the official DreamerV3 code (danijar/dreamerv3,
embodied/envs/loconav.py): 50 steps per second, 60 seconds, reward 1 in each step on the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from dreamer_envs import values
from dreamer_envs.errors import EnvOptionError, MissingPackageError
from dreamer_envs.images import Image
from dreamer_envs.suites import rendering
from dreamer_envs.suites.dm_form import DmEnv
from dreamer_envs.suites.dmc import IMPORT_ERRORS, check_mujoco

OBS = ("proprio", "pixels", "both")
HERTZ, SECONDS = 50, 60
Cell = tuple[int, int]
Floor = tuple[int, int, int, int]  # top, left, height, width of a rectangle
# Rows and columns, walls included; floors; the cell of the target; that of the start.
Maze = tuple[Cell, tuple[Floor, ...], Cell, Cell]
MAZES: dict[str, Maze] = {
    "s": ((11, 11), ((1, 7, 6, 3), (7, 1, 3, 9)), (2, 8), (8, 2)),
    "m": ((11, 11), ((1, 1, 3, 9), (4, 7, 3, 3), (7, 1, 3, 9)), (2, 2), (8, 2)),
    "l": (
        (14, 14),
        ((1, 1, 3, 9), (4, 7, 3, 6), (7, 10, 3, 3), (7, 1, 3, 3), (10, 1, 3, 12)),
        (2, 2),
        (11, 5),
    ),
    "xl": (
        (17, 17),
        ((1, 1, 3, 9), (4, 1, 3, 3), (7, 1, 3, 15), (1, 13, 6, 3), (10, 7, 3, 3), (10, 13, 6, 3),
         (13, 1, 3, 9)),
        (2, 8),
        (14, 2),
    ),
    "xxl": (
        (17, 17),
        ((1, 1, 3, 15), (4, 1, 3, 3), (7, 1, 3, 15), (10, 13, 3, 3), (13, 1, 3, 15)),
        (2, 14),
        (14, 2),
    ),
}  # fmt: skip
# Tasks that dm_control's examples build: our name -> (module of examples, its function).
BUILT: dict[str, tuple[str, str]] = {
    "cmu_run_walls": ("basic_cmu_2019", "cmu_humanoid_run_walls"),
    "cmu_run_gaps": ("basic_cmu_2019", "cmu_humanoid_run_gaps"),
    "cmu_go_to_target": ("basic_cmu_2019", "cmu_humanoid_go_to_target"),
    "cmu_maze_forage": ("basic_cmu_2019", "cmu_humanoid_maze_forage"),
    "cmu_heterogeneous_forage": ("basic_cmu_2019", "cmu_humanoid_heterogeneous_forage"),
    "rodent_escape_bowl": ("basic_rodent_2020", "rodent_escape_bowl"),
    "rodent_run_gaps": ("basic_rodent_2020", "rodent_run_gaps"),
    "rodent_maze_forage": ("basic_rodent_2020", "rodent_maze_forage"),
    "rodent_two_touch": ("basic_rodent_2020", "rodent_two_touch"),
}


def make(
    task: str,
    obs: str = "proprio",
    size: int = 64,
    render_mode: str | None = None,
) -> gym.Env[Any, Any]:
    """Builds a task.

    Args:
        task: see the head of this file.
        obs: `proprio` for what the body feels, `pixels` for what its eye sees, `both`. The ant has
            no eye; the other bodies' is dm_control's, 64x64.
        size: rows and columns of the rendered picture.
        render_mode: `rgb_array` or `None`.

    Raises:
        EnvOptionError: a bad value, or pixels of the ant.
        MissingPackageError: no OpenGL library, where something is drawn.
    """
    who = f"loconav/{task}"
    values.one_of(who, obs=(obs, OBS))
    blind = task.startswith("ant")
    if blind and obs != "proprio":
        raise EnvOptionError(f"{who} has no eye: obs can only be 'proprio', not {obs!r}.")
    check_mujoco(who)
    # dm_control draws for the eyes of its own tasks whether or not they are looked at.
    rendering.select_backend(needed=not blind or render_mode is not None, who=who)
    build = _ant(task.rpartition("_")[2]) if blind else _built(*BUILT[task], who)

    def draw(sim: Any) -> Image:
        return np.asarray(sim.physics.render(size, size, camera_id=0))

    return DmEnv(lambda seed: _Chosen(build(seed), obs), draw, render_mode)


class _Chosen:
    """A `dm_env` environment that shows the part of its observation that was asked for."""

    def __init__(self, sim: Any, obs: str) -> None:
        self._sim = sim
        spec = sim.observation_spec()
        kinds = {key: "pixels" if _is_picture(spec[key]) else "proprio" for key in spec}
        chosen = [key for key, kind in kinds.items() if obs in (kind, "both")]
        self._keys = [key for key in chosen if 0 not in spec[key].shape]  # senses a body lacks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim, name)

    def observation_spec(self) -> dict[str, Any]:
        spec = self._sim.observation_spec()
        return {_plain(key): spec[key] for key in self._keys}

    def reset(self) -> Any:
        return self._chosen(self._sim.reset())

    def step(self, action: Any) -> Any:
        return self._chosen(self._sim.step(action))

    def _chosen(self, now: Any) -> Any:
        return now._replace(observation={_plain(key): now.observation[key] for key in self._keys})


def _plain(key: str) -> str:
    """`walker/joints_pos` -> `joints_pos`; the eye is the `image`."""
    name = key.rpartition("/")[2]
    return "image" if name == "egocentric_camera" else name


def _is_picture(spec: Any) -> bool:
    return bool(spec.dtype == np.uint8 and len(spec.shape) == 3)


def _built(module: str, name: str, who: str) -> Callable[[int], Any]:
    try:
        from dm_control.locomotion.examples import basic_cmu_2019, basic_rodent_2020
    except IMPORT_ERRORS as error:
        raise MissingPackageError(
            f"{who}: dm_control.locomotion does not import ({type(error).__name__}: {error}); "
            f"{rendering.REMEDY}."
        ) from error
    modules = {"basic_cmu_2019": basic_cmu_2019, "basic_rodent_2020": basic_rodent_2020}
    function = getattr(modules[module], name)
    return lambda seed: function(random_state=np.random.RandomState(seed))


def _ant(size: str) -> Callable[[int], Any]:
    from dm_control import composer
    from dm_control.locomotion.arenas import mazes
    from dm_control.locomotion.props import target_sphere
    from dm_control.locomotion.tasks import random_goal_maze
    from dm_control.locomotion.walkers import ant

    class FindTarget(random_goal_maze.RepeatSingleGoalMaze):  # type: ignore[misc]
        """Pays 1 in every step on the target, and does not move it."""

        def after_step(self, physics: Any, random_state: Any) -> None:
            super(random_goal_maze.RepeatSingleGoalMaze, self).after_step(physics, random_state)
            self._rewarded_this_step = self._target.activated
            self._targets_obtained = int(self._target.activated)

    def build(seed: int) -> Any:
        arena = mazes.MazeWithTargets(_maze(size, seed), xy_scale=1.2, z_height=2.0, name="maze")
        task = FindTarget(
            walker=ant.Ant(),
            maze_arena=arena,
            target=target_sphere.TargetSphere(radius=1.2, height_above_ground=0.0),
            max_repeats=1,
            randomize_spawn_rotation=True,
            target_reward_scale=1.0,
            aliveness_threshold=-1.0,
            contact_termination=False,
            physics_timestep=1 / HERTZ / 4,
            control_timestep=1 / HERTZ,
        )
        return composer.Environment(
            task,
            time_limit=SECONDS,
            random_state=np.random.RandomState(seed),
            strip_singleton_obs_buffer_dim=True,
        )

    return build


def _maze(size: str, seed: int) -> Any:
    import labmaze

    return labmaze.FixedMazeWithRandomGoals(
        entity_layer=layout(size),
        num_spawns=1,
        num_objects=1,
        random_state=np.random.RandomState(seed),
    )


def layout(size: str) -> str:
    """The maze as text: `*` wall, blank floor, `P` start, `G` target; one line per row."""
    (rows, columns), floors, goal, start = MAZES[size]
    cells = np.full((rows, columns), "*")
    for top, left, height, width in floors:
        cells[top : top + height, left : left + width] = " "
    cells[goal], cells[start] = "G", "P"
    return "".join("".join(row) + "\n" for row in cells)

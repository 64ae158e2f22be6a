"""Films of what an agent sees, as animated GIFs, and of what its world model makes of that.

real            what was seen
reconstructed   from the posterior at each frame
imagined        after a few frames of context, without looking again
error           of the imagined, grey for none
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tensordict import TensorDict
from torch import Tensor

from dreamer_envs.images import enlarged, in_colour
from dreamer_plugin.data.alignment import Frames
from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.run.foresight import CONTEXT, Filtered, foresee, observe
from dreamer_plugin.run.telling import counted
from dreamer_plugin.world.model import WorldModel

FPS = 20
LEAST_SIDE = 256  # pixels; smaller frames are enlarged
MOST = 200  # frames of an episode that is filmed while an agent trains
FOLDER = "films"  # of a run


def write_gif(file: str | Path | io.BytesIO, frames: Any, fps: int = FPS) -> float:
    """Write an animated GIF.

    Args:
        file: to make. frames: uint8 `[T, H, W, C]`; small ones are enlarged.
        fps: frames a second, of which a GIF shows at most 50.

    Returns:
        The frames a second that it has.
    """
    told = counted("frames drawn", frames)
    images = (Image.fromarray(enlarged(in_colour(np.asarray(f)), LEAST_SIDE)) for f in told)
    # GIF counts hundredths of a second, and viewers slow down what is faster than 20 ms.
    duration = max(20, round(100 / fps) * 10)
    next(images).save(
        file, format="GIF", save_all=True, append_images=images, duration=duration, loop=0
    )
    return 1000 / duration


def panels(
    seen: Filtered, outputs: Mapping[str, Any], ahead: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Films of one episode.

    Args:
        seen: the episode, `[T]`. outputs: predictions from its states.
        ahead: predictions from imagined states, of its last frames.

    Returns:
        Of each image uint8 `[T, H, 4 W, C]`: real | reconstructed | imagined | error.
    """
    films = {}
    for name, output in outputs.items():
        if not isinstance(output, ImageOutput):
            continue
        real = seen.records["obs", name].float() / 255
        imagined, error = torch.full_like(real, 0.5), torch.full_like(real, 0.5)
        drawn = ahead[name].pred().clamp(0, 1)
        imagined[-len(drawn) :] = drawn
        error[-len(drawn) :] = (drawn - real[-len(drawn) :] + 1) / 2
        film = torch.cat([real, output.pred().clamp(0, 1), imagined, error], -2)
        films[name] = (255 * film).round().nan_to_num().to(torch.uint8).cpu()
    return films


@torch.no_grad()
def filmed(world: WorldModel, episode: TensorDict, seed: int = 0) -> dict[str, Tensor]:
    """`panels` of an episode `[T]` from its reset on; of images alone. `seed`: of the draws."""
    generator = torch.Generator(world.rssm.core.gates.weight.device).manual_seed(seed)
    seen = observe(world, [episode], generator)
    start = seen.last.new_tensor([min(CONTEXT, len(seen.last)) - 1])
    steps = list(foresee(world, seen, start, len(seen.last), generator))
    deter, stoch = (torch.cat(parts) for parts in list(zip(*steps, strict=True))[2:])
    decode, flat = world.decoder, world.rssm.flat
    return panels(seen, decode(seen.deter, flat(seen.stoch)), decode(deter, flat(stoch)))


def film_path(run: Path, step: int, name: str) -> Path:
    """Where a film of a run lies; its folder is there then."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    return folder / f"step-{step:09}-{name.replace('/', '-')}.gif"


class Camera:
    """Keeps an episode of the first env now and then, of those that are played anyway.

    Args:
        every: agent steps between two; the first one that begins is kept.
    """

    def __init__(self, every: int) -> None:
        self._every, self._next = every, 0
        self._rows: list[TensorDict] = []

    def take(
        self, step: int, frames: Frames, actions: npt.NDArray[np.float32]
    ) -> TensorDict | None:
        """Look at the frames that arrived.

        Args:
            step: agent steps made. frames: of all envs. actions: `[N, A]`, chosen on seeing them.

        Returns:
            Records `[T]` of an episode when one is whole, or as long as a film may be.
        """
        if not frames.present[0]:
            self._rows = []  # a failing env cut it
            return None
        if frames.is_first[0] and step >= self._next:
            self._rows, self._next = [], step + self._every
        elif not self._rows:
            return None
        self._rows.append(_record(frames, actions))
        if not frames.is_last[0] and len(self._rows) < MOST:
            return None
        episode: TensorDict = torch.stack(self._rows)
        self._rows = []
        return episode


def _record(frames: Frames, actions: npt.NDArray[np.float32]) -> TensorDict:
    """What the first env showed, and what was done on seeing it."""
    obs = {name: torch.from_numpy(value[0].copy()) for name, value in frames.obs.items()}
    return TensorDict(
        {
            "obs": TensorDict(obs, batch_size=[]),
            "action": torch.from_numpy(actions[0].copy()),
            "is_first": torch.tensor(bool(frames.is_first[0])),
        },
        batch_size=[],
    )

"""What a world model makes of an episode: shown, reconstructed, imagined; which classes it uses.

frame          0  1  …  c-1        c   c+1  …
reconstructed  from the posterior at each frame
imagined       -           posterior   prior, drawn one after the other with the actions taken
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.ops.distributions import DiscreteTarget
from dreamer_plugin.run.evaluate import Chosen, EvalReport
from dreamer_plugin.run.films import panels, write_gif
from dreamer_plugin.run.foresight import CONTEXT, Filtered, foresee, observe
from dreamer_plugin.study.quality import Quality, measure, reward_target, target_of
from dreamer_plugin.study.recorded import play_recorded
from dreamer_plugin.world.model import WorldModel

FRAMES = 300  # of the shown episode
DIMENSIONS = 4  # of a vector that are drawn


@dataclass(frozen=True)
class Trace:
    """A number along the shown episode; `[T]` each, `imagined` from the last context frame on."""

    name: str
    real: list[float]
    reconstructed: list[float]
    imagined: list[float]


@dataclass(frozen=True)
class Look:
    """What was seen.

    Args:
        report: of the returns. quality: of the model, None where episodes are too short.
        films: by image, GIFs with real | reconstructed | imagined | error side by side.
        traces: of numbers of the observations, in the space they are learned in, and the reward.
        usage: of a categorical state, `[S][K]` share of the frames by group and class; of a
            Gaussian one, one row with the spread of each number, the largest 1.
        categorical: which of the two. context: frames seen before the imagined ones.
    """

    report: EvalReport
    quality: Quality | None
    films: dict[str, bytes]
    traces: list[Trace]
    usage: list[list[float]]
    categorical: bool
    context: int = CONTEXT

    def in_use(self) -> float:
        """Mean over the groups of how many classes are in use, exp of the entropy of the shares."""
        shares = torch.tensor(self.usage).clamp(min=1e-12)
        return float((-(shares * shares.log()).sum(-1)).exp().mean())


def look(chosen: Chosen, episodes: int = 3, seed: int = 0, device: str = "auto") -> Look:
    """Play with a checkpoint and look at what its world model makes of it.

    Args:
        chosen: the checkpoint. episodes: to play. seed: of envs and noise. device: of the agent.
    """
    found = play_recorded(chosen, episodes, seed, device, film=FRAMES)
    played, world = found.episodes, found.agent.world
    longest = max([*played, found.filmed], key=len)[:FRAMES]
    generator = torch.Generator(found.agent.device).manual_seed(seed)
    seen = observe(world, [longest], generator)
    outputs, ahead = _outputs(world, seen), _imagined(world, seen, generator)
    all_seen = observe(world, played, generator)
    return Look(
        report=found.report,
        quality=measure(world, played, seed=seed) if max(map(len, played)) >= CONTEXT else None,
        films={name: _gif(film) for name, film in panels(seen, outputs, ahead).items()},
        traces=_traces(world, seen, outputs, ahead),
        usage=_usage(all_seen.stoch),
        categorical=all_seen.stoch.ndim == 3,
    )


@torch.no_grad()
def _outputs(world: WorldModel, seen: Filtered) -> dict[str, Any]:
    feat = world.rssm.feat(seen.deter, seen.stoch)
    return world.outputs({"deter": seen.deter, "stoch": seen.stoch, "feat": feat})


@torch.no_grad()
def _imagined(world: WorldModel, seen: Filtered, generator: torch.Generator) -> dict[str, Any]:
    """Outputs from the last context frame to the end of the episode, without looking."""
    start = min(CONTEXT, len(seen.last)) - 1
    begin = seen.last.new_tensor([start])
    steps = list(foresee(world, seen, begin, len(seen.last), generator))
    deter, stoch = (torch.cat(parts) for parts in list(zip(*steps, strict=True))[2:])
    feat = world.rssm.feat(deter, stoch)
    return world.outputs({"deter": deter, "stoch": stoch, "feat": feat})


def _gif(frames: Tensor) -> bytes:
    file = io.BytesIO()
    write_gif(file, frames)
    return file.getvalue()


def _traces(
    world: WorldModel, seen: Filtered, outputs: dict[str, Any], ahead: dict[str, Any]
) -> list[Trace]:
    traces = []
    for name, output in outputs.items():
        if isinstance(output, (ImageOutput, DiscreteTarget)) or name == "cont":
            continue
        if name == "reward":
            real = reward_target(world, output, seen.records[name])
        else:
            real = target_of(output, seen.records["obs", name])
        shown = (_columns(each) for each in (real, output.pred(), ahead[name].pred()))
        columns = zip(*shown, strict=True)
        for number, (truth, again, drawn) in enumerate(columns):
            label = name if real.ndim == 1 else f"{name}[{number}]"
            traces.append(Trace(label, truth, again, drawn))
    return traces


def _columns(values: Tensor) -> Sequence[list[float]]:
    """The first few numbers of `[T, ...]`, each as a list over time."""
    flat = values.float().flatten(1) if values.ndim > 1 else values.float().unsqueeze(1)
    return [flat[:, i].tolist() for i in range(min(flat.shape[1], DIMENSIONS))]


def _usage(stoch: Tensor) -> list[list[float]]:
    """See `Look`; of states `[F, S, K]` or `[F, S]`."""
    if stoch.ndim == 3:
        shares: list[list[float]] = stoch.float().mean(0).tolist()
        return shares
    spread = stoch.float().std(0, correction=0)
    row: list[float] = (spread / spread.max().clamp(min=1e-12)).tolist()
    return [row]

"""How good a world model is: what it reconstructs, and what it foresees without looking.

An episode is filtered once, from its reset on. At some of its frames the model stops looking:

    frame       0  1  2  …  s       s+1      s+2     …  s+K
    state       posterior   q(s)    prior    prior      prior, drawn one after the other
    action                  a(s)    a(s+1)   a(s+2)     those that were really taken
    compared                o(s)    o(s+1)   o(s+2)     with what was really seen, earned and ended
    ahead                   0       1        2          K

0 ahead is the reconstruction. Before s stand at least `context - 1` frames of the same episode.
Source: `dreamerv3/agent.py`, `Agent.report`, which starts after half a replayed sequence; context 5
and 45 frames ahead are those of the figures in the papers of DreamerV1 to V3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.ops.distributions import MSE, DiscreteTarget, Output
from dreamer_plugin.ops.images import psnr, ssim
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.run.foresight import CHUNK, CONTEXT, Filtered, foresee, observe
from dreamer_plugin.run.telling import tell
from dreamer_plugin.world.model import WorldModel

HORIZON, STARTS = 45, 128

Errors = dict[str, list[float]]


@dataclass(frozen=True)
class Quality:
    """What was measured; names are `<observation>/<measure>`, `reward/mse` and `cont/mse`.

    Args:
        frames, terminals: that were looked at, and how many of them ended an episode by the task.
        context, horizon: as in `measure`.
        kl: mean divergence of posterior from prior in nats, without the free ones.
        reconstruction: means over all frames.
        starts: how many open loops reach 0, 1, ... frames ahead; the end of an episode stops one.
        open_loop: means at 0, 1, ... frames ahead. `<image>/still_mse` is that of showing the last
            seen frame again.
    """

    frames: int
    terminals: int
    context: int
    horizon: int
    kl: float
    reconstruction: dict[str, float]
    starts: list[int]
    open_loop: Errors

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)


def measure(
    world: WorldModel,
    episodes: Sequence[TensorDict],
    context: int = CONTEXT,
    horizon: int = HORIZON,
    starts: int = STARTS,
    seed: int = 0,
) -> Quality:
    """Measure a world model on episodes that it was not trained on.

    Args:
        world: the model, in float32.
        episodes: records `[T]` of each, on any device, the first one of a reset.
        context: frames that are seen before an open loop, that of its start included.
        horizon: K, frames ahead.
        starts: at most so many open loops.
        seed: of the draws of states.

    Raises:
        UsageError: when no episode is as long as the context.
    """
    if not any(len(episode) >= context for episode in episodes):
        raise UsageError(f"No episode has {context} frames, the context of an open loop.")
    generator = torch.Generator(world.rssm.core.gates.weight.device).manual_seed(seed)
    seen = observe(world, episodes, generator)
    counts, open_loop = _open_loop(world, seen, seen.starts(context, starts), horizon, generator)
    pieces = torch.arange(len(seen.last), device=seen.last.device).split(CHUNK)
    each = [_errors(world, seen.deter[at], seen.stoch[at], seen.records[at]) for at in pieces]
    return Quality(
        frames=len(seen.last),
        terminals=int(seen.records["is_terminal"].sum()),
        context=context,
        horizon=horizon,
        kl=float(seen.kl.mean()),
        reconstruction={name: float(torch.cat([e[name] for e in each]).mean()) for name in each[0]},
        starts=counts,
        open_loop=open_loop,
    )


def film(
    world: WorldModel,
    episodes: Sequence[TensorDict],
    context: int = CONTEXT,
    horizon: int = HORIZON,
    seed: int = 0,
) -> dict[str, Tensor]:
    """One open loop to look at, in the middle of the longest episode.

    Args:
        world, episodes, context, horizon, seed: as in `measure`.

    Returns:
        Of each image the reconstructed context and what was foreseen, uint8 `[T, H, 3 W, C]`: what
        was seen, what the model shows, and the error with grey for none.
    """
    generator = torch.Generator(world.rssm.core.gates.weight.device).manual_seed(seed)
    seen = observe(world, [max(episodes, key=len)], generator)
    start = max(context - 1, (len(seen.last) - 1 - horizon) // 2)
    before = torch.arange(max(0, start + 1 - context), start, device=seen.last.device)
    states = [(before, seen.deter[before], seen.stoch[before])]
    begin = seen.last.new_tensor([min(start, len(seen.last) - 1)])
    states += [step[1:] for step in foresee(world, seen, begin, horizon, generator)]
    at, deter, stoch = (torch.cat(parts) for parts in zip(*states, strict=True))
    with torch.no_grad():
        outputs = world.decoder(deter, world.rssm.flat(stoch))
    shown = {}
    for name, output in outputs.items():
        if isinstance(output, ImageOutput):
            truth, image = seen.records["obs", name][at].float() / 255, output.pred().clamp(0, 1)
            side = torch.cat([truth, image, (image - truth + 1) / 2], -2)
            shown[name] = (255 * side).round().to(torch.uint8).cpu()
    return shown


def _open_loop(
    world: WorldModel, seen: Filtered, starts: Tensor, horizon: int, generator: torch.Generator
) -> tuple[list[int], Errors]:
    """How many open loops reach each number of frames ahead, and their mean errors there."""
    counts: list[int] = []
    curves: Errors = {}
    for begun, at, deter, stoch in foresee(world, seen, starts, horizon, generator):
        tell("frames foreseen", len(counts), horizon)
        counts.append(len(at))
        errors = _errors(world, deter, stoch, seen.records[at])
        for name in [name for name in errors if name.endswith("/ssim")]:
            key = name.removesuffix("/ssim")
            then, now = (seen.records["obs", key][index].float() / 255 for index in (begun, at))
            errors[f"{key}/still_mse"] = ((then - now) ** 2).mean((-3, -2, -1))
        for name, values in errors.items():
            curves.setdefault(name, []).append(float(values.mean()))
    tell("frames foreseen", horizon, horizon)
    return counts, curves


@torch.no_grad()
def _errors(
    world: WorldModel, deter: Tensor, stoch: Tensor, records: TensorDict
) -> dict[str, Tensor]:
    """Errors of what is predicted at states `[m]` against the records `[m]`, each `[m]`."""
    feat = world.rssm.feat(deter, stoch)
    outputs = world.outputs({"deter": deter, "stoch": stoch, "feat": feat})
    reward, cont = outputs.pop("reward"), outputs.pop("cont", None)
    errors: dict[str, Tensor] = {}
    for name, output in outputs.items():
        errors |= {f"{name}/{kind}": e for kind, e in _of(output, records["obs", name]).items()}
    errors["reward/mse"] = (reward.pred() - reward_target(world, reward, records["reward"])) ** 2
    if cont is not None:
        errors["cont/mse"] = (cont.pred() - world.cont_target(records["is_terminal"])) ** 2
    return errors


def _of(output: Output, truth: Tensor) -> dict[str, Tensor]:
    """Errors of one observation by measure, `[m]`; of vectors in the space they are learned in."""
    if isinstance(output, ImageOutput):
        image, truth = output.pred(), truth.float() / 255
        shown = image.clamp(0, 1)
        squared = ((image - truth) ** 2).mean((-3, -2, -1))
        return {"mse": squared, "psnr": psnr(shown, truth), "ssim": ssim(shown, truth)}
    if isinstance(output, DiscreteTarget):
        return {"wrong": _mean_event((output.pred() != truth).float())}
    return {"mse": _mean_event((output.pred() - target_of(output, truth)) ** 2)}


def reward_target(world: WorldModel, output: Output, reward: Tensor) -> Tensor:
    """Recorded rewards in the space that a prediction of them is in."""
    return target_of(output, world.reward_target(reward))


def target_of(output: Output, truth: Tensor) -> Tensor:
    """What is observed in the space that `mse` compares it in; of images 0 to 1."""
    if isinstance(output, ImageOutput):
        return truth.float() / 255
    squashed = isinstance(output, MSE) and output.symlog_target
    return symlog(truth.float()) if squashed else truth.float()


def _mean_event(x: Tensor) -> Tensor:
    """`[m, ...] -> [m]`."""
    return x.flatten(1).mean(1) if x.ndim > 1 else x

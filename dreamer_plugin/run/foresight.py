"""Looking at episodes with a world model: the states it saw them in, and those it foresees.

frame       0  1  2  …  s       s+1      s+2     …  s+K
state       posterior   q(s)    prior    prior      prior, drawn one after the other
action                  a(s)    a(s+1)   a(s+2)     those that were really taken
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.run.telling import counted
from dreamer_plugin.world.model import WorldModel

CONTEXT = 5  # frames that are seen before the model stops looking
CHUNK = 128  # frames encoded or decoded at a time


@dataclass(frozen=True)
class Filtered:
    """Episodes end to end, with the states that the model saw them in.

    Args:
        records: `[F]`. last: `[F]` index of the last frame of each one's episode.
        age: `[F]` frames of the episode up to and with each one.
        deter, stoch: `[F, D]`, `[F, *latent]`, posterior. kl: `[F]` in nats.
    """

    records: TensorDict
    last: Tensor
    age: Tensor
    deter: Tensor
    stoch: Tensor
    kl: Tensor

    def starts(self, context: int, most: int) -> Tensor:
        """Indices of at most `most` frames that have enough before them, evenly spread."""
        fit = torch.nonzero(self.age >= context).flatten()
        return fit[:: max(1, -(-len(fit) // most))]


@torch.no_grad()
def observe(
    world: WorldModel, episodes: Sequence[TensorDict], generator: torch.Generator
) -> Filtered:
    """Filter each episode from its reset on.

    Args:
        world: of the model. episodes: as in `measure`. generator: of the draws.
    """
    parts, ages, lasts, end = [], [], [], 0
    for episode in counted("episodes looked at", episodes):
        parts.append(filter_episode(world, episode.to(generator.device), generator))
        ages.append(torch.arange(1, len(episode) + 1, device=generator.device))
        end += len(episode)
        lasts.append(torch.full_like(ages[-1], end - 1))
    states: TensorDict = torch.cat(parts)
    records: TensorDict = torch.cat([episode.to(generator.device) for episode in episodes])
    kl = world.rssm.latent.kl(states["post"], states["prior"])
    return Filtered(
        records, torch.cat(lasts), torch.cat(ages), states["deter"], states["stoch"], kl
    )


def filter_episode(
    world: WorldModel, episode: TensorDict, generator: torch.Generator
) -> TensorDict:
    """States `[T]` of one episode: deter, stoch, post, prior, feat."""
    rssm, state, parts = world.rssm, world.rssm.initial(1), []
    actions = torch.cat([torch.zeros_like(episode["action"][:1]), episode["action"][:-1]])
    for at in torch.arange(len(episode)).split(CHUNK):
        records = episode[at]
        noise = _noise(generator, 1, len(at), *rssm.latent.noise_shape)
        # As it was written: compiled code would be compiled anew for each number of frames.
        embed = world.encoder.draw(WorldModel.encode(world, records["obs"])).unsqueeze(0)
        first = records["is_first"].unsqueeze(0)
        states = rssm.observe(embed, actions[at].unsqueeze(0), first, state, noise)
        state = states["deter"][:, -1], states["stoch"][:, -1]
        parts.append(states.squeeze(0))
    return torch.cat(parts)


@torch.no_grad()
def foresee(
    world: WorldModel, seen: Filtered, starts: Tensor, horizon: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Draw states ahead with the actions that were taken.

    Args:
        world: of the model. seen: the episodes. starts: `[M]` indices of frames.
        horizon: K. generator: of the draws.

    Yields:
        At 0, 1, ... K frames ahead, of the open loops that have not met the end of their episode:
        indices `[m]` of the start and of the frame, deter `[m, D]` and stoch `[m, *latent]`.
    """
    deter, stoch = seen.deter[starts], seen.stoch[starts]
    yield starts, starts, deter, stoch
    for ahead in range(1, horizon + 1):
        going = starts + ahead <= seen.last[starts]
        starts, deter, stoch = starts[going], deter[going], stoch[going]
        if not len(starts):
            return
        action = seen.records["action"][starts + ahead - 1]
        noise = _noise(generator, len(starts), *world.rssm.latent.noise_shape)
        deter, stoch = world.rssm.imagine_step(deter, stoch, action, noise)
        yield starts, starts + ahead, deter, stoch


def _noise(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)

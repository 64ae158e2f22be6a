"""One decision as a graph for other runtimes: plain tensors in, plain tensors out.

    obs.<name> [N, ...], deter, stoch, prev_action, is_first [N], noise [N, U]
        ->  action [N, A], next.deter, next.stoch

The action is the next prev_action. Two functions of torch that ONNX lacks are written out here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.spaces import ObsKey, Spaces

OBS_DTYPES = {"image": torch.uint8, "vector": torch.float32, "discrete": torch.int64}
STATE = ("deter", "stoch", "prev_action")
OUTPUTS = ("action", "next.deter", "next.stoch")

# Moshier, Cephes, ndtri.c: rational functions for the middle, the near and the far tail.
_MIDDLE = (
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1,
     1.39312609387279679503e1, -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1,
     -2.25462687854119370527e2, 2.00260212380060660359e2, -8.20372256168333339912e1,
     1.59056225126211695515e1, -1.18331621121330003142e0),
)  # fmt: skip
_NEAR = (
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1,
     4.40805073893200834700e1, 1.46849561928858024014e1, 2.18663306850790267539e0,
     -1.40256079171354495875e-1, -3.50424626827848203418e-2, -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1,
     1.50425385692907503408e1, 2.50464946208309415979e0, -1.42182922854787788574e-1,
     -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)  # fmt: skip
_MIDDLE_ENDS = math.exp(-2.0)
_FAR = 8.0  # the far tail begins at exp(-32), below what `off_the_ends` leaves


class PolicyStep(nn.Module):
    """A decision of an agent, without autocast and TensorDicts.

    Args:
        agent: acts. deterministic: modes of posterior and policy; the noise goes unused then.
    """

    def __init__(self, agent: Agent, deterministic: bool = False) -> None:
        super().__init__()
        self.agent, self.deterministic = agent, deterministic

    def forward(
        self,
        obs: Mapping[str, Tensor],
        deter: Tensor,
        stoch: Tensor,
        prev_action: Tensor,
        is_first: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As drawn above; arguments as of `Agent.act`."""
        state = deter, stoch, prev_action
        return self.agent.decide(obs, is_first, state, noise, self.deterministic)


def examples(agent: Agent, spaces: Spaces, rows: int = 2) -> tuple[object, ...]:
    """Arguments of `PolicyStep` with zeros to see, at the beginning of episodes."""
    state = agent.initial(rows)
    return (
        {key.name: _zeros(key, rows) for key in spaces.obs},
        *(state[name] for name in STATE),
        torch.ones(rows, dtype=torch.bool),
        torch.full((rows, agent.noise_size), 0.5),
    )


def input_names(spaces: Spaces) -> list[str]:
    """Names of the graph's inputs, in the order of the arguments."""
    return [*(f"obs.{key.name}" for key in spaces.obs), *STATE, "is_first", "noise"]


def plain_ndtr(x: Tensor) -> Tensor:
    """`torch.special.ndtr` of functions that ONNX has."""
    # Not in float64, whose erf runtimes of ONNX lack.
    return 0.5 * (1 + torch.erf(x.float() / math.sqrt(2))).to(x.dtype)


def plain_ndtri(y: Tensor) -> Tensor:
    """`torch.special.ndtri` of arithmetic alone, for y from 2e-14 to the largest float32 below 1.

    Evaluated in float64: the polynomials nearly cancel at places.
    """
    wide = y.double()
    upper = wide > 1 - _MIDDLE_ENDS
    low = torch.where(upper, 1 - wide, wide)
    centred = low - 0.5
    square = centred * centred
    middle = centred + centred * (square * _ratio(_MIDDLE, square))
    middle = middle * math.sqrt(2 * math.pi)
    # Where the middle serves, the tail must stay finite although nobody looks at it.
    far = torch.sqrt(-2 * torch.log(torch.clamp(low, max=_MIDDLE_ENDS)))
    inverse = 1 / far
    tail = -(far - torch.log(far) / far - inverse * _ratio(_NEAR, inverse))
    below = torch.where(low > _MIDDLE_ENDS, middle, tail)
    return torch.where(upper, -below, below).to(y.dtype)


PLAIN = {
    torch.ops.aten.special_ndtr.default: plain_ndtr,
    torch.ops.aten.special_ndtri.default: plain_ndtri,
}


def _ratio(fraction: tuple[tuple[float, ...], tuple[float, ...]], x: Tensor) -> Tensor:
    above, below = (_polynomial(coefficients, x) for coefficients in fraction)
    return above / below


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Highest power first."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _zeros(key: ObsKey, rows: int) -> Tensor:
    return torch.zeros((rows, *key.shape), dtype=OBS_DTYPES[key.kind])

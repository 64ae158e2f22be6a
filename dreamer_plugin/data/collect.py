"""The light vector loop: envs step, the policy acts, records go to replay.

    step    actions a(k-1), resets -> envs -> frames k -> policy -> actions a(k), latents k
                                                       -> records k -> replay

One call is one agent step of every env. An env whose episode ended spends the next call on its
reset, so every call gives exactly one record per env that is not down.

The actions of the next step are known when a step ends. `begin` lets envs that have processes of
their own make it while the caller trains; the weights that act on its frames are those after the
training, as without it: what is recorded does not depend on who finishes first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from dreamer_plugin.data.alignment import Aligner, Frames
from dreamer_plugin.data.noise import NoiseStreams


@dataclass(frozen=True)
class EpisodeStats:
    """A finished episode.

    Args:
        env: its number in the vector. ret: undiscounted sum of rewards.
        length: transitions, in agent steps.
        success: what the env said of it with the last frame; None where it says nothing.
    """

    env: int
    ret: float
    length: int
    success: bool | None = None


class Vector(Protocol):
    """N envs stepped together; see `dreamer_envs.vector`."""

    num_envs: int
    ahead: bool

    @property
    def begun(self) -> bool:
        """Whether frames are to be received."""

    def send(self, actions: list[Any], reset: Any) -> None:
        """Begin a step: native actions of N envs, and which of them reset instead."""

    def receive(self) -> Frames:
        """The frames that arrive in it."""


class Policy(Protocol):
    """What the loop asks of an agent; `dreamer_plugin.agent.Agent` is one."""

    @property
    def noise_size(self) -> int:
        """Uniform numbers that one decision takes."""

    @property
    def device(self) -> torch.device:
        """Where it acts."""

    def initial(self, batch: int) -> TensorDict:
        """State `[batch]` before any frame."""

    def act(
        self,
        obs: Mapping[str, Tensor],
        is_first: Tensor,
        state: TensorDict,
        noise: Tensor,
        deterministic: bool = False,
    ) -> tuple[Tensor, TensorDict]:
        """Actions `[N, A]` and the next state."""

    def latents(self, states: TensorDict) -> TensorDictBase:
        """What of states replay stores: deter, and stoch in storage form."""


class Records(Protocol):
    """What takes records; `dreamer_plugin.data.replay.RecordReplay` is one."""

    def extend(self, data: TensorDict) -> Any:
        """Append a record `[N]` of each of N envs."""


class VectorCollector:
    """Runs a policy in a vector of envs.

    Args:
        vector: N envs, all about to be reset.
        policy: acts.
        replay: takes the records; None keeps none, for evaluation.
        aligner: makes the records. noise: of the policy's size, one stream per env.
        deterministic: modes of posterior and policy instead of samples.

    Attributes:
        frames: those that arrived last, None before the first step.
        actions: `[N, A]` encoded, chosen on seeing them.
        waited: seconds for the envs, in all steps so far.
    """

    def __init__(
        self,
        vector: Vector,
        policy: Policy,
        replay: Records | None,
        aligner: Aligner,
        noise: NoiseStreams,
        deterministic: bool = False,
    ) -> None:
        self.vector, self.policy, self.replay = vector, policy, replay
        self.aligner, self.noise, self.deterministic = aligner, noise, deterministic
        count = vector.num_envs
        self._state = policy.initial(count)
        self.frames: Frames | None = None
        self.actions = np.zeros((count, aligner.spaces.action_size), np.float32)
        self.waited = 0.0
        self._reset = np.ones(count, np.bool_)
        self._returns, self._lengths = np.zeros(count), np.zeros(count, np.int64)

    def begin(self) -> None:
        """Let the envs make the next step while the caller does something else, where they can."""
        if self.vector.ahead and not self.vector.begun:
            self._send()

    def step(self) -> list[EpisodeStats]:
        """One agent step of every env.

        Returns:
            The episodes that ended, in the order of the envs; not those that a failing env cut.
        """
        began = time.monotonic()
        if not self.vector.begun:
            self._send()
        frames = self.vector.receive()
        self.waited += time.monotonic() - began
        self._act(frames)
        self.frames = frames
        if self.replay is not None and frames.present.any():
            actions = torch.from_numpy(self.actions)
            latents = self.policy.latents(self._state)
            self.replay.extend(self.aligner.from_frames(frames, actions, latents))
        self._reset = frames.is_last.copy()
        return self._count(frames)

    def _send(self) -> None:
        decode = self.aligner.spaces.decode_action
        # Should anything fail before its records are kept, the envs are ahead of them.
        resets, self._reset = self._reset, np.ones_like(self._reset)
        pairs = zip(self.actions, resets, strict=True)
        actions = [None if reset else decode(action) for action, reset in pairs]
        self.vector.send(actions, resets)

    def _act(self, frames: Frames) -> None:
        device = self.policy.device
        noise = self.noise.draw(~frames.is_last)
        obs = {name: torch.from_numpy(value).to(device) for name, value in frames.obs.items()}
        action, self._state = self.policy.act(
            obs,
            torch.from_numpy(frames.is_first).to(device),
            self._state,
            torch.from_numpy(noise).to(device),
            self.deterministic,
        )
        self.actions = action.detach().to("cpu", torch.float32).numpy()

    def _count(self, frames: Frames) -> list[EpisodeStats]:
        self._returns = np.where(frames.is_first, 0, self._returns + frames.reward)
        self._lengths = np.where(frames.is_first, 0, self._lengths + 1)
        return [
            EpisodeStats(
                int(env),
                float(self._returns[env]),
                int(self._lengths[env]),
                None if frames.success[env] < 0 else bool(frames.success[env]),
            )
            for env in np.flatnonzero(frames.is_last & frames.present)
        ]

    def truncate_open(self) -> None:
        """Reset every env at the next step, whatever it was doing.

        An episode that was open ends in replay without a terminal: a sample marks the record before
        a reset as the last one.
        """
        if self.vector.begun:
            self.vector.receive()  # of what is cut
        self._reset = np.ones_like(self._reset)

    def state_dict(self) -> dict[str, Any]:
        """Everything between two steps but the envs, the policy's weights and the replay."""
        return {
            "policy": {name: value.cpu() for name, value in self._state.items()},
            "actions": self.actions,
            "reset": self._reset,
            "returns": self._returns,
            "lengths": self._lengths,
            "noise": self.noise.state_dict(),
            "aligner": self.aligner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        device = self.policy.device
        saved = {name: value.to(device) for name, value in state["policy"].items()}
        self._state = TensorDict(saved, batch_size=[self.vector.num_envs])
        self.actions, self._reset = state["actions"].copy(), state["reset"].copy()
        self._returns, self._lengths = state["returns"].copy(), state["lengths"].copy()
        self.noise.load_state_dict(state["noise"])
        self.aligner.load_state_dict(state["aligner"])

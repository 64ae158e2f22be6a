"""The documents' `ReplayBuffer`, around `data.replay`.

A call of `add` is one transition; what `sample` returns stands beside the frame it belongs to:

    add      (o0, a0, r1, d1)  (o1, a1, r2, d2)            r1: what a0 earned
    obs      o0     o1     o2         the last frame of an episode is kept too
    actions  a0     a1     0          taken from that frame
    rewards  0      r1     r2         earned on arriving there
    dones    0      d1     d2         the task ended there
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.replay import make_replay
from dreamer_plugin.doors.dialects.modules_states import State
from dreamer_plugin.doors.dialects.modules_words import Words, obs_key, simple_spaces, translate
from dreamer_plugin.doors.dialects.modules_world import WorldModel
from dreamer_plugin.errors import UsageError

_WORDS: Words = {
    "buffer_size": ("capacity",),
    "capacity": ("capacity",),
    "replay_capacity": ("capacity",),
    "seq_len": ("length",),
    "train_seq_len": ("length",),
    "action_dim": ("action",),
    "action_size": ("action",),
}


class Batch(NamedTuple):
    """Sequences.

    Args:
        obs: `[B, T, *shape]`. actions: `[B, T, A]`. rewards, dones: `[B, T, 1]` float32.
        is_first: `[B, T]` bool, frames whose past is not in the sequence.
    """

    obs: Tensor
    actions: Tensor
    rewards: Tensor
    dones: Tensor
    is_first: Tensor


class ReplayBuffer:
    """Transitions of one env in, sequences out.

    Args:
        obs_shape: of one frame, or its length; three axes are an image of bytes.
        batch_size: sequences in a batch.
        discrete: actions are one choice among `action_dim`, given as a number or as one-hot.
        world_model: what `sample_states` filters with.
        sampling: `"episodes"`, pieces of complete episodes of more than `seq_len` frames, so that
            no sequence holds a reset; or `"windows"`, which may cross episodes: pass `is_first` on.
        seed: of the drawing.
        words: `action_dim` (or `action_size`), `buffer_size` (or `capacity`, `replay_capacity`;
            1,000,000 frames), `seq_len` (or `train_seq_len`; 50).
    """

    def __init__(
        self,
        obs_shape: int | tuple[int, ...],
        *,
        batch_size: int = 16,
        discrete: bool = False,
        world_model: WorldModel | None = None,
        sampling: str = "episodes",
        seed: int = 0,
        **words: Any,
    ) -> None:
        sizes = {"capacity": 1_000_000, "length": 50} | translate(words, _WORDS)
        if "action" not in sizes:
            raise UsageError("how many actions? Pass action_dim= (or action_size=)")
        self.world_model = world_model
        self._actions = sizes["action"] if discrete else 0
        key = obs_key(obs_shape)
        self._dtype = torch.uint8 if key.kind == "image" else torch.float32
        spaces = simple_spaces(key, sizes["action"], discrete)
        self._aligner = Aligner(1, spaces)
        self._begins = True
        self.part = make_replay(
            spaces,
            1,
            sizes["capacity"],
            batch_size,
            sizes["length"],
            context=0,
            deter=1,  # latents are not kept: `sample_states` makes them with the model of the day
            stoch_shape=(1,),
            online=False,
            sampling=sampling,
            seed=seed,
        )

    def __len__(self) -> int:
        """Frames held."""
        return len(self.part)

    def add(
        self,
        obs: Any,
        action: Any,
        reward: float,
        done: bool,
        next_obs: Any = None,
        truncated: bool = False,
    ) -> None:
        """Take one transition.

        Args:
            obs: the frame. action: taken from it. reward: what that earned.
            done: the task ended. truncated: a limit cut the episode.
            next_obs: the last frame of an ending episode; without it, `obs` stands for it once
                more, so that the last reward and the end have a frame to belong to.
        """
        ends = bool(done) or truncated
        after: dict[str, Any] = {
            "reward": torch.tensor([float(reward)]),
            "done": torch.tensor([ends]),
            "terminated": torch.tensor([bool(done)]),
            "deter": torch.zeros(1, 1),
            "stoch": torch.zeros(1, 1, dtype=torch.uint8),
        }
        if ends:
            after["obs"] = self._frame(obs if next_obs is None else next_obs)
        step = {
            "obs": self._frame(obs),
            "action": self._action(action),
            "is_init": torch.tensor([self._begins]),
            "next": TensorDict(after, [1]),
        }
        self.part.extend(self._aligner.from_transitions(TensorDict(step, [1])))
        self._begins = ends

    def sample(self) -> Batch:
        """Draw sequences."""
        drawn = self.part.sample()
        rewards, dones = (drawn[key].float().unsqueeze(-1) for key in ("reward", "is_terminal"))
        return Batch(drawn["obs", "obs"], drawn["action"], rewards, dones, drawn["is_first"])

    @torch.no_grad()
    def sample_states(self) -> State:
        """States to dream from, `[B * T, ...]`: sequences, filtered by the model as it is now."""
        model = self.world_model
        if model is None:
            raise UsageError("sample_states filters frames: pass world_model= to ReplayBuffer")
        device = next(model.parameters()).device
        batch = Batch(*(value.to(device) for value in self.sample()))
        deter, stoch, _, _ = model.rssm.observe_sequence(
            model.encoder(batch.obs), batch.actions, is_first=batch.is_first
        )
        return {"deter": deter.flatten(0, 1), "stoch": stoch.flatten(0, 1)}

    def _frame(self, obs: Any) -> TensorDict:
        given = torch.as_tensor(obs).detach()
        kept = given.to(self._dtype)
        if self._dtype == torch.uint8 and not torch.equal(kept.to(given.dtype), given):
            raise UsageError(
                "images are kept as whole numbers from 0 to 255; this one has "
                f"{given.min():.3g} to {given.max():.3g}: add(obs * 255) where it goes from 0 to 1"
            )
        return TensorDict({"obs": kept[None]}, [1])

    def _action(self, action: Any) -> Tensor:
        given = torch.as_tensor(action).detach()
        if self._actions and given.ndim == 0:
            if not 0 <= given < self._actions:
                raise UsageError(f"action {given} is none of 0 to {self._actions - 1}")
            given = F.one_hot(given.long(), self._actions)
        return given.float().reshape(1, -1)

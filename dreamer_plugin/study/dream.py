"""A learned world to steer in, beside the real env: both take the same actions.

    frame      0         1         2     …
    real       o0 -a0->  o1 -a1->  o2         until its episode ends
    posterior  q0        q1        q2         what the agent makes of what it saw
    dream      q0        p1        p2         drawn on and on from the prior, never sees
    re-anchored there              q2

The action is a person's, or the policy's at one of the two states.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from dreamer_envs.images import in_colour
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.ops.distributions import MSE, Output
from dreamer_plugin.ops.scaling import symexp
from dreamer_plugin.run.evaluate import Chosen, load_agent
from dreamer_plugin.spaces import ActionKey, Spaces
from dreamer_plugin.study.play import frames_per_second, open_env

Moment = dict[str, Any]  # what a page shows, as JSON-able data
State = tuple[Tensor, Tensor]  # deter [1, D], stoch [1, *latent]

BY = {"human": "you", "dream": "the policy, by the dream", "real": "the policy, by the real env"}
NUMBERS = 16  # of a vector that are shown


class Dream:
    """The env of a run, what its agent makes of it, and a dream that began there.

    One thread must make it and call it: what draws an env often belongs to a thread.

    Args:
        chosen: the checkpoint. seed: of env and noise.
        deterministic: modes of latents and policy; by default what the agent's authors did.
        device: where the agent runs.

    Raises:
        UsageError: for options of the env that no file may set.
    """

    def __init__(
        self,
        chosen: Chosen,
        seed: int = 0,
        deterministic: bool | None = None,
        device: str = "auto",
    ) -> None:
        self.chosen = chosen
        self.agent, native = load_agent(chosen.cfg, chosen.path, device)
        self.spaces: Spaces = native.spaces
        cfg = chosen.cfg
        self.modes = cfg.behavior.eval_mode if deterministic is None else deterministic
        self.images = [key.name for key in self.spaces.images]
        # The agent's own image is what its dream can be held against.
        self.env, drawn = open_env(cfg, None if self.images else "rgb_array")
        self.draws = drawn == "rgb_array" and not self.images
        self.trouble = ""
        self._seed: int | None = seed
        self._rng = np.random.default_rng([seed, 11])
        self.reset()

    def close(self) -> None:
        """Let the env go."""
        self.env.close()

    def about(self) -> dict[str, Any]:
        """What stays the same: env, checkpoint, speed, and what can be done."""
        facts = self.chosen.facts
        return {
            "title": f"{facts['env']}, checkpoint {facts['checkpoint']} (step {facts['step']:,})",
            "fps": frames_per_second(self.env),
            "by": BY,
            "actions": [self._action(key) for key in self.spaces.actions],
            "draws": self.draws,
            "trouble": self.trouble,
        }

    def reset(self) -> Moment:
        """Begin an episode, with the dream where the real env begins."""
        obs, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._believed = self.agent.initial(1)
        self.over, self.steps, self.real_return = "", 0, 0.0
        self._see(obs, first=True)
        self._earned = 0.0
        return self.anchor()

    def anchor(self) -> Moment:
        """Put the dream where the agent believes the real env to be."""
        self.state: State = self._believed["deter"], self._believed["stoch"]
        self.dreamed, self.dream_return = 0, self.real_return
        self._dreamt = self._judged(self.state)
        return self.moment()

    def step(self, by: str, action: Mapping[str, Sequence[float]] | None = None) -> Moment:
        """Take one action in both worlds; in the dream alone when the episode is over.

        Args:
            by: a key of `BY`. action: by name of the key, of a person, see `vector`.

        Raises:
            UsageError: for an action that the env does not have.
        """
        choose(BY, by, "steering")
        if by == "human":
            taken = vector(self.spaces, action or {})
        else:
            taken = self._decided if by == "real" else self._decide(self.state)
        if not self.over:
            self._step_real(taken)
        self._step_dream(torch.from_numpy(taken).to(self.agent.device).unsqueeze(0))
        self.steps, self.dreamed = self.steps + 1, self.dreamed + 1
        return self.moment(taken)

    def moment(self, taken: npt.NDArray[np.float32] | None = None) -> Moment:
        """What there is to see now.

        Args:
            taken: the action that led here.
        """
        real = {
            "reward": number(self._earned),
            "return": number(self.real_return),
            "over": self.over,
            "value": self._value(self._believed["deter"], self._believed["stoch"]),
            "frame": self._frame,
            **shown({key.name: self.obs[key.name] for key in self.spaces.obs}),
        }
        dream = self._dreamt | {"return": number(self.dream_return)}
        return {
            "step": self.steps,
            "dreamed": self.dreamed,
            "action": None if taken is None else taken.tolist(),
            "real": real,
            "dream": dream,
        }

    def _step_real(self, taken: npt.NDArray[np.float32]) -> None:
        obs, reward, terminated, truncated, _ = self.env.step(self.spaces.decode_action(taken))
        self._earned = float(self.agent.world.reward_target(torch.tensor(float(reward))))
        self.real_return += self._earned
        self._believed["prev_action"] = torch.from_numpy(taken).to(self.agent.device)[None]
        self._see(obs)
        self.over = "by the task" if terminated else "by a limit" if truncated else ""

    @torch.no_grad()
    def _step_dream(self, action: Tensor) -> None:
        rssm = self.agent.world.rssm
        with self.agent.autocast(acting=True):
            deter, prior = rssm.predict_step(*self.state, action)
        if self.modes:
            stoch = rssm.latent.mode(prior)
        else:
            noise = self._noise(rssm.noise_size).unflatten(-1, rssm.latent.noise_shape)
            stoch = rssm.latent.sample(prior, noise)
        self.state = deter, stoch
        self._dreamt = self._judged(self.state)
        self.dream_return += self._dreamt["reward"] or 0.0

    def _see(self, obs: Mapping[str, Any], first: bool = False) -> None:
        """Take a frame of the real env in: the belief, and what the policy would do there."""
        self.obs = {name: np.asarray(value) for name, value in obs.items()}
        device = self.agent.device
        seen = {
            key.name: torch.as_tensor(self.obs[key.name][None]).to(device)
            for key in self.spaces.obs
        }
        begins = torch.tensor([first], device=device)
        noise = self._noise(self.agent.noise_size)
        action, self._believed = self.agent.act(seen, begins, self._believed, noise, self.modes)
        self._decided = action[0].float().cpu().numpy()
        self._frame = self._drawn()

    @torch.no_grad()
    def _decide(self, state: State) -> npt.NDArray[np.float32]:
        actor = self.agent.behavior.actor
        with self.agent.autocast(acting=True):
            policy = actor(self.agent.world.rssm.feat(*state))
        action = policy.mode() if self.modes else policy.sample(self._noise(actor.noise_size))
        return np.asarray(action[0].float().cpu().numpy(), np.float32)

    @torch.no_grad()
    def _judged(self, state: State) -> dict[str, Any]:
        """What the world model and the critic say of a state."""
        world = self.agent.world
        with self.agent.autocast(acting=True):
            states = {"deter": state[0], "stoch": state[1], "feat": world.rssm.feat(*state)}
            outputs = world.outputs(states)
        reward, cont = outputs.pop("reward"), outputs.pop("cont", None)
        return {
            "reward": number(as_observed(reward)),
            # What is learned is the discount times the probability.
            "cont": None
            if cont is None
            else number((cont.pred() / world.cont_discount).clamp(max=1)),
            "value": self._value(*state),
            **shown({name: as_observed(output) for name, output in outputs.items()}),
        }

    @torch.no_grad()
    def _value(self, deter: Tensor, stoch: Tensor) -> float | None:
        with self.agent.autocast(acting=True):
            feat = self.agent.world.rssm.feat(deter, stoch)
            return number(self.agent.behavior.critic(feat).pred())

    def _noise(self, size: int) -> Tensor:
        drawn = torch.from_numpy(self._rng.random((1, size), np.float32))
        return drawn.to(self.agent.device)

    def _drawn(self) -> str | None:
        if not self.draws:
            return None
        try:
            return picture(np.asarray(self.env.render(), np.uint8))
        except Exception as error:  # simulators without a display raise whatever they like
            self.draws = False
            self.trouble = f"The env cannot draw here: {type(error).__name__}: {error}"
            return None

    def _action(self, key: ActionKey) -> dict[str, Any]:
        """What a page must know to let a person choose."""
        names: list[str] = []
        if key.kind == "discrete" and len(self.spaces.actions) == 1 and key.variables == 1:
            told = getattr(self.env.unwrapped, "get_action_meanings", None)
            names = list(told()) if callable(told) else []
        if len(names) != key.classes:
            names = [str(i) for i in range(key.classes)]
        return {
            "name": key.name,
            "kind": key.kind,
            "variables": key.variables,
            "labels": names if key.kind == "discrete" else [],
        }


def vector(spaces: Spaces, action: Mapping[str, Sequence[float]]) -> npt.NDArray[np.float32]:
    """A person's action `[A]`, encoded.

    Args:
        spaces: of the env.
        action: by name of each key, a number per variable: the class of a discrete one; of a
            continuous one -1 to 1, the whole range that the env takes.

    Raises:
        UsageError: when a key is missing, or a number is none, too many or out of range.
    """
    parts = [_part(key, action.get(key.name)) for key in spaces.actions]
    return np.concatenate(parts).astype(np.float32)


def _part(key: ActionKey, given: Any) -> npt.NDArray[np.float32]:
    numbers = given if isinstance(given, (list, tuple)) else []
    sound = all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
    if not sound or len(numbers) != key.variables:
        raise UsageError(
            f"action {key.name!r} takes {key.variables} finite numbers, got {str(given)[:80]}"
        )
    if key.kind == "continuous":
        return np.clip(np.asarray(numbers, np.float32), -1, 1)
    if any(x != int(x) or not 0 <= x < key.classes for x in numbers):
        raise UsageError(f"action {key.name!r} has classes 0 to {key.classes - 1}, got {numbers}")
    chosen = np.asarray(numbers, np.int64)
    return np.eye(key.classes, dtype=np.float32)[chosen].reshape(-1)


def as_observed(output: Output) -> npt.NDArray[Any]:
    """The prediction of one observation of one state, as the env shows it, without the batch."""
    mean = output.pred()[0]
    if isinstance(output, ImageOutput):
        return (255 * mean.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    if isinstance(output, MSE) and output.symlog_target:
        mean = symexp(mean)
    return mean.cpu().numpy()


def shown(obs: Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Observations by name: images as addresses with the data in them, others as numbers."""
    images: dict[str, Any] = {}
    vectors: dict[str, Any] = {}
    for name, value in obs.items():
        if value.dtype == np.uint8 and value.ndim == 3:
            images[name] = picture(value)
        else:
            vectors[name] = [number(x) for x in np.ravel(value)[:NUMBERS]]
    return {"images": images, "vectors": vectors}


def picture(image: npt.NDArray[np.uint8]) -> str:
    """An image `[H, W, C]` as a PNG inside an address; of stacked ones the last."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(in_colour(image))).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def number(value: Any) -> float | None:
    """As JSON has it: None for what is not finite."""
    found = float(value)
    return found if math.isfinite(found) else None

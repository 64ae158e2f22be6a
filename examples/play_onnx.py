"""Act with an exported agent: NumPy and onnxruntime, neither torch nor the rest of this package.

    dreamer-plugin export runs/mine mine.onnx
    python examples/play_onnx.py mine.onnx --episodes 3

The environments come from `dreamer_envs`, which needs no torch either; any env does that shows what
the agent was trained on.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import onnxruntime

import dreamer_envs

OBS_DTYPES = {"image": np.uint8, "vector": np.float32, "discrete": np.int64}


class Player:
    """One row of the graph `(obs, state, is_first, noise) -> (action, state)` with its memory."""

    def __init__(self, file: str, seed: int = 0) -> None:
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.facts = json.loads(self.session.get_modelmeta().custom_metadata_map["dreamer_plugin"])
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.rng = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        shapes = self.facts["state"].items()
        self.state = {name: np.zeros((1, *shape), np.float32) for name, shape in shapes}
        self.first = True

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """The encoded action `[A]` on seeing an observation."""
        feed = {
            f"obs.{key['name']}": np.asarray(obs[key["name"]], OBS_DTYPES[key["kind"]])[None]
            for key in self.facts["obs"]
        }
        feed |= self.state
        feed["is_first"] = np.array([self.first])
        feed["noise"] = self.rng.random((1, self.facts["noise"]), np.float32)
        feed = {name: value for name, value in feed.items() if name in self.inputs}
        action, deter, stoch = self.session.run(None, feed)
        self.state = {"deter": deter, "stoch": stoch, "prev_action": action}
        self.first = False
        return action[0]

    def native(self, vector: np.ndarray) -> np.ndarray | np.int64:
        """What the env takes: the class of a one-hot vector, or the numbers as they are."""
        (key,) = self.facts["actions"]
        if key["kind"] == "continuous":
            return vector.reshape(key["shape"])
        return vector.reshape(*key["shape"], key["classes"]).argmax(-1)


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--env", help="another env than the one in the file")
    parser.add_argument("--episodes", type=int, default=3)
    args = parser.parse_args()

    player = Player(args.file)
    options = player.facts["options"]
    options.pop("python", None)  # a file, which may be a stranger's, starts no program
    env = dreamer_envs.make(args.env or player.facts["env"], **options)
    for episode in range(args.episodes):
        obs, _ = env.reset(seed=episode)
        player.reset()
        done, total, steps = False, 0.0, 0
        while not done:
            obs, reward, terminated, truncated, _ = env.step(player.native(player.act(obs)))
            done = terminated or truncated
            total, steps = total + float(reward), steps + 1
        print(f"episode {episode}: return {total:.1f} in {steps} steps")
    env.close()


if __name__ == "__main__":
    main()

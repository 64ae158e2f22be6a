"""Train, evaluate, save, load and act: the whole life of an agent.

    python examples/quick_start.py --env gym/CartPole-v1 --steps 20000

Without `--steps` it takes 1400 steps: enough to begin learning, not to be good at anything.
"""

from __future__ import annotations

import argparse

import dreamer_envs
from dreamer_plugin import Dreamer


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="gym/CartPole-v1")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--folder", default="runs/quick_start")
    args = parser.parse_args()

    agent = Dreamer(args.env, size="1m", seed=0)
    agent.learn(total_timesteps=args.steps)
    agent.save(args.folder)

    loaded = Dreamer.load(args.folder)
    report = loaded.evaluate(episodes=5)
    print(f"mean return of 5 episodes: {report.mean:.2f}")
    print(f"return of one more, by hand: {play(loaded, args.env):.2f}")


def play(agent: Dreamer, env_id: str) -> float:
    """One episode step by step; the agent's memory is the `state` that goes round."""
    env = dreamer_envs.make(env_id)
    obs, _ = env.reset(seed=0)
    state, start, done, total = None, True, False, 0.0
    while not done:
        action, state = agent.predict(obs, state, episode_start=start, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        start, done = False, terminated or truncated
        total += float(reward)
    env.close()
    return total


if __name__ == "__main__":
    main()

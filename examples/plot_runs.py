"""Draw the learning curves of finished or running runs.

python examples/plot_runs.py curves.png runs/cartpole-s0 runs/cartpole-s1     (needs matplotlib)
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

SMOOTH = 10  # episodes


def episodes(run: Path) -> np.ndarray:
    """Agent step and return of every training episode of a run, `[episodes, 2]`."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    pairs = [(row["step"], row["episode/return"]) for row in rows if "episode/return" in row]
    return np.array(pairs, float).reshape(-1, 2)


def main(picture: str, *runs: str) -> None:
    """Returns of training episodes over agent steps: points, and the mean of the last ten."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for run in map(Path, runs):
        step, ret = episodes(run).T
        mean = [ret[max(0, i + 1 - SMOOTH) : i + 1].mean() for i in range(len(ret))]
        (line,) = axes.plot(step, mean, label=run.name)
        axes.plot(step, ret, ".", color=line.get_color(), alpha=0.25, markersize=3)
    axes.set(xlabel="agent steps", ylabel="return of training episodes")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main(*sys.argv[1:])

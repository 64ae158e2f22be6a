"""What an update costs as one number of it grows, and draws it.

python examples/benchmarks/growth.py --out growth --axis batch --axis length
python examples/benchmarks/growth.py --out growth --draw      (what was measured so far)

Every point is an agent of its own: one update to warm up, then the least of some more, in seconds
of processor time (of the wall clock on a GPU), so that other programs count little. Decisions are
timed by the wall clock. Points go to OUT.json as they come, and those that are there are not
measured again. The picture needs matplotlib.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from dreamer_plugin.run.allocator import keep_memory
from dreamer_plugin.study.bench_policy import measure_policy
from dreamer_plugin.study.phases import clock
from dreamer_plugin.study.workloads import find

# Axis: values, and what else differs from the workload. Large sizes take small batches, or a night.
AXES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "batch": ([1, 2, 4, 8, 16, 32, 64], {}),
    "length": ([4, 8, 16, 32, 64, 128, 256], {}),
    "horizon": ([1, 2, 4, 8, 15, 30, 60], {}),
    "size": (
        ["1m", "12m", "25m", "50m", "100m", "200m", "400m"],
        {"replay.batch_size": 4, "replay.batch_length": 16},
    ),
    "envs": ([1, 2, 4, 8, 16, 32, 64, 128], {}),
}
KEYS = {
    "batch": "replay.batch_size",
    "length": "replay.batch_length",
    "horizon": "behavior.imag_horizon",
}


def measure(workload: str, axis: str, value: Any, updates: int) -> dict[str, Any]:
    """One point: seconds of an update, or of a decision for so many envs; parameters."""
    kind = workload.rstrip("0123456789m")
    found = find(f"{kind}{value}" if axis == "size" else workload)
    options = dict(AXES[axis][1]) | ({KEYS[axis]: value} if axis in KEYS else {})
    with found.training(found.config([], options)) as training:
        parameters = sum(each.numel() for each in training.parts.agent.parameters())
        if axis == "envs":
            seconds = measure_policy(training, lambda *_: None, [value])[0]["seconds_act"]
        else:
            seconds = min(timed(training) for _ in range(updates + 1))
    point = {"workload": workload, "axis": axis, "value": value}
    return point | {"seconds": seconds, "parameters": parameters}


def timed(training: Any) -> float:
    """Seconds of one update."""
    device = training.parts.device
    read = clock(device) if device.type == "cuda" else time.process_time
    started = read()
    training.update(training.parts.replay.sample())
    return read() - started


def draw(points: list[dict[str, Any]], picture: Path, title: str) -> None:
    """A panel per axis, both scales logarithmic, with the line of equal growth."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axes = [axis for axis in AXES if any(point["axis"] == axis for point in points)]
    figure, panels = plt.subplots(1, len(axes), figsize=(3.2 * len(axes), 3), squeeze=False)
    for axis, panel in zip(axes, panels[0], strict=True):
        mine = [point for point in points if point["axis"] == axis]
        x = [point["parameters" if axis == "size" else "value"] for point in mine]
        y = [point["seconds"] for point in mine]
        panel.loglog(x, y, "o-")
        panel.loglog(x, [y[-1] * each / x[-1] for each in x], ":", color="gray")
        panel.set(xlabel="parameters" if axis == "size" else axis)
        panel.grid(alpha=0.3)
    panels[0][0].set(ylabel="seconds")
    figure.suptitle(title)
    figure.savefig(picture, dpi=120, bbox_inches="tight")


def main() -> None:
    """Measure what is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="proprio1m")
    parser.add_argument("--axis", action="append", choices=AXES, help="several may be given")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.png")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if asked.updates < 1:
        parser.error(f"--updates {asked.updates}: time at least one")
    keep_memory()  # as training does
    file = asked.out.with_suffix(".json")
    points = json.loads(file.read_text()) if file.exists() else []
    others = {point.get("workload", asked.workload) for point in points} - {asked.workload}
    if others:
        parser.error(f"{file} is of {', '.join(others)}: name another --out")
    done = {(point["axis"], point["value"]) for point in points}
    for axis in [] if asked.draw else asked.axis or AXES:
        for value in AXES[axis][0]:
            if (axis, value) not in done:
                points.append(measure(asked.workload, axis, value, asked.updates))
                print(points[-1], flush=True)
                file.write_text(json.dumps(points, indent=1) + "\n")
    draw(
        points,
        asked.out.with_suffix(".png"),
        f"{asked.workload}, {torch.get_num_threads()} threads",
    )


if __name__ == "__main__":
    main()

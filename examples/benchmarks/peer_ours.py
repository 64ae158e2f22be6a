"""Ours: `Training.update`, which samples from a real replay and writes latents back.

Options: `compile`; `graph`, which replays updates on a GPU, the first one being all until they are
recorded; `default_malloc`, which leaves the allocator as it is (training on a CPU keeps freed
memory).
"""

from __future__ import annotations

from itertools import chain, repeat

from worker import Job, Peer, serve, waiting


def build(job: Job) -> Peer:
    """The agent with its replay."""
    job.only("compile", "graph", "default_malloc")
    from importlib.metadata import version

    from dreamer_plugin.graphs import WARM_UP
    from dreamer_plugin.run.allocator import keep_memory
    from dreamer_plugin.study.workloads import find

    if job.device == "cpu" and "default_malloc" not in job.options:
        keep_memory()
    workload = find(job.workload)
    options = {"precision": job.precision, "device": job.device}
    graph = "graph" in job.options
    compiling = "graph" if graph else "on" if "compile" in job.options else "off"
    training = workload.training(workload.config([f"compile={compiling}"], options))
    replay = training.parts.replay
    counts = chain([WARM_UP + 2 if graph else 1], repeat(1))

    def update() -> None:
        for _ in range(next(counts)):
            training.update(replay.sample())

    return Peer(waiting(update, job.device), version("dreamer-plugin"))


if __name__ == "__main__":
    serve(build)

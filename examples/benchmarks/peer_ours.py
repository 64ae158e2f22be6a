"""Ours: `Training.update`, which samples from a real replay and writes latents back.

Options: `compile`, and `default_malloc`, which leaves the allocator as it is (training on a CPU
keeps freed memory).
"""

from __future__ import annotations

from worker import Job, Peer, serve, waiting


def build(job: Job) -> Peer:
    """The agent with its replay."""
    job.only("compile", "default_malloc")
    from importlib.metadata import version

    from dreamer_plugin.run.allocator import keep_memory
    from dreamer_plugin.study.workloads import find

    if job.device == "cpu" and "default_malloc" not in job.options:
        keep_memory()
    workload = find(job.workload)
    options = {"precision": job.precision, "device": job.device}
    compiling = ["compile=on"] if "compile" in job.options else ["compile=off"]
    training = workload.training(workload.config(compiling, options))
    replay = training.parts.replay
    update = waiting(lambda: training.update(replay.sample()), job.device)
    return Peer(update, version("dreamer-plugin"))


if __name__ == "__main__":
    serve(build)

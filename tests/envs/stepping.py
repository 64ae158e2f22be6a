"""Examines one env in whichever Python runs this, and prints what it found as a line of JSON.

    PYTHONPATH=envs /some/python tests/envs/stepping.py minigrid/Empty-5x5-v0 '{}' 1000

It needs nothing but the suite's package and what `dreamer_envs` stands on. A fourth word names a
module of this folder whose `install()` puts a stand-in in the place of that package.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import warnings
from dataclasses import asdict

from gymnasium.utils.env_checker import check_env

import dreamer_envs
from dreamer_envs.checks import examine


def main(id: str, options: str, steps: str, peer: str = "") -> None:
    if peer:
        importlib.import_module(peer).install()
    make = dreamer_envs.maker(id, **json.loads(options))
    report = examine(make, int(steps))
    env = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)
    env.close()
    info = dreamer_envs.suite_of(id)
    found = {
        "package": info.package,
        "version": info.version,
        "numpy": importlib.metadata.version("numpy"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "steps": int(steps),
        "steps_per_s": round(report.steps_per_s),
        "findings": [asdict(finding) for finding in report.findings],
    }
    print("\nFOUND " + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

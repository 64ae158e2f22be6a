"""Which vector steps the envs of a run."""

from __future__ import annotations

import sys

import pytest

import dreamer_envs
from dreamer_envs.spec import SuiteSpec
from dreamer_envs.vector import PoolVector, SerialVector, SupervisedVector, Supervision
from dreamer_plugin.run.envs import EnvSource
from tests.envs import pool_peer


@pytest.mark.parametrize("rules", [None, Supervision()])
def test_envs_of_a_pool_are_stepped_by_it(rules, monkeypatch):
    monkeypatch.setattr(SuiteSpec, "installed", lambda self: True)
    monkeypatch.setitem(sys.modules, "envpool", pool_peer)
    monkeypatch.setattr("dreamer_envs.suites.envpool.find_spec", lambda name: pool_peer)
    source = EnvSource([dreamer_envs.maker("envpool/Count-v0")] * 2, rules)
    with source.vector(0) as vector, source.vector(1, count=3) as more:
        assert isinstance(vector, PoolVector) and vector.num_envs == 2
        assert isinstance(more, PoolVector) and more.num_envs == 3


@pytest.mark.parametrize(
    ("rules", "kind"), [(None, SerialVector), (Supervision(), SupervisedVector)]
)
def test_others_are_stepped_one_by_one_or_in_processes(rules, kind):
    with EnvSource([dreamer_envs.maker("toy/catch")], rules).vector(0) as vector:
        assert type(vector) is kind

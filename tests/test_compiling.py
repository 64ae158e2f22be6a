"""Compiled pieces: the same numbers, the same files, the same acting."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin import compiling
from dreamer_plugin.agent import Agent
from dreamer_plugin.compiling import compile_agent, compiler_missing, worth_compiling
from dreamer_plugin.config import compose
from dreamer_plugin.errors import UsageError

from . import tiny


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "apt-get install g++" in compiler_missing(torch.device("cpu"))


@pytest.mark.parametrize(
    ("triton", "compiler", "says"),
    [(True, "cc", ""), (True, "", "apt-get install gcc"), (None, "cc", "pip install triton")],
)
def test_cuda_devices_need_triton_and_what_it_needs(monkeypatch, triton, compiler, says):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(compiling, "find_spec", lambda name: triton)
    missing = compiler_missing(torch.device("cuda"))
    assert says in missing and bool(says) is bool(missing)


def test_other_devices_are_not_compiled_for():
    assert worth_compiling("auto", torch.device("mps"), 1e6)[1].endswith("not for mps")


@pytest.mark.parametrize(
    ("word", "updates", "says"),
    [
        ("off", 1e6, "off"),
        ("auto", 1e6, "on: "),
        ("auto", 100, "off: 100 updates do not pay"),
        ("on", 100, "on: "),
    ],
)
def test_the_choice_is_told(monkeypatch, word, updates, says):
    monkeypatch.setattr(compiling, "compiler_missing", lambda device: "")
    chosen, text = worth_compiling(word, torch.device("cpu"), updates)
    assert text.startswith(says) and chosen == says.startswith("on")


def test_a_missing_compiler_is_an_error_only_where_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(compiling, "compiler_missing", lambda device: "no compiler")
    assert worth_compiling("auto", torch.device("cpu"), 1e6) == (False, "off: no compiler")
    with pytest.raises(UsageError, match="no compiler, or use compile=off"):
        worth_compiling("on", torch.device("cpu"), 1e6)


def test_updates_are_replayed_on_cuda_devices_alone(monkeypatch):
    monkeypatch.setattr(compiling, "compiler_missing", lambda device: "")
    with pytest.raises(UsageError, match="compile=graph: only CUDA.*learns on cpu: use compile=on"):
        worth_compiling("graph", torch.device("cpu"), 1e6)
    chosen, text = worth_compiling("graph", torch.device("cuda"), 100)
    assert chosen and text.endswith("after some, they are replayed")


def test_words_that_yaml_takes_for_truth_values_are_understood(tmp_path):
    (tmp_path / "my.yaml").write_text("compile: off")
    assert compose("toy/reach", config=[tmp_path / "my.yaml"]).config.compile == "off"
    assert compose("toy/reach", overrides=["compile=on"]).config.compile == "on"


@pytest.mark.slow  # compiles for a minute or more
@pytest.mark.skipif(bool(compiler_missing(torch.device("cpu"))), reason="no C++ compiler")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_compiled_updates_are_the_plain_ones(tmp_path, monkeypatch, precision):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled, exact = tiny.agent(), tiny.agent(), tiny.agent()
    plain.precision = compiled.precision = precision
    compile_agent(compiled)
    metrics = [agent.update(tiny.batch())[1] for agent in (plain, compiled, exact)]
    for name, value in metrics[0].items():
        ours, truth = metrics[1][name], metrics[2][name]
        # bfloat16 has 8 bits, and draws differ where rounding tips them: compiled code, which
        # rounds less often, is not much further from float32 than the plain one.
        off = 2 * (value - truth).abs() + 1e-2 * truth.abs()
        allowed = off if precision == torch.bfloat16 else 1e-5 * value.abs()
        assert (ours - truth).abs() <= allowed + 1e-4, name
    if precision == torch.float32:  # in bfloat16 signs of small gradients differ, steps with them
        _same_after_updates(plain, compiled)


@pytest.mark.slow  # compiles for a minute or more
@pytest.mark.skipif(bool(compiler_missing(torch.device("cpu"))), reason="no C++ compiler")
@pytest.mark.parametrize(
    ("core", "latent", "start"), [("gru", "categorical", True), ("plain_gru", "gaussian", False)]
)
def test_compiled_updates_learn_through_dreams_alike(tmp_path, monkeypatch, core, latent, start):
    """The actor's gradient passes compiled heads, whose parameters are data there.

    Cores and latents as in 2023 and in V1, which the plain loop filters.
    """
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def through(cfg):
        cfg.behavior.actor.gradient = "dynamics"
        cfg.world.core.kind, cfg.world.learned_start = core, start
        cfg.world.latent.kind = latent

    plain, compiled = tiny.agent(through), tiny.agent(through)
    compile_agent(compiled)
    _same_after_updates(plain, compiled)


def _same_after_updates(plain: Agent, compiled: Agent) -> None:
    for seed in (1, 2):
        expected, _ = plain.update(tiny.batch(seed=seed))
        latents, _ = compiled.update(tiny.batch(seed=seed))
        torch.testing.assert_close(latents["stoch"], expected["stoch"])  # classes: the same
    theirs = plain.state_dict()
    assert compiled.state_dict().keys() == theirs.keys()
    for name, value in compiled.state_dict().items():
        scale = theirs[name].abs().max().clamp(min=1e-3)
        assert (value - theirs[name]).abs().max() <= 2e-5 * scale, name

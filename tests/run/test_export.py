"""An exported agent decides as the agent does."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from dreamer_plugin import Dreamer
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.interop import step
from dreamer_plugin.run import export

STEPS = 1000  # of the promise


def made(repo, folder, env, **overrides):
    """A run of an untrained agent, whose weights were disturbed so that nothing is zero."""
    agent = Dreamer(env, config=repo / "tests" / "run" / "tiny.yaml", **overrides)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in agent.agent.parameters():
            param.add_(0.1 * torch.randn(param.shape, generator=generator))
    agent.save(folder, replay=False)
    return agent


@pytest.fixture(scope="module")
def cartpole(repo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    return made(repo, folder, "gym/CartPole-v1"), folder


def arguments(agent, spaces, rows, rng):
    """A random state and observation, some rows at the beginning of an episode."""
    kept = agent.initial(rows)
    deter = torch.from_numpy(rng.uniform(-1, 1, kept["deter"].shape).astype(np.float32))
    stoch = torch.zeros_like(kept["stoch"])
    stoch[..., 0] = 1
    obs = {
        key.name: torch.from_numpy(
            rng.integers(0, 255, (rows, *key.shape), dtype=np.uint8)
            if key.kind == "image"
            else rng.normal(size=(rows, *key.shape)).astype(np.float32)
        )
        for key in spaces.obs
    }
    first = torch.from_numpy(rng.random(rows) < 0.1)
    noise = torch.from_numpy(rng.random((rows, agent.noise_size), np.float32))
    return obs, deter, stoch, kept["prev_action"], first, noise


def test_quantiles_without_special_functions():
    """Against torch's own; 4e-7 was measured over two million points, and float32 has 6e-8."""
    tails = torch.logspace(-7.5, -1, 500)
    y = torch.cat([torch.linspace(0.001, 0.999, 5000), tails, 1 - tails])
    y = y.clamp(2.0**-25, 1 - 2.0**-24)
    torch.testing.assert_close(step.plain_ndtri(y), torch.special.ndtri(y), rtol=0, atol=1e-6)
    x = torch.linspace(-6, 6, 2001)
    torch.testing.assert_close(step.plain_ndtr(x), torch.special.ndtr(x), rtol=0, atol=2e-7)


@pytest.mark.parametrize("modes", [False, True])
def test_the_step_is_what_the_agent_does(cartpole, modes):
    agent = cartpole[0].agent
    obs, deter, stoch, prev, first, noise = arguments(
        agent, cartpole[0]._native.spaces, 5, np.random.default_rng(0)
    )
    state = agent.initial(5)
    state["deter"], state["stoch"], state["prev_action"] = deter, stoch, prev
    action, after = agent.act(obs, first, state, noise, modes)
    with torch.no_grad():
        ours = step.PolicyStep(agent, modes)(obs, deter, stoch, prev, first, noise)
    for mine, theirs in zip(ours, (action, after["deter"], after["stoch"]), strict=True):
        assert torch.equal(mine, theirs)


def test_weights_in_one_file_act_and_learn(cartpole, tmp_path):
    agent, run = cartpole
    facts = export.export_weights(run, tmp_path / "a.safetensors", "latest")
    assert (facts["env"], facts["dtype"]) == ("gym/CartPole-v1", "float32")
    loaded = Dreamer.load(tmp_path / "a.safetensors", device="cpu")
    state = agent.agent.state_dict()
    assert state.keys() == loaded.agent.state_dict().keys()
    for name, value in loaded.agent.state_dict().items():
        assert torch.equal(value, state[name]), name
    obs = np.zeros(4, np.float32)
    ours, theirs = (each.predict(obs, deterministic=True) for each in (agent, loaded))
    assert ours[0] == theirs[0] and np.array_equal(ours[1][0], theirs[1][0])
    assert loaded.learn(20, progress=False).num_timesteps == 20


def test_half_as_many_bytes(cartpole, tmp_path):
    whole, half = tmp_path / "w.safetensors", tmp_path / "h.safetensors"
    export.export_weights(cartpole[1], whole, "latest")
    export.export_weights(cartpole[1], half, "latest", "bfloat16")
    assert half.stat().st_size < 0.75 * whole.stat().st_size
    loaded = Dreamer.load(half, device="cpu").agent.state_dict()
    for name, value in cartpole[0].agent.state_dict().items():
        assert loaded[name].dtype == value.dtype
        # bfloat16 keeps 8 bits of a number.
        torch.testing.assert_close(loaded[name], value, rtol=2**-8, atol=1e-30)


def test_files_that_are_not_ours(cartpole, tmp_path):
    from safetensors.torch import save_file

    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="Cannot read the weights"):
        Dreamer.load(bad)
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="was not made by `dreamer-plugin export`"):
        Dreamer.load(tmp_path / "other.safetensors")
    for about in ("{}", "[]", "{", '{"format": "x"}', '{"format": 1, "facts": {}, "spaces": 3}'):
        save_file({"x": torch.zeros(2)}, bad, {export.KEY: about, "config": "seed: 1"})
        with pytest.raises(CheckpointError, match="does not fit this version"):
            Dreamer.load(bad)
    with pytest.raises(UsageError, match="exists already"):
        export.export_weights(cartpole[1], bad)
    with pytest.raises(UsageError, match="there is no folder"):
        export.export_weights(cartpole[1], tmp_path / "no" / "a.safetensors")
    with pytest.raises(UsageError, match=r"dtype 'float16'. Did you mean 'bfloat16'"):
        export.export_weights(cartpole[1], tmp_path / "a.safetensors", dtype="float16")


def test_weights_that_are_no_numbers_are_named(cartpole, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    file, bad = tmp_path / "a.safetensors", tmp_path / "bad.safetensors"
    export.export_weights(cartpole[1], file, "latest")
    with safe_open(file, "pt") as opened:
        metadata, tensors = opened.metadata(), {k: opened.get_tensor(k) for k in opened.keys()}
    name = next(key for key in tensors if key.startswith("world."))
    for wrong in (tensors[name] * torch.nan, tensors[name].int()):
        save_file(tensors | {name: wrong}, bad, metadata)
        with pytest.raises(CheckpointError, match=f"{name} holds {wrong.dtype} that are no finite"):
            Dreamer.load(bad)


def test_without_its_packages_the_remedy_is_named(cartpole, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"package onnx: pip install 'dreamer-plugin\[onnx\]'"):
        export.export_onnx(cartpole[1], tmp_path / "a.onnx")


AGENTS = {
    "categories": ("gym/CartPole-v1", {}),
    "normals": ("gym/Pendulum-v1", {}),
    "images": ("toy/catch", {}),
    "gaussian": ("gym/Pendulum-v1", {"world__latent__kind": "gaussian"}),
    "truncated": ("gym/Pendulum-v1", {"behavior__actor__output": "trunc_normal"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("modes", [False, True], ids=["drawn", "modes"])
def test_onnx_agrees_over_a_thousand_steps(repo, tmp_path, kind, modes):
    """Fed the agent's own state and noise, within 1e-5; free, the same actions on 99 %."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    env, options = AGENTS[kind]
    agent = made(repo, tmp_path / "run", env, **options)
    export.export_onnx(tmp_path / "run", tmp_path / "a.onnx", "latest", modes)
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"))
    wanted = {value.name for value in session.get_inputs()}
    rng, net, spaces = np.random.default_rng(1), agent.agent, agent._native.spaces
    names = step.input_names(spaces)
    # Two rows, so that the free number of rows is used; the file was made with one more or less.
    rows, state, free, same = 3, net.initial(3), None, 0
    for index in range(STEPS):
        obs, _, _, _, first, noise = arguments(net, spaces, rows, rng)
        first |= index == 0
        own = [state[name] for name in step.STATE]
        given = [*obs.values(), *own, first, noise]
        feed = {n: v.numpy() for n, v in zip(names, given, strict=True) if n in wanted}
        action, deter, stoch = session.run(list(step.OUTPUTS), feed)
        free_feed = feed if free is None else feed | free
        freely = session.run(list(step.OUTPUTS), free_feed)
        free = dict(zip(("prev_action", "deter", "stoch"), freely, strict=True))
        expected, state = net.act(obs, first, state, noise, modes)
        np.testing.assert_allclose(action, expected.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(deter, state["deter"].numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(stoch, state["stoch"].numpy(), rtol=0, atol=1e-5)
        same += int(np.allclose(freely[0], expected.numpy(), atol=1e-3))
    assert same >= 0.99 * STEPS


@pytest.mark.slow
def test_the_example_plays_without_torch(repo, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    made(repo, tmp_path / "run", "gym/CartPole-v1")
    facts = export.export_onnx(tmp_path / "run", tmp_path / "a.onnx", "latest")
    assert str(tmp_path) not in json.dumps(facts)  # files travel
    example = repo / "examples" / "play_onnx.py"
    code = (
        f"import runpy, sys; sys.argv = ['play', {str(tmp_path / 'a.onnx')!r}]; "
        f"runpy.run_path({str(example)!r}, run_name='__main__'); "
        "assert not {'torch', 'dreamer_plugin'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("return") == 3

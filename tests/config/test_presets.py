"""The YAML files that are shipped."""

from dataclasses import asdict

import pytest

import dreamer_envs
from dreamer_envs.suites import BUILTIN
from dreamer_plugin.config import changed_keys, compose, presets
from dreamer_plugin.config.fields import flatten, key_types
from dreamer_plugin.config.schema import Config
from dreamer_plugin.errors import UsageError

# deter, hidden, classes, depth, units: the table of sizes in danijar/dreamerv3 @ e3f0224,
# dreamerv3/configs.yaml.
SIZES = {
    "1m": (512, 64, 4, 4, 64),
    "12m": (2048, 256, 16, 16, 256),
    "25m": (3072, 384, 24, 24, 384),
    "50m": (4096, 512, 32, 32, 512),
    "100m": (6144, 768, 48, 48, 768),
    "200m": (8192, 1024, 64, 64, 1024),
    "400m": (12288, 1536, 96, 96, 1536),
}
# deter, units (also of the core and the latents), depth, layers: danijar/dreamerv3 @ 423291a,
# dreamerv3/configs.yaml.
SIZES_2023 = {
    "small": (512, 512, 32, 2),
    "medium": (1024, 640, 48, 3),
    "large": (2048, 768, 64, 4),
    "xlarge": (4096, 1024, 96, 5),
}
# train ratio, envs, size: the same file, one block for each suite.
PROTOCOLS_2023 = {
    "atari": (64, 8, "xlarge"),
    "atari100k": (1024, 1, "small"),
    "bsuite": (1024, 1, "small"),
    "crafter": (512, 1, "xlarge"),
    "dmc": (512, 4, "small"),
    "dmc_vision": (512, 4, "small"),
    "dmlab": (64, 8, "xlarge"),
    "minecraft": (16, 16, "xlarge"),
}
# steps, train ratio, envs, size, action repeat: dreamerv3/configs.yaml @ 251910d.
PROTOCOLS_2024 = {
    "atari": (51_000_000, 32, 16, "200m", None),
    "atari100k": (110_000, 256, 1, "200m", None),
    "crafter": (1_100_000, 512, 1, "200m", None),
    "dmc": (300_000, 512, 16, "12m", 2),
    "dmc_vision": (600_000, 512, 16, "12m", 2),
    "procgen": (110_000_000, 64, 16, "200m", None),
}
# steps, train ratio, envs, size: the same file as SIZES, one block for each suite.
PROTOCOLS = {
    "atari/Pong": (51_000_000, 32, 16, "200m"),
    "atari100k/Pong": (110_000, 256, 1, "200m"),
    "crafter/reward": (1_100_000, 512, 1, "200m"),
    "dmc/walker-walk": (1_100_000, 1024, 16, "1m"),
    "procgen/coinrun": (110_000_000, 64, 16, "200m"),
    # Defaults of that file, but for steps: 1e10 there, so ours of the schema.
    "bsuite/catch": (10_000_000, 1024, 1, "200m"),
    "loconav/ant_maze_m": (10_000_000, 256, 16, "200m"),
    "memorymaze/9x9": (10_000_000, 32, 16, "200m"),
    "dmlab/rooms_watermaze": (26_000_000, 32, 16, "200m"),
    "minecraft/diamond": (10_000_000, 32, 16, "200m"),
    "pinpad/three": (10_000_000, 32, 16, "200m"),
}
AGENTS = ["v1", "v2", "v3", "v3_2023", "v3_2024"]
SUITES = sorted(suite.name for suite in BUILTIN)


def shelves():
    root = presets.configs_folder()
    return [path.relative_to(root) for path in sorted(root.rglob("*.yaml"))]


@pytest.mark.parametrize("path", shelves(), ids=str)
def test_every_file_fits_the_schema_and_says_how_it_is_used(path):
    shelf, name = str(path.parent), path.stem
    preset = presets.get(shelf, name)
    assert flatten(preset.tree, preset.source)
    text = (presets.configs_folder() / path).read_text()
    assert text.startswith("# ")
    if shelf != "env":
        assert "dreamer-plugin train --" in text.split("\n\n")[0]


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_the_published_ones(size):
    model = compose("atari/Pong", options={"size": size}).config.model
    assert (model.deter, model.hidden, model.classes, model.depth, model.units) == SIZES[size]
    assert (model.groups, model.blocks) == (32, 8)


def test_sizes_are_listed_from_small_to_large():
    assert presets.names("size") == [*SIZES, *SIZES_2023]
    assert presets.LADDERS == (tuple(SIZES), tuple(SIZES_2023)) and presets.SIZES == tuple(SIZES)


@pytest.mark.parametrize("size", SIZES_2023)
def test_sizes_of_2023_set_widths_and_the_layers_of_heads(size):
    deter, units, depth, layers = SIZES_2023[size]
    cfg = compose("atari/Pong", config=["v3_2023"], options={"size": size}).config
    model, world, behavior = cfg.model, cfg.world, cfg.behavior
    assert (model.deter, model.hidden, model.units) == (deter, units, units)
    assert (model.depth, model.classes) == (depth, 32)
    heads = (world.reward, world.cont, behavior.actor, behavior.critic)
    assert {part.layers for part in heads} == {layers}
    # Not reached by the patterns of the sizes, "units" and "layers" after a dot: mlp_units and
    # mlp_layers keep their defaults.
    assert {(part.layers, part.units) for part in (world.encoder, world.decoder)} == {(5, 1024)}


def test_a_size_belongs_to_one_ladder():
    assert presets.ladder("12m") == presets.SIZES
    assert presets.ladder("large") == tuple(SIZES_2023)
    assert presets.ladder("mine") == ()


@pytest.mark.parametrize("env", PROTOCOLS)
def test_protocols_are_the_published_ones(env):
    cfg = compose(env).config
    assert (cfg.run.steps, cfg.run.train_ratio, cfg.env.num_envs, cfg.size) == PROTOCOLS[env]
    assert (cfg.replay.capacity, cfg.run.prefill, cfg.optim.lr) == (5_000_000, 1024, 4e-5)
    assert (cfg.replay.batch_size, cfg.replay.batch_length, cfg.replay.context) == (16, 64, 1)
    assert cfg.protocol == "published"


def test_protocols_of_2023_are_the_published_ones():
    shelf = "protocol/v3_2023"
    trees = {name: presets.get(shelf, name).tree for name in presets.names(shelf)}
    stated = {
        name: (tree["run"]["train_ratio"], tree["env"]["num_envs"], tree["size"])
        for name, tree in trees.items()
    }
    assert stated == PROTOCOLS_2023
    steps = {name: tree["run"]["steps"] for name, tree in trees.items() if "steps" in tree["run"]}
    assert steps == {"atari": 55_000_000, "atari100k": 150_000}


def test_protocols_of_2024_are_the_published_ones():
    shelf = "protocol/v3_2024"
    stated = {}
    for name in presets.names(shelf):
        tree = presets.get(shelf, name).tree
        run, env = tree["run"], tree["env"]
        repeat = env.get("options", {}).get("action_repeat")
        stated[name] = run["steps"], run["train_ratio"], env["num_envs"], tree["size"], repeat
    assert stated == PROTOCOLS_2024


def test_the_agent_of_2024_differs_from_the_present_one_in_these_keys():
    """What that file, its agent.py and its Atari env have otherwise."""
    now, then = (compose("atari100k/Pong", config=[name]).config for name in ("v3", "v3_2024"))
    five = [1, 2, 3, 4, 4]
    assert {key: values[1] for key, values in changed_keys([now, then]).items()} == {
        "agent": "v3_2024",
        "world.encoder.mults": five,
        "world.encoder.downsample": "stride",
        "world.encoder.outer": True,
        "world.decoder.mults": five,
        "world.decoder.upsample": "transposed",
        "world.decoder.outer": True,
        "behavior.actor.unimix": 0.01,
        "behavior.true_start": True,
        "run.prefill": 16,
        "env.terminal_on_timeout": False,
        "env.options.actions": "all",
        "env.options.noops": 0,
        "env.options.length": 100_000,
    }


@pytest.mark.parametrize("obs", ["proprio", "pixels"])
def test_the_agent_of_2023_takes_its_own_protocol(obs):
    cfg = compose("dmc/walker-walk", config=["v3_2023"], overrides=[f"env.obs={obs}"]).config
    assert (cfg.agent, cfg.size, cfg.run.train_ratio) == ("v3_2023", "small", 512)
    assert (cfg.env.options["action_repeat"], cfg.env.options["size"]) == (2, 64)
    pixels = compose("atari/Pong", config=["v3_2023"]).config
    seen = {key: pixels.env.options[key] for key in ("size", "gray", "noops", "sticky", "actions")}
    assert seen == {"size": 64, "gray": False, "noops": 0, "sticky": 0.25, "actions": "all"}
    assert (pixels.size, pixels.replay.capacity) == ("xlarge", 1_000_000)
    few = compose("atari100k/Pong", config=["v3_2023"]).config
    assert (few.precision, few.env.options["gray"], few.env.options["noops"]) == (
        "float32",
        False,
        30,
    )


@pytest.mark.parametrize("obs", ["pixels", "both"])
def test_control_from_pixels_has_its_own_protocol(obs):
    cfg = compose("dmc/walker-walk", overrides=[f"env.obs={obs}"]).config
    assert (cfg.run.train_ratio, cfg.size, cfg.env.options["obs"]) == (256, "200m", obs)
    # The published one has no proprioception.
    assert cfg.protocol == ("published" if obs == "pixels" else "reduced")


def test_the_agent_writes_out_every_key_of_its_sections():
    written = flatten(presets.get("agent", "v3").tree, "agent/v3.yaml")
    sections = ("world.", "behavior.", "loss_scales.", "optim.", "replay.")
    assert [key for key in key_types() if key.startswith(sections) and key not in written] == []


def test_agents_have_the_same_keys_in_the_same_order():
    """So that the difference of two files is the difference of two agents."""
    assert presets.names("agent") == AGENTS
    for name in AGENTS:
        keys = {each: list(flatten(presets.get("agent", each).tree, each)) for each in (name, "v3")}
        if name in ("v1", "v2"):  # which have no sizes: their widths stand in the file
            keys = {k: [x for x in v if not x.startswith("model.")] for k, v in keys.items()}
        assert keys[name] == keys["v3"]


def test_the_agent_agrees_with_the_schema():
    written = flatten(presets.get("agent", "v3").tree, "agent/v3.yaml")
    defaults = flatten(asdict(Config()), "schema")
    assert {key: value for key, value in written.items() if value != defaults[key]} == {}


@pytest.mark.parametrize("suite", SUITES)
def test_env_files_state_the_options_that_the_envs_have(suite):
    written = flatten(presets.get("env", suite).tree, suite)
    prefix = "env.options."
    stated = {key[len(prefix) :]: value for key, value in written.items() if key.startswith(prefix)}
    declared = dreamer_envs.options(suite)
    assert {name: declared[name] for name in stated} == stated
    info = next(info for info in dreamer_envs.available() if info.name == suite)
    assert written["env.terminal_on_timeout"] == info.terminal_on_timeout


def test_every_built_in_suite_has_files():
    assert presets.names("env") == sorted(SUITES)
    assert set(SUITES) <= set(presets.names("protocol/v3"))


@pytest.mark.parametrize(
    ("shelf", "name", "message"),
    [
        ("size", "12", "Unknown size '12'. Did you mean '12m'?"),
        ("agent", "v33", "Unknown agent 'v33'. Did you mean 'v3'?"),
        ("size", "../agent/v3", "Unknown size '../agent/v3'."),
    ],
)
def test_a_wrong_name_shows_the_nearest(shelf, name, message):
    with pytest.raises(UsageError, match="Valid: ") as caught:
        presets.get(shelf, name)
    assert str(caught.value).startswith(message)


def test_config_names_reach_every_shelf(monkeypatch, tmp_path):
    for shelf in ("agent", "reference", "ablation", "ext", "size"):
        (tmp_path / shelf).mkdir()
        (tmp_path / shelf / f"{shelf}1.yaml").write_text("seed: 3\n")
    monkeypatch.setattr(presets, "configs_folder", lambda: tmp_path)
    found = [presets.named(f"{shelf}1").shelf for shelf in ("reference", "ablation", "ext")]
    assert found == ["reference", "ablation", "ext"]
    with pytest.raises(
        UsageError, match=r"Unknown config 'size1'.*Valid: agent1, reference1, ablation1, ext1"
    ):
        presets.named("size1")


@pytest.mark.parametrize("inside", [True, False])
def test_presets_are_found_in_a_package_and_beside_a_source_tree(monkeypatch, tmp_path, inside):
    package = tmp_path / "dreamer_plugin"
    configs = (package if inside else tmp_path) / "configs"
    (configs / "agent").mkdir(parents=True)
    monkeypatch.setattr(presets, "PACKAGE", package)
    assert presets.configs_folder.__wrapped__() == configs


def test_an_installation_without_presets_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "PACKAGE", tmp_path / "dreamer_plugin")
    with pytest.raises(FileNotFoundError, match="broken installation"):
        presets.configs_folder.__wrapped__()

"""The documents' own Python, word for word, on networks of a few units and for a few steps.

Only the names of the packages are replaced. What a snippet sets is compared before the widths and
steps are cut down. Every block of code, and formulas that are set as one:

    document, place                      held by
    000 Quick Start, CartPole, cheetah   test_a_snippet_trains
    001 2.1, 5 (pseudocode)              modules.test_observe_step_is_the_cores_filter_step,
                                         modules.test_each_dialects_words_make_its_rssm
    001 2.3, 7.1 Symlog                  modules.test_symlog_and_symexp
    001 3 World Model Losses             modules.test_the_training_loop_of_001
    001 3 Actor-Critic Losses            modules.test_lambda_returns_by_hand, the walkthrough below
    001 5 Training Loop                  modules.test_the_training_loop_of_001
    001 6 RSSM Core                      modules.test_observe_step_is_the_cores_filter_step
    001 6 Imagination, Actor Loss        modules.test_the_walkthrough_of_001_reaches_the_actor_*
    001 7.2, 7.3 Free nats, balancing    modules.test_free_nats_and_balancing_of_001
    001 7.4 Gradient through dynamics    modules.test_gradients_through_the_dynamics_of_001
    001 7.5 Target critic                modules.test_ema_update_is_the_loop_of_001
    001 10 Extensions                    not here yet, but for 10.2's ModuleDict of predictors:
                                         modules.test_reward_predictors_in_a_module_dict
    002 Examples, Using config directly  test_a_snippet_trains
    002 command lines                    words.test_lines_of_the_documents
    002 latents of V1 and V2             modules.test_gaussian_logits_are_mean_and_deviation,
                                         modules.test_observe_step_is_the_cores_filter_step
    002 CNN Encoder, Decoder             modules.test_conv_encoder_and_decoder_of_002
    002 Detailed architecture, pictures  no code
    002 Configuration and Checkpoints    test_the_snippet_of_checkpoints_saves_and_loads
    002 Environment Support              test_the_snippet_of_environments_keeps_what_it_sets
    002 Config Reference                 test_the_config_reference_is_the_default
    003 training from the start          words.test_lines_of_the_documents
    003 Resume, evaluate                 words.test_resume, words.test_evaluate
    004                                  has no code; test_the_forms_of_004_train_together

modules is test_dialect_modules.py, words is tests/cli/test_words.py.
"""

import re
import runpy
from dataclasses import replace

import pytest

from dreamer_plugin.doors import api
from dreamer_plugin.doors.dialects import agents, translate

SMALL = {
    "model.deter": 8,
    "model.hidden": 8,
    "model.groups": 2,
    "model.classes": 4,
    "model.depth": 1,
    "model.units": 8,
    "world.encoder.units": 8,
    "world.encoder.embed_size": 8,
    "world.decoder.units": 8,
    "behavior.imag_horizon": 2,
    "replay.capacity": 200,
    "replay.batch_size": 2,
    "replay.batch_length": 4,
    "run.steps": 15,
    "run.prefill": 2,
    "run.train_ratio": 4,
    "run.burst": 1,
    "run.pretrain": 0,
    "env.num_envs": 1,
    "env.processes": False,
    "device": "cpu",
}
# Episodes of ten steps.
SHORT_EPISODES = {
    "dmc": {"env.options.action_repeat": 100},
    "atari": {"env.options.action_repeat": 20, "env.options.length": 200},
    "gym": {},
}
NEEDS = {"dmc": "dm_control", "atari": "ale_py"}

CARTPOLE = """
from rlox import Trainer
trainer = Trainer("dreamer", env="CartPole-v1", seed=42, config={
"batch_size": 16,
"seq_len": 50,
"imagination_horizon": 15,
})
metrics = trainer.train(total_timesteps=100_000)
"""
CHEETAH = """
from rlox import Trainer
trainer = Trainer("dreamer", env="DMC-Cheetah-Run", seed=42, config={
"learning_rate": 1e-4,
"buffer_size": 1_000_000,
"batch_size": 16,
"seq_len": 50,
"gamma": 0.997,
"lambda_": 0.95,
"deter_dim": 512,
"stoch_dim": 32,
"stoch_classes": 32,
"imagination_horizon": 15,
})
metrics = trainer.train(total_timesteps=1_000_000)
"""
FACTORY_V1 = """
import torchwm

agent = torchwm.create_model(
    "dreamer",
    env_backend="dmc",
    env="walker-walk",
    total_steps=5_000_000,
)
agent.train()
"""
EXPLICIT_V1 = """
from torchwm import DreamerAgent, DreamerConfig

cfg = DreamerConfig()

# Select DreamerV1
cfg.algo = "Dreamerv1"

# Gaussian latent (V1 default)
cfg.stoch_size = 30          # diagonal Gaussian dimensions
cfg.deter_size = 200

# Environment
cfg.env_backend = "dmc"
cfg.env = "walker-walk"
cfg.total_steps = 5_000_000

# KL (single coefficient)
cfg.kl_loss_coeff = 1.0

agent = DreamerAgent(cfg)
agent.train()
"""
FACTORY_V2 = """
import torchwm

agent = torchwm.create_model(
    "dreamer",
    env_backend="atari",
    env="PongNoFrameskip-v4",
    algo="Dreamerv2",
    total_steps=10_000_000,
)
agent.train()
"""
EXPLICIT_V2 = """
from torchwm import DreamerAgent, DreamerConfig

cfg = DreamerConfig()

# Select DreamerV2
cfg.algo = "Dreamerv2"

# Categorical latent (V2)
cfg.stoch_size = 32          # number of categorical classes per category
cfg.num_categories = 32      # number of categorical distributions
cfg.deter_size = 200

# Environment
cfg.env_backend = "atari"
cfg.env = "PongNoFrameskip-v4"
cfg.total_steps = 10_000_000

# KL balancing
cfg.kl_alpha = 0.8
cfg.free_nats = 3.0

# Discount (V2 uses learned termination)
cfg.discount = 0.997

agent = DreamerAgent(cfg)
agent.train()
"""
DIRECTLY = """
from torchwm import DreamerAgent, DreamerConfig

cfg = DreamerConfig()
cfg.env_backend = "dmc"
cfg.env = "walker-walk"
cfg.total_steps = 5_000_000

agent = DreamerAgent(cfg)
agent.train()
"""
CHECKPOINTS = """
from world_models.configs import DreamerConfig
from world_models.models import DreamerAgent

cfg = DreamerConfig()
cfg.env = "walker-walk"
cfg.to_yaml("configs/dreamer_walker.yaml")

agent = DreamerAgent.from_config("configs/dreamer_walker.yaml", seed=7)
agent.train()

# Checkpoints save `config.yaml` beside the weights automatically.
agent.dreamer.save("runs/walker/ckpts/model.pt")

restored = DreamerAgent.from_pretrained("runs/walker/ckpts")
print(restored.summary()["total_parameters"])
"""
ENVIRONMENTS = """
from torchwm import DreamerConfig
cfg = DreamerConfig()

cfg.env_backend = "dmc"          # DeepMind Control Suite
cfg.env = "walker-walk"

cfg.env_backend = "gym"          # Gym/Gymnasium
cfg.env = "Pendulum-v1"

cfg.env_backend = "dmlab"        # DeepMind Lab
cfg.env = "rooms_collect_good_objects_train"
cfg.dmlab_action_repeat = 4

cfg.env_backend = "mujoco"       # MuJoCo
cfg.env = "Humanoid-v4"

cfg.env_backend = "brax"         # JAX/Brax
cfg.env = "ant"

cfg.env_backend = "procgen"      # Procgen
cfg.env = "coinrun"

cfg.env_backend = "unity_mlagents"  # Unity ML-Agents
cfg.unity_file_name = "env.exe"
"""
REFERENCE = """
from world_models.configs.dreamer_config import DreamerConfig

config = DreamerConfig()

# Dreamer version
config.algo = "Dreamerv1"      # or "Dreamerv2" (default: "Dreamerv1")

# Environment
config.env_backend = "dmc"
config.env = "walker-walk"
config.image_size = (64, 64)

# Model architecture
config.stoch_size = 30
config.deter_size = 200
config.obs_embed_size = 1024

# Training
config.total_steps = 5_000_000
config.batch_size = 50
config.train_seq_len = 50
config.imagine_horizon = 15
config.model_learning_rate = 6e-4

# Actor-critic
config.actor_learning_rate = 8e-5
config.value_learning_rate = 8e-5
config.discount = 0.99
config.td_lambda = 0.95

# KL (V2)
config.kl_alpha = 0.8
config.free_nats = 3.0

# Exploration
config.action_noise = 0.3

# Logging
config.scalar_freq = 10_000
config.checkpoint_interval = 100_000
config.enable_wandb = False
"""


def run(snippet, folder):
    """The names that a snippet leaves."""
    text = re.sub(
        r"from (rlox|torchwm|world_models[.\w]*) import",
        "from dreamer_plugin.doors.dialects import",
        snippet,
    )
    text = text.replace("import torchwm", "from dreamer_plugin.doors import dialects as torchwm")
    path = folder / "snippet.py"
    path.write_text(text)
    return runpy.run_path(str(path))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Every request that was made, as it was before it was cut down."""
    monkeypatch.chdir(tmp_path)
    requests = []
    whole, learn = translate.translate_settings, api.Dreamer.learn

    def cut(settings):
        request = whole(settings)
        requests.append(request)
        suite = request.env.partition("/")[0]
        options = {**request.options, **SMALL, **SHORT_EPISODES[suite]}
        return replace(request, options=options)

    monkeypatch.setattr(agents, "translate_settings", cut)
    monkeypatch.setattr(
        api.Dreamer, "learn", lambda self, steps, *rest: learn(self, min(steps, 30), False)
    )
    return requests


@pytest.mark.parametrize(
    ("snippet", "env", "preset", "steps"),
    [
        (CARTPOLE, "gym/CartPole-v1", "rlox", None),
        (CHEETAH, "dmc/cheetah-run", "rlox", None),
        (FACTORY_V1, "dmc/walker-walk", "torchwm_v1", 2_500_000),
        (EXPLICIT_V1, "dmc/walker-walk", "torchwm_v1", 2_500_000),
        (DIRECTLY, "dmc/walker-walk", "torchwm_v1", 2_500_000),
        (FACTORY_V2, "atari/Pong", "torchwm_v2", 5_000_000),
        (EXPLICIT_V2, "atari/Pong", "torchwm_v2", 5_000_000),
    ],
    ids=["cartpole", "cheetah", "factory v1", "v1", "directly", "factory v2", "v2"],
)
def test_a_snippet_trains(made, tmp_path, snippet, env, preset, steps):
    suite = env.partition("/")[0]
    if suite in NEEDS:
        pytest.importorskip(NEEDS[suite])
    names = run(snippet, tmp_path)
    (request,) = made
    assert (request.env, request.preset) == (env, preset)
    assert steps is None or request.compose().run.steps == steps
    dreamer = names.get("agent", names.get("trainer")).dreamer
    assert dreamer.num_timesteps >= 15 and dreamer.agent.updates > 0
    if "metrics" in names:
        assert names["metrics"]["updates"] == dreamer.agent.updates
    if env != "gym/CartPole-v1":
        assert dreamer.agent.world.encoder is not None
        assert [key.kind for key in dreamer._native.spaces.obs] == ["image"]


def test_the_snippet_of_checkpoints_saves_and_loads(made, tmp_path, capsys):
    pytest.importorskip("dm_control")
    names = run(CHECKPOINTS, tmp_path)
    assert (tmp_path / "configs" / "dreamer_walker.yaml").is_file()
    assert {path.name for path in (tmp_path / "runs/walker/ckpts").iterdir()} == {
        "model.safetensors",
        "config.yaml",
    }
    assert made[0].compose().seed == 7 and names["agent"].dreamer.agent.updates > 0
    count = names["agent"].parameter_count()
    assert capsys.readouterr().out.splitlines()[-1] == str(count)


def test_the_snippet_of_environments_keeps_what_it_sets(tmp_path):
    cfg = run(ENVIRONMENTS, tmp_path)["cfg"]
    assert (cfg.dmlab_action_repeat, cfg.unity_file_name) == (4, "env.exe")
    assert (cfg.env_backend, cfg.env) == ("unity_mlagents", "coinrun")


def test_the_config_reference_is_the_default(tmp_path):
    """Every line of it repeats a default, so the preset alone says the same."""
    request = translate.translate_settings(run(REFERENCE, tmp_path)["config"])
    default = translate.translate_settings(run(DIRECTLY.partition("agent =")[0], tmp_path)["cfg"])
    assert request == default


def test_the_forms_of_004_train_together():
    widths = {"world.encoder.embed_size": 0, "world.encoder.vae_dim": 4, "model.depth": 2}
    dreamer = api.Dreamer("toy/catch", "capabilities", **SMALL | widths)
    dreamer.learn(30, False)
    agent = dreamer.agent
    assert agent.updates > 0 and "vae" in agent.scales
    assert all(p.isfinite().all() for p in agent.parameters())


def test_the_tests_of_the_table_exist(repo):
    files = {"modules": "doors/test_dialect_modules.py", "words": "cli/test_words.py"}
    text = {name: (repo / "tests" / path).read_text() for name, path in files.items()}
    named = re.findall(r"(modules|words)\.(test_\w+)", __doc__)
    assert len(named) > 10
    assert [(file, test) for file, test in named if f"def {test}" not in text[file]] == []

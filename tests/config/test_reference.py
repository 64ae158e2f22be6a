"""Presets of the reference documents: each has every number of its document's tables.

The expected numbers are those tables, typed in from the documents: a row is what the document calls
a setting, its value there, and our keys. Where ours counts something else, the row says what.
"""

import math

import pytest

from dreamer_plugin.config import compose, presets


def discount(gamma):
    """Our horizon is 1 / (1 - gamma)."""
    return pytest.approx(1 / (1 - gamma), rel=1e-9)


LEARNING_RATES = ("optim.lr", "optim.actor.lr", "optim.critic.lr")
CLIPS = ("optim.clip", "optim.actor.clip", "optim.critic.clip")

# "Hyperparameters", all defaults from DreamerV3Config.
RLOX = [
    ("learning_rate 1e-4", 1e-4, *LEARNING_RATES),
    ("buffer_size 1_000_000", 1_000_000, "replay.capacity"),
    ("batch_size 16", 16, "replay.batch_size"),
    ("seq_len 50", 50, "replay.batch_length"),
    ("gamma 0.997", discount(0.997), "behavior.horizon"),
    ("lambda_ 0.95", 0.95, "behavior.return_lambda"),
    ("deter_dim 512", 512, "model.deter"),
    ("stoch_dim 32", 32, "model.groups"),
    ("stoch_classes 32", 32, "model.classes"),
    ("hidden 512", 512, "model.units", "model.hidden"),
    ("imagination_horizon 15", 15, "behavior.imag_horizon"),
    ("kl_balance 0.8 of KL[sg(q) || p]", 0.8, "loss_scales.dyn"),
    ("1 - kl_balance of KL[q || sg(p)]", 0.2, "loss_scales.rep"),
    ("free_nats 1.0", 1.0, "world.free_nats"),
]
# "Hyperparameters (Fixed Across All Domains)".
NEXUS = [
    ("stoch_dim 32", 32, "model.groups"),
    ("num_categories 32", 32, "model.classes"),
    ("hidden_dim 512", 512, "model.deter"),
    ("imagination_horizon 15", 15, "behavior.imag_horizon"),
    ("gamma 0.997", discount(0.997), "behavior.horizon"),
    ("lambda 0.95", 0.95, "behavior.return_lambda"),
    ("free_nats 1.0", 1.0, "world.free_nats"),
    ("kl_balance 0.8", 0.8, "loss_scales.dyn"),
    ("1 - kl_balance", 0.2, "loss_scales.rep"),
    ("model_lr 1e-4", 1e-4, "optim.lr"),
    ("actor_lr 3e-5", 3e-5, "optim.actor.lr"),
    ("critic_lr 3e-5", 3e-5, "optim.critic.lr"),
    ("ema_decay 0.98", pytest.approx(1 - 0.98), "behavior.critic.slow_rate"),
    # "Mathematical Formulation" and "Actor Loss (with gradient flow through dynamics)".
    ("a max(KL(q||p), f) + (1 - a) max(KL(p||q), f)", "forward_reverse", "world.kl"),
    ("(symlog(r) - x)^2", "symexp_mse", "world.reward.output", "behavior.critic.output"),
    ("mse(symlog(obs), obs_rec)", True, "world.decoder.symlog_images"),
    ("w = product of cont", "cont", "behavior.weights"),
    ("-(weights * symlog(lambda_returns))", "symlog", "behavior.actor.return_transform"),
    ("target values (no gradient)", False, "behavior.actor.value_gradient"),
    ("gradients flow through dynamics", "dynamics", "behavior.actor.gradient"),
]
# "Config Reference" and "Key Hyperparameters", column V1. Steps there are the simulator's, two for
# each of the agent's.
TORCHWM_V1 = [
    ("stoch_size 30", 30, "model.groups"),
    ("deter_size 200", 200, "model.deter"),
    ("obs_embed_size 1024", 1024, "world.encoder.embed_size"),
    ("image_size (64, 64)", 64, "env.options.size"),
    ("model_learning_rate 6e-4", 6e-4, "optim.lr"),
    ("actor_learning_rate 8e-5", 8e-5, "optim.actor.lr"),
    ("value_learning_rate 8e-5", 8e-5, "optim.critic.lr"),
    ("train_seq_len 50", 50, "replay.batch_length"),
    ("batch_size 50", 50, "replay.batch_size"),
    ("free_nats 3.0", 3.0, "world.free_nats"),
    ("imagine_horizon 15", 15, "behavior.imag_horizon"),
    ("discount 0.99", discount(0.99), "behavior.horizon"),
    ("td_lambda 0.95", 0.95, "behavior.return_lambda"),
    ("kl_loss_coeff 1.0, one coefficient", 1.0, "loss_scales.dyn", "loss_scales.rep"),
    ("action_repeat 2", 2, "env.options.action_repeat"),
    ("action_noise 0.3", 0.3, "behavior.explore.amount"),
    ("seed_steps 5000: the pieces in 5 episodes, as in protocol/v1/dmc", 2250, "run.prefill"),
    ("total_steps 5e6", 2_500_000, "run.steps"),
    ("collect_steps 1000, 100 updates of 50 x 50 steps", 100 * 2500 / 500, "run.train_ratio"),
    ("the same, made together", 100, "run.burst"),
    ("scalar_freq 10_000", 5_000, "run.log_every"),
    ("checkpoint_interval 100_000", 50_000, "run.save_every"),
    ("gradient clipping, default 100", 100.0, *CLIPS),
    ("no discount head", "none", "world.cont.output"),
]
# The same tables, column V2, and "Explicit V2 config".
TORCHWM_V2 = [
    ("num_categories 32", 32, "model.groups"),
    ("stoch_size 32 classes", 32, "model.classes"),
    ("deter_size 200", 200, "model.deter"),
    ("obs_embed_size 1024", 1024, "world.encoder.embed_size"),
    ("image_size (64, 64)", 64, "env.options.size"),
    ("model_learning_rate 3e-4", 3e-4, "optim.lr"),
    ("actor_learning_rate 8e-5", 8e-5, "optim.actor.lr"),
    ("value_learning_rate 8e-5", 8e-5, "optim.critic.lr"),
    ("train_seq_len 50", 50, "replay.batch_length"),
    ("batch_size 16", 16, "replay.batch_size"),
    ("free_nats 3.0", 3.0, "world.free_nats"),
    ("imagine_horizon 15", 15, "behavior.imag_horizon"),
    ("discount 0.997", discount(0.997), "behavior.horizon"),
    ("td_lambda 0.95", 0.95, "behavior.return_lambda"),
    ("kl_alpha 0.8 of KL[q || sg(p)], which trains the posterior", 0.8, "loss_scales.rep"),
    ("1 - kl_alpha", 0.2, "loss_scales.dyn"),
    ("action_repeat 2", 2, "env.options.action_repeat"),
    ("action_noise 0.3", 0.3, "behavior.explore.amount"),
    ("seed_steps 5000, as in V1", 2250, "run.prefill"),
    ("total_steps 10_000_000", 5_000_000, "run.steps"),
    ("collect_steps 1000, 100 updates of 16 x 50 steps", 100 * 800 / 500, "run.train_ratio"),
    ("the same, made together", 100, "run.burst"),
    ("scalar_freq 10_000", 5_000, "run.log_every"),
    ("checkpoint_interval 100_000", 50_000, "run.save_every"),
    ("gradient clipping, default 100", 100.0, *CLIPS),
    ("reward in 255 bins", 255, "world.reward.bins"),
    ("two-hot", "symlog_twohot", "world.reward.output"),
    ("a discount head", "binary", "world.cont.output"),
    ("layer norm", "layer", "nets.norm"),
    ("SiLU", "silu", "nets.act"),
]
# The table of parameters, and the list and the diagram before it.
SEED003 = [
    ("Image size 64x64", 64, "env.options.size"),
    ("Action repeat 2", 2, "env.options.action_repeat"),
    ("Batch size 16 sequences", 16, "replay.batch_size"),
    ("x 64 steps", 64, "replay.batch_length"),
    ("Learning rate 1e-4", 1e-4, *LEARNING_RATES),
    ("(Adam)", "adam", "optim.kind"),
    ("Gradient clip 100.0", 100.0, *CLIPS),
    ("Imagination horizon 15 steps", 15, "behavior.imag_horizon"),
    ("Discount 0.997", discount(0.997), "behavior.horizon"),
    ("Replay capacity 1M transitions", 1_000_000, "replay.capacity"),
    ("Prefill 5000 random steps: windows of 64 in them", 5000 - 63, "run.prefill"),
    ("random", True, "run.random_prefill"),
    ("train_every 2: an update of 16 x 64 for 2 steps", 16 * 64 / 2, "run.train_ratio"),
    ("--steps 500000", 500_000, "run.steps"),
    ("512-dim hidden state", 512, "model.deter"),
    ("32 categorical distributions", 32, "model.groups"),
    ("x 32 classes", 32, "model.classes"),
    ("Embedding (1024-dim)", 1024, "world.encoder.embed_size"),
    ("80% forward KL", 0.8, "loss_scales.dyn"),
    ("20% reverse KL", 0.2, "loss_scales.rep"),
    ("1.0 free nats", 1.0, "world.free_nats"),
    ("EMA rate 0.02", 0.02, "behavior.critic.slow_rate"),
    ("5th quantile", 5.0, "behavior.return_norm.low"),
    ("95th quantile", 95.0, "behavior.return_norm.high"),
    ("4-layer heads", 4, "world.reward.layers", "world.cont.layers"),
    ("4-layer actor and critic", 4, "behavior.actor.layers", "behavior.critic.layers"),
    ("tanh-squashed Normal", "tanh_normal", "behavior.actor.output"),
    ("Gumbel-Softmax", "gumbel", "world.latent.gradient"),
    ("using distribution mean", "mean", "behavior.actor.tanh_mode"),
    ("rsample through the trajectory", "dynamics", "behavior.actor.gradient"),
    ("symlog of rewards", "symexp_mse", "world.reward.output"),
    ("symlog of observations", True, "world.encoder.symlog_images", "world.decoder.symlog_images"),
    ("walker-walk", "dmc/walker-walk", "env.id"),
]
TABLES = {
    "rlox": ("dmc/cheetah-run", RLOX),
    "nexus": ("dmc/walker-walk", NEXUS),
    "torchwm_v1": ("dmc/walker-walk", TORCHWM_V1),
    "torchwm_v2": ("dmc/walker-walk", TORCHWM_V2),
    "seed003": ("", SEED003),
}
ROWS = [(name, *row) for name, (_, rows) in TABLES.items() for row in rows]


@pytest.fixture(scope="module")
def values():
    """Dotted key -> value of each preset."""
    return {
        name: {
            key: settings[-1][0] for key, settings in compose(env, config=[name]).history.items()
        }
        for name, (env, _) in TABLES.items()
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1]}")
def test_a_number_of_a_document(values, row):
    name, _, expected, *keys = row
    assert {key: values[name][key] for key in keys} == dict.fromkeys(keys, expected)


def test_every_document_has_its_preset():
    assert presets.names("reference") == sorted([*TABLES, "capabilities"])


def test_the_latent_state_is_as_wide_as_the_documents_say(values):
    """1024 and 1536 of the walker, 1024 of V2 ("32 categories x 32 classes")."""
    walker, old = values["seed003"], values["torchwm_v2"]
    sizes = [math.prod(v[f"model.{k}"] for k in ("groups", "classes")) for v in (walker, old)]
    assert sizes == [1024, 1024] and walker["model.deter"] + sizes[0] == 1536


def test_the_page_without_numbers_has_v3s():
    """Document 004 states forms alone; its VAE's code has "32-256 dimensions"."""
    published = compose("dmc/walker-walk").history
    stated = compose("dmc/walker-walk", config=["capabilities"]).history
    changed = {k: v[-1][0] for k, v in stated.items() if v[-1][0] != published[k][-1][0]}
    changed.pop("protocol")
    assert 32 <= changed.pop("world.encoder.vae_dim") <= 256
    assert changed == {
        "world.loss_balance": "harmony",
        "world.reward.output": "learned_symexp_mse",
        "behavior.critic.output": "learned_symexp_mse",
        "behavior.imag_start": "prior",
        "behavior.actor.output": "normal",
        "behavior.actor.gradient": "dynamics",
        "behavior.critic.slow_reg": 0.0,
    }

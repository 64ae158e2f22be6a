"""Names of other documents: each means the right key of ours, and wrong ones say what is right."""

import sys
from dataclasses import asdict

import pytest

from dreamer_plugin.config import compose
from dreamer_plugin.config.fields import OPTIONS, flatten, key_types
from dreamer_plugin.doors.dialects.dialect import dialect_names, read_dialect, version_of
from dreamer_plugin.doors.dialects.forms import FORMS
from dreamer_plugin.doors.dialects.settings import DreamerConfig, DreamerV3Config
from dreamer_plugin.doors.dialects.translate import translate_settings
from dreamer_plugin.errors import UsageError

NUMBERS = {  # what derive and translate know
    *("env", "env_object", "backend", "version", "time_limit", "load", "run_name", "prefill"),
    *("total_steps", "eval_every", "log_every", "save_every", "kl_scale", "kl_balance"),
    *("kl_forward", "cont"),
    *("train_every", "train_steps", "behavior_steps"),
}
DIALECTS = [(name, version) for name in dialect_names() for version in read_dialect(name).presets]


PIXELS = {f"{OPTIONS}.obs": "pixels"}
WORDS = {
    ("torchwm", version): {"algo": f"Dreamer{version}"}
    for version in read_dialect("torchwm").presets
}


def options(dialect="torchwm", **words):
    """What words set over the preset, those of the env aside."""
    found = translate_settings(DreamerConfig.from_dialect(words, dialect)).options
    return {key: value for key, value in found.items() if not key.startswith("env.")}


def final(dialect="torchwm", **words):
    """Dotted key -> value of the whole configuration."""
    cfg = translate_settings(DreamerConfig.from_dialect(words, dialect)).compose()
    return flatten(asdict(cfg), "test")


def test_the_dialects_are_those_of_the_documents_and_the_authors():
    authors = ["danijar_v1", "danijar_v2", "danijar_v3"]
    assert dialect_names() == [*authors, "native", "nexus", "rlox", "seed003", "torchwm"]


@pytest.mark.parametrize(("name", "version"), DIALECTS)
def test_every_name_means_something_that_exists(name, version):
    dialect = read_dialect(name)
    for word in dialect.names:
        try:
            meaning = dialect.meaning(word, version)
        except UsageError as error:
            assert "is a setting of Dreamer" in str(error)
            continue
        for key in meaning.keys:
            known = key.removeprefix("plan.") in NUMBERS or key in key_types()
            assert known or key.startswith(f"{OPTIONS}."), (word, key)
        assert not meaning.form or meaning.form in FORMS
        assert bool(meaning.keys) + bool(meaning.reason) + bool(meaning.ignored) <= 1


@pytest.mark.parametrize(("name", "version"), DIALECTS)
def test_defaults_are_what_the_preset_holds(name, version):
    """So that a setting which repeats a default changes nothing, wherever it is written."""
    dialect = read_dialect(name)
    default = {w: v for w, v in dialect.defaults.get(version, {}).items() if v is not None}
    assert set(default) <= {*dialect.names, "env", "seed"}
    translated = translate_settings(DreamerConfig(name, **WORDS.get((name, version), {})))
    preset = compose("dmc/walker-walk", config=[dialect.presets[version]])
    values = flatten(asdict(preset.config), "test")
    assert {k: v for k, v in translated.options.items() if values[k] != v} in ({}, PIXELS)
    options = dialect.read(default, version).options
    assert {k: values[k] for k in options} == options


# One word, two meanings: by the documents, 002 "Stochastic state", 001 and 000 "Hyperparameters";
# danijar/dreamer @ 56d4d444 dreamer.py (horizon is that of dreams), danijar/dreamerv3 @ e3f0224
# configs.yaml (horizon is that of the discount, 333).
CLASHES = [
    ("nexus", {"num_categories": 16}, {"model.classes": 16}),
    ("torchwm", {"algo": "Dreamerv2", "num_categories": 16}, {"model.groups": 16}),
    ("torchwm", {"algo": "Dreamerv2", "stoch_size": 16}, {"model.classes": 16}),
    ("torchwm", {"algo": "Dreamerv1", "stoch_size": 16}, {"model.groups": 16}),
    ("rlox", {"stoch_dim": 16}, {"model.groups": 16}),
    ("rlox", {"stoch_classes": 16}, {"model.classes": 16}),
    ("rlox", {"hidden": 64}, {"model.units": 64, "model.hidden": 64}),
    ("danijar_v2", {"rssm": {"hidden": 64}}, {"model.hidden": 64}),
    ("nexus", {"hidden_dim": 64}, {"model.deter": 64}),
    ("danijar_v1", {"horizon": 10}, {"behavior.imag_horizon": 10}),
    ("danijar_v3", {"horizon": 200}, {"behavior.horizon": 200}),
    ("nexus", {"lambda": 0.9}, {"behavior.return_lambda": 0.9}),
    ("nexus", {"ema_decay": 0.95}, {"behavior.critic.slow_rate": 0.05}),
    ("rlox", {"gamma": 0.99}, {"behavior.horizon": 100.0}),
    ("rlox", {"gamma": "0.99"}, {"behavior.horizon": 100.0}),
    ("danijar_v2", {"kl": {"free_avg": False}}, {"world.free_over": "each"}),
    ("danijar_v1", {"pcont": True}, {"world.cont.output": "binary", "behavior.imag_skip": 1}),
    ("danijar_v1", {"task": "atari/Pong", "pcont": False}, {"behavior.imag_skip": 0}),
    ("torchwm", {"use_disc_model": True}, {"behavior.imag_skip": 1}),
    ("torchwm", {"algo": "v2", "use_disc_model": True}, {"behavior.imag_skip": 0}),
    ("danijar_v1", {"clip_rewards": "none"}, {"world.reward_transform": "identity"}),
    ("danijar_v1", {"precision": 16}, {"precision": "bfloat16"}),
    ("torchwm", {"dense_activation_function": "ReLU"}, {"nets.act": "relu"}),
    ("torchwm", {"no_gpu": True}, {"device": "cpu"}),
    ("danijar_v2", {"actor_grad": "both"}, {"behavior.actor.gradient": "mixed"}),
]


@pytest.mark.parametrize(("dialect", "words", "expected"), CLASHES)
def test_a_word_means_what_its_document_says(dialect, words, expected):
    values = final(dialect, **words)
    assert {key: values[key] for key in expected} == pytest.approx(expected)


# Halves of a balanced KL: 000 "KL balancing" weighs KL[sg(q) || p], our dyn; 002 "KL Balancing"
# weighs KL[q || sg(p)], our rep; 002 V1 has one coefficient for an ordinary KL.
@pytest.mark.parametrize(
    ("dialect", "words", "dyn", "rep"),
    [
        ("rlox", {"kl_balance": 0.7}, 0.7, 0.3),
        ("torchwm", {"algo": "Dreamerv2", "kl_alpha": 0.7}, 0.3, 0.7),
        ("torchwm", {"algo": "Dreamerv2", "kl_loss_coeff": 10.0}, 2.0, 8.0),
        ("torchwm", {"kl_loss_coeff": 2.0}, 2.0, 2.0),
        ("danijar_v2", {"kl.balance": 0.4}, 0.4, 0.6),
        ("danijar_v2", {"loss_scales": {"kl": 0.1}}, 0.08, 0.02),
        ("danijar_v2", {"task": "atari/Pong", "kl.balance": 0.8}, 0.08, 0.02),
        ("danijar_v2", {"task": "atari/Pong", "kl.balance": 0.5}, 0.1, 0.1),
    ],
)
def test_a_balance_weighs_the_halves_of_its_document(dialect, words, dyn, rep):
    values = final(dialect, **words)
    assert (values["loss_scales.dyn"], values["loss_scales.rep"]) == pytest.approx((dyn, rep))


# At a balance of 0.5 the author's code has one divergence, not two halves, and floors each step:
# KL[q || p], or with `forward` KL[p || q] (danijar/dreamerv2 @ 07d906e9, common/nets.py, kl_loss).
@pytest.mark.parametrize(
    ("forward", "form", "dyn", "rep"),
    [(False, "plain", 0.1, 0.1), (True, "forward_reverse", 0.0, 0.1)],
)
def test_half_a_balance_of_dreamerv2_is_one_divergence(forward, form, dyn, rep):
    kl = {"balance": 0.5, "forward": forward, "free_avg": False}
    values = final("danijar_v2", kl=kl, loss_scales={"kl": 0.1})
    assert (values["world.kl"], values["world.free_over"]) == (form, "each")
    assert (values["loss_scales.dyn"], values["loss_scales.rep"]) == (dyn, rep)


def test_the_default_direction_of_dreamerv2_changes_nothing():
    assert final("danijar_v2", **{"kl.forward": False}) == final("danijar_v2")


def test_steps_of_a_simulator_become_steps_of_the_agent():
    found = options(total_steps=1000, action_repeat=4, scalar_freq=40, checkpoint_interval=80)
    assert {key: found[key] for key in ("run.steps", "run.log_every", "run.save_every")} == {
        "run.steps": 250,
        "run.log_every": 10,
        "run.save_every": 20,
    }


def test_counts_of_updates_become_a_ratio_of_replayed_steps():
    """20 updates of 4 x 8 after 10 steps of the agent, 20 of the simulator: 64 for each step."""
    words = {"collect_steps": 20, "update_steps": 20, "batch_size": 4, "train_seq_len": 8}
    found = options(**words)
    assert (found["run.train_ratio"], found["run.burst"]) == (64.0, 20)
    agents = options("nexus", collect_steps=10, model_train_iterations=20, batch_size=4, seq_len=8)
    assert (agents["run.train_ratio"], agents["run.burst"]) == (64.0, 20)
    # The number of updates stays when the batch changes: 100 after 500 steps, each of 10 x 50.
    assert options(batch_size=10)["run.train_ratio"] == 100 * 10 * 50 / 500


@pytest.mark.parametrize("said", [{"train_every": 1000}, {"train_steps": 100}])
def test_half_of_the_updates_of_dreamerv1_takes_the_other_half_from_its_code(said):
    keys, plain = ("run.train_ratio", "run.burst"), final("danijar_v1", task="dmc/walker-walk")
    found = final("danijar_v1", task="dmc/walker-walk", **said)
    assert [found[key] for key in keys] == [plain[key] for key in keys] == [500, 100]


def test_one_rate_for_all_gives_way_to_a_particular_one():
    keys = ("optim.lr", "optim.actor.lr", "optim.critic.lr")
    for words in (
        {"learning_rate": 1e-3, "actor_lr": 1e-5},
        {"actor_lr": 1e-5, "learning_rate": 1e-3},
    ):
        values = final("nexus", **words)
        assert [values[key] for key in keys] == [1e-3, 1e-5, 1e-3]


def test_a_particular_word_wins_even_where_it_says_the_default(tmp_path):
    keys = ("optim.lr", "optim.actor.lr", "optim.critic.lr")
    default = DreamerConfig().model_learning_rate
    cfg = DreamerConfig(env="walker-walk", learning_rate=1e-3, model_learning_rate=default)
    cfg.to_yaml(tmp_path / "cfg.yaml")
    for each in (cfg, DreamerConfig.from_yaml(tmp_path / "cfg.yaml")):
        values = flatten(asdict(translate_settings(each).compose()), "test")
        assert [values[key] for key in keys] == [default, 1e-3, 1e-3]


def test_a_file_does_not_hold_the_defaults_that_a_general_word_replaced(tmp_path):
    cfg = DreamerConfig(env="walker-walk", learning_rate=1e-3)
    cfg.to_yaml(tmp_path / "cfg.yaml")
    again = DreamerConfig.from_yaml(tmp_path / "cfg.yaml")
    assert again == cfg and again.learning_rate == 1e-3
    assert "model_learning_rate" not in cfg.to_dict()
    assert translate_settings(again) == translate_settings(cfg)


def test_attributes_have_the_defaults_of_the_version():
    cfg = DreamerConfig()
    assert (cfg.algo, cfg.batch_size, cfg.model_learning_rate) == ("Dreamerv1", 50, 6e-4)
    cfg.algo = "Dreamerv2"
    assert (cfg.batch_size, cfg.model_learning_rate, cfg.discount) == (16, 3e-4, 0.997)
    cfg.batch_size = 4
    cfg.algo = "Dreamerv1"
    assert cfg.batch_size == 4 and cfg.version == "v1"
    assert {"kl_alpha", "td_lambda"} <= set(dir(cfg))
    with pytest.raises(AttributeError, match="no default for it"):
        cfg.test_interval  # noqa: B018


def test_the_order_of_attributes_does_not_matter():
    one, other = DreamerConfig(), DreamerConfig()
    one.num_categories, one.algo = 8, "Dreamerv2"
    other.algo, other.num_categories = "Dreamerv2", 8
    assert one == other and translate_settings(one) == translate_settings(other)


@pytest.mark.parametrize("algo", ["Dreamerv2", "dreamerv2", "DreamerV2", "dreamer-v2", "v2"])
def test_versions_in_every_spelling(algo):
    assert version_of(algo) == "v2" == DreamerConfig(algo=algo).version


def test_yaml_keeps_the_settings_and_what_they_come_to(tmp_path):
    cfg = DreamerConfig(algo="Dreamerv2", env="walker-walk", batch_size=4, image_size=(64, 64))
    cfg.to_yaml(tmp_path / "new" / "cfg.yaml")
    again = DreamerConfig.from_yaml(tmp_path / "new" / "cfg.yaml")
    assert again == cfg and again.batch_size == 4 and again.kl_alpha == 0.8
    assert translate_settings(again) == translate_settings(cfg)
    changed = DreamerConfig.from_yaml(tmp_path / "new" / "cfg.yaml", seed=7)
    assert changed.seed == 7 and changed != cfg
    rlox = DreamerV3Config(env="CartPole-v1", gamma=0.9)
    rlox.to_yaml(tmp_path / "rlox.yaml")
    assert DreamerConfig.from_yaml(tmp_path / "rlox.yaml").dialect.name == "rlox"


def test_an_object_is_in_no_file(tmp_path):
    with pytest.raises(UsageError, match="env_instance is .* no file holds"):
        DreamerConfig(env_instance=object()).to_yaml(tmp_path / "cfg.yaml")


@pytest.mark.parametrize(
    ("backend", "env", "found"),
    [
        ("dmc", "walker-walk", "dmc/walker-walk"),
        ("gym", "Pendulum-v1", "gym/Pendulum-v1"),
        ("mujoco", "Humanoid-v4", "gym/Humanoid-v4"),
        ("atari", "PongNoFrameskip-v4", "atari/Pong"),
        ("gym", "gym/Pendulum-v1", "gym/Pendulum-v1"),
        ("mujoco", "gym/Humanoid-v4", "gym/Humanoid-v4"),
        ("", "DMC-Cheetah-Run", "dmc/cheetah-run"),
        ("", "dmc/walker-walk", "dmc/walker-walk"),
    ],
)
def test_envs_in_the_documents_spelling(backend, env, found):
    words = {"env": env} | ({"env_backend": backend} if backend else {})
    assert translate_settings(DreamerConfig(**words)).env == found


def test_images_where_the_document_has_them():
    def seen(dialect, env):
        cfg = translate_settings(DreamerConfig.from_dialect({"env": env}, dialect)).compose()
        return cfg.env.options.get("obs")

    assert seen("torchwm", "dmc/walker-walk") == seen("torchwm", "gym/Pendulum-v1") == "pixels"
    assert seen("rlox", "dmc/cheetah-run") == "pixels"  # "visual control tasks"
    assert seen("rlox", "gym/CartPole-v1") == "vector"  # the first example


def test_words_of_one_suite_are_its_options():
    cfg = DreamerConfig(env_backend="gym", env="Pendulum-v1", gym_g=9.0, dmlab_action_repeat=4)
    found = translate_settings(cfg).options
    assert found["env.options.g"] == 9.0 and "env.options.action_repeat" not in found
    assert options(env="gym/Pendulum-v1", time_limit=100) == options(env="gym/Pendulum-v1")
    timed = translate_settings(DreamerConfig(env="gym/Pendulum-v1", time_limit=100))
    assert timed.options["env.options.max_episode_steps"] == 100


# danijar/dreamerv2 @ 07d906e9 limits what it repeats (27,000 on Atari), danijar/dreamer the env.
@pytest.mark.parametrize(
    ("dialect", "task", "limit", "key", "found"),
    [
        ("danijar_v2", "atari/Pong", 2000, "length", 8000),
        ("danijar_v1", "atari/Pong", 2000, "length", 2000),
        ("danijar_v2", "crafter/reward", 2000, "length", 2000),
        ("danijar_v2", "gym/Pendulum-v1", 2000, "max_episode_steps", 2000),
        ("danijar_v2", "atari/Pong", 0, "length", 108_000),
        ("danijar_v2", "dmc/walker-walk", 0, "length", None),
    ],
)
def test_a_time_limit_counts_what_its_document_counts(dialect, task, limit, key, found):
    words = {"task": task, "time_limit": limit}
    cfg = translate_settings(DreamerConfig.from_dialect(words, dialect)).compose()
    assert cfg.env.options.get(key) == found


def test_our_own_keys_are_understood_everywhere():
    assert final("rlox", **{"model.depth": 3})["model.depth"] == 3
    assert final("native", model={"depth": 3}, seed=5)["model.depth"] == 3
    assert final("native", agent="v2")["agent"] == "v2"


MISTAKES = [
    ("torchwm", {"stoch_sise": 30}, "Unknown setting of torchwm 'stoch_sise'.*'stoch_size'"),
    ("torchwm", {"seq_len": 30}, "replay.batch_length to nexus and rlox and seed003: say which"),
    (
        "native",
        {"num_categories": 32},
        "model.classes to nexus; model.groups to torchwm: say which with from_dialect",
    ),
    ("torchwm", {"algo": "Dreamerv4"}, "Unknown algo 'Dreamerv4'. Did you mean"),
    ("torchwm", {"num_categories": 16}, "setting of Dreamerv2 and Dreamerv3, not of Dreamerv1"),
    ("torchwm", {"embed_size": 8, "obs_embed_size": 9}, "say the same thing: pass one of them"),
    ("nexus", {"lambda": 0.9, "lambda_": 0.8}, "say the same thing"),
    ("seed003", {"lr": 3e-4, "learning_rate": 2e-4}, "'lr' and 'learning_rate' say the same"),
    ("seed003", {"learning_rate": 3e-4, "lr": 1e-4}, "say the same thing"),  # lr's default
    ("torchwm", {"enable_wandb": True}, "enable_wandb=True: .*Weights & Biases"),
    ("nexus", {"n_models": 5}, "n_models=5: ensembles"),
    ("nexus", {"model_train_iterations": 5}, "5 updates after how many steps"),
    (
        "nexus",
        {"collect_steps": 5, "model_train_iterations": 2, "actor_critic_iterations": 3},
        "3 updates of actor and critic beside 2 of the model",
    ),
    ("torchwm", {"image_size": (64, 32)}, "images are square"),
    ("torchwm", {"discount": 1.0}, "below 1"),
    ("torchwm", {"collect_steps": 0}, "must be at least 1"),
    ("torchwm", {"time_limit": 100}, "episodes of dmc end where the suite ends them"),
    ("rlox", {"kl_balance": 1.5}, "must lie between 0 and 1"),
    ("rlox", {"kl_balance": "much"}, "kl_balance 'much' is not a number"),
    ("nexus", {"ema_decay": "much"}, "decay 'much' is not a number, such as 0.5"),
    ("rlox", {"gamma": [0.9]}, r"discount \[0.9\] is not a number"),
    ("rlox", {"total_timesteps": float("inf")}, "total_steps inf is not a number"),
    ("rlox", {"total_timesteps": float("nan")}, "total_steps nan is not a number"),
    ("seed003", {"image_size": "large"}, "image size 'large' is not a number"),
    (
        "nexus",
        {"collect_steps": 9, "model_train_iterations": 2.6},
        "train_steps 2.6 is not a whole number: take 3",
    ),
    ("torchwm", {"action_repeat": 0}, "action_repeat 0: it must be at least 1"),
    ("torchwm", {"batch_size": "many"}, "replay.batch_size expects a whole number"),
    ("torchwm", {"env": "walker-walc"}, "walker-walk"),
    (
        "torchwm",
        {"env": "dmc/walker-walk", "env_backend": "gym"},
        "'dmc/walker-walk' is not of the backend 'gym': leave the backend out",
    ),
    ("danijar_v2", {"kl.forward": True}, "kl.forward=true at kl.balance=0.8: .*kl.balance=0.5"),
    ("danijar_v1", {"action_dist": "tanh"}, "Unknown action_dist 'tanh'. Did you mean"),
    ("torchvm", {}, "Unknown dialect 'torchvm'. Did you mean 'torchwm'"),
]


@pytest.mark.parametrize(("dialect", "words", "message"), MISTAKES)
def test_mistakes_name_what_is_right(dialect, words, message):
    with pytest.raises(ValueError, match=message) as caught:
        final(dialect, **words)
    assert "\n" not in str(caught.value)


def test_settings_that_do_nothing_say_so():
    (note,) = translate_settings(DreamerConfig(kl_alpha=0.5)).notes
    assert note == "kl_alpha: Dreamerv1 has one coefficient for its KL (kl_loss_coeff)."
    assert translate_settings(DreamerConfig(kl_alpha=0.8)).notes == []  # the document's own line


def test_settings_load_no_torch(tmp_path):
    import subprocess

    code = (
        "import sys; from dreamer_plugin.doors.dialects import DreamerConfig; "
        "DreamerConfig(algo='Dreamerv2').to_yaml('cfg.yaml'); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"

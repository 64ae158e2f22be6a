"""Keys, types and values."""

import pytest

from dreamer_plugin.config import compose
from dreamer_plugin.config.fields import flatten, key_types, nearest_key, nest
from dreamer_plugin.errors import UsageError

NEAREST = {
    "lr": "optim.lr",
    "learning_rate": "optim.lr",
    "gamma": "behavior.horizon",
    "buffer_size": "replay.capacity",
    "optim.learning_rate": "optim.lr",
    "optim.Lr": "optim.lr",
    "train_ratio": "run.train_ratio",
    "run.stesp": "run.steps",
    "world.encodr.layers": "world.encoder.layers",
    "batchsize": "replay.batch_size",
    "replay.batch": "replay.batch_size",
    "behaviour.actor.entropy": "behavior.actor.entropy",
    "env.num_env": "env.num_envs",
    "sede": "seed",
    "optm": "optim",
}
UNKNOWN = {
    "lr=1": "Unknown key 'lr' (lr=1). Did you mean 'optim.lr'?",
    "run.stesp=1": "Unknown key 'run.stesp' (run.stesp=1). Did you mean 'run.steps'?",
    "env.stciky=1": "Unknown key 'env.stciky' (env.stciky=1). Did you mean 'env.sticky'?",
    "env.num_env=1": "Unknown key 'env.num_env' (env.num_env=1). Did you mean 'env.num_envs'?",
    "qqqq=1": "Unknown key 'qqqq' (qqqq=1). `dreamer-plugin show` lists all keys.",
}
TYPES = {
    "run.steps=1.5": "run.steps expects a whole number, got 1.5, a number (run.steps=1.5).",
    "run.steps=soon": "run.steps expects a whole number, got 'soon', text (run.steps=soon).",
    "run.steps=": "run.steps expects a whole number, got None, nothing (run.steps=).",
    "run.steps=true": "expects a whole number, got True, a yes/no value",
    "optim.lr=fast": "optim.lr expects a number, got 'fast', text",
    "optim.lr=[1]": "optim.lr expects a number, got [1], a list",
    "replay.online=1": "replay.online expects true or false, got 1, a whole number",
    "replay.online='no'": "expects true or false, got 'no', text",
    "world.encoder.mults=3": "expects a list of whole numbers, got 3, a whole number",
    "world.encoder.mults=[1, x]": "expects a list of whole numbers, got [1, 'x'], a list",
    "device=[cpu]": "device expects text, got ['cpu'], a list",
    "optim=3": "optim is a section, not a value (got 3, optim=3); set its keys, for",
    "env.options=3": "env.options is a section, not a value",
    "optim.lr={a: 1}": "optim.lr expects a number, got {'a': 1}, a section",
}
VALUES = {
    "precision=fp16": "Unknown value of precision 'fp16'. Did you mean 'bfloat16'?",
    "device=gpu": "Unknown device 'gpu'.",
    "device=cuda:x": "Unknown device 'cuda:x'. Did you mean 'cuda:0'?",
    "protocol=publsihed": "Did you mean 'published'?",
    "run.steps=0": "run.steps is 0, but must be at least 1 (set by run.steps=0).",
    "seed=-1": "seed is -1, but must be at least 0",
    "optim.lr=-1e-4": "optim.lr is -0.0001, but must be at least 0",
    "env.num_envs=0": "env.num_envs is 0, but must be at least 1",
    "optim.lr=.inf": "optim.lr expects a number, got inf",
    "env.x=.nan": "env.x=.nan has .nan, which is not a number",
    "optim.beta1=1": "optim.beta1 is 1.0, but must be below 1",
    "behavior.return_lambda=1.5": "behavior.return_lambda is 1.5, but must be at most 1",
    "behavior.return_norm.high=101": "must be at most 100",
    "run.steps=100000000000000000": "must be at most 1099511627776",
    "world.encoder.layers=-2": "world.encoder.layers is -2, but must be at least 0",
    "world.core.layers=-1": "world.core.layers is -1, but must be at least 0",
    "behavior.actor.layers=-1": "behavior.actor.layers is -1, but must be at least 0",
    "behavior.actor.min_std=-0.1": "behavior.actor.min_std is -0.1, but must be at least 0",
    "world.encoder.mults=[]": "mults is [], but must be one or more numbers of at least 1 (set by",
    "world.decoder.mults=[2, 0]": "mults is [2, 0], but must be one or more numbers of at least 1",
    "world.encoder.kernel=0": "world.encoder.kernel is 0, but must be at least 1",
    "world.decoder.image_blocks=0": "world.decoder.image_blocks is 0, but must be at least 1",
    "replay.capacity=1e18": "must be at most 1099511627776",
    "nets.eps=0": "nets.eps is 0.0, but must be above 0",
    "optim.critic.eps=0": "optim.critic.eps is 0.0, but must be above 0",
    "behavior.actor.max_std=-1": "behavior.actor.max_std is -1.0, but must be above 0",
    "seed=4294967296": "seed is 4294967296, but must be at most 4294967295",
}


@pytest.mark.parametrize("wrong", NEAREST)
def test_nearest_key(wrong):
    assert nearest_key(wrong) == NEAREST[wrong]


@pytest.mark.parametrize("text", UNKNOWN | TYPES | VALUES)
def test_wrong_settings_are_refused_with_one_line(text):
    with pytest.raises(UsageError) as caught:
        compose("atari/Pong", overrides=[text])
    message = str(caught.value)
    assert (UNKNOWN | TYPES | VALUES)[text] in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("run.steps=1e6", 1_000_000),
        ("run.steps=1_000", 1000),
        ("run.steps=5.1e7", 51_000_000),
        ("run.train_ratio=32", 32.0),
        ("optim.lr=4e-5", 4e-5),
        ("optim.lr=.5", 0.5),
        ("run.logdir=", ""),
        ("run.logdir=1", "1"),
        ("world.decoder.mults=[1, 2e0]", [1, 2]),
        ("replay.online=no", False),
    ],
)
def test_spellings_of_values(text, value):
    key = text.partition("=")[0]
    found = compose("toy/catch", overrides=[text]).history[key][-1][0]
    assert found == value and type(found) is type(value)


def test_a_file_may_be_nested_or_dotted():
    flat = flatten({"optim": {"lr": 1}, "optim.warmup": 5, "world.encoder": {"kernel": 3}}, "x")
    assert flat == {"optim.lr": 1.0, "optim.warmup": 5, "world.encoder.kernel": 3}
    assert nest(flat) == {"optim": {"lr": 1.0, "warmup": 5}, "world": {"encoder": {"kernel": 3}}}


def test_env_options_may_have_dots_and_any_plain_value():
    flat = flatten({"env": {"options": {"a.b": [1, {"c": None}]}}}, "x")
    assert flat == {"env.options.a.b": [1, {"c": None}]}
    assert nest(flat) == {"env": {"options": {"a.b": [1, {"c": None}]}}}


def test_options_that_only_the_env_knows_pass():
    assert flatten({"env.continuous": False}, "x", ["obs", "size"]) == {
        "env.options.continuous": False
    }


def test_checked_keys_exist():
    from dreamer_plugin.config import fields

    assert set(fields.SYNONYMS.values()) <= set(key_types())
    bounded = {key for _, _, bounds in fields.BOUNDS for key in fields._by_key(bounds)}
    assert set(fields.CHOICES) | bounded <= set(key_types())


def test_a_key_nested_and_with_dots_is_one_key():
    for tree in (
        {"optim": {"lr": 1}, "optim.lr": 2},
        {"env": {"options": {"x": 1}, "x": 2}},
    ):
        with pytest.raises(UsageError, match="mine sets .* twice"):
            flatten(tree, "mine")


def test_infinite_options_of_an_env_are_values():
    """The default of Gymnasium's Hopper-v5 is `healthy_z_range=(0.7, inf)`."""
    flat = flatten({"env.healthy_z_range": (0.7, float("inf"))}, "x", ["healthy_z_range"])
    assert flat["env.options.healthy_z_range"] == (0.7, float("inf"))
    with pytest.raises(UsageError, match="not a number"):
        flatten({"env.healthy_z_range": [float("nan")]}, "x", ["healthy_z_range"])

"""Which layer wins, and who is said to have set a key."""

import pytest

from dreamer_plugin.config import compose, presets
from dreamer_plugin.config.stack import MACHINE, Request, Stack
from dreamer_plugin.errors import UsageError

KEY = "optim.warmup"
VALUES = {
    "agent": 1,
    "env": 2,
    "protocol": 3,
    "machine": 4,
    "size": 5,
    "reference": 6,
    "file": 7,
    "key": 8,
    "option": 9,
}


@pytest.fixture
def shelves(tmp_path, monkeypatch):
    """Presets of which each sets the same key."""
    line = f"{KEY}: {{}}\n"
    for shelf, name, extra in (
        ("agent", "v3", "size: small\n"),
        ("env", "toy", ""),
        ("protocol/v3", "toy", ""),
        ("size", "small", ""),
        ("size", "large", "model.deter: 77\n"),
        ("reference", "paper", ""),
    ):
        value = VALUES[shelf.split("/")[0]]
        (tmp_path / shelf).mkdir(parents=True, exist_ok=True)
        (tmp_path / shelf / f"{name}.yaml").write_text(extra + line.format(value))
    monkeypatch.setattr(presets, "configs_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("top", VALUES)
def test_later_layers_win(shelves, top):
    names = list(VALUES)
    kept = names[: names.index(top) + 1]
    for shelf in ("env", "protocol", "size"):
        if shelf not in kept:
            for path in (shelves / shelf).rglob("*.yaml"):
                path.write_text("seed: 0\n")
    mine = shelves / "mine.yaml"
    mine.write_text(f"{KEY}: 7\n")
    stack = Stack(
        Request(
            env="toy/catch",
            config=[*["paper"] * ("reference" in kept), *[mine] * ("file" in kept)],
            overrides=[f"{KEY}=8"] * ("key" in kept),
            options={KEY: 9} if "option" in kept else {},
        )
    )
    merged = stack.merge({KEY: 4} if "machine" in kept else {})
    assert merged.config.optim.warmup == merged.value(KEY) == VALUES[top]
    assert [value for value, _ in merged.history[KEY]] == [VALUES[name] for name in kept]


def test_sources_are_named_as_a_user_knows_them(shelves):
    mine = shelves / "mine.yaml"
    mine.write_text(f"{KEY}: 7\n")
    request = Request("toy/catch", ["paper", str(mine)], [f"{KEY}=8"], {KEY: 9})
    merged = Stack(request).merge({KEY: 4})
    assert [source for _, source in merged.history[KEY]] == [
        "agent/v3.yaml",
        "env/toy.yaml",
        "protocol/v3/toy.yaml",
        MACHINE,
        "size/small.yaml (chosen by agent/v3.yaml)",
        "reference/paper.yaml",
        str(mine),
        f"{KEY}=8",
        "--warmup",
    ]


def test_a_folder_may_have_the_name_of_a_shelf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for shelf in ("agent", "size"):
        (tmp_path / shelf).mkdir()
        (tmp_path / shelf / "mine.yaml").write_text(f"{KEY}: 7\n")
        resolved = compose("toy/catch", config=[f"{shelf}/mine.yaml"])
        assert resolved.config.optim.warmup == 7
        assert [row.setting for row in resolved.report.rows] == [KEY]


def test_the_widths_of_a_file_that_chose_a_size_hold(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("size: 12m\nmodel: {units: 300}\n")
    model = compose("toy/catch", config=[mine]).config.model
    assert (model.deter, model.units) == (2048, 300)


def test_an_option_overrides_the_size_of_a_file_widths_included(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("size: 12m\nmodel: {units: 300}\n")
    resolved = compose("toy/catch", config=[mine], options={"size": "25m"})
    assert (resolved.config.size, resolved.config.model.units) == ("25m", 384)
    assert resolved.why("model.units").startswith(
        "model.units = 384, set by size/25m.yaml (chosen by --size)"
    )


def test_a_file_without_a_size_keeps_its_widths_under_an_option(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: {units: 300}\n")
    model = compose("toy/catch", config=[mine], options={"size": "25m"}).config.model
    assert (model.deter, model.units) == (3072, 300)


def test_a_key_beats_the_size_option():
    cfg = compose("toy/catch", overrides=["model.units=300"], options={"size": "25m"}).config
    assert (cfg.model.deter, cfg.model.units) == (3072, 300)


def test_a_size_by_key_expands_too():
    assert compose("toy/catch", overrides=["size=12m"]).config.model.deter == 2048


def test_env_options_merge_one_by_one():
    resolved = compose("atari/Pong", overrides=["env.sticky=0", "env.options.gray=false"])
    options = resolved.config.env.options
    assert (options["sticky"], options["gray"], options["size"]) == (0, False, 96)
    assert resolved.why("env.sticky") == (
        "env.options.sticky = 0, set by env.sticky=0\n  over 0.25 of env/atari.yaml"
    )


def test_why_of_a_key_that_nobody_set():
    assert compose().why("run.keep") == "run.keep = 3, set by default of the schema"


def test_why_of_a_wrong_key_names_the_nearest():
    with pytest.raises(UsageError, match=r"'optim.lrr' \(--why\). Did you mean 'optim.lr'"):
        compose().why("optim.lrr")


def test_every_key_has_a_source():
    from dreamer_plugin.config.fields import key_types

    history = compose("atari/Pong").history
    assert [key for key in key_types() if key not in history and key != "env.options"] == []


def test_env_ids_become_canonical():
    resolved = compose("PongNoFrameskip-v4")
    assert resolved.config.env.id == "atari/Pong"
    assert resolved.why("env.id") == "env.id = 'atari/Pong', set by --env"
    assert compose(overrides=["env.id=walker_walk"]).config.env.id == "dmc/walker-walk"


def test_the_env_of_a_file_counts(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("env: {id: atari/Pong, sticky: 0.5}\n")
    cfg = compose(config=[mine]).config
    assert (cfg.env.id, cfg.env.options["sticky"], cfg.run.steps) == (
        "atari/Pong",
        0.5,
        51_000_000,
    )
    assert compose("atari/Breakout", config=[mine]).config.env.id == "atari/Breakout"
    with pytest.raises(UsageError, match="--env asks for dmc/walker-walk, but .*atari/Pong"):
        compose("dmc/walker-walk", config=[mine])


def test_without_an_env_the_agent_stands_alone():
    cfg = compose(config=["v3"]).config
    assert (cfg.agent, cfg.env.id, cfg.model.deter, cfg.optim.lr) == ("v3", "", 8192, 4e-5)


def test_a_suite_of_another_package(monkeypatch):
    import dreamer_envs
    from dreamer_envs import registry

    monkeypatch.setattr(registry, "_SUITES", dict(registry._SUITES))
    dreamer_envs.register(
        dreamer_envs.SuiteSpec(
            name="theirs",
            summary="x",
            entry_point=lambda task, level=1: None,
            tasks=("one",),
            terminal_on_timeout=True,
        )
    )
    resolved = compose("theirs/one", overrides=["env.level=3"])
    assert resolved.config.env.options == {"level": 3}
    assert resolved.config.env.terminal_on_timeout is True
    assert "set by the suite theirs" in resolved.why("env.terminal_on_timeout")
    assert resolved.report.against == "agent/v3.yaml"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": ["v33"]}, "Unknown config 'v33'. Did you mean 'v3'?"),
        ({"overrides": ["agent=dreamer"]}, "Unknown agent 'dreamer'. Valid: v1, v2, v3, v3_2023, "),
        ({"config": ["none.yaml"]}, "Cannot read none.yaml"),
        ({"config": ["none/v3"]}, "Cannot read none/v3"),
        ({"overrides": ["toy/catch"]}, "For an env write --env toy/catch"),
        ({"overrides": ["=3"]}, "Expected key=value, got '=3'"),
        ({"overrides": ["run.logdir=${oc.env:HOME}"]}, "'${'"),
        ({"options": {"size": "1mm"}}, "Unknown size '1mm'. Did you mean '1m'?"),
    ],
)
def test_wrong_requests(arguments, message):
    with pytest.raises(UsageError) as caught:
        compose("toy/catch", **arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_two_agents_are_no_request():
    message = r"v1 \(agent/v1.yaml\) and v2 \(.*\) are 2 agents: take what is for one of them"
    for wrong in (["v1", "v2"], ["v1", "torchwm_v2"]):
        with pytest.raises(UsageError, match=message):
            compose("toy/catch", config=wrong)
    for right in (["v2", "v2"], ["v2", "torchwm_v2", "without_unimix"]):
        assert compose("toy/catch", config=right).config.agent == "v2"


@pytest.mark.parametrize("key", ["optim.critic.clip=1", "optim.anneal=3000", "optim.lr_end=0.5"])
def test_a_setting_without_effect_is_refused(tmp_path, key):
    mine = tmp_path / "mine.yaml"
    mine.write_text(key.replace("=", ": "))
    for wrong in ({"overrides": [key]}, {"config": [mine]}):
        with pytest.raises(UsageError, match=r"\), but does nothing with optim\.(groups|sched)"):
            compose("toy/reach", **wrong)


@pytest.mark.parametrize(
    "request_",
    [
        {"overrides": ["optim.groups=separate", "optim.actor.lr=1"]},
        {"overrides": ["optim.lr=1", "optim.actor.lr=1", "optim.critic.clip=0"]},
        {"overrides": ["optim.schedule=constant", "optim.anneal=0"]},
        {"config": ["v1"], "overrides": ["optim.groups=joint"]},
        {"config": ["mine.yaml"], "overrides": ["optim.groups=joint"]},
    ],
)
def test_a_setting_may_be_left_without_effect_on_purpose(tmp_path, monkeypatch, request_):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("optim: {groups: separate, actor: {lr: 1}}")
    compose("toy/catch", **request_)


def test_a_misspelt_env_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'toy/catch'"):
        compose("toy/cacth")


def test_a_task_may_have_a_protocol_of_its_own(shelves):
    (shelves / "protocol/v3/toy_catch.yaml").write_text(f"{KEY}: 55\n")
    found = {task: Stack(Request(env=f"toy/{task}")).protocol for task in ("catch", "recall")}
    assert found["catch"].values == {KEY: 55}
    assert found["recall"].values == {KEY: VALUES["protocol"]}

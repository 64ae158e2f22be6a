"""Each part that can be left out by a word is gone then, and nothing else is."""

import pytest
import torch

from dreamer_plugin.behavior.normalize import Identity, MeanStd, Percentile
from dreamer_plugin.config import changed_keys, compose, presets
from dreamer_plugin.config.fields import flatten
from dreamer_plugin.errors import UsageError
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.study.ablations import ABLATIONS, presets_of
from tests import tiny


def changed(part):
    preset = presets.get("ablation", ABLATIONS[part].preset)
    return flatten(preset.tree, preset.source)


def agents(part, disturbed=True):
    """The whole agent, and the one without a part, from the same seed."""
    values = {key.replace(".", "__"): value for key, value in changed(part).items()}
    made = tiny.agent if disturbed else fresh
    return made(None), made(tiny.setting(**values))


def fresh(change):
    return tiny.build_agent(tiny.config(change), tiny.spaces())


def losses(agent, batch=None):
    return agent.losses(agent.unroll_context(tiny.batch() if batch is None else batch)).each


def test_every_preset_is_a_part_and_every_part_a_preset():
    assert sorted(each.preset for each in ABLATIONS.values()) == presets.names("ablation")
    for part, each in ABLATIONS.items():
        assert each.preset == f"without_{part.replace('-', '_')}"


@pytest.mark.parametrize("part", ABLATIONS)
def test_a_word_changes_the_keys_of_its_file_alone(part):
    """In the agent of the published curves; keys whose value stays are written for other agents."""
    whole = compose("dmc/walker-walk", config=["v3_2024"]).config
    without = compose("dmc/walker-walk", config=["v3_2024", *presets_of(part)]).config
    found = {key: now for key, (_, now) in changed_keys([whole, without]).items()}
    assert found.pop("protocol") == "reduced"
    assert found and found.items() <= changed(part).items()
    assert changed(part).keys() - found.keys() <= {
        "loss_scales.dyn",
        "behavior.advantage_norm.limit",
        "behavior.advantage_norm.debias",
    }


def test_words_name_one_part_or_several():
    assert presets_of("two-hot") == ["without_two_hot"]
    assert presets_of("two-hot+symlog") == ["without_two_hot", "without_symlog"]
    with pytest.raises(UsageError, match="Unknown part to leave out 'two'.*Did you mean 'two-hot'"):
        presets_of("two")


def test_without_replay_value_its_loss_is_not_computed():
    whole, without = agents("replay-value")
    assert losses(whole).keys() - losses(without).keys() == {"repval"}
    assert losses(without).keys() <= losses(whole).keys()


def test_without_replay_context_stored_states_do_not_matter():
    """Of the first states, which no noise has reached yet."""
    other = tiny.batch()
    other["deter"] = other["deter"] + 1
    for agent, matters in zip(agents("replay-context"), (True, False), strict=True):
        first = [
            agent.world_losses(agent.unroll_context(batch))[0]["deter"][:, 0]
            for batch in (tiny.batch(), other)
        ]
        assert (not torch.equal(*first)) is matters


def test_without_return_norm_advantages_are_normalised_instead():
    """Returns a hundred times as large leave the scale at 1."""
    whole, without = (agent.behavior for agent in agents("return-norm"))
    kinds = [(type(b.return_norm), type(b.advantage_norm)) for b in (whole, without)]
    assert kinds == [(Percentile, Identity), (Identity, MeanStd)]
    returns = 100 * torch.randn(512, generator=torch.Generator().manual_seed(0))
    for _ in range(500):
        scale = whole.return_norm(returns)[1]
        advantage = without.advantage_norm(returns)[1]
    # Of a normal: 95 % - 5 % is 3.29 standard deviations; the average has 1 - 0.99^500 of it.
    assert scale.item() == pytest.approx(329, rel=0.1)
    assert without.return_norm(returns)[1].item() == 1.0
    assert advantage.item() == pytest.approx(100, rel=0.1)


def test_without_two_hot_rewards_and_values_are_one_number():
    whole, without = agents("two-hot")
    feat = torch.zeros(2, whole.world.rssm.feat_size)
    for agent, name in ((whole, "TwoHot"), (without, "SymexpMSE")):
        outputs = agent.world.reward(feat), agent.behavior.critic(feat)
        assert [type(each).__name__ for each in outputs] == [name, name]


def test_without_unimix_states_and_actions_can_be_certain():
    """Whole: at least 0.01 / 4 for each of four classes. Its actor has none to begin with."""
    raw = torch.tensor([500.0, 0.0, 0.0, 0.0]).repeat(4)
    for agent, least in zip(agents("unimix"), (0.01 / 4, 0.0), strict=True):
        probs = agent.world.rssm.latent.params(raw).exp()
        assert probs.min().item() == pytest.approx(least, abs=1e-7)
    assert changed("unimix")["behavior.actor.unimix"] == 0


def test_without_kl_balance_one_divergence_trains_both_sides_without_free_nats():
    """Balanced, `dyn` trains the prior alone and never falls below 1 nat.

    Sequences of one step, whose prior no posterior has reached.
    """
    batch = tiny.batch(length=1)
    assert losses(agents("kl-balance")[0]).keys() - losses(agents("kl-balance")[1]).keys() == {
        "rep"
    }
    for agent, floor in zip(agents("kl-balance", disturbed=False), (1.0, 0.0), strict=True):
        dyn = agent.world_losses(agent.unroll_context(batch))[1]["dyn"]
        assert (dyn.min().item() == 1.0) is bool(floor) and dyn.min().item() >= floor
    for agent, trains in zip(agents("kl-balance"), (False, True), strict=True):
        agent.world.rssm.free_nats = 0.0
        agent.world_losses(agent.unroll_context(batch))[1]["dyn"].mean().backward()
        sides = agent.world.rssm.posterior, agent.world.rssm.prior
        grads = [[param.grad for param in side.parameters()] for side in sides]
        moved = [any(g is not None and bool(g.abs().sum() > 0) for g in some) for some in grads]
        assert moved == [trains, True]


def test_without_symlog_vectors_are_seen_and_told_as_they_are():
    whole, without = agents("symlog")
    x = torch.tensor([[-1000.0, 0.5, 20.0]])
    for before, after in ((x, x), (x, symlog(x))):
        same = torch.equal(
            whole.world.encoder({"vector": before}), without.world.encoder({"vector": after})
        )
        assert same is (after is not before)
    batch = tiny.batch()
    batch["obs", "vector"] = 1000 * batch["obs", "vector"]
    told = [losses(agent, batch)["vector"].mean().item() for agent in (whole, without)]
    assert told[0] < 1e3 < 1e5 < told[1]


def test_a_word_that_is_like_none_is_told_all_and_not_a_guess():
    with pytest.raises(UsageError) as error:
        presets_of("foo")
    assert "Did you mean" not in str(error.value) and "replay-context" in str(error.value)

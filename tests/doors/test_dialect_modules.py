"""The documents' module-level snippets, run as they are written, and their values beside the core.

Snippets keep the documents' names and order of calls; `continue`, a word of Python, became
`continue_`. Numbers in comments were worked out by hand.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dreamer_plugin.doors import dialects
from dreamer_plugin.doors.dialects import modules_words
from dreamer_plugin.doors.dialects.modules import (
    RSSM,
    ActionDecoder,
    ActorCritic,
    ContinuePredictor,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    ReplayBuffer,
    RewardPredictor,
    WorldModel,
    compute_lambda_returns,
    ema_update,
    kl_balanced,
    symexp,
    symlog,
)
from dreamer_plugin.errors import UsageError
from dreamer_plugin.ops.divergence import balanced_kl, categorical_kl
from tests import tiny

SIZES = {"stoch_dim": 3, "num_categories": 4, "hidden_dim": 8}
THIN = {
    "model.hidden": 8,
    "model.units": 8,
    "world.encoder.units": 8,
    "world.decoder.units": 8,
}
B, T, H, A, O = 2, 5, 3, 2, 4  # noqa: E741


def world(**words):
    torch.manual_seed(0)
    made = WorldModel(O, action_dim=A, **{**SIZES, "parts": THIN, **words})
    tiny.disturb(made)
    return made


def behavior(rssm):
    torch.manual_seed(1)
    made = ActorCritic(rssm.feature_dim, action_dim=A, **SIZES, parts=THIN)
    tiny.disturb(made.actor)
    return made


def filled(model, episodes=3, frames=9, **options):
    buffer = ReplayBuffer(
        O, action_dim=A, seq_len=T, batch_size=B, buffer_size=200, world_model=model, **options
    )
    rng = np.random.default_rng(0)
    for _ in range(episodes):
        for step in range(frames):
            obs, action = rng.normal(size=O), rng.uniform(-1, 1, A)
            buffer.add(obs, action, rng.normal(), step == frames - 1)
    return buffer


# Document 001, section 5: the training loop.


class Countdown:
    """An env whose episodes last 8 steps."""

    def reset(self):
        self.left = 8
        return torch.randn(O)

    def step(self, action):
        assert action.shape == (1, A)
        self.left -= 1
        return torch.randn(O), float(action.detach().sum()), self.left == 0


def test_the_training_loop_of_001():
    wm = world()
    ac = behavior(wm.rssm)
    encoder, rssm, decoder = wm.encoder, wm.rssm, wm.decoder
    reward_predictor, continue_predictor = wm.reward_predictor, wm.continue_predictor
    actor, critic, target_critic = ac.actor, ac.critic, ac.target_critic
    mse, bce = F.mse_loss, F.binary_cross_entropy_with_logits
    collect_steps, imagination_horizon, ema_decay = 20, H, 0.98
    buffer = ReplayBuffer(O, action_dim=A, seq_len=T, batch_size=B, world_model=wm)
    env, past = Countdown(), [rssm.initial_state(1), torch.zeros(1, A)]
    obs = env.reset()

    def encode(obs):
        past[0], _, _ = rssm.observe_step(*past, encoder(obs[None]))
        return past[0]

    # Phase 1: Collect data
    for _step in range(collect_steps):
        action = actor(encode(obs))
        next_obs, reward, done = env.step(action)
        buffer.add(obs, action, reward, done)
        # What the document leaves out: the next frame, and a reset.
        obs, past[1] = next_obs, action
        if done:
            obs, past[:] = env.reset(), [rssm.initial_state(1), torch.zeros(1, A)]
    assert len(buffer) == 22  # two episodes of 8 transitions have 9 frames each, 4 follow

    # Phase 2: Train world model
    batch = buffer.sample()
    # Encode observations
    obs_embed = encoder(batch.obs)
    # Roll out RSSM
    h, z, prior, posterior = rssm.observe_sequence(obs_embed, batch.actions)
    # Predict
    reward_pred = reward_predictor([h, z])
    continue_pred = continue_predictor([h, z])
    obs_rec = decoder([h, z])
    assert reward_pred.shape == batch.rewards.shape == (B, T, 1)  # no broadcasting
    assert continue_pred.shape == batch.dones.shape and obs_rec.shape == batch.obs.shape
    # Losses
    L_rec = mse(symlog(batch.obs), obs_rec)
    L_rew = mse(symlog(batch.rewards), reward_pred)
    L_cont = bce(continue_pred, 1 - batch.dones)
    L_dyn = kl_balanced(posterior, prior)
    # Update
    (L_rec + L_rew + L_cont + L_dyn).backward()
    lacking = [name for name, p in wm.named_parameters() if p.grad is None]
    assert lacking == []

    # Phase 3: Train actor-critic in imagination
    # Sample starting states from real data
    start_states = buffer.sample_states()
    assert start_states["deter"].shape == (B * T, 8) and start_states["stoch"].shape == (B * T, 12)

    # Imagine trajectories
    imagined_states, rewards, continues = [], [], []
    state = start_states
    for _ in range(imagination_horizon):
        action = actor(state)
        next_state = rssm.imagine_step(state, action)
        reward = reward_predictor(next_state)
        continue_ = continue_predictor(next_state)

        imagined_states.append(next_state)
        rewards.append(symexp(reward))  # Back to normal space
        continues.append(torch.sigmoid(continue_))
        state = next_state

    # Compute lambda-returns
    target_values = target_critic(imagined_states)
    lambda_returns = compute_lambda_returns(rewards, continues, target_values)

    # Update critic
    values = critic(imagined_states[:-1])
    assert values.shape == lambda_returns.shape == (B * T, H - 1, 1)
    L_critic = mse(values, symlog(lambda_returns.detach()))
    L_critic.backward(retain_graph=True)
    assert all(p.grad is not None for p in critic.parameters())
    assert all(p.grad is None for p in target_critic.parameters())

    # Update actor (gradients through dynamics!)
    actor.zero_grad()
    L_actor = -symlog(lambda_returns).mean()
    L_actor.backward()  # Flows through: actor -> dynamics -> rewards
    assert all(p.grad.abs().sum() > 0 for p in actor.parameters())

    # Update target critic
    with torch.no_grad():
        for param in critic.parameters():
            param.add_(1)
    before = [p.clone() for p in target_critic.parameters()]
    ema_update(critic, target_critic, ema_decay)
    pairs = zip(before, critic.parameters(), target_critic.parameters(), strict=True)
    for old, param, new in pairs:
        torch.testing.assert_close(new, 0.98 * old + 0.02 * param)


# Document 001, section 6: the code walk-through.


class Walkthrough(SimpleNamespace):
    """The methods of the document's agent, on our modules."""

    def _imagine_trajectory(self, start_state):
        state = start_state
        features_list, reward_preds, continue_preds = [], [], []

        for _ in range(self.imagination_horizon):
            features = self.rssm.get_features(state)
            features_list.append(features)

            # Actor selects action
            dist = self.actor_critic.get_action_distribution(features)
            action = dist.rsample()  # Reparameterization trick

            # Imagine next state (prior only, no observation)
            state, _ = self.rssm.imagine_step(state, action)

            # Predict reward and continuation
            next_features = self.rssm.get_features(state)
            reward_pred = self.world_model.reward_predictor(next_features)
            continue_pred = torch.sigmoid(self.world_model.continue_predictor(next_features))

            reward_preds.append(reward_pred)
            continue_preds.append(continue_pred)

        # Bootstrap value
        features_list.append(self.rssm.get_features(state))

        return {
            "features": torch.stack(features_list, dim=1),
            "rewards": torch.stack(reward_preds, dim=1),
            "continues": torch.stack(continue_preds, dim=1),
        }

    def _compute_actor_loss(self, start_state):
        # Imagine trajectory (actor gradients flow through dynamics)
        imagined = self._imagine_trajectory(start_state)

        # Convert from symlog space
        rewards = symexp(imagined["rewards"].squeeze(-1))
        continues = imagined["continues"].squeeze(-1)

        # Get target values (no gradient)
        with torch.no_grad():
            target_values = self.actor_critic.get_target_value(imagined["features"])

        # Compute lambda-returns (gradients flow through rewards!)
        lambda_returns = compute_lambda_returns(
            rewards, continues, target_values, self.gamma, self.lambda_
        )

        # Discount weighting
        weights = torch.cumprod(
            torch.cat([torch.ones_like(continues[:, :1]), continues[:, :-1]], dim=1), dim=1
        )

        # Actor loss: maximize discounted lambda-returns
        actor_loss = -(weights * symlog(lambda_returns)).mean()
        assert lambda_returns.shape == weights.shape == (B, self.imagination_horizon)

        return actor_loss


@pytest.mark.parametrize("horizon", [1, H])
def test_the_walkthrough_of_001_reaches_the_actor_through_the_dynamics(horizon):
    wm = world()
    ac = behavior(wm.rssm)
    agent = Walkthrough(
        rssm=wm.rssm,
        world_model=wm,
        actor_critic=ac,
        imagination_horizon=horizon,
        gamma=0.997,
        lambda_=0.95,
    )
    start = {"deter": torch.ones(B, 8), "stoch": torch.ones(B, 12)}
    agent._compute_actor_loss(start).backward()
    assert all(p.grad.abs().sum() > 0 for p in ac.actor.parameters())


def test_gradients_through_the_dynamics_of_001():
    wm = world()
    ac = behavior(wm.rssm)
    agent = Walkthrough(rssm=wm.rssm, world_model=wm, actor_critic=ac, imagination_horizon=H)
    start = {"deter": torch.ones(B, 8), "stoch": torch.ones(B, 12)}

    def imagine(actor, dynamics):
        assert (actor, dynamics) == (agent.actor_critic.actor, agent.rssm)
        return agent._imagine_trajectory(start)

    def lambda_returns(imagined):
        rewards, continues = symexp(imagined["rewards"]), imagined["continues"]
        with torch.no_grad():
            values = ac.get_target_value(imagined["features"]).unsqueeze(-1)
        return compute_lambda_returns(rewards, continues, values)

    actor, dynamics = ac.actor, wm.rssm
    # WRONG: No gradient through dynamics
    with torch.no_grad():
        imagined_trajectory = imagine(actor, dynamics)
    actor_loss = -lambda_returns(imagined_trajectory)
    assert not actor_loss.requires_grad

    # CORRECT: Gradient flows through dynamics
    imagined_trajectory = imagine(actor, dynamics)  # No detach!
    actor_loss = -lambda_returns(imagined_trajectory)
    actor_loss.mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in actor.parameters())


def test_observe_step_is_the_cores_filter_step():
    rssm = world().rssm
    core, rng = rssm.part, torch.Generator().manual_seed(2)
    start = {"deter": torch.randn(B, 8, generator=rng), "stoch": torch.rand(B, 12, generator=rng)}
    action, embed = torch.randn(B, A, generator=rng), torch.randn(B, 8, generator=rng)
    noise = torch.rand(B, *rssm.noise_shape, generator=rng)

    new_state, prior_logits, posterior_logits = rssm.observe_step(start, action, embed, noise)

    stoch = start["stoch"].view(B, 3, 4)
    no = torch.zeros(B, dtype=torch.bool)
    deter, post = core.filter_step(start["deter"], stoch, core.core.embed_action(action), embed, no)
    assert set(new_state) == {"deter", "stoch"}
    assert torch.equal(new_state["deter"], deter) and torch.equal(posterior_logits, post)
    assert torch.equal(new_state["stoch"], core.latent.sample(post, noise).flatten(1))
    assert torch.equal(prior_logits, core.latent.params(core.prior(deter)))
    assert prior_logits.shape == posterior_logits.shape == (B, 3, 4)
    # 002: "torch.cat([one_hot(logits[i]) for i in range(num_categories)], dim=-1)"
    chosen = new_state["stoch"].view(B, 3, 4).argmax(-1)
    again = torch.cat([F.one_hot(chosen[:, i], 4) for i in range(3)], dim=-1)
    assert torch.equal(again.float(), new_state["stoch"])


def test_imagine_step_is_the_cores_and_its_pair_is_a_state():
    rssm = world().rssm
    start, action = rssm.initial_state(B), torch.ones(B, A)
    noise = torch.rand(B, *rssm.noise_shape)
    state, prior_logits = pair = rssm.imagine_step(start, action, noise)
    deter, stoch = rssm.part.imagine_step(*rssm.part.initial(B), action, noise)
    assert torch.equal(state["deter"], deter) and torch.equal(state["stoch"], stoch.flatten(1))
    assert torch.equal(prior_logits, rssm.part.latent.params(rssm.part.prior(deter)))
    feat = rssm.part.feat(deter, stoch)
    assert torch.equal(rssm.get_features(state), feat) and torch.equal(
        rssm.get_features(pair), feat
    )


def test_a_sequence_is_its_steps_with_actions_one_frame_later():
    rssm = world().rssm
    embed, actions = torch.randn(B, T, 8), torch.randn(B, T, A)
    noise = torch.rand(B, T, *rssm.noise_shape)
    h, z, prior, posterior = rssm.observe_sequence(embed, actions, noise=noise)
    state, led = rssm.initial_state(B), torch.zeros(B, A)
    for t in range(T):
        state, p, q = rssm.observe_step(state, led, embed[:, t], noise[:, t])
        led = actions[:, t]
        for whole, step in ((h, state["deter"]), (z, state["stoch"]), (prior, p), (posterior, q)):
            torch.testing.assert_close(whole[:, t], step)

    first = {"deter": h[:, 1], "stoch": z[:, 1]}
    rest = rssm.observe_sequence(
        embed[:, 2:], prev_actions=actions[:, 1:-1], state=first, noise=noise[:, 2:]
    )
    for whole, part in zip((h, z, prior, posterior), rest, strict=True):
        torch.testing.assert_close(whole[:, 2:], part)


def test_is_first_forgets():
    rssm = world().rssm
    embed, actions, noise = torch.randn(1, 4, 8), torch.randn(1, 4, A), torch.rand(1, 4, 3)
    is_first = torch.tensor([[True, False, True, False]])
    together = rssm.observe_sequence(embed, actions, is_first=is_first, noise=noise)
    alone = rssm.observe_sequence(embed[:, 2:], actions[:, 2:], noise=noise[:, 2:])
    for whole, part in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[:, 2:], part)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either actions"),
        ({"actions": torch.zeros(1, 1, A), "prev_actions": torch.zeros(1, 1, A)}, "either actions"),
        ({"actions": torch.zeros(1, 1, A), "state": {}}, "prev_actions="),
    ],
)
def test_actions_of_unclear_time_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        world().rssm.observe_sequence(torch.zeros(1, 1, 8), **arguments)


# Words of the constructors.


def shape(rssm):
    return type(rssm.part.core).__name__, rssm.part.core.deter, tuple(rssm.part.latent.shape)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"hidden_dim": 16, "stoch_dim": 3, "num_categories": 4}, ("PlainGRU", 16, (3, 4))),
        ({"deter_dim": 16, "stoch_dim": 3, "stoch_classes": 4}, ("GRU", 16, (3, 4))),
        ({"deter_size": 16, "stoch_size": 3}, ("PlainGRU", 16, (3,))),
        ({"deter_size": 16, "stoch_size": 3, "num_categories": 4}, ("GRU", 16, (4, 3))),
        ({"hidden_dim": 16, "stoch_dim": 3, "dialect": "seed003"}, ("GRU", 16, (3, 32))),
        ({"hidden_dim": 16, "num_categories": 4, "dialect": "nexus"}, ("PlainGRU", 16, (32, 4))),
    ],
    ids=["nexus", "rlox", "torchwm v1", "torchwm v2", "seed003", "named"],
)
def test_each_dialects_words_make_its_rssm(words, expected):
    made = RSSM(action_size=A, obs_embed_size=8, parts={"model.hidden": 8}, **words)
    assert shape(made) == expected


def test_defaults_are_the_documents():
    nexus = RSSM(action_dim=A, embed_dim=8)
    assert shape(nexus) == ("PlainGRU", 512, (32, 32))  # 001, "Hyperparameters"
    walker = RSSM(action_dim=A, embed_dim=8, dialect="seed003")
    assert shape(walker) == ("GRU", 512, (32, 32)) and walker.feature_dim == 1536  # 003, diagram
    assert walker.part.latent.gradient == "gumbel"
    old = RSSM(action_size=A, obs_embed_size=1024, stoch_size=30)
    assert shape(old) == ("PlainGRU", 200, (30,))  # 002, "Key Hyperparameters"


@pytest.mark.parametrize("dialect", modules_words.DIALECTS)
def test_every_dialect_makes_a_whole_world(dialect):
    words = {"num_categories": 3} if dialect == "torchwm_v2" else {}
    said = {"dialect": dialect, "parts": {**THIN, "model.deter": 16}, **words}
    wm = WorldModel(O, action_dim=A, **said)
    ac = ActorCritic(wm.rssm.feature_dim, action_dim=A, **said)
    start = wm.rssm.initial_state(B)
    state, prior, posterior = wm.rssm.observe_step(start, torch.zeros(B, A), torch.ones(B, 8))
    assert prior.shape == posterior.shape and wm.decoder(state).shape == (B, O)
    assert wm.encoder(torch.zeros(B, O)).shape == (B, 8)
    assert wm.reward_predictor(state).shape == (B, 1)
    assert (wm.continue_predictor is None) == (dialect == "torchwm_v1")  # 002: no such head
    assert ac.get_target_value(wm.rssm.imagine_step(state, ac.actor(state))).shape == (B,)


def test_gaussian_logits_are_mean_and_deviation():
    rssm = RSSM(action_size=A, obs_embed_size=8, stoch_size=3, deter_size=16, hidden_size=8)
    state, prior, posterior = rssm.observe_step(
        rssm.initial_state(B), torch.zeros(B, A), torch.ones(B, 8), torch.full((B, 3), 0.5)
    )
    mean, std = posterior.chunk(2, -1)
    assert prior.shape == (B, 6) and torch.distributions.Normal(mean, std).batch_shape == (B, 3)
    torch.testing.assert_close(state["stoch"], mean)  # a half is the median


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"num_categories": 4}, "'num_categories' is model.classes to nexus and model.groups to"),
        ({"stoch_dims": 4}, "'stoch_dims'. Did you mean 'stoch_dim'"),
        ({"deter_dim": 8, "hidden_dim": 8}, "no dialect has all of these arguments"),
        ({"deter_dim": 8, "dialect": "nexus"}, "Unknown argument 'deter_dim'"),
        ({"dialect": "torchw"}, "Did you mean 'torchwm_v"),
        ({"action_size": 3}, "'action_dim' and 'action_size' say the same"),
        ({"parts": {"world.core.kin": "gru"}}, "Did you mean 'world.core.kind'"),
    ],
)
def test_unclear_words_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        RSSM(action_dim=A, embed_dim=8, **words)


def test_missing_sizes_are_asked_for():
    with pytest.raises(UsageError, match="embed_dim="):
        RSSM(action_dim=A)
    with pytest.raises(UsageError, match="obs_shape"):
        WorldModel(action_dim=A)
    with pytest.raises(UsageError, match="feature_dim"):
        RewardPredictor()
    with pytest.raises(UsageError, match="leave stoch_dim out"):
        RSSM(part=world().rssm.part, stoch_dim=3)


# Document 001, sections 2.3, 7 and 10.2: functions and predictors.


def test_lambda_returns_by_hand():
    rewards, values = torch.tensor([[1.0, 2.0]]), torch.tensor([[9.0, 4.0, 10.0]])
    continues = torch.tensor([[0.5, 1.0]])
    returns = compute_lambda_returns(rewards, continues, values, 0.9, 0.5)
    # V1 = 2 + 0.9 * 10 = 11;  V0 = 1 + 0.9 * 0.5 * (0.5 * 4 + 0.5 * 11) = 4.375
    torch.testing.assert_close(returns, torch.tensor([[4.375, 11.0]]))
    # As many rewards as values: the last has no state after it. Lists stand for time.
    rewards = [torch.tensor([r]) for r in (1.0, 2.0, 99.0)]
    continues = [torch.tensor([c]) for c in (0.5, 1.0, 99.0)]
    again = compute_lambda_returns(rewards, continues, values, gamma=0.9, lambda_=0.5)
    torch.testing.assert_close(again, returns)
    # 000 and 002's first form know no continuation: V1 = 11, V0 = 1 + 0.9 * 7.5 = 7.75
    plain = compute_lambda_returns(rewards, None, values, 0.9, 0.5)
    torch.testing.assert_close(plain, torch.tensor([[7.75, 11.0]]))


@pytest.mark.parametrize("sizes", [(2, 2, 4), (3, 2, 3), (2, 2, 1), (1, 1, 3)])
def test_lengths_that_do_not_fit_are_refused(sizes):
    with pytest.raises(UsageError, match="do not go together"):
        compute_lambda_returns(*(torch.zeros(1, n) for n in sizes))


def test_symlog_and_symexp():
    x = torch.tensor([-1e6, -1.0, 0.0, 0.5, 300.0], dtype=torch.float64)
    torch.testing.assert_close(symlog(x), torch.sign(x) * torch.log(torch.abs(x) + 1))
    torch.testing.assert_close(symexp(symlog(x)), x)
    features, true_reward = torch.randn(B, 20), torch.tensor([[3.0], [-200.0]])
    reward_net = RewardPredictor(20, **SIZES, parts=THIN)
    # Predict
    reward_pred_symlog = reward_net(features)
    # Loss
    loss = F.mse_loss(reward_pred_symlog, symlog(true_reward))
    # Use
    reward = symexp(reward_pred_symlog)
    assert reward.shape == (B, 1)
    # One step of the head's own loss, a sum over no axis, is the same.
    torch.testing.assert_close(reward_net.part(features).loss(true_reward[:, 0]).mean(), loss)


def test_a_two_hot_reward_is_handed_over_in_symlog_space_too():
    agent = tiny.agent()
    predictor = RewardPredictor(part=agent.world.reward)
    feat = torch.randn(B, agent.world.rssm.feat_size)
    raw = agent.world.reward(feat).pred()
    torch.testing.assert_close(symexp(predictor(feat)).squeeze(-1), raw)


def test_reward_predictors_in_a_module_dict():
    feature_dim, task_ids = 20, ("walk", "run")
    reward_predictors = nn.ModuleDict(
        {task_id: RewardPredictor(feature_dim) for task_id in task_ids}
    )
    features = torch.randn(B, feature_dim)
    walk, run = (reward_predictors[task_id](features) for task_id in task_ids)
    assert walk.shape == run.shape == (B, 1)
    assert parameters(reward_predictors) == 2 * parameters(RewardPredictor(feature_dim))


def test_predictors_take_states_in_every_form():
    rssm = world().rssm
    predictor = ContinuePredictor(rssm.feature_dim, **SIZES, parts=THIN)
    pair = rssm.imagine_step(rssm.initial_state(B), torch.ones(B, A))
    state = pair[0]
    expected = predictor(rssm.get_features(state))
    for form in (state, pair, [state["deter"], state["stoch"]], (state["deter"], state["stoch"])):
        torch.testing.assert_close(predictor(form), expected)
    dream = predictor([state, pair])
    torch.testing.assert_close(dream, torch.stack([expected, expected], 1))
    with pytest.raises(UsageError, match="no states"):
        predictor([])
    with pytest.raises(UsageError, match="'deter' and 'stoch'"):
        predictor({"deter": state["deter"]})


def test_free_nats_and_balancing_of_001():
    torch.manual_seed(0)
    q, p = torch.randn(B, T, 3, 4, requires_grad=True), torch.randn(B, T, 3, 4)
    free_nats, kl_balance = 1.0, 0.8
    Categorical, kl_divergence = torch.distributions.Categorical, torch.distributions.kl_divergence
    posterior, prior = Categorical(logits=q), Categorical(logits=p)

    def kl(a, b):
        kl_post = kl_divergence(a, b).sum(dim=-1)
        return torch.clamp(kl_post, min=free_nats).mean()

    kl_loss = kl_balance * kl(posterior, prior) + (1 - kl_balance) * kl(prior, posterior)
    torch.testing.assert_close(kl_balanced(q, p), kl_loss)


def test_the_other_balancing_is_that_of_000():
    torch.manual_seed(0)
    q, p = (2 * torch.randn(B, 3, 4)).requires_grad_(), torch.randn(B, 3, 4).requires_grad_()
    loss = kl_balanced(q, p, form="balanced")
    dyn, rep = balanced_kl(categorical_kl, q.log_softmax(-1), p.log_softmax(-1), 1.0)
    expected = (0.8 * dyn + 0.2 * rep).mean()
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, (q, p)), torch.autograd.grad(expected, (q, p)), strict=True
    ):
        assert ours.abs().sum() > 0
        torch.testing.assert_close(ours, theirs)


def test_ema_update_is_the_loop_of_001():
    critic = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    target_critic = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    by_hand, ema_decay = copy.deepcopy(target_critic), 0.98
    for param, target_param in zip(critic.parameters(), by_hand.parameters(), strict=True):
        target_param.data.copy_(ema_decay * target_param.data + (1 - ema_decay) * param.data)
    ema_update(critic, target_critic, ema_decay)
    for ours, theirs in zip(target_critic.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(UsageError, match="deepcopy"):
        ema_update(critic, nn.Linear(3, 2), ema_decay)
    with pytest.raises(UsageError, match="decay is 98"):
        ema_update(critic, target_critic, 98)


# Document 002: its classes by name.


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_conv_encoder_and_decoder_of_002():
    encoder = ConvEncoder()
    maps = [(3, 32), (32, 64), (64, 128), (128, 256)]  # 4x4 filters and a bias each
    convs = sum(a * b * 16 + b for a, b in maps)
    assert parameters(encoder) == convs + 1024 * 1024 + 1024
    image = torch.randint(0, 256, (B, 1, 3, 64, 64), dtype=torch.uint8)
    embed = encoder(image)
    assert embed.shape == (B, 1, 1024)
    assert torch.equal(embed, encoder(image / 255))
    own = encoder.part((image[:, 0].permute(0, 2, 3, 1) / 255).contiguous())
    torch.testing.assert_close(embed[:, 0], own)

    decoder = ConvDecoder(stoch_size=30, deter_size=200)
    maps = [(1024, 128, 25), (128, 64, 25), (64, 32, 36), (32, 3, 36)]
    convs = sum(a * b * k + b for a, b, k in maps)
    assert parameters(decoder) == 230 * 1024 + 1024 + convs
    features = torch.randn(B, 1, 230)
    rebuilt = decoder(features)
    assert rebuilt.shape == (B, 1, 3, 64, 64)
    own = decoder.part(features[:, 0, :200], features[:, 0, 200:])
    torch.testing.assert_close(rebuilt[:, 0], own.permute(0, 3, 1, 2))
    torch.testing.assert_close(encoder(image[0, 0]), embed[0, 0])  # one image without a batch
    torch.testing.assert_close(decoder(features[0, 0]), rebuilt[0, 0])


def test_dense_decoder_of_002():
    features = torch.randn(B, T, 230)
    reward_head, discount_head = DenseDecoder(30, 200), DenseDecoder(30, 200, (1,), dist="binary")
    assert parameters(reward_head) == 230 * 400 + 400 + 400 * 400 + 400 + 401  # two layers
    assert [type(m).__name__ for m in reward_head.modules()].count("ELU") == 2
    r_hat, reward = reward_head(features), torch.randn(B, T, 1)
    assert r_hat.mean.shape == (B, T, 1)
    exact = torch.distributions.Normal(r_hat.mean, 1).log_prob(reward).squeeze(-1)
    torch.testing.assert_close(r_hat.log_prob(reward), exact)
    gamma_hat, gamma = discount_head(features), torch.randint(0, 2, (B, T, 1)).float()
    bce = F.binary_cross_entropy(gamma_hat.mean, gamma, reduction="none").squeeze(-1)
    torch.testing.assert_close(-gamma_hat.log_prob(gamma), bce)
    two_hot = DenseDecoder(32, 200, (), dist="twohot", num_buckets=255, num_categories=32)
    output = two_hot(torch.randn(B, 1224))
    assert output.mean.shape == (B,) and two_hot.part.layer.linear.out_features == 255
    assert (two_hot.part.layer.bins[0], two_hot.part.layer.bins[-1]) == (-10, 10)
    with pytest.raises(UsageError, match="one number"):
        DenseDecoder(30, 200, (3,))


def test_action_decoder_of_002():
    torch.manual_seed(0)
    features = torch.randn(500, 20)
    policy = ActionDecoder(A, 4, 16, units=8)
    dist = policy(features)
    action = dist.rsample()
    assert action.shape == (500, A) and action.abs().max() <= 1 and action.requires_grad
    assert not dist.sample().requires_grad
    action = dist.sample().clamp(-0.99, 0.99)
    before = dist.part.parts[0].before
    tanh = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(before.mean, before.std), torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(dist.log_prob(action), tanh.log_prob(action).sum(-1))
    choice = ActionDecoder(3, 4, 16, units=8, discrete=True)(features)
    one_hot = choice.sample()
    assert torch.equal(one_hot.sum(-1), torch.ones(500)) and one_hot.shape == (500, 3)
    exact = torch.distributions.OneHotCategorical(probs=choice.part.parts[0].probs.squeeze(-2))
    torch.testing.assert_close(choice.log_prob(one_hot), exact.log_prob(one_hot))
    torch.testing.assert_close(choice.entropy(), exact.entropy())
    assert torch.equal(choice.mode.argmax(-1), exact.probs.argmax(-1))


# The buffer: what it puts beside which frame.


def numbered(**options):
    """Two episodes of 3 transitions; frame, action and reward carry their number."""
    buffer = ReplayBuffer(1, action_size=1, train_seq_len=3, capacity=50, **options)
    for episode in (0, 10):
        for k in range(3):
            last = k == 2
            frame = episode + k
            buffer.add([frame], [frame], frame + 1, done=last, next_obs=[frame + 1])
    return buffer


def test_rewards_and_ends_stand_beside_the_frame_that_they_led_to():
    batch = numbered(batch_size=40).sample()
    assert batch.obs.shape == (40, 3, 1)
    frame = batch.obs
    inner = (frame % 10 > 0) & (frame % 10 < 3)
    assert torch.equal(batch.rewards, torch.where(frame % 10 > 0, frame, 0.0))
    assert torch.equal(batch.actions[inner], frame[inner])
    last = frame % 10 == 3  # kept, though it was never the `obs` of an `add`
    assert last.any() and torch.equal(batch.dones, last.float())
    assert torch.equal(batch.actions[last], torch.zeros(int(last.sum())))
    assert torch.equal(batch.is_first, torch.tensor([[True, False, False]]).expand(40, 3))


def test_windows_cross_episodes_and_say_so():
    batch = numbered(sampling="windows", batch_size=60).sample()
    crossing = batch.obs[:, 1, 0] == 10
    assert crossing.any() and batch.is_first[crossing, 1].all()


def test_a_limit_is_no_end_and_a_missing_last_frame_is_the_one_before():
    buffer = ReplayBuffer(1, action_dim=3, discrete=True, seq_len=2, buffer_size=50, batch_size=30)
    buffer.add([1.0], 2, 0.5, done=False)
    buffer.add([2.0], 0, 0.25, done=False, truncated=True)
    assert len(buffer) == 3
    batch = buffer.sample()
    assert not batch.dones.any()
    last = batch.rewards[..., 0] == 0.25
    assert last.any() and (batch.obs[last] == 2).all()
    first = (batch.obs[..., 0] == 1) & ~last
    assert torch.equal(batch.actions[first][0], torch.tensor([0.0, 0.0, 1.0]))


def test_what_replay_would_cut_to_zeros_is_refused():
    images = ReplayBuffer((8, 8, 3), action_dim=2, discrete=True, seq_len=2, buffer_size=50)
    images.add(np.full((8, 8, 3), 7.0), 1, 0.0, done=False)
    with pytest.raises(UsageError, match=r"this one has 0.7 to 0.7: add\(obs \* 255\)"):
        images.add(np.full((8, 8, 3), 0.7), 1, 0.0, done=False)
    with pytest.raises(UsageError, match="action 2 is none of 0 to 1"):
        images.add(np.zeros((8, 8, 3), np.uint8), 2, 0.0, done=False)


def test_sample_states_needs_a_model_and_keeps_no_graph():
    model = world()
    states = filled(model, sampling="windows").sample_states()
    assert states["deter"].shape == (B * T, 8) and not states["deter"].requires_grad
    with pytest.raises(UsageError, match="world_model="):
        filled(None).sample_states()
    with pytest.raises(UsageError, match="action_dim="):
        ReplayBuffer(O)


# A trained agent's parts in this dress.


def test_a_world_of_ours_as_a_world_model():
    agent = tiny.agent()
    model = WorldModel(part=agent.world)
    assert model.part is agent.world
    assert parameters(model) == parameters(agent.world)
    obs = torch.randn(B, 3)
    embed = model.encoder(obs)
    torch.testing.assert_close(embed, agent.world.encode({"vector": obs}))
    state, _, _ = model.rssm.observe_step(model.rssm.initial_state(B), torch.zeros(B, 5), embed)
    outputs = agent.world.decoder(state["deter"], state["stoch"])
    torch.testing.assert_close(model.decoder(state), outputs["vector"].pred())
    critic = ActorCritic(part=agent.behavior)
    value = critic.get_target_value(state)
    torch.testing.assert_close(value, agent.behavior.slow(model.rssm.get_features(state)).pred())


def test_an_image_world_reconstructs_the_symlog_of_bytes():
    model = WorldModel((64, 64, 3), action_dim=A, **SIZES, parts={**THIN, "model.depth": 2})
    image = torch.randint(0, 256, (B, 64, 64, 3), dtype=torch.uint8)
    state, _, _ = model.rssm.observe_step(
        model.rssm.initial_state(B), torch.zeros(B, A), model.encoder(image)
    )
    rebuilt = model.decoder(state)
    outputs = model.part.decoder(state["deter"], state["stoch"])
    assert rebuilt.shape == image.shape
    torch.testing.assert_close(symexp(rebuilt) / 255, outputs["obs"].pred(), atol=1e-5, rtol=1e-4)


def test_the_room_hands_the_names_out():
    assert dialects.RSSM is RSSM and dialects.compute_lambda_returns is compute_lambda_returns
    assert {"WorldModel", "ema_update"} <= set(dir(dialects))

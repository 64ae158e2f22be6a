"""The world model: core, filtering, episode starts, losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn
from torchrl.modules import DreamerV3ImageEncoder, DreamerV3MLP, RSSMPriorV3, RSSMRolloutV3
from torchrl.objectives import DreamerV3ModelLoss

from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.interop.torchrl_weights import to_torchrl
from dreamer_plugin.nets.codec import ImageOutput
from dreamer_plugin.nets.layers import BlockLinear, Linear
from dreamer_plugin.nets.vision import Conv
from dreamer_plugin.ops.distributions import mix_uniform
from dreamer_plugin.ops.scaling import symexp
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.rssm import RSSM, Scan, plain_scan
from dreamer_plugin.world.scan import DeferredScan

from .. import tiny
from .torchrl_parts import agent, same, same_gradients

B, T, D, S, K, E, A = 3, 7, 16, 3, 4, 5, 2


def make_rssm() -> RSSM:
    made = RSSM(BlockGRU(D, S * K, A, 8, blocks=2), CategoricalLatent(S, K), E, 8)
    tiny.disturb(made)
    return made


def sequences(seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    is_first = torch.zeros(B, T, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 3] = is_first[2, 6] = True
    shapes = {"embed": (B, T, E), "action": (B, T, A), "deter": (B, D), "stoch": (B, S, K)}
    data = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return data | {"is_first": is_first, "uniform": torch.rand(T, 2, B, S, generator=rng)}


def observe(rssm: RSSM, data: dict[str, Tensor]) -> TensorDict:
    """TorchRL draws two numbers for each step and throws the prior's away."""
    noise = data["uniform"][:, 1].transpose(0, 1)
    start = data["deter"], data["stoch"]
    return rssm.observe(data["embed"], data["action"], data["is_first"], start, noise)


def rollout(
    module: RSSMRolloutV3, data: dict[str, Tensor], monkeypatch: Any, action_key: str = "action"
) -> TensorDict:
    """TorchRL's filtering of the same records, with the same uniform numbers.

    Args:
        monkeypatch: puts the numbers in place of `torch.rand`, drawn at once or one step at a time.
    """
    steps: Iterator[Tensor] = iter(data["uniform"].flatten(0, 1))

    def rand(*shape: Any, device: Any = None) -> Tensor:
        return data["uniform"] if shape == tuple(data["uniform"].shape) else next(steps)

    records = {
        "state": data["stoch"].flatten(1)[:, None].expand(B, T, -1),
        "belief": data["deter"][:, None].expand(B, T, -1),
        action_key: data["action"],
        "is_init": data["is_first"][..., None],
        "next": {"encoded_latents": data["embed"]},
    }
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", rand)
        return module(TensorDict(records, [B, T]))["next"]


def rewired(module: RSSMRolloutV3, logits: str, action_key: str) -> RSSMRolloutV3:
    """The same modules under other keys."""
    prior = TensorDictModule(
        module.rssm_prior.module,
        in_keys=["state", "belief", action_key],
        out_keys=[("next", logits), ("next", "state"), ("next", "belief")],
    )
    return RSSMRolloutV3(prior, module.rssm_posterior)


@pytest.mark.parametrize(
    ("scan", "logits", "action_key", "tensors"),
    [
        (plain_scan, "prior_logits", "action", True),
        (plain_scan, "prior_logits", "led_here", True),
        (plain_scan, "p", "action", False),  # keys it does not know: a TensorDict for each step
        (plain_scan, "p", "led_here", False),
        (DeferredScan(), "prior_logits", "action", True),
    ],
)
def test_filtering_and_its_gradients(
    scan: Scan, logits: str, action_key: str, tensors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, data = make_rssm(), sequences()
    ours.scan = scan
    theirs = rewired(to_torchrl(ours), logits, action_key)
    assert theirs._fast_path == tensors
    states = observe(ours, data)
    out = rollout(theirs, data, monkeypatch, action_key)
    prior, posterior = (mix_uniform(out[key], 0.01) for key in (logits, "posterior_logits"))
    assert torch.equal(states["stoch"].flatten(2).round(), out["state"].round())
    same(states["deter"], out["belief"])
    same(states["prior"], prior)
    same(states["post"], posterior)

    weigh = sequences(1)["embed"][..., :1]
    total = sum((weigh * states[k].flatten(2)).sum() for k in ("deter", "stoch", "prior", "post"))
    total.backward()
    parts = out["belief"], out["state"], prior.flatten(2), posterior.flatten(2)
    sum((weigh * part).sum() for part in parts).backward()
    same_gradients(ours, theirs, 1e-4)


def test_actions_beyond_the_border() -> None:
    """Both put elements beyond [-1, 1] on it, with the gradient 1 / |a|."""
    ours = make_rssm()
    core, theirs = ours.core, to_torchrl(ours).rssm_prior.module.rnn
    grads, values = [], []
    for step in (
        lambda h, z, a: core(h, z, core.embed_action(a)),
        lambda h, z, a: theirs(z, h, a),
    ):
        action = torch.tensor([[3.0, -0.5], [-4.0, 1.0]], requires_grad=True)
        values.append(step(torch.ones(2, D), torch.ones(2, S * K), action))
        grads.append(torch.autograd.grad(values[-1].sum(), action)[0])
    same(*values)
    same(*grads)
    on_the_border = core(
        torch.ones(2, D),
        torch.ones(2, S * K),
        core.embed_action(torch.tensor([[1.0, -0.5], [-1.0, 1.0]])),
    )
    same(values[0], on_the_border)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: Linear(64, 512), lambda: DreamerV3MLP(64, 512, depth=0).model[0]),
        (lambda: Linear(64, 512, 0.01), lambda: DreamerV3MLP(64, 512, 0, outscale=0.01).model[0]),
        (
            # Their fan-in is the whole input too, not a block's share.
            lambda: BlockLinear(256 + 4 * 3 * 32, 256, 4),
            lambda: RSSMPriorV3(
                action_shape=(2,),
                action_dim=2,
                hidden_dim=32,
                rnn_hidden_dim=256,
                recurrent_model="block_gru",
                num_blocks=4,
            ).rnn.hidden_layers[0],
        ),
        (
            lambda: Conv(16, 64, 5, 2),
            lambda: DreamerV3ImageEncoder(16, depth=64, mults=(1,)).layers[0],
        ),
    ],
)
def test_fresh_weights(ours: Any, theirs: Any) -> None:
    """Truncated normals of one standard deviation and one bound, over the fan-in; biases zero."""
    torch.manual_seed(0)
    first, second = ours(), theirs()
    assert first.weight.shape == second.weight.shape
    assert float(first.weight.detach().std() / second.weight.detach().std()) == pytest.approx(
        1, abs=0.03
    )
    assert float(first.weight.detach().max() / second.weight.detach().max()) == pytest.approx(
        1, abs=0.03
    )
    assert not first.bias.any() and not second.bias.any()


# One episode in TorchRL's layout, o0 -a0-> (r1 o1) -a1-> (r2 o2) ..., with marks on its first step.


def transitions(steps: int = 4) -> TensorDict:
    rng = torch.Generator().manual_seed(0)
    obs = torch.randn(1, steps + 1, 3, generator=rng)
    flags = torch.zeros(1, steps, 1, dtype=torch.bool)
    is_init, done = flags.clone(), flags.clone()
    is_init[:, 0] = done[:, -1] = True
    latents = {"deter": torch.zeros(1, steps, 16), "stoch": torch.zeros(1, steps, 4).byte()}
    return TensorDict(
        {
            "obs": {"vector": obs[:, :-1]},
            "action": torch.randn(1, steps, 3, generator=rng),
            "is_init": is_init,
            "next": {
                "obs": {"vector": obs[:, 1:]},
                "reward": torch.randn(1, steps, 1, generator=rng),
                "done": done,
                "terminated": done,
                **latents,
            },
        },
        [1, steps],
    )


def filtered_by_torchrl(episode: TensorDict) -> Tensor:
    """Posterior logits of the frames 1, 2, ... : its rollout reads the frame after each action."""
    made = agent()
    rollout_module = to_torchrl(made.world.rssm)
    data = episode.select("action", "is_init").set("state", torch.zeros(1, 4, 16))
    data.set("belief", torch.zeros(1, 4, 16))
    data["next", "encoded_latents"] = made.world.encoder(episode["next", "obs"])
    torch.manual_seed(0)
    return rollout_module(data)["next", "posterior_logits"]


def filtered_by_us(episode: TensorDict) -> Tensor:
    """Posterior parameters of the frames 0, 1, 2, ... of the records made of the episode."""
    made = agent()
    spaces = Spaces.from_gym(tiny.OBS, tiny.gym.spaces.Discrete(3))
    records = Aligner(1, spaces).from_transitions(episode)[None]
    action = records["action"]
    prev_action = torch.cat([torch.zeros_like(action[:, :1]), action[:, :-1]], 1)
    noise = torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(0))
    embed = made.world.encoder(records["obs"])
    start = made.world.rssm.initial(1)
    return made.world.rssm.observe(embed, prev_action, records["is_first"], start, noise)["post"]


def test_the_first_action_of_an_episode_counts() -> None:
    """TorchRL's rollout zeroes, where `is_init`, the action taken FROM the reset frame.

    In our records an action stands beside the frame it led to, so what a reset frame loses is the
    action of another episode. This test also tells when TorchRL mends it: then docs/torchrl.md is
    to be changed.
    """
    plain, other = transitions(), transitions()
    other["action"][:, 0] = 5.0
    assert torch.equal(filtered_by_torchrl(plain), filtered_by_torchrl(other))
    moved = (filtered_by_us(plain) - filtered_by_us(other)).abs().amax((0, 2, 3))
    assert moved[0] == 0, "the reset frame was seen before the action"
    assert (moved[1:] > 0).all()
    other = transitions()
    other["action"][:, 1] = 5.0
    assert not torch.equal(filtered_by_torchrl(plain), filtered_by_torchrl(other)), "only the first"


def test_the_first_frame_of_an_episode_is_seen() -> None:
    """TorchRL's rollout reads `("next", ...)` frames alone, which the reset frame never is."""
    plain, other = transitions(), transitions()
    other["obs", "vector"][:, 0] = 5.0
    assert torch.equal(filtered_by_torchrl(plain), filtered_by_torchrl(other))
    moved = (filtered_by_us(plain) - filtered_by_us(other)).abs().amax((0, 2, 3))
    assert (moved > 0).all()
    other["next", "obs", "vector"][:, 0] = 5.0
    assert not torch.equal(filtered_by_torchrl(plain), filtered_by_torchrl(other)), "only the first"


def test_an_episode_leaks_nothing_into_the_next() -> None:
    """A boundary in the middle of a window: what came before changes nothing after it."""
    rssm, data = make_rssm(), sequences()
    other = {key: value.clone() for key, value in data.items()}
    other["embed"][1, :3], other["action"][1, :4] = 7.0, 7.0  # the action into the reset too
    other["deter"][1], other["stoch"][1] = 7.0, 7.0
    first, second = observe(rssm, data), observe(rssm, other)
    for key in ("deter", "stoch", "post", "prior"):
        assert torch.equal(first[key][1, 3:], second[key][1, 3:]), key
    assert not torch.equal(first["deter"][1, :3], second["deter"][1, :3])


class Predictions(TensorDictModuleBase):
    """Stands for TorchRL's world model: writes what our heads predict."""

    def __init__(self, states: TensorDict, world: nn.Module) -> None:
        super().__init__()
        self.in_keys, self.out_keys = [("next", "vector")], [("next", "reco_vector")]
        self.states, self.world = states, world

    def forward(self, data: TensorDict) -> TensorDict:
        out = self.world.outputs(self.states)
        # A difference: their squared error squashes the prediction too, ours predicts squashed.
        data["next", "reco_vector"] = symexp(out["vector"].pred())
        data["next", "reward_logits"] = out["reward"].logits
        data["next", "continue_pred"] = out["cont"].logit[..., None]
        data["next", "posterior_logits"] = self.states["post"]  # log-probabilities are logits
        data["next", "prior_logits"] = self.states["prior"]
        return data


def test_losses_of_the_world_model() -> None:
    """Events are summed, batch and time averaged; each loss and the gradient of their sum."""
    made = agent()
    batch = made.unroll_context(_batch(B, T))
    noise = torch.rand(B, T, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for ours in (True, False):
        made.zero_grad()
        states = made.world.observe(batch, noise)
        losses = (
            {name: loss.mean() for name, loss in made.world.losses(states, batch).items()}
            if ours
            else _their_losses(states, batch, made.world)
        )
        sum(losses.values()).backward()
        grads = {name: param.grad.clone() for name, param in made.world.named_parameters()}
        found.append((losses, grads))
    (our_losses, our_grads), (their_losses, their_grads) = found
    assert our_losses.keys() == their_losses.keys()
    for name, loss in our_losses.items():
        same(loss, their_losses[name])
    for name, grad in our_grads.items():
        torch.testing.assert_close(grad, their_grads[name], rtol=1e-4, atol=1e-5, msg=name)


def _batch(rows: int, length: int) -> TensorDict:
    batch = tiny.batch(rows, length)
    batch["action"] = batch["action"][..., 2:]  # the discrete key alone
    batch["is_terminal"][0, 2] = batch["is_last"][0, 2] = batch["is_first"][0, 3] = True
    return batch


def _their_losses(states: TensorDict, batch: TensorDict, world: nn.Module) -> dict[str, Tensor]:
    loss = DreamerV3ModelLoss(
        Predictions(states, world),
        lambda_continue=1.0,
        continue_target_scale=world.cont_discount,
        kl_mode="separate",
        lambda_representation=1.0,
        num_reward_bins=41,
        detach_output=False,
    )
    loss.set_keys(pixels="vector", reco_pixels="reco_vector")
    after = {
        "vector": batch["obs", "vector"],
        "reward": batch["reward"][..., None],
        "terminated": batch["is_terminal"][..., None],
    }
    out, _ = loss(TensorDict({"next": after}, batch.batch_size))
    names = {
        "vector": "reco",
        "reward": "reward",
        "cont": "continue",
        "dyn": "dynamic",
        "rep": "representation",
    }
    return {ours: out[f"loss_model_{theirs}"].squeeze() for ours, theirs in names.items()}


def test_image_loss() -> None:
    """Bytes against 255ths, summed over pixels and channels."""
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (B, T, 6, 6, 3), dtype=torch.uint8, generator=rng)
    mean = torch.rand(B, T, 6, 6, 3, generator=rng)

    class Painted(TensorDictModuleBase):
        in_keys, out_keys = [("next", "pixels")], [("next", "reco_pixels")]

        def forward(self, data: TensorDict) -> TensorDict:
            data["next", "reco_pixels"] = mean.permute(0, 1, 4, 2, 3)
            data["next", "reward"] = torch.zeros(B, T, 1)
            data["next", "prior_logits"] = data["next", "posterior_logits"] = torch.zeros(
                B, T, 2, 2
            )
            return data

    loss = DreamerV3ModelLoss(Painted(), reco_symlog=False, reward_two_hot=False)
    after = {"pixels": image.permute(0, 1, 4, 2, 3), "reward": torch.zeros(B, T, 1)}
    out, _ = loss(TensorDict({"next": after}, [B, T]))
    same(ImageOutput(mean).loss(image).mean(), out["loss_model_reco"].squeeze())


def test_strides_differ_by_a_pixel() -> None:
    """A difference: on even sides our filters see one pixel more after than before (XLA's SAME).

    A filter with a single weight in its first corner copies the pixel that corner stands on.
    """
    ours, theirs = Conv(1, 1, 5, 2), DreamerV3ImageEncoder(1, depth=1, mults=(1,)).layers[0]
    for conv in (ours, theirs):
        conv.weight.data.zero_()[0, 0, 0, 0] = 1.0
    image = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert torch.equal(ours(image)[0, 0, 1:, 1:], image[0, 0, 1:5:2, 1:5:2])
    assert torch.equal(theirs(image)[0, 0, 1:, 1:], image[0, 0, 0:4:2, 0:4:2])

"""TorchRL's `DreamerV3Loss`, `DreamerV3OptimizationStepper` and modules, version 0.14.1.

The wheel has losses and modules, and no agent: which modules make one is chosen here as in
TorchRL's documentation of `DreamerV3Loss`. Options: `compile`, which is the stepper's own.
Tried on a CPU; never on a GPU, never compiled.
"""

from __future__ import annotations

import contextlib
from typing import Any

from worker import Job, Peer, noise, serve, tried, waiting

FEAT = ["state", "belief"]
NEXT_FEAT = [("next", name) for name in FEAT]
BINS = 255


def build(job: Job) -> Peer:
    """The losses over a world model, an actor and a critic of the workload's widths."""
    job.only("compile")
    import torch
    import torchrl
    from torchrl.objectives import DreamerV3Loss, SoftUpdate
    from torchrl.trainers.algorithms import DreamerV3OptimizationStepper, DreamerV3Optimizer

    model_loss, actor_loss, value_loss = losses(job)
    loss = DreamerV3Loss(model_loss, actor_loss, value_loss)
    loss.to(job.device)
    stepper = DreamerV3OptimizationStepper(
        loss,
        DreamerV3Optimizer(loss.parameters()),
        SoftUpdate(value_loss, tau=0.02),
        compile_train_step="compile" in job.options,
        cudagraph="compile" in job.options and job.device != "cpu",
        mixed_precision=job.precision == "bfloat16",
    )
    batch = sample(job)
    if "compile" in job.options:
        stepper.warmup(batch)
    low = job.precision == "bfloat16" and job.device == "cpu"

    def update() -> None:
        # The stepper lowers the precision on a GPU only; here the same is done on a CPU.
        scope: Any = torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext()
        with scope:
            stepper.step(None, batch)

    images = "; strided convolutions instead of pooling" if job.image else ""
    return Peer(
        waiting(update, job.device),
        torchrl.__version__,
        f"batch in memory; no write-back{images}",
        tried(job, "torch 2.13"),
    )


def losses(job: Job) -> tuple[Any, Any, Any]:
    """Losses of the model, the actor and the critic."""
    from torch import nn
    from torchrl.modules import DreamerV3MLP
    from torchrl.objectives import DreamerV3ActorLoss, DreamerV3ModelLoss, DreamerV3ValueLoss
    from torchrl.objectives.utils import ValueEstimators

    feat = job.groups * job.classes + job.deter
    prior, posterior, embed = rssm(job)
    reward = DreamerV3MLP(feat, BINS, depth=1, num_cells=job.units, outscale=0.0)
    cont = DreamerV3MLP(feat, 1, depth=1, num_cells=job.units)
    critic = DreamerV3MLP(feat, BINS, depth=3, num_cells=job.units, outscale=0.0)
    value = decoded(critic, FEAT, "state_value", "state_value_logits")
    model_loss = DreamerV3ModelLoss(
        world(job, embed, prior, posterior, reward, cont),
        kl_mode="separate",
        unimix=0.01,
        lambda_continue=1.0,
        continue_target_scale=1 - 1 / 333,
        reco_symlog=not job.image,
        detach_output=False,
    )
    model_loss.set_keys(pixels="observation", reco_pixels="reconstruction")
    actor_loss = DreamerV3ActorLoss(
        actor(job),
        value,
        dreams(job, prior, decoded(reward, FEAT, "reward", "reward_logits")),
        continuation_model=chain((cont, FEAT, "logit"), (nn.Sigmoid(), ["logit"], "continuation")),
        imagination_horizon=job.horizon,
        use_reinforce=True,
    )
    actor_loss.make_value_estimator(ValueEstimators.TDLambda, gamma=1.0, lmbda=0.95)
    value_loss = DreamerV3ValueLoss(
        value, "two_hot", actor_loss=actor_loss, slow_critic_regularization=1.0
    )
    return model_loss, actor_loss, value_loss


def rssm(job: Job) -> tuple[Any, Any, int]:
    """Prior, posterior, and the size of embeddings that the posterior takes."""
    from torchrl.modules import RSSMPosteriorV3, RSSMPriorV3

    embed = job.depth * 4 * 4 * 4 if job.image else job.units
    shared = {
        "hidden_dim": job.hidden,
        "rnn_hidden_dim": job.deter,
        "num_categoricals": job.groups,
        "num_classes": job.classes,
        "unimix": 0.01,
    }
    prior = RSSMPriorV3(
        action_shape=(job.actions,),
        action_dim=job.actions,
        recurrent_model="block_gru",
        num_blocks=job.blocks,
        **shared,
    )
    return prior, RSSMPosteriorV3(obs_embed_dim=embed, use_rms_norm=True, **shared), embed


def world(job: Job, embed: int, prior: Any, posterior: Any, reward: Any, cont: Any) -> Any:
    """Encoder, filter, decoder and heads as one sequence."""
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.modules import (
        DreamerV3ImageDecoder,
        DreamerV3ImageEncoder,
        DreamerV3MLP,
        RSSMRolloutV3,
    )
    from torchrl.objectives import symexp, symlog

    feat, seen, shown = job.groups * job.classes + job.deter, ("next", "seen"), ("next", "shown")
    if job.image:
        encoder: Any = DreamerV3ImageEncoder(depth=job.depth)
        decoder: Any = DreamerV3ImageDecoder(feat, depth=job.depth)
        before, after = [], []
        seen, shown = ("next", "observation"), ("next", "reconstruction")
    else:
        (size,) = job.obs_shape
        encoder = DreamerV3MLP(size, embed, depth=2, num_cells=job.units)
        decoder = DreamerV3MLP(feat, size, depth=3, num_cells=job.units)
        before = [TensorDictModule(symlog, in_keys=[("next", "observation")], out_keys=[seen])]
        after = [TensorDictModule(symexp, in_keys=[shown], out_keys=[("next", "reconstruction")])]
    encoded = ("next", "encoded_latents")
    filtering = RSSMRolloutV3(
        TensorDictModule(
            prior,
            in_keys=["state", "belief", "action"],
            out_keys=[("next", name) for name in ("prior_logits", "state", "belief")],
        ),
        TensorDictModule(
            posterior,
            in_keys=[("next", "belief"), encoded],
            out_keys=[("next", "posterior_logits"), ("next", "state")],
        ),
    )
    return TensorDictSequential(
        *before,
        TensorDictModule(encoder, in_keys=[seen], out_keys=[encoded]),
        filtering,
        TensorDictModule(decoder, in_keys=NEXT_FEAT, out_keys=[shown]),
        *after,
        decoded(reward, NEXT_FEAT, ("next", "reward"), ("next", "reward_logits")),
        TensorDictModule(cont, in_keys=NEXT_FEAT, out_keys=[("next", "continue_pred")]),
    )


def actor(job: Job) -> Any:
    """A normal distribution with a bounded mean and deviation."""
    import torch
    from tensordict.nn import (
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
    )
    from torch import nn
    from torchrl.modules import DreamerV3MLP
    from torchrl.modules.distributions import IndependentNormal

    class Bounded(nn.Module):
        def forward(self, both: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean, std = both.float().chunk(2, -1)
            return mean.tanh(), 0.9 * torch.sigmoid(std + 2) + 0.1

    feat = job.groups * job.classes + job.deter
    mlp = DreamerV3MLP(feat, 2 * job.actions, depth=3, num_cells=job.units, outscale=0.01)

    return ProbabilisticTensorDictSequential(
        TensorDictModule(mlp, in_keys=FEAT, out_keys=["params"]),
        TensorDictModule(Bounded(), in_keys=["params"], out_keys=["loc", "scale"]),
        ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=IndependentNormal,
            return_log_prob=True,
            log_prob_key="action_log_prob",
        ),
    )


def dreams(job: Job, prior: Any, reward: Any) -> Any:
    """The env that imagination happens in."""
    from tensordict.nn import TensorDictModule
    from torchrl.data import Bounded, Composite, Unbounded
    from torchrl.envs.model_based import DreamerEnv
    from torchrl.modules import WorldModelWrapper

    state = job.groups * job.classes
    step = TensorDictModule(
        prior, in_keys=["state", "belief", "action"], out_keys=["_", "state", "belief"]
    )
    env = DreamerEnv(
        WorldModelWrapper(step, reward), prior_shape=(state,), belief_shape=(job.deter,)
    )
    env.observation_spec = Composite(state=Unbounded(state), belief=Unbounded(job.deter))
    env.state_spec = env.observation_spec.clone()
    env.action_spec = Bounded(-1, 1, (job.actions,))
    env.reward_spec = Unbounded((1,))
    return env.to(job.device)


def decoded(net: Any, keys: list[Any], name: Any, logits: Any) -> Any:
    """A two-hot head that writes its logits and its mean."""
    from torchrl.modules import SymExpTwoHot

    return chain((net, keys, logits), (SymExpTwoHot(BINS), [logits], name))


def chain(*parts: tuple[Any, list[Any], Any]) -> Any:
    """Modules `(module, in_keys, out_key)` in a row."""
    from tensordict.nn import TensorDictModule, TensorDictSequential

    return TensorDictSequential(
        *(TensorDictModule(net, in_keys=keys, out_keys=[out]) for net, keys, out in parts)
    )


def sample(job: Job) -> Any:
    """The batch as TorchRL lays it out: `[B, T]`, what follows an action under `next`."""
    import torch
    from tensordict import TensorDict

    data = noise(job)
    to = {name: torch.from_numpy(value) for name, value in data.items()}
    obs = to["obs"][:, 1:].movedim(-1, -3).contiguous() if job.image else to["obs"][:, 1:]
    state = torch.nn.functional.one_hot(to["stoch"][:, :1], job.classes).flatten(-2).float()
    shape = [job.rows, job.length]
    fields = {
        "state": state.expand(-1, job.length, -1).contiguous(),
        "belief": to["deter"][:, :1].expand(-1, job.length, -1).contiguous(),
        "action": to["action"][:, :-1],
        "is_init": to["is_first"][:, 1:, None],
        "next": {
            "observation": obs,
            "reward": to["reward"][:, 1:, None],
            "done": to["is_last"][:, 1:, None],
            "terminated": to["is_terminal"][:, 1:, None],
        },
    }
    return TensorDict(fields, shape).to(job.device)


if __name__ == "__main__":
    serve(build)

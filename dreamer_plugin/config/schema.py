"""The shape of a configuration: nested dataclasses, one per part; defaults are DreamerV3's.

Only plain values stand here. `build` reads them and hands each part its own arguments; no part
ever sees a config. Sizes that several parts share stand once, in `ModelConfig`.
Source of every default: danijar/dreamerv3 @ e3f0224, `dreamerv3/configs.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelConfig:
    """Widths shared by the parts (what a size preset sets)."""

    deter: int = 8192
    hidden: int = 1024
    groups: int = 32
    classes: int = 64
    blocks: int = 8
    depth: int = 64
    units: int = 1024


@dataclass
class NetsConfig:
    """Norm, activation, initialisation and biases of all layers."""

    norm: str = "rms"
    eps: float = 1e-4
    act: str = "silu"
    conv_act: str = ""  # act
    fan: str = "in"
    bias: str = "always"


@dataclass
class EncoderConfig:
    """Observation encoder: an MLP for vectors, a convolution stack for images."""

    layers: int = 3
    units: int = 0  # model.units
    mults: list[int] = field(default_factory=lambda: [2, 3, 4, 4])
    kernel: int = 5
    downsample: str = "pool"
    outer: bool = False
    residual: int = 0
    embed_size: int = 0
    vae_dim: int = 0
    vae_std: float = 0.0
    symlog: bool = True
    symlog_images: bool = False
    shift: int = 0
    shift_targets: bool = True


@dataclass
class DecoderConfig:
    """Observation decoder, the mirror of the encoder."""

    layers: int = 3
    units: int = 0  # model.units
    mults: list[int] = field(default_factory=lambda: [2, 3, 4, 4])
    kernel: int = 5
    upsample: str = "nearest"
    outer: bool = False
    residual: int = 0
    stem: str = "blocks"
    image_blocks: int = 8
    sigmoid: bool = True
    symlog: bool = True
    symlog_images: bool = False
    output: str = "mse"


@dataclass
class LatentConfig:
    """Stochastic state."""

    kind: str = "categorical"
    unimix: float = 0.01
    gradient: str = "straight_through"
    gumbel_tau: float = 1.0
    std: str = "softplus"
    min_std: float = 0.1


@dataclass
class CoreConfig:
    """Recurrent core."""

    kind: str = "block_gru"
    layers: int = 1
    update_bias: float = -1.0


@dataclass
class HeadConfig:
    """One scalar head on the model state. `grad`: its loss trains the world model."""

    layers: int = 1
    output: str = "twohot"
    bins: int = 255
    bin_range: float = 20.0
    outscale: float = 1.0
    grad: bool = True


@dataclass
class WorldConfig:
    """The world model."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    core: CoreConfig = field(default_factory=CoreConfig)
    prior_layers: int = 2
    posterior_layers: int = 1
    absolute: bool = False
    learned_start: bool = False
    free_nats: float = 1.0
    free_over: str = "each"
    kl: str = "balanced"
    reward_transform: str = "identity"
    reward_clip: float = 0.0
    loss_balance: str = "fixed"
    recompute: int = 0
    reward: HeadConfig = field(default_factory=lambda: HeadConfig(outscale=0.0))
    cont: HeadConfig = field(default_factory=lambda: HeadConfig(output="binary", bins=1))


@dataclass
class ActorConfig:
    """Policy head and its entropy bonus."""

    layers: int = 3
    outscale: float = 0.01
    unimix: float = 0.0
    output: str = "bounded_normal"
    min_std: float = 0.1
    max_std: float = 1.0
    init_std: float = 5.0
    tanh_mode: str = "likeliest"
    entropy: float = 3e-4
    gradient: str = "reinforce"
    mix: float = 0.1
    dynamics_baseline: bool = True
    value_gradient: bool = True
    return_transform: str = "identity"


@dataclass
class CriticConfig:
    """Value head, its slow copy and the replay value loss."""

    layers: int = 3
    output: str = "twohot"
    bins: int = 255
    bin_range: float = 20.0
    outscale: float = 0.0
    slow_rate: float = 0.02
    slow_every: int = 1
    slow_reg: float = 1.0
    slow_target: bool = False
    replay_grad: bool = True


@dataclass
class NormConfig:
    """Running normaliser of returns, values or advantages."""

    kind: str = "none"
    rate: float = 0.01
    low: float = 5.0
    high: float = 95.0
    limit: float = 1.0
    debias: bool = False


@dataclass
class ExploreConfig:
    """Noise on the actions of training, none in evaluation."""

    amount: float = 0.0
    decay: float = 0.0
    min: float = 0.0


@dataclass
class BehaviorConfig:
    """Imagination and actor-critic."""

    imag_horizon: int = 15
    imag_last: int = 0
    imag_skip: int = 0
    imag_start: str = "posterior"
    returns: str = "arrival"
    horizon: float = 333.0
    cont_discount: bool = True
    cont_threshold: bool = False
    true_start: bool = False
    return_lambda: float = 0.95
    weights: str = "discounted"
    world_grad: bool = False
    eval_mode: bool = False
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    return_norm: NormConfig = field(default_factory=lambda: NormConfig(kind="percentile"))
    value_norm: NormConfig = field(default_factory=NormConfig)
    advantage_norm: NormConfig = field(default_factory=NormConfig)


@dataclass
class LossScales:
    """Weight of every loss in the total; `rec` holds for each observation key."""

    rec: float = 1.0
    reward: float = 1.0
    cont: float = 1.0
    dyn: float = 1.0
    rep: float = 0.1
    vae: float = 1.0
    policy: float = 1.0
    value: float = 1.0
    repval: float = 0.3


@dataclass
class OptimGroupConfig:
    """What actor and critic have of their own where the groups are separate."""

    lr: float = 4e-5
    eps: float = 1e-20
    clip: float = 0.0


@dataclass
class OptimConfig:
    """Optimiser behind gradient clipping; the numbers hold for all parameters, or the model's."""

    kind: str = "laprop"
    lr: float = 4e-5
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-20
    raw_eps: bool = False
    clip: float = 0.0
    agc: float = 0.3
    agc_min: float = 1e-3
    warmup: int = 1000
    anneal: int = 0
    schedule: str = "constant"
    lr_end: float = 0.1
    weight_decay: float = 0.0
    decay: str = "kernels"
    nesterov: bool = False
    groups: str = "joint"
    model_turns: int = 0
    behavior_turns: int = 0
    actor: OptimGroupConfig = field(default_factory=OptimGroupConfig)
    critic: OptimGroupConfig = field(default_factory=OptimGroupConfig)


@dataclass
class ReplayConfig:
    """Experience replay."""

    capacity: int = 5_000_000
    batch_size: int = 16
    batch_length: int = 64
    context: int = 1
    online: bool = True
    sampling: str = "windows"
    prioritize_ends: bool = False
    latent_dtype: str = "float32"
    storage: str = "memory"
    folder: str = ""  # the run folder


@dataclass
class CheckpointConfig:
    """What checkpoints hold. Without `latents` they are smaller, and a resume is not exact."""

    latents: bool = True


@dataclass
class EnvConfig:
    """Which env, its options for `dreamer_envs.make`, how many, and what they are forgiven."""

    id: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    num_envs: int = 16
    processes: bool = True
    timeout: float = 60.0  # seconds that a step may take
    max_faults: int = 10  # of one env within 5 minutes; then it is given up
    min_envs: int = 1  # with fewer left the run ends
    terminal_on_timeout: bool = False


@dataclass
class RunConfig:
    """The loop: how long, how often, where to."""

    steps: int = 10_000_000
    train_ratio: float = 32.0
    burst: int = 1
    pretrain: int = 0
    prefill: int = 1024
    random_prefill: bool = False
    eval_every: int = 0
    eval_episodes: int = 10
    log_every: int = 1000
    tensorboard: bool = True
    csv: bool = False
    wandb: str = "off"
    video_every: int = 0
    save_every: int = 20_000
    keep: int = 3
    keep_memory: bool = True
    logdir: str = ""


@dataclass
class Config:
    """Everything one run needs; saved resolved with the run."""

    agent: str = "v3"
    size: str = "200m"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    compile: str = "off"
    protocol: str = "published"
    env: EnvConfig = field(default_factory=EnvConfig)
    run: RunConfig = field(default_factory=RunConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    nets: NetsConfig = field(default_factory=NetsConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    behavior: BehaviorConfig = field(default_factory=BehaviorConfig)
    loss_scales: LossScales = field(default_factory=LossScales)
    optim: OptimConfig = field(default_factory=OptimConfig)

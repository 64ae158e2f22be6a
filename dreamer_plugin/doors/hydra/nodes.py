"""The trainer nodes, as dataclasses: TorchRL's fields and ours, where None says "as published".

    trainer:
      env_id, config, obs_keys     ours alone
      total_frames, logger, ...    TorchRL's that are used, with their types
      loss_module, optimizer, ...  TorchRL's that are not: declared, so that their sections compose
      model, world, optim, ...     every key of our own configuration, made from its dataclasses

`_recursive_: false` hands the sections over as they stand: nothing of another algorithm is built.
"""

from __future__ import annotations

from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Any, get_type_hints

from dreamer_plugin.config.schema import Config

TARGET = "dreamer_plugin.doors.hydra.trainer.make_trainer"
AGENTS = {"dreamer": "v3", "dreamer_v1": "v1", "dreamer_v2": "v2"}  # node -> preset

# Fields of TorchRL's trainer nodes that mean here what they mean there.
USED: dict[str, tuple[Any, Any]] = {
    "collector": (Any, None),
    "create_env_fn": (Any, None),
    "total_frames": (int | None, None),
    "frame_skip": (int, 1),
    "logger": (Any, None),
    "log_interval": (int, 10_000),
    "progress_bar": (bool, True),
    "log_timings": (bool, False),
    "save_trainer_file": (str | None, None),
    "save_trainer_interval": (int, 10_000),
    "checkpoint": (Any, None),
    "checkpoint_rotation": (Any, None),
    "checkpoint_metadata": (Any, None),
    "hooks": (list[Any] | None, None),
}

# The others, of all its nodes. A test compares with the installed TorchRL.
UNUSED = tuple(
    """
    action_key actor_network add_gae aggregated_episode_reward_key aggregated_reward_key
    anneal_frames annealing_num_steps async_collection auto_log_optim_steps autocast_dtype
    batch_size clip_grad_norm clip_norm critic_network done_key empty_replay_buffer_on_weight_update
    enable_logging episode_reward_key eps_end eps_init exploration_module gae gamma
    gradient_accumulation_steps greedy_module learner_backend learner_backend_options
    learner_poll_interval lmbda log_actions log_kl log_observations log_rewards loss_module
    lr_scheduler mixed_precision mixing_strategy num_epochs observation_key optim_steps_per_batch
    optimization_stepper optimizer optimizer_actor optimizer_critic policy_update_delay
    qvalue_network replay_buffer reward_key target_net_updater terminated_key value_estimator_gamma
    value_network weight_sync_sender weight_update_frequency weight_update_map
    """.split()
)
_OURS = {"env_id": (str | None, None), "obs_keys": (list[str] | None, None)}


@cache
def trainer_node(agent: str) -> type:
    """The dataclass of a trainer node.

    Args:
        agent: preset that it starts from.
    """
    plain = {
        "_target_": (str, TARGET),
        "_recursive_": (bool, False),
        "agent": (str, agent),
        **_OURS,
        **USED,
        **{name: (Any, None) for name in UNUSED},
    }
    config: Any = field(default_factory=list)
    made = [(name, kind, value) for name, (kind, value) in plain.items()]
    known = {*plain, "config"}
    sections = [entry for entry in _optional_fields(Config) if entry[0] not in known]
    return make_dataclass("DreamerTrainerConfig", [*made, ("config", list[str], config), *sections])


def root_node(trainer: str) -> dict[str, Any]:
    """A whole config of one trainer, for `--config-name`."""
    return {"defaults": [{"trainer": trainer}, "_self_"]}


def _optional_fields(cls: Any) -> list[tuple[str, Any, Any]]:
    """Fields of a config's dataclass with every value optional and None."""
    hints = get_type_hints(cls)
    return [(item.name, *_optional(item.name, hints[item.name])) for item in fields(cls)]


def _optional(name: str, kind: Any) -> tuple[Any, Any]:
    if is_dataclass(kind):
        section = make_dataclass(str(getattr(kind, "__name__", name)), _optional_fields(kind))
        return section, field(default_factory=section)
    if kind == dict[str, Any]:
        return kind, field(default_factory=dict)
    return kind | None, None

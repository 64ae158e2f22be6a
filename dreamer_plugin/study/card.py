"""The model card of a shared run: what it is, its use, how it plays, what it was made with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dreamer_plugin.config import Config, config_text
from dreamer_plugin.config.yamlfile import yaml_text

REPOSITORY_KIND = "reinforcement-learning"
_RETURNS = {
    "mean": "mean return",
    "std": "standard deviation",
    "median": "median",
    "iqm": "interquartile mean",
    "iqm_low": "95 % interval, from",
    "iqm_high": "95 % interval, to",
    "min": "lowest",
    "max": "highest",
    "length_mean": "mean length, steps",
    "success": "share of episodes solved",
}


def card(
    cfg: Config,
    facts: Mapping[str, Any],
    machine: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
    name: str,
    licence: str = "",
    note: str = "",
) -> str:
    """Markdown with the metadata in front that the Hugging Face hub reads.

    Args:
        cfg: of the run. facts: of the checkpoint: env, step, updates, seconds, dtype.
        machine: versions and hardware of the training, as far as they are known.
        evaluation: as `Evaluation.to_dict`, where it was played.
        name: by which the run is reached: `user/name`, `pretrained/NAME` or a folder.
        licence: of the weights, as the hub spells it. note: a paragraph of the person's own.
    """
    title = f"Dreamer ({cfg.agent}, size {cfg.size}) on {cfg.env.id or 'an env of its own'}"
    parts = [
        f"---\n{yaml_text(_metadata(cfg, evaluation, licence, title))}---",
        f"# {title}",
        "Policy and world model, trained with dreamer-plugin. Safetensors, JSON and YAML; nothing "
        "is unpickled.",
        *([_plain(note)] if note else []),
        _usage(name),
        _played(evaluation),
        "## Training\n\n" + _table(("", ""), _training(cfg, facts)),
    ]
    if machine:
        parts.append("## Versions and hardware\n\n" + _table(("", ""), sorted(machine.items())))
    parts.append(
        "## Limits\n\nTrained for this env alone, with these observations. What it does elsewhere, "
        "or where the env's version differs, was not measured."
    )
    terms = licence or "not stated by whoever shared this"
    parts.append(f"## Licence\n\nOf the weights: {_plain(terms)}.")
    parts.append(f"## Settings\n\n```yaml\n{config_text(cfg)}```")
    return "\n\n".join(parts) + "\n"


def _metadata(
    cfg: Config, evaluation: Mapping[str, Any] | None, licence: str, title: str
) -> dict[str, Any]:
    found: dict[str, Any] = {"library_name": "dreamer-plugin"}
    if licence:
        found["license"] = licence
    found["pipeline_tag"] = REPOSITORY_KIND
    found["tags"] = [REPOSITORY_KIND, "world-model", "dreamer", cfg.agent, cfg.env.id]
    if evaluation is not None:
        value = f"{evaluation['mean']:.2f} +/- {evaluation['std']:.2f}"
        result = {
            "task": {"type": REPOSITORY_KIND, "name": REPOSITORY_KIND},
            "dataset": {"name": cfg.env.id, "type": cfg.env.id},
            "metrics": [{"type": "mean_reward", "value": value, "name": "mean_reward"}],
        }
        found["model-index"] = [{"name": title, "results": [result]}]
    return found


def _usage(name: str) -> str:
    local = "FOLDER" if "://" in name else name
    quoted = shlex.quote(local)
    pull = f"dreamer-plugin pull {name} {local}\n" if local == "FOLDER" else ""
    shell = (
        f"{pull}dreamer-plugin evaluate {quoted} --episodes 20\n"
        f"dreamer-plugin play {quoted} --dream     # steer inside the learned world"
    )
    python = (
        "from dreamer_plugin import Dreamer\n\n"
        f'agent = Dreamer.load("{local}")\naction, state = agent.predict(obs)'
    )
    return f"## Use\n\n```bash\n{shell}\n```\n\n```python\n{python}\n```"


def _played(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return "## Evaluation\n\nNot played before it was shared."
    policy = "likeliest" if evaluation["deterministic"] else "drawn"
    intro = (
        f"{evaluation['episodes']} episodes with these very weights, {policy} actions, "
        f"seed {evaluation['seed']}."
    )
    rows = [(text, evaluation[key]) for key, text in _RETURNS.items() if key in evaluation]
    text = f"## Evaluation\n\n{intro}\n\n" + _table(("measure", "value"), rows)
    quality = evaluation.get("quality")
    if not quality:
        return text
    last = len(quality["starts"]) - 1
    header = ("world model, error of", "reconstructed", f"{last} frames ahead, not looking")
    curves = quality["open_loop"].items()
    errors = [(name, quality["reconstruction"].get(name), curve[last]) for name, curve in curves]
    return f"{text}\n\n{_table(header, errors)}\n\nKL {quality['kl']:.3g} nats."


def _training(cfg: Config, facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    seconds = facts.get("seconds")
    return [
        ("agent", f"{cfg.agent}, size {cfg.size}"),
        ("env", cfg.env.id or "an env object"),
        ("seed", str(cfg.seed)),
        ("agent steps", facts["step"]),
        ("updates", facts.get("updates")),
        ("hours", None if seconds is None else seconds / 3600),
        ("precision", cfg.precision),
        ("weights", facts["dtype"]),
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else _plain(str(value))


def _plain(text: str) -> str:
    """A text on one line that opens no table, no block and no tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")

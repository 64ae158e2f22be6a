"""Parts of DreamerV3 that can be left out by one word, and what its paper says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dreamer_plugin.config import Config
from dreamer_plugin.errors import UsageError, choose

SEPARATOR = "+"  # between parts that are left out together
_FIGURE = "Figure 6a of arXiv:2301.04104v2, mean over 14 tasks"


@dataclass(frozen=True)
class Ablation:
    """One part.

    Args:
        preset: of the shelf `ablation`. claim: what the paper says of leaving it out.
        there: whether an agent of these settings has it, which sees numbers or does not, where
            the preset would change its settings all the same.
    """

    preset: str
    claim: str
    there: Callable[[Config, bool], bool] = lambda cfg, numbers: True


ABLATIONS = {
    "kl-balance": Ablation(
        "without_kl_balance",
        "the KL objective of the world model contributes most of the robustness techniques; "
        f"left out together with free bits ({_FIGURE})",
    ),
    "return-norm": Ablation(
        "without_return_norm",
        f"contributes most after the KL objective; advantages are normalised instead ({_FIGURE})",
        lambda cfg, numbers: cfg.behavior.return_norm.kind != "none",
    ),
    "two-hot": Ablation(
        "without_two_hot",
        f"contributes most after these two; a Huber loss takes its place ({_FIGURE})",
        lambda cfg, numbers: "twohot" in f"{cfg.world.reward.output} {cfg.behavior.critic.output}",
    ),
    "symlog": Ablation(
        "without_symlog",
        f"of observations: contributes on average, on some tasks ({_FIGURE})",
        lambda cfg, numbers: numbers,
    ),
    "unimix": Ablation(
        "without_unimix",
        "keeps categoricals from becoming deterministic and so the KL well-behaved; no curve",
    ),
    "replay-value": Ablation(
        "without_replay_value",
        "improves value prediction where rewards are hard to predict; no curve",
    ),
    "replay-context": Ablation(
        "without_replay_context", "stored latents start each replayed sequence; no curve"
    ),
}


def is_there(part: str, whole: Config, without: Config, numbers: bool) -> bool:
    """Whether leaving a part out changes an agent.

    Args:
        whole, without: settings of both. numbers: whether it sees vectors.
    """
    return without != whole and ABLATIONS[part].there(whole, numbers)


def presets_of(words: str) -> list[str]:
    """Presets that leave out what `a` or `a+b` names.

    Raises:
        UsageError: as of `parts_of`.
    """
    return [ABLATIONS[name].preset for name in parts_of(words)]


def parts_of(words: str) -> list[str]:
    """Parts that `a` or `a+b` names.

    Raises:
        UsageError: one is unknown, and the nearest is named, or is there twice.
    """
    names = [word.strip() for word in words.split(SEPARATOR)]
    if len(set(names)) < len(names):
        raise UsageError(f"--without {words} names a part twice.")
    for name in names:
        choose(ABLATIONS, name, "part to leave out")
    return names

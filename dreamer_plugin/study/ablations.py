"""Parts of DreamerV3 that can be left out by one word, and what its paper says of them."""

from __future__ import annotations

from dataclasses import dataclass

from dreamer_plugin.errors import UsageError, choose

SEPARATOR = "+"  # between parts that are left out together
_FIGURE = "Figure 6a of arXiv:2301.04104v2, mean over 14 tasks"


@dataclass(frozen=True)
class Ablation:
    """One part.

    Args:
        preset: of the shelf `ablation`. claim: what the paper says of leaving it out.
    """

    preset: str
    claim: str


ABLATIONS = {
    "kl-balance": Ablation(
        "without_kl_balance",
        "the KL objective of the world model contributes most of the robustness techniques; "
        f"left out together with free bits ({_FIGURE})",
    ),
    "return-norm": Ablation(
        "without_return_norm",
        f"contributes most after the KL objective; advantages are normalised instead ({_FIGURE})",
    ),
    "two-hot": Ablation(
        "without_two_hot",
        f"contributes most after these two; a Huber loss takes its place ({_FIGURE})",
    ),
    "symlog": Ablation(
        "without_symlog", f"of observations: contributes on average, on some tasks ({_FIGURE})"
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


def presets_of(words: str) -> list[str]:
    """Presets that leave out what `a` or `a+b` names.

    Raises:
        UsageError: one is unknown; names the nearest.
    """
    names = [word.strip() for word in words.split(SEPARATOR)]
    if len(set(names)) < len(names):
        raise UsageError(f"--without {words} names a part twice.")
    return [choose(ABLATIONS, name, "part to leave out").preset for name in names]

"""What a reproduction found: its curves beside the published one, and a verdict.

result.json    what was run, where it is not what was published, verdicts, machines
curve.csv      a row per variant and bin of the published curve: mean and spread over seeds
seeds.csv      a row per variant, seed and bin
curve.png      the curves (needs the extra `plot`)
report.html    all of that on one page, which needs nothing else
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from textwrap import wrap
from typing import Any

from dreamer_plugin.study import page
from dreamer_plugin.study.ablations import ABLATIONS
from dreamer_plugin.study.charts import Line, line_chart
from dreamer_plugin.study.evaluation_files import has_matplotlib, write_rows
from dreamer_plugin.study.published_curves import Curve
from dreamer_plugin.study.report import published_line
from dreamer_plugin.study.reproduce import FULL, Reproduction
from dreamer_plugin.study.reproduce_found import (
    RESULT,
    SEEDS,
    Found,
    SeedCurve,
    curve_to_reach,
)

FOLDER = "results"
WIDE = 120  # letters of a line above the picture
LEAST = 0.01  # share of the mean that the band has at least on each side
NOT_THE_SAME = "not the same protocol"
_HEADERS = {
    "curve.csv": ("variant", "since", "frames", "seeds", "mean", "std", "low", "high",
                  "published_mean", "published_std"),
    SEEDS: ("variant", "seed", "since", "frames", "episodes", "mean"),
}  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """A variant, at the bins that all its seeds have passed; each list is `[M]`.

    Args:
        seeds: how many. mean, std, low, high: over them; None where one has no episode.
    """

    variant: str
    seeds: int
    mean: list[float | None]
    std: list[float | None]
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True)
class Verdict:
    """A variant beside the published curve, at the last bin that all its seeds know.

    Args:
        frames: end of that bin. ours, spread: mean and deviation over `seeds` seeds.
        published, deviation: of the curve. word: inside, below or above its band, which is a
            deviation wide on each side, and at least a hundredth of the mean.
        bins: word -> bins of the curve for which it holds. same_protocol: as was published.
    """

    variant: str
    frames: int
    seeds: int
    ours: float
    spread: float
    published: float
    deviation: float
    word: str
    bins: dict[str, int]
    same_protocol: bool

    @property
    def share(self) -> float:
        """Ours as a part of what was published; not a number where that is not above 0."""
        return self.ours / self.published if self.published > 0 else math.nan

    def __str__(self) -> str:
        share = f", {self.share:.0%} of it" if math.isfinite(self.share) else ""
        protocol = "the published protocol" if self.same_protocol else NOT_THE_SAME
        return (
            f"{self.variant}: {self.word} the published band at {self.frames:,} frames, "
            f"{self.ours:.4g} (spread {self.spread:.3g}, seeds: {self.seeds}) beside "
            f"{self.published:.4g} (deviation {self.deviation:.3g}){share}; {protocol}"
        )


def spreads(seeds: Iterable[SeedCurve]) -> dict[str, Spread]:
    """Variant -> its seeds together, as far as the slowest of them came."""
    by_variant: dict[str, list[SeedCurve]] = {}
    for each in seeds:
        by_variant.setdefault(each.variant, []).append(each)
    return {variant: _spread(variant, some) for variant, some in by_variant.items()}


def _spread(variant: str, some: Sequence[SeedCurve]) -> Spread:
    count = min(len(each.means) for each in some)
    rows: list[list[float] | None] = []
    for place in range(count):
        values = [each.means[place] for each in some]
        known = [value for value in values if value is not None]
        rows.append(known if len(known) == len(values) else None)

    def over(how: Any) -> list[float | None]:
        return [None if row is None else float(how(row)) for row in rows]

    return Spread(variant, len(some), *map(over, (fmean, pstdev, min, max)))


def verdict(curve: Curve, spread: Spread, same_protocol: bool) -> Verdict | None:
    """Where a variant stands; None while no bin is known.

    Args:
        curve: as far as the runs go. spread: of the variant. same_protocol: as was published.
    """
    words = [
        None if ours is None else _word(ours, curve.mean[place], curve.std[place])
        for place, ours in enumerate(spread.mean)
    ]
    known = [place for place, word in enumerate(words) if word is not None]
    if not known:
        return None
    last = known[-1]
    ours, deviation, word = spread.mean[last], spread.std[last], words[last]
    assert ours is not None and deviation is not None and word is not None
    return Verdict(
        variant=spread.variant,
        frames=curve.frames[last],
        seeds=spread.seeds,
        ours=ours,
        spread=deviation,
        published=curve.mean[last],
        deviation=curve.std[last],
        word=word,
        bins={name: words.count(name) for name in ("inside", "below", "above")},
        same_protocol=same_protocol,
    )


def _word(ours: float, mean: float, std: float) -> str:
    wide = max(std, LEAST * abs(mean))
    if abs(ours - mean) <= wide:
        return "inside"
    return "below" if ours < mean else "above"


def write_results(found: Found, place: Path) -> tuple[list[Path], list[Verdict]]:
    """Write the files.

    Args:
        found: what the runs came to. place: folder of the files.

    Returns:
        The files, the picture only where matplotlib is installed, and a verdict on each variant
        that is known at some bin of the curve.
    """
    plan, curve = found.plan, curve_to_reach(found.plan)
    by_variant = spreads(found.curves)
    verdicts = [
        each
        for variant, spread in by_variant.items()
        if (each := verdict(curve, spread, variant == FULL and not plan.differences))
    ]
    place.mkdir(parents=True, exist_ok=True)
    files = [place / name for name in (RESULT, *_HEADERS, "report.html")]
    facts = _facts(found, verdicts)
    files[0].write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_rows(files[1], _HEADERS["curve.csv"], _curve_rows(curve, by_variant))
    write_rows(files[2], _HEADERS[SEEDS], _seed_rows(curve, found.curves))
    sections = _sections(plan, curve, by_variant, verdicts, facts)
    files[3].write_text(page.page(title(plan), sections), encoding="utf-8")
    if has_matplotlib():
        files.append(place / "curve.png")
        _draw(files[-1], plan, curve, by_variant, verdicts)
    return files, verdicts


def title(plan: Reproduction) -> str:
    """What is tried again, in a line."""
    seen = f" from {plan.seen}" if plan.seen else ""
    return f"{plan.env}{seen}, {plan.agent}, beside the published curve of {plan.curve}"


def _facts(found: Found, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Everything but the curves, as JSON-able data."""
    told = [asdict(each) | {"share": each.share} for each in verdicts]
    for each in told:
        each["share"] = each["share"] if math.isfinite(each["share"]) else None
    return asdict(found.plan) | {
        "same_protocol": not found.plan.differences,
        "verdicts": told,
        "runs": [each.facts for each in found.ran.values()],
        "failed": found.failed,
    }


def _curve_rows(curve: Curve, found: dict[str, Spread]) -> Iterable[Sequence[Any]]:
    for variant, each in found.items():
        ours = zip(each.mean, each.std, each.low, each.high, strict=True)
        for place, numbers in enumerate(ours):
            ends = curve.since[place], curve.frames[place]
            yield variant, *ends, each.seeds, *numbers, curve.mean[place], curve.std[place]


def _seed_rows(curve: Curve, seeds: Iterable[SeedCurve]) -> Iterable[Sequence[Any]]:
    for each in seeds:
        for place, (count, mean) in enumerate(zip(each.episodes, each.means, strict=True)):
            ends = curve.since[place], curve.frames[place]
            yield each.variant, each.seed, *ends, count, mean


def _sections(
    plan: Reproduction,
    curve: Curve,
    found: dict[str, Spread],
    verdicts: Sequence[Verdict],
    facts: dict[str, Any],
) -> Iterable[str]:
    same = "The published protocol." if not plan.differences else f"{NOT_THE_SAME.capitalize()}."
    rows = [(each.setting, *map(str, (each.published, each.here, each.why)))
            for each in plan.differences]  # fmt: skip
    table = page.table(("setting", "published", "here", "why"), rows)
    yield page.section("Protocol", table or f"<p>{same}</p>", note=same if table else "")
    yield page.section("Verdict", page.table(("",), [(str(each),) for each in verdicts]))
    yield page.section(
        "Curves",
        page.charts([_chart(curve, found)]),
        note="Mean return of the training episodes that ended in each bin of the published curve; "
        "bands reach from the worst to the best seed. Dashed: published, mean and standard "
        "deviation over seeds.",
    )
    left_out = {name: each.claim for name, each in ABLATIONS.items() if _is_left_out(name, plan)}
    yield page.section("Left out", page.table(("part", "the paper says"), left_out.items()))
    yield page.section("Failed", page.table(("cell", "why"), facts["failed"].items()))
    yield page.section("Commands", page.table(("",), [(each,) for each in plan.commands]))
    yield page.section("Runs", page.table(*_run_rows(facts["runs"])))


def _is_left_out(part: str, plan: Reproduction) -> bool:
    preset = ABLATIONS[part].preset
    return any(preset in presets for presets in plan.variants.values())


def _run_rows(runs: Sequence[dict[str, Any]]) -> tuple[Sequence[str], list[Sequence[Any]]]:
    keys = ("variant", "seed", "done", "frames", "updates", "seconds")
    wanted = ("device", "threads", "commit", "dreamer-plugin", "torch", "torchrl", "python")
    rows: list[Sequence[Any]] = []
    for run in runs:
        machine = run["machines"][-1] if run["machines"] else {}
        rows.append([*(run[key] for key in keys), *(machine.get(key, "") for key in wanted)])
    return (*keys, *wanted), rows


def _chart(curve: Curve, found: dict[str, Spread]) -> str:
    lines = []
    for colour, (variant, each) in enumerate(found.items()):
        frames = curve.frames[: len(each.mean)]
        lines.append(Line(variant, frames, each.mean, colour, low=each.low, high=each.high))
    lines.append(published_line(curve, len(found)))
    return line_chart("return of training episodes", "simulator frames", lines)


def _draw(
    path: Path,
    plan: Reproduction,
    curve: Curve,
    found: dict[str, Spread],
    verdicts: Sequence[Verdict],
) -> None:
    """The curves as a picture, with what differs and the verdicts above them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    above = [title(plan)]
    if plan.differences:
        above += [NOT_THE_SAME, *(str(each) for each in plan.differences)]
    above += [str(each) for each in verdicts]
    above = [line for each in above for line in wrap(each, WIDE, subsequent_indent="    ")]
    size = 8, 4.5 + 0.14 * len(above)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    low, high = curve.band
    label = published_line(curve, 0).name
    axes.fill_between(curve.frames, low, high, color="0.5", alpha=0.2, linewidth=0)
    axes.plot(curve.frames, curve.mean, ".--", color="0.3", label=label)
    for variant, each in found.items():
        frames = curve.frames[: len(each.mean)]
        mean, worst, best = (
            [math.nan if value is None else value for value in values]
            for values in (each.mean, each.low, each.high)
        )
        (line,) = axes.plot(frames, mean, ".-", label=f"{variant}, {each.seeds} seeds")
        axes.fill_between(frames, worst, best, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_title("\n".join(above), fontsize=7, loc="left")
    axes.set(xlabel="simulator frames", ylabel="return of training episodes")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)

"""What a golden run says about itself."""

from __future__ import annotations

from collections.abc import Mapping

from .kinds.table import KINDS, PENDING, kind_of
from .reading import TOLERANCE, Golden, folder


def counts(results: Mapping[str, Golden | None]) -> str:
    """One line: found, run, failed, skipped, pending."""
    stems = [path.stem for path in folder().glob("*.npz")]
    pending = sorted(stem for stem in stems if kind_of(stem) in PENDING)
    failed = sum(result is None for result in results.values())
    arrays = sum(result.compared for result in results.values() if result)
    wanted = sum(kind_of(stem) in KINDS for stem in stems)
    return (
        f"golden: {len(stems)} files found, {len(results)} run, {failed} failed, "
        f"{wanted - len(results)} skipped, {len(pending)} pending ({', '.join(pending)}); "
        f"{arrays} arrays compared"
    )

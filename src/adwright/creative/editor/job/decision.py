"""Whether an edit that was found is kept: only where it beats no edit by the lower bound.

    kept, reason = decide(found, job)

See `settings` for the rule. Whatever is kept is still a `ESTIMATE`: a reason says so.
"""

from __future__ import annotations

from typing import NamedTuple

from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.result import FoundEdit

__all__ = ["EditDecision", "decide"]


class EditDecision(NamedTuple):
    """kept: whether the file is written. reason: in a sentence."""

    kept: bool
    reason: str


def decide(found: FoundEdit, job: EditJob) -> EditDecision:
    """Keep it, or leave the ad as it is."""
    first, leave = found.first, "The ad stays as it is: "
    if not found.changed:
        return EditDecision(False, leave + "no edit was found that is better than none.")
    if first.low is not None:
        if not first.low > 0:
            return EditDecision(
                False,
                f"{leave}the lower bound of the change is {first.low:+.3g}, not above 0.",
            )
    elif not first.before or not first.relative >= job.least:
        share = f"{first.relative:+.1%}" if first.before else f"{first.change:+.3g}"
        return EditDecision(
            False,
            f"{leave}the one judge sees {share}, less than the {job.least:.1%} that it has to be "
            "without an ensemble.",
        )
    if found.second is not None and not found.second.change > 0:
        return EditDecision(False, leave + "the second judge sees no gain.")
    said = "two opinions" if found.second is not None else "no second judge was asked"
    return EditDecision(True, f"Worth a test against the original; {said}; {ESTIMATE}.")

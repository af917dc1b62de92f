"""Whether an edit that was found is kept: only where it beats no edit by the lower bound.

    kept, reason = decide(found, job)

See `settings` for the rule. Judges that all say the same change, to a millionth of what was said
before, are one judge however many they are: trained on the same ads, they know nothing of how
unsure they are. Whatever is kept is still an estimate of models: a reason says
so.
"""

from __future__ import annotations

from typing import NamedTuple

from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.result import FoundEdit, JudgedChange

__all__ = ["EditDecision", "decide"]

_ALIKE = 1e-6


class EditDecision(NamedTuple):
    """kept: whether the file is written. reason: in a sentence."""

    kept: bool
    reason: str


def decide(found: FoundEdit, job: EditJob) -> EditDecision:
    """Keep it, or leave the ad as it is."""
    first, leave = found.first, "The ad stays as it is: "
    if not found.changed:
        return EditDecision(False, leave + "no edit was found that is better than none.")
    if _is_ensemble(first) and first.low is not None:
        if not first.low > 0:
            return EditDecision(
                False,
                f"{leave}the lower bound of the change is {first.low:+.3g}, not above 0.",
            )
    elif not first.before or not first.relative >= job.least:
        share = f"{first.relative:+.1%}" if first.before else f"{first.change:+.3g}"
        return EditDecision(
            False,
            f"{leave}its judge sees {share}, less than the {job.least:.1%} that it has to be "
            "without an ensemble whose members differ.",
        )
    if found.second is not None and not found.second.change > 0:
        return EditDecision(False, leave + "the second judge sees no gain.")
    said = "two opinions" if found.second is not None else "no second judge was asked"
    return EditDecision(True, f"Worth a test against the original; {said}; {ESTIMATE}.")


def _is_ensemble(change: JudgedChange) -> bool:
    if change.low is None or change.high is None:
        return False
    return change.high - change.low > _ALIKE * abs(change.before)

"""What a watch says of a changed text, and when it is worth a look.

report.alerts[0].in_words()
print(report.text())
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from adwright.audit.defences.stack import Inspection
from adwright.audit.targets.target import RankingCost
from adwright.audit.watch.changes import TextEdit

_SHOWN = 160


@dataclass(frozen=True)
class WatchAlert:
    """edit: what changed. found: what the defences say of the new text. with_before, with_after:
    mean ranks of its product with the text of before and the new one, all else as it is now; None
    on the first look. least_gain: ranks from which on a gain alone is worth a look."""

    edit: TextEdit
    found: Inspection
    with_before: float | None
    with_after: float | None
    least_gain: float

    @property
    def gain(self) -> float:
        """Ranks that the change won; 0 where it was not ranked."""
        if self.with_before is None or self.with_after is None:
            return 0.0
        return self.with_before - self.with_after

    @property
    def suspicious(self) -> bool:
        """Whether a defence alarms, or the change won many ranks."""
        return self.found.alarm or self.gain >= self.least_gain

    def in_words(self) -> str:
        """One line for a person."""
        said = [self.edit.in_words()]
        if self.found.alarm:
            said.append(self.found.in_words().partition(": ")[2])
        if self.with_before is not None and self.with_after is not None:
            said.append(f"rank {self.with_before:.1f} before, {self.with_after:.1f} with it")
        # As Python writes it, so that no text of a seller can change the report that is about it.
        said.append(ascii(self.edit.after[:_SHOWN]))
        return "; ".join(said)


@dataclass(frozen=True)
class WatchReport:
    """One look. first: there was nothing to compare with. listings: of the catalogue. gone:
    products that are no longer there. alerts: all changed texts, the suspicious ones first.
    cost: of the rankings."""

    catalogue: str
    first: bool
    listings: int
    gone: tuple[str, ...]
    alerts: tuple[WatchAlert, ...]
    cost: RankingCost = field(default_factory=RankingCost)

    @property
    def suspicious(self) -> tuple[WatchAlert, ...]:
        """Those that are worth a look."""
        return tuple(one for one in self.alerts if one.suspicious)

    def text(self) -> str:
        """A head, and a line for each text that is worth a look."""
        seen = "texts seen for the first time" if self.first else "texts changed"
        head = (
            f"{self.catalogue}: {self.listings:,} products, {len(self.alerts):,} {seen}, "
            f"{len(self.suspicious):,} suspicious"
        )
        head += f", {len(self.gone):,} products gone" if self.gone else ""
        return "\n".join([head, *(f"  {one.in_words()}" for one in self.suspicious)])

    def to_json(self) -> str:
        """All alerts as JSON."""
        rows = [
            {
                **asdict(one.edit),
                "suspicious": one.suspicious,
                "p": None if one.found.verdict is None else one.found.verdict.p.value,
                "reasons": [] if one.found.verdict is None else list(one.found.verdict.reasons),
                "changes": list(one.found.seen.changes),
                "hidden": list(one.found.seen.hidden),
                "rank_before": one.with_before,
                "rank_after": one.with_after,
            }
            for one in self.alerts
        ]
        whole = {
            "catalogue": self.catalogue,
            "first": self.first,
            "listings": self.listings,
            "gone": list(self.gone),
            "cost": asdict(self.cost),
            "texts": rows,
        }
        return json.dumps(whole, indent=1) + "\n"

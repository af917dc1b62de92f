"""A new model beside the old one: what is compared, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.log import Log
from adwright.delivery.recommend.models import TopItems
from adwright.delivery.recommend.newest import NewestVisits, ranks_of
from adwright.delivery.training_log import HistoryLog
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.comparison import Comparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol

__all__ = ["NEW", "OLD", "RetrainedModel", "measured", "taken_of"]

OLD, NEW = "old", "new"


@dataclass(frozen=True, eq=False)
class RetrainedModel:
    """kind: of both models. model: folder of the new one. comparison: of the new one with the old
    one and with simple rules, on the newest part. measured: what that was, in words. unseen:
    whether neither model was trained on any of it, so that a verdict follows."""

    kind: str
    model: Path
    comparison: Comparison
    measured: str
    unseen: bool = True

    @property
    def lead(self) -> Interval:
        """New minus old, in the measure that leads the table."""
        return self.comparison.differences[OLD][self.comparison.LEAD]

    @property
    def is_worse(self) -> bool:
        """Whether the new model is behind the old one by more than chance."""
        return self.unseen and self.lead.high < 0

    def verdict(self) -> str:
        """Which is better, in a sentence."""
        measure = self.comparison.MEASURES[self.comparison.LEAD]
        lead = self.lead.text("+.4f")
        if not self.unseen:
            return (
                f"no verdict: the old model may have been trained on what was asked, so that its "
                f"distance ({measure} {lead}) says nothing; too few users have done something "
                "since, compare again when the service has run for longer"
            )
        if self.lead.low > 0:
            return f"the new model is better: {measure} {lead}"
        if self.is_worse:
            return f"the new model is worse: {measure} {lead}; keep the old one"
        return f"no difference beyond chance: {measure} {lead}"


def measured(
    kind: str,
    model: Path,
    models: Mapping[str, TopItems],
    visits: NewestVisits,
    out: Path,
    seed: int,
) -> RetrainedModel:
    """Ask both models for what users did last, and write OUT/retrained.json.

    models: NEW and OLD.
    """
    comparison = compare_rankings(
        {name: ranks_of(top, visits) for name, top in models.items()},
        np.arange(len(visits.people)),
        subject=NEW,
        protocol=EvaluationProtocol(
            split=visits.about,
            candidates=f"all {len(visits.ids):,} items",
            ties="as a partial sort leaves them",
            seen_items="removed" if visits.unseen else "not removed",
            k=(10, 50),
        ),
        data_hash=content_hash(
            {"targets": visits.targets.tolist(), "users": visits.people.users.to_list()}
        ),
        seed=seed,
    )
    atomic_write_text(out / "retrained.json", comparison.to_json())
    return RetrainedModel(kind, model, comparison, visits.about, visits.late)


def taken_of(log: Log) -> tuple[HistoryLog, list[str]]:
    """What users did, and the ids of all items."""
    kinds = pl.col("kind").is_in(list(ACTION_KINDS))
    taken = log.events.filter(kinds).select("user_id", "item_id", "time", "kind")
    ids = log.catalogue.items["item_id"].to_list()
    return HistoryLog(taken.collect(engine="streaming"), log.users), ids

"""A new model beside the old one: what is compared, and whether the new one may take its place.

Both are asked about what neither was fitted on. The new one takes the place of the old one where it
is shown to be no worse: where the lower end of its lead, over people, lies above -2% of what the
old one reaches. What is not known is not published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from adwright.core.artifacts import Artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.log import Log
from adwright.data.tasks.own.next_item import NextItem, NextItemConfig, open_next_item
from adwright.delivery.recommend.models import TopItems
from adwright.delivery.recommend.newest import FEWEST, NewestVisits, moment_text, ranks_of
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.training_log import HistoryLog
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import Ranks
from adwright.metrics.reports.comparison import Comparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol

__all__ = [
    "MARGIN",
    "NEW",
    "OLD",
    "OldModel",
    "RetrainedModel",
    "judged",
    "taken_of",
]

OLD, NEW = "old", "new"
#: What a new model may lose of the old one's value.
MARGIN = 0.02
#: Of what is not tested so much trains, and the rest validates.
_TRAINING = 8 / 9
#: Blocks of what came after the old model; the first is learned from alone.
_BLOCKS = 5
Decision = Literal["better", "no worse", "not known", "worse"]


@dataclass(frozen=True)
class OldModel:
    """What the new model is compared with. folder: of it. artifact: the model in it. after: until
    when it may have been fitted, in microseconds since 1970; only what came later is asked."""

    folder: Path
    artifact: Artifact
    after: int

    def halfway(self, log: Log) -> int | None:
        """The moment until which the new model is fitted to be judged: half of what came after the
        old one's lies before it. None where nothing came."""
        taken, _ = taken_of(log)
        time = taken.events["time"].dt.epoch("us").sort()
        late = time.filter(time > self.after)
        return int(late[(len(late) - 1) // 2]) if len(late) > 1 else None

    def task(self, folder: Path, log: Log, config: NextItemConfig | None = None) -> NextItem:
        """The task of a log in `folder` whose test begins after what the old model was fitted on,
        where it is cut by time: at `halfway`, or at the usual tenth where that is later."""
        config = config or NextItemConfig()
        found, cut = open_next_item(folder, config), self.halfway(log)
        if cut is None or not found.choices.split.startswith("by time"):
            return found
        time = taken_of(log)[0].events["time"].dt.epoch("us").sort().to_numpy()
        usual = int(found.task.visit_time[found.task.visits("test")].min())
        before = time[time < max(cut + 1, usual)]
        dates = [
            datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(one))
            for one in (before[int(len(before) * _TRAINING)], max(cut + 1, usual))
        ]
        return open_next_item(folder, replace(config, valid_from=dates[0], test_from=dates[1]))

    def cuts(self, log: Log) -> tuple[int, ...]:
        """Five instants that part what came after the old model into as many blocks: a model that
        is counted in seconds is fitted until each, and asked about the block after it, so that no
        single moment decides. Empty where too little came."""
        taken, _ = taken_of(log)
        time = taken.events["time"].dt.epoch("us").sort()
        late = time.filter(time > self.after)
        if len(late) <= _BLOCKS:
            return ()
        return tuple(int(late[(n * len(late)) // _BLOCKS - 1]) for n in range(1, _BLOCKS + 1))

    def nothing_new(self, kind: str, model: Path) -> RetrainedModel:
        """What is said where there is no such moment."""
        why = (
            f"nobody did anything after {moment_text(self.after)}, until when the old model "
            "may have been fitted"
        )
        return RetrainedModel(kind, model, None, why)


@dataclass(frozen=True, eq=False)
class RetrainedModel:
    """kind: of the new model. model: its folder. comparison: of it with the old one and with simple
    rules, on what neither was fitted on; None where there is no such thing. measured: what that
    was, in words, or why it is not. margin: what may be lost, as a share of the old one's value."""

    kind: str
    model: Path
    comparison: Comparison | None
    measured: str
    margin: float = MARGIN

    @property
    def lead(self) -> Interval | None:
        """New minus old, in the measure that leads the table."""
        found = self.comparison
        return None if found is None else found.differences[OLD][found.LEAD]

    @property
    def lowest(self) -> float:
        """What the lower end of the lead must lie above."""
        found = self.comparison
        if found is None:
            return 0.0
        return -self.margin * max(found.reports[OLD].metrics[found.LEAD].value - found.CHANCE, 0.0)

    @property
    def decision(self) -> Decision:
        """What is known of the new model."""
        found, lead = self.comparison, self.lead
        if found is None or lead is None or self.users < FEWEST:
            return "not known"
        if lead.low > 0:
            return "better"
        if lead.low > self.lowest:
            return "no worse"
        return "worse" if lead.high < 0 else "not known"

    @property
    def publishable(self) -> bool:
        """Whether the new model may take the place of the old one."""
        return self.decision in ("better", "no worse")

    @property
    def users(self) -> int:
        """How many people were asked."""
        return 0 if self.comparison is None else self.comparison.reports[NEW].users

    def verdict(self) -> str:
        """Which is better, in a sentence, and what would be needed to know."""
        found, lead = self.comparison, self.lead
        if found is None or lead is None:
            return f"no verdict: {self.measured}"
        said = f"{found.MEASURES[found.LEAD]} {lead.text('+.4f')}"
        if self.users < FEWEST:
            return (
                f"no verdict: {self.users:,} users have done something since the old model was "
                f"fitted that the new one was not fitted on either, and fewer than {FEWEST} say "
                "nothing; train again when the service has run for longer"
            )
        limit = f"{-self.margin:.1%} of the old one's value ({self.lowest:+.4f})"
        match self.decision:
            case "better":
                return f"the new model is better: {said}"
            case "no worse":
                return f"the new model is no worse: {said}, whose lower end lies above {limit}"
            case "worse":
                return f"the new model is worse: {said}; keep the old one"
        return (
            f"the new model is not shown to be no worse: {said}, whose lower end should lie above "
            f"{limit}; {self._needed()}"
        )

    def _needed(self) -> str:
        """How many people would tell, if the lead stays what it is."""
        lead, lowest = self.lead, self.lowest
        if lead is None or lead.value <= lowest:
            return "keep the old one, and train again when the service has run for longer"
        share = (lead.value - lead.low) / (lead.value - lowest)
        more = math.ceil(self.users * share**2) - self.users
        return (
            f"were its lead to stay what it is, some {max(more, 1):,} more users than the "
            f"{self.users:,} that were asked would tell: train again when the service has run for "
            "longer"
        )


def judged(
    kind: str,
    model: Path,
    asked: Sequence[tuple[TopItems, NewestVisits]],
    old: OldModel,
    out: Path,
    seed: int,
) -> RetrainedModel:
    """Ask the new model and the old one, each as it serves, what users did next, and write
    OUT/retrained.json.

    asked: the new model, or one after the other as it was at some instants, and what each is asked.
    The users' histories are those of OUT/log.
    """
    asked = [one for one in asked if one[1].users]
    if not asked:
        return old.nothing_new(kind, model)
    before = open_model(old.folder, Wanted(log=str(out / "log"), stopped=False)).top
    user = np.concatenate([visits.user for _, visits in asked])
    about, visits = asked[0][1].about, asked[0][1]
    if len(asked) > 1:
        users = len(np.unique(user))
        about = (
            f"{len(user):,} moments of {users:,} users after {moment_text(old.after)}, in "
            f"{len(asked)} blocks of time that the new model was fitted before"
        )
    ranks = {
        NEW: _joined([ranks_of(top, visits) for top, visits in asked]),
        OLD: _joined([ranks_of(before, visits) for _, visits in asked]),
    }
    comparison = compare_rankings(
        ranks,
        user,
        subject=NEW,
        protocol=EvaluationProtocol(
            split=about,
            candidates=f"all {len(visits.ids):,} items",
            ties="as a partial sort leaves them",
            seen_items="removed" if visits.unseen else "not removed",
            k=(10, 50),
        ),
        data_hash=content_hash(
            [{"targets": v.targets.tolist(), "users": v.people.users.to_list()} for _, v in asked]
        ),
        seed=seed,
    )
    atomic_write_text(out / "retrained.json", comparison.to_json())
    return RetrainedModel(kind, model, comparison, about)


def _joined(parts: Sequence[Ranks]) -> Ranks:
    """The ranks of several lists of questions, one after the other."""
    ends = np.cumsum([0, *(len(one.ranks) for one in parts)])
    offsets = [one.offsets[1:] + start for one, start in zip(parts, ends, strict=False)]
    return Ranks(
        np.concatenate([one.ranks for one in parts]),
        np.concatenate([[0], *offsets]),
        np.concatenate([one.tied for one in parts]),
        parts[0].tie,
    )


def taken_of(log: Log) -> tuple[HistoryLog, list[str]]:
    """What users did, and the ids of all items."""
    kinds = pl.col("kind").is_in(list(ACTION_KINDS))
    taken = log.events.filter(kinds).select("user_id", "item_id", "time", "kind")
    ids = log.catalogue.items["item_id"].to_list()
    return HistoryLog(taken.collect(engine="streaming"), log.users), ids

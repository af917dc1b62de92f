"""Measure a funnel on the visits of a split: each rule, source, part and stage, and what serves."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.config import Count, Natural, settings
from adwright.core.errors import ArtifactError
from adwright.core.progress import progress
from adwright.data.sequences.datasets import NextLog, NextQuestions
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.split import Split
from adwright.delivery.cascade.cascade import Cascade
from adwright.delivery.cascade.trial import UserMeans, ranks_in
from adwright.delivery.funnel.choice import (
    NETWORKS,
    RULES,
    FoundCandidates,
    find_candidates,
    order_ranks,
    score_candidates,
    some_visits,
    targets_of,
)
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Funnel, OpenParts, Serving, SourceName
from adwright.delivery.stages.histories import Histories, visit_requests
from adwright.delivery.stages.protocols import best_of
from adwright.metrics.bootstrap import Interval
from adwright.metrics.classification import reliability_table
from adwright.metrics.ranking import Ranks, ndcg_per_user, recall_per_user
from adwright.metrics.reports.report import verdict
from adwright.models.retrieval.rules import NextRules
from adwright.training.retrieval.rules import new_targets, rules_ranks

# --------------------------------------------------------------------------------------------------
# What was measured of a funnel: rules, sources, parts and orders side by side, as table and JSON.
#
# rule        a simple rule over the whole catalogue
# source      what one source finds; its recall is of all that it finds
# shortlist   what the sources that serve find together
# part        one model alone, over the shortlist
# order       an order that was tried, over the shortlist
# served      what serves, asked as the service asks it

Floats = NDArray[np.float64]
LineKind = Literal["rule", "source", "shortlist", "part", "order", "served"]
_FORMAT = 1


@settings
class FunnelLine:
    """One line. items: how many it lets through, on average. recall: which share of what was taken
    is among them, of an order among its first 50. ndcg: NDCG@10; None where there is no order.
    ahead: of the best rule, in NDCG@10, paired. ms: a request takes, on one thread; None where it
    was not timed."""

    name: str
    kind: LineKind
    items: float
    recall: Interval
    ndcg: Interval | None = None
    ahead: Interval | None = None
    ms: float | None = None


def mean_distance(reliability: Sequence[tuple[float, float, int]]) -> float:
    """Between what was said and what was taken, over the items of a report's `reliability`."""
    said, taken, number = np.array(reliability).T
    return float(np.average(np.abs(said - taken), weights=number))


@dataclass(frozen=True)
class FunnelReport:
    """first: one sentence, what serves and how it stands to the rules. notes: what else was
    decided, a sentence each. best_rule: whom `ahead` is about. visits, users: that were asked.
    reliability: what was said of the chance of what is shown and how much of it was taken, with how
    many items, in twentieths by what was said; empty where what serves has no probabilities."""

    first: str
    split: str
    best_rule: str
    lines: tuple[FunnelLine, ...]
    visits: int
    users: int
    protocol: str
    data_hash: str
    seed: int
    draws: int
    notes: tuple[str, ...] = ()
    validation: tuple[FunnelLine, ...] = field(default=())
    reliability: tuple[tuple[float, float, int], ...] = ()

    @property
    def calibration_error(self) -> float | None:
        """The mean distance between the two, over items shown (Naeini et al. 2015)."""
        return mean_distance(self.reliability) if self.reliability else None

    def calibration_text(self) -> str:
        """What the probabilities are worth, in a sentence; empty where there are none."""
        if not self.reliability:
            return ""
        said, taken, number = np.array(self.reliability).T
        return (
            f"Probability of what is shown: said {np.average(said, weights=number):.4f}, taken "
            f"{np.average(taken, weights=number):.4f}; calibration error "
            f"{self.calibration_error:.4f}, in the highest twentieth said {said[-1]:.3f}, taken "
            f"{taken[-1]:.3f}"
        )

    def line(self, name: str, kind: LineKind | None = None) -> FunnelLine:
        """The first line of this name. Raises KeyError where there is none."""
        for one in self.lines:
            if one.name == name and kind in (None, one.kind):
                return one
        raise KeyError(name)

    @property
    def served(self) -> FunnelLine:
        """The line of what serves."""
        return next(one for one in self.lines if one.kind == "served")

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        return ("", "what", "items", "recall", "NDCG@10", f"ahead of {self.best_rule}", "ms")

    def rows(self, lines: Sequence[FunnelLine] | None = None) -> list[tuple[str, ...]]:
        """The lines as text; by default those of `lines`."""
        return [
            (
                one.name,
                one.kind,
                f"{one.items:,.0f}",
                one.recall.text(".3f"),
                "" if one.ndcg is None else one.ndcg.text(),
                "" if one.ahead is None else one.ahead.text("+.4f"),
                "" if one.ms is None else f"{one.ms:.1f}",
            )
            for one in (self.lines if lines is None else lines)
        ]

    def to_json(self) -> str:
        """JSON text; `from_json` gives back an equal report."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FunnelReport:
        """The report of a JSON text; ArtifactError when the text is not one."""
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise ValueError("another format number")
            for name in ("lines", "validation"):
                values[name] = tuple(_line(one) for one in values[name])
            values["reliability"] = tuple(tuple(one) for one in values.get("reliability", ()))
            return cls(**{**values, "notes": tuple(values["notes"])})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the text is not a report of a funnel: {type(error).__name__}: {error}",
                hint="write it with FunnelReport.to_json of this version",
            ) from error


@dataclass(frozen=True, eq=False)
class MeasuredVisits:
    """What lines are measured on: visits of some users. rule: NDCG@10 [V] of what a gain is held
    up to; None where it is not."""

    means: UserMeans
    rule: Floats | None = None

    def line(
        self,
        name: str,
        kind: LineKind,
        items: float,
        recall: Floats,
        gain: Floats | None = None,
        ms: float | None = None,
    ) -> FunnelLine:
        """A line of the table, from recall and NDCG@10 [V] of each visit."""
        means, ahead = self.means, None
        if gain is not None and self.rule is not None:
            ahead = means.ahead(gain, self.rule)
        ndcg = None if gain is None else means.mean(gain)
        return FunnelLine(name, kind, items, means.mean(recall), ndcg, ahead, ms)


def _line(values: Mapping[str, Any]) -> FunnelLine:
    ends = {
        name: None if values[name] is None else Interval(**values[name])
        for name in ("recall", "ndcg", "ahead")
    }
    return FunnelLine(**{**values, **ends})


Ints = NDArray[np.int64]
#: Places that NDCG looks at, and items that recall does.
FIRST, DEPTH = 10, 50
#: How many items each source finds.
SIZES: Mapping[SourceName, int] = {
    "sequence": 200,
    "sasrec": 200,
    "two-tower": 200,
    "item-item": 200,
    "linear": 200,
    "alike": 200,
    "past": 500,
    "lately": 100,
    "popularity": 100,
    "hcn": 200,
}
_TOGETHER, _TIMED = 64, 50


@settings
class Asking:
    """What is asked: at most `most` visits of `split`, 0 for all. draws: of the bootstrap over
    users."""

    split: Split = "test"
    most: Natural = 5_000
    draws: Count = 500
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Asked:
    """Visits of a split, what the rules make of them, and how lines about them are made. best: the
    rule with the highest gain. kept: what each visit got by each line that is an order."""

    asking: Asking
    visits: Ints
    ranks: Mapping[str, Ranks]
    best: str
    measured: MeasuredVisits
    kept: dict[str, Floats] = field(default_factory=dict)
    reliability: list[tuple[float, float, int]] = field(default_factory=list)

    def order(
        self, name: str, kind: LineKind, ranks: Ranks, items: float, ms: float | None = None
    ) -> FunnelLine:
        gain, recall = ndcg_per_user(ranks, FIRST), recall_per_user(ranks, DEPTH)
        self.kept.update({f"ndcg/{kind}/{name}": gain, f"recall/{kind}/{name}": recall})
        return self.measured.line(name, kind, items, recall, gain, ms)

    def save(self, path: Path) -> None:
        """Write what each visit got as Parquet: visit, user, and two columns a line."""
        known = {"visit": self.visits, "user": self.measured.means.user}
        pl.DataFrame({**known, **self.kept}).write_parquet(path)

    def report(
        self,
        task: NextBasket,
        about: str,
        lines: Sequence[FunnelLine],
        *,
        notes: Sequence[str] = (),
        validation: Sequence[FunnelLine] = (),
    ) -> FunnelReport:
        (served,) = (one for one in lines if one.kind == "served")
        # A rule that serves is not compared with itself.
        same = served.ahead is None or about.startswith(f"{self.best} alone")
        leads = {} if same or served.ahead is None else {self.best: served.ahead}
        rules = [self.order(name, "rule", one, DEPTH) for name, one in self.ranks.items()]
        return FunnelReport(
            first=(about + verdict("What serves", leads, "NDCG@10")).strip()
            + _above(served, lines),
            split=self.asking.split,
            best_rule=self.best,
            lines=(*rules, *lines),
            visits=len(self.visits),
            users=len(np.unique(self.measured.means.user)),
            protocol=task.protocol,
            data_hash=task.data_hash,
            seed=self.asking.seed,
            draws=self.asking.draws,
            notes=tuple(notes),
            validation=tuple(validation),
            reliability=tuple(self.reliability),
        )


def _above(served: FunnelLine, lines: Sequence[FunnelLine]) -> str:
    """That a part is above what serves here, where one is: a report keeps nothing back."""
    parts = [(one.ndcg.value, one.name) for one in lines if one.kind == "part" and one.ndcg]
    value, name = max(parts, default=(0.0, ""))
    if served.ndcg is None or value <= served.ndcg.value:
        return ""
    return (
        f" Its part {name} alone has {value:.4f} on these visits, what serves "
        f"{served.ndcg.value:.4f}: other visits have chosen."
    )


def rule_ranks_of(
    rules: NextRules, log: NextLog, task: NextBasket, split: Split, visits: Ints
) -> Mapping[str, Ranks]:
    """Ranks of what `visits` (int64 [V]) of a split took, by each rule over the whole catalogue.

    Each of the visits must have taken something that may be shown.
    """
    questions: NextQuestions = log.valid if split == "valid" else log.test
    every = task.visits(split)
    asked = questions.some(np.searchsorted(every, visits))
    if not rules.repeats:
        asked = new_targets(log, asked)
    return rules_ranks(rules, log, asked, unseen=not rules.repeats, depth=DEPTH)


def measure_funnel(
    funnel: Funnel,
    rules: NextRules,
    log: NextLog,
    task: NextBasket,
    asking: Asking,
    *,
    notes: Sequence[str] = (),
    validation: Sequence[FunnelLine] = (),
    about: str = "",
    visits: Path | None = None,
) -> FunnelReport:
    """The report of a funnel on the visits that are asked for.

    rules: fitted on the training of `log`, which is `task`'s.
    about: what serves, in words; by default as it was chosen.
    What each line is, says `report`. Times are of one request at a time, on this thread.
    visits: a file for what each visit got by each order, NDCG@10 and recall@50, as Parquet.
    """
    asked = _asked(rules, log, task, asking)
    parts = funnel.parts.opened(Histories.of_task(task))
    found = find_candidates(parts, {n: SIZES[n] for n in parts.sources}, task, asked.visits)
    lines = [*_sources(asked, parts, found, task), *_orders(asked, funnel, parts, found, task)]
    served = _served(asked, funnel.opened_cascade(parts), task, found.targets)
    about = about or _about(funnel.serving)
    report = asked.report(task, about, [*lines, served], notes=notes, validation=validation)
    if visits is not None:
        asked.save(visits)
    return report


def measure_cascade(
    cascade: Cascade,
    rules: NextRules,
    log: NextLog,
    task: NextBasket,
    asking: Asking,
) -> FunnelReport:
    """The report of any cascade: its shortlist, its coarse order, and what serves. Its histories
    must be those of `task`. The rest as in `measure_funnel`."""
    asked = _asked(rules, log, task, asking)
    shortlists: list[Ints] = []
    coarse: list[Ints] = []
    with progress(len(asked.visits), "coarse", "visits") as bar:
        for start in range(0, len(asked.visits), _TOGETHER):
            some = asked.visits[start : start + _TOGETHER]
            batch = cascade.histories.batch(visit_requests(task, some))
            short = cascade.retrieve(batch)
            score = cascade.coarse.score(batch, short)
            best, _ = best_of(short, score, np.full(len(some), cascade.config.coarse))
            shortlists += short.lists()
            coarse += best.lists()
            bar.advance(len(some))
    targets = targets_of(task, asked.visits, unseen=not rules.repeats)
    whole = ranks_in(shortlists, targets)
    size = max((len(one) for one in shortlists), default=1)
    items = float(np.mean([len(one) for one in shortlists]))
    recall = recall_per_user(whole, max(size, 1))
    lines = [asked.measured.line("all sources", "shortlist", items, recall)]
    if cascade.fine is not None:
        ranks = ranks_in(coarse, targets)
        lines.append(asked.order("before the fine stage", "order", ranks, DEPTH))
    served = _served(asked, cascade, task, targets)
    return asked.report(task, "A cascade of fixed stages serves. ", [*lines, served])


def _asked(rules: NextRules, log: NextLog, task: NextBasket, asking: Asking) -> _Asked:
    split, seed, unseen = asking.split, asking.seed, not rules.repeats
    visits = some_visits(task, task.visits(split), asking.most, unseen=unseen, seed=seed)
    ranks = rule_ranks_of(rules, log, task, split, visits)
    gains = {name: ndcg_per_user(one, FIRST) for name, one in ranks.items()}
    best = max(gains, key=lambda name: float(gains[name].mean()))
    means = UserMeans(task.visit_user[visits], asking.draws, seed)
    return _Asked(asking, visits, ranks, best, MeasuredVisits(means, gains[best]))


def _sources(
    asked: _Asked, parts: OpenParts, found: FoundCandidates, task: NextBasket
) -> list[FunnelLine]:
    """A line per source."""
    lines = []
    few = parts.histories.batch(visit_requests(task, found.visits[:_TIMED]))
    for name in found.lists:
        source, short = parts.source(name), found.union([name])
        start = time.process_time()
        for row in range(len(few)):
            if source is not None:
                source.find(few.some([row]), SIZES[name])
        ms = 1e3 * (time.process_time() - start) / max(len(few), 1)
        items, recall = float(np.diff(short.offsets).mean()), found.recall(short)
        lines.append(asked.measured.line(name, "source", items, recall, ms=ms))
    return lines


def _orders(
    asked: _Asked, funnel: Funnel, parts: OpenParts, found: FoundCandidates, task: NextBasket
) -> list[FunnelLine]:
    """The shortlist, each part alone, and the coarse order where a fine one follows."""
    serving = funnel.serving
    short = found.union(list(serving.sources))
    items = float(np.diff(short.offsets).mean())
    recall = found.recall(short)
    lines = [asked.measured.line("all sources that serve", "shortlist", items, recall)]
    names = {*serving.coarse.names, *(n for n in NETWORKS if n in parts.parts.models)}
    bench = score_candidates(parts, parts.columns(names), task, found, short)
    for name in bench.names:
        if name not in RULES and name in (*NETWORKS, "fine"):
            score = ScoreMixture.of(name).scores(bench.names, bench.z)
            lines.append(asked.order(name, "part", order_ranks(bench, score), DEPTH))
    if serving.fine is not None:
        ranks = order_ranks(bench, serving.coarse.scores(bench.names, bench.z))
        lines.append(asked.order("before the fine stage", "order", ranks, DEPTH))
    return lines


def _served(
    asked: _Asked, cascade: Cascade, task: NextBasket, targets: Sequence[Ints]
) -> FunnelLine:
    """What the cascade answers, and milliseconds of a request alone."""
    lists: list[Ints] = []
    said: list[Floats] = []
    with progress(len(asked.visits), "served", "visits") as bar:
        for start in range(0, len(asked.visits), _TOGETHER):
            some = asked.visits[start : start + _TOGETHER]
            for answer in cascade.recommend_many(visit_requests(task, some)):
                lists.append(cascade.histories.items.rows(pa.array(answer.item_ids, pa.string())))
                said += [answer.score] if answer.probability else []
            bar.advance(len(some))
    if len(said) == len(lists) and any(map(len, said)):
        taken = [np.isin(one, mine) for one, mine in zip(lists, targets, strict=True)]
        table = reliability_table(np.concatenate(taken), np.concatenate(said))
        columns = table.mean_prediction, table.observed_rate, table.count
        asked.reliability.extend(zip(*(one.tolist() for one in columns), strict=True))
    requests = visit_requests(task, asked.visits[:_TIMED])
    begun = time.process_time()
    for request in requests:
        cascade.recommend(request)
    ms = 1e3 * (time.process_time() - begun) / max(len(requests), 1)
    ranks = ranks_in(lists, targets)
    return asked.order("served", "served", ranks, cascade.config.coarse, ms)


def _about(serving: Serving) -> str:
    """What serves, in words."""
    names = serving.coarse.names
    if serving.fine is None and len(names) == 1:
        if names[0] not in RULES:
            return f"The model {names[0]} alone serves. "
        return (
            f"{RULES[names[0]]} alone serves: on validation nothing that was trained was ahead of "
            "it by more than chance. "
        )
    then = ", then the fine stage" if serving.fine is not None else ""
    return f"A mixture of {', '.join(names)} serves{then}. "

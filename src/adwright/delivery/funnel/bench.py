"""Visits with everything that sources and models say of them: what a funnel is measured on.

What is looked up once serves every question afterwards: which sources are needed, how good each
order is, and which weights a mixture has.

Letters: V visits, C candidates of all of them together, J columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.progress import progress
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.cascade import found_by
from adwright.delivery.funnel.columns import CandidateColumns, ColumnName, stacked
from adwright.delivery.funnel.mixture import standardised
from adwright.delivery.funnel.parts import OpenParts, SourceName
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist, best_of
from adwright.metrics.ranking import Ranks

__all__ = [
    "Bench",
    "FoundCandidates",
    "find_candidates",
    "order_ranks",
    "score_candidates",
    "some_visits",
    "taken_of",
    "targets_of",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class FoundCandidates:
    """What sources find for V visits. user: int64 [V]. targets: V arrays of codes, what was taken
    and may be shown. lists: source -> V arrays of codes, best first where a source is full."""

    visits: Ints
    user: Ints
    targets: Sequence[Ints]
    lists: Mapping[SourceName, Sequence[Ints]]

    def union(self, names: Sequence[SourceName]) -> Shortlist:
        """The candidates of some sources together; codes rising within a visit."""
        lists = [self.lists[name] for name in names]
        return Shortlist.of([np.unique(np.concatenate(per)) for per in zip(*lists, strict=True)])

    def recall(self, short: Shortlist) -> Floats:
        """Which share of each visit's targets is among its candidates: [V]."""
        number = np.array([len(one) for one in self.targets])
        taken = taken_of(self.targets, short)
        hits = np.bincount(short.owner, taken, minlength=len(short))
        share: Floats = hits / np.maximum(number, 1)
        return share


@settings(eq=False)
class Bench:
    """Candidates of V visits with their columns.

    user: int64 [V]. number: int64 [V], targets of each visit, also those that no source found.
    names, z: the columns, float32 [C, J] standardised within a visit. taken: bool [C]. reached:
    source -> bool [C], which candidates it found.
    """

    user: Ints
    number: Ints
    short: Shortlist
    names: tuple[ColumnName, ...]
    z: NDArray[np.float32]
    taken: NDArray[np.bool_]
    reached: Mapping[SourceName, NDArray[np.bool_]] = field(default_factory=dict)

    def reached_by(self, names: Sequence[SourceName]) -> NDArray[np.bool_]:
        """The candidates that any of these sources found: bool [C]."""
        found = np.zeros(len(self.taken), np.bool_)
        for name in names:
            found |= self.reached[name]
        return found

    def columns(self, names: Sequence[ColumnName]) -> NDArray[np.float32]:
        """z of some columns: [C, len(names)]."""
        found: NDArray[np.float32] = self.z[:, [self.names.index(name) for name in names]]
        return found

    def best(self, score: Floats, k: int) -> Bench:
        """The k best candidates of each visit, columns standardised among them anew."""
        width = self.short.codes.max(initial=0) + 1
        kept, _ = best_of(self.short, score, np.full(len(self.short), k))
        key = self.short.owner * width + self.short.codes
        place = np.searchsorted(key, np.sort(kept.owner * width + kept.codes))
        short = Shortlist(self.short.codes[place], kept.offsets)
        z = standardised(self.z[place], kept.offsets).astype(np.float32)
        reached = {name: mask[place] for name, mask in self.reached.items()}
        return Bench(self.user, self.number, short, self.names, z, self.taken[place], reached)

    def with_column(self, name: ColumnName, values: Floats) -> Bench:
        """The same with one more column, values [C]."""
        z = standardised(values[:, None], self.short.offsets).astype(np.float32)
        return Bench(
            self.user,
            self.number,
            self.short,
            (*self.names, name),
            np.concatenate((self.z, z), axis=1),
            self.taken,
            self.reached,
        )


def some_visits(task: NextBasket, visits: Ints, most: int, *, unseen: bool, seed: int = 0) -> Ints:
    """At most so many of `visits` (int64 [V]) that took something which may be shown, drawn by
    `seed`; ascending. unseen: what a user had may not."""
    kept = [n for n, one in enumerate(targets_of(task, visits, unseen=unseen)) if len(one)]
    some = np.random.default_rng(seed).permutation(len(kept))[: most or len(kept)]
    return visits[np.asarray(kept, np.int64)[np.sort(some)]]


def find_candidates(
    parts: OpenParts, sizes: Mapping[SourceName, int], task: NextBasket, visits: Ints
) -> FoundCandidates:
    """What each source finds for `visits` (int64 [V]); sizes: how many items each is to find."""
    unseen = not parts.parts.repeats
    pairs = [(name, parts.source(name), k) for name, k in sizes.items()]
    asked = [(source, k) for _, source, k in pairs if source is not None]
    names = [name for name, source, _ in pairs if source is not None]
    lists: dict[SourceName, list[Ints]] = {name: [] for name in names}
    with progress(len(visits), "candidates", "visits") as bar:
        for start in range(0, len(visits), _TOGETHER):
            some = visits[start : start + _TOGETHER]
            batch = parts.histories.batch(visit_requests(task, some))
            none = np.zeros(0, np.int64)
            barred = [
                np.unique(batch.item[a:b]) if unseen else none
                for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
            ]
            for name, found in zip(names, found_by(asked, batch, barred), strict=True):
                lists[name] += found
            bar.advance(len(some))
    targets = targets_of(task, visits, unseen=unseen)
    return FoundCandidates(visits, task.visit_user[visits], targets, lists)


def score_candidates(
    parts: OpenParts,
    columns: Sequence[CandidateColumns],
    task: NextBasket,
    found: FoundCandidates,
    short: Shortlist,
) -> Bench:
    """The columns of the candidates `short` of what was found."""
    pieces, names = [], tuple(name for one in columns for name in one.names)
    with progress(len(found.visits), "scores", "visits") as bar:
        for start in range(0, len(found.visits), _TOGETHER):
            rows = range(start, min(start + _TOGETHER, len(found.visits)))
            batch = parts.histories.batch(visit_requests(task, found.visits[rows]))
            a, b = short.offsets[start], short.offsets[rows.stop]
            mine = Shortlist(short.codes[a:b], short.offsets[start : rows.stop + 1] - a)
            _, values = stacked(columns, batch, mine)
            pieces.append(standardised(values, mine.offsets).astype(np.float32))
            bar.advance(len(rows))
    number = np.array([len(one) for one in found.targets], np.int64)
    z = np.concatenate([np.zeros((0, len(names)), np.float32), *pieces])
    taken = taken_of(found.targets, short)
    reached = {name: taken_of(lists, short) for name, lists in found.lists.items()}
    return Bench(found.user, number, short, names, z, taken, reached)


def order_ranks(bench: Bench, score: Floats) -> Ranks:
    """Ranks of the targets in the order of score [C]: infinity where no source found one, or its
    score is minus infinity."""
    short, owner = bench.short, bench.short.owner
    order = np.lexsort((short.codes, -score, owner))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order)) - short.offsets[owner[order]] + 1.0
    taken = bench.taken & (score > -np.inf)
    hits = np.bincount(owner[taken], minlength=len(short))
    lost = np.repeat(np.arange(len(short)), bench.number - hits)
    of = np.concatenate((owner[taken], lost))
    ranks = np.concatenate((rank[taken], np.full(len(lost), np.inf)))
    order = np.lexsort((ranks, of))
    offsets = np.concatenate(([0], np.cumsum(bench.number)))
    return Ranks(ranks[order], offsets, np.zeros(len(ranks), np.bool_), "hash")


def taken_of(targets: Sequence[Ints], short: Shortlist) -> NDArray[np.bool_]:
    """Which candidates are among the codes of their visit (V arrays): bool [C]."""
    width = int(max((one.max(initial=0) for one in targets), default=0))
    width = max(width, int(short.codes.max(initial=0))) + 1
    lengths = [len(one) for one in targets]
    flat = np.concatenate([np.zeros(0, np.int64), *targets])
    keys = np.repeat(np.arange(len(targets)), lengths) * width + flat
    found: NDArray[np.bool_] = np.isin(short.owner * width + short.codes, keys)
    return found


def targets_of(task: NextBasket, visits: Ints, *, unseen: bool) -> list[Ints]:
    """What each visit took; unseen: less what its user had before."""
    start, end = task.target_offsets[visits], task.target_offsets[visits + 1]
    found = [task.targets[a:b] for a, b in zip(start, end, strict=True)]
    if not unseen:
        return found
    had, bounds = task.seen(visits)
    pairs = zip(found, bounds[:-1], bounds[1:], strict=True)
    return [one[~np.isin(one, had[a:b])] for one, a, b in pairs]

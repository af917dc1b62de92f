"""The cascade: find some hundred items, order them roughly, order the best of them finely.

    retrieve   some 500 of the catalogue by vectors, and the user's own past items
    coarse     the best 50 of those
    fine       these 50 in the order of the ranker; a slate takes the first 10

Requests are answered many at a time, so that each stage is one call over all users. With a
deadline, a stage that would not end in time, judged by how long it took lately, is left out:
the answer is in the coarse order then, or the most popular items, and `Candidates.stage` says
so. Nobody is refused: a user without a history has a vector of profile and moment alone, and
an item that a request names and the catalogue lacks comes last.

`delivery.funnel` makes cascades of any number of sources, with orders that add several models up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import Count, Ge, Natural, settings
from adwright.data.popularity import most_popular
from adwright.delivery.calibrated import Calibration, calibrated
from adwright.delivery.decision import Candidates, Deadline, Request
from adwright.delivery.stages.histories import Histories, RequestBatch
from adwright.delivery.stages.protocols import (
    CandidateSource,
    ExcludedCodes,
    Scorer,
    Shortlist,
    best_of,
    read_by,
)
from adwright.delivery.stages.sources import KeptByUser

# --------------------------------------------------------------------------------------------------
# The cost of each stage of the cascade per request.


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage per request: processor milliseconds of the whole process, and items that
    the stage was handed or found.

    requests: how many were measured.
    """

    stage: str
    requests: int
    cpu_ms: float
    items: float


class Meter:
    """Adds up the cost of the stages; pass one to `Cascade.recommend_many`.

    Other work of the same process is counted too: measure a process that does nothing else.
    """

    def __init__(self) -> None:
        self._totals: dict[str, _Total] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the processor time until the block ends."""
        started = time.process_time()
        try:
            yield
        finally:
            self._total(name).seconds += time.process_time() - started

    def work(self, name: str, requests: int, items: int) -> None:
        """Note how much the stage did."""
        total = self._total(name)
        total.requests += requests
        total.items += items

    def report(self) -> list[StageCost]:
        """One line per stage, in the order in which they first ran."""
        return [
            StageCost(name, one.requests, 1000 * one.seconds / n, one.items / n)
            for name, one in self._totals.items()
            for n in (max(one.requests, 1),)
        ]

    def _total(self, name: str) -> _Total:
        return self._totals.setdefault(name, _Total())


@dataclass
class _Total:
    seconds: float = 0.0
    requests: int = 0
    items: int = 0


# --------------------------------------------------------------------------------------------------
# Predict how long a stage takes, to decide whether to begin it before a deadline.
#
# A stage costs something however few the requests are, and something for each of them, so the
# durations seen lately are fitted with a line over the number of requests,
#
#     seconds = a + b n,    a, b >= 0,
#
# by least squares in which a duration loses a tenth of its weight with every later one. A stage
# that took less than half of what was expected of it was slow for a reason that is gone: the line
# is lowered to what it took.

_KEPT = 0.9
_PATIENCE = 0.95
_SURPRISE = 0.5
#: Variances of n below this part of its squared mean say nothing of the slope.
_ALIKE = 1e-3


class Pace:
    """The durations of the stages of one recommender, by name.

    safety: a stage fits where so many times its expected duration is left, at least 1.

    A stage that did not fit is not measured, so one slow moment could rule it out for good.
    Therefore each refusal makes the next one a twentieth less likely: after some dozens the
    stage is tried once more, and measured.
    """

    def __init__(self, clock: Clock, safety: float) -> None:
        self.clock = clock
        self._safety = safety
        self._lines: dict[str, _Line] = {}
        self._doubt: dict[str, float] = {}

    def expected(self, stage: str, requests: int) -> float:
        """Seconds for so many requests; 0 for a stage that never ran."""
        line = self._lines.get(stage)
        return 0.0 if line is None else line.at(requests)

    def fits(self, stage: str, requests: int, deadline: Deadline | None) -> bool:
        """Whether the stage will probably end in time; a stage that never ran is tried."""
        if deadline is None:
            return True
        left = deadline.remaining()
        doubt = self._doubt.get(stage, 1.0)
        fits = left > self.expected(stage, requests) * self._safety * doubt
        if not fits and left > 0:
            self._doubt[stage] = doubt * _PATIENCE
        return fits

    @contextmanager
    def measured(self, stage: str, requests: int) -> Iterator[None]:
        """Time the block, which works on so many requests; nothing is learned if it raises."""
        started = self.clock.monotonic()
        yield
        seconds = self.clock.monotonic() - started
        line = self._lines.get(stage, _Line())
        expected = self.expected(stage, requests)
        if seconds < _SURPRISE * expected:
            line = line.scaled(seconds / expected)
        self._lines[stage] = line.with_point(float(requests), seconds)
        self._doubt[stage] = 1.0


@dataclass(frozen=True)
class _Line:
    """Line fitted to points (n, t): the weighted sums that least squares needs."""

    weight: float = 0.0
    n: float = 0.0
    t: float = 0.0
    nn: float = 0.0
    nt: float = 0.0

    def with_point(self, n: float, t: float) -> _Line:
        return _Line(
            _KEPT * self.weight + 1,
            _KEPT * self.n + n,
            _KEPT * self.t + t,
            _KEPT * self.nn + n * n,
            _KEPT * self.nt + n * t,
        )

    def scaled(self, factor: float) -> _Line:
        return replace(self, t=factor * self.t, nt=factor * self.nt)

    def at(self, n: float) -> float:
        mean_n, mean_t = self.n / self.weight, self.t / self.weight
        spread = self.nn / self.weight - mean_n**2
        # Where all were of one size, and wherever the line would begin below 0: in proportion.
        slope = mean_t / mean_n
        if spread > _ALIKE * mean_n**2:
            slope = min(slope, max(0.0, (self.nt / self.weight - mean_n * mean_t) / spread))
        return mean_t + slope * (n - mean_n)


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Of so many people at most it is remembered that they are owed a better answer, and so many are
#: answered together: whoever comes meanwhile waits for these.
_OWED, _FEW = 1_000, 2


@settings
class CascadeConfig:
    """Sizes of the stages.

    retrieve: items that the vectors find. past: of the user's own past, at most so many; 0
    for none. coarse: items that the coarse stage lets through; a request for more gets more.
    together: requests of one call to the fine stage. safety: a stage is begun where so many
    times its usual duration is left. unseen: what a user had, as the histories say, is not offered
    again, unless a request names it: for catalogues of which nobody takes a thing twice. kept: of
    so many users the last answer is kept until something that it depends on is another.
    """

    retrieve: Count = 500
    past: Natural = 500
    coarse: Count = 50
    together: Count = 8
    safety: Annotated[float, Ge(1)] = 1.5
    unseen: bool = False
    kept: Natural = 50_000


class Neighbour(NamedTuple):
    """An item and its cosine with the one asked for."""

    item_id: str
    score: float


class SimilarSource(CandidateSource, Protocol):
    """A source that also says which items are like another."""

    def similar(self, code: int, k: int) -> tuple[Ints, NDArray[np.floating]]:
        """At most k other items, the most similar first: (codes, scores)."""


class Cascade:
    """A Recommender of three stages.

    vectors: the source of items near a user; also says which items are similar. past: a
    source of own items, or None. sources: in place of these two, any number of sources, each with
    how many items it finds. coarse, fine: the two orders; without a fine one the coarse
    one is the last. count: int64 [N + 1], training events of each item, for the popular items.
    calibration: of the stages' scores. clock: measures how long stages take.
    """

    def __init__(
        self,
        histories: Histories,
        *,
        vectors: SimilarSource,
        coarse: Scorer,
        fine: Scorer | None,
        count: Ints,
        past: CandidateSource | None = None,
        sources: Sequence[tuple[CandidateSource, int]] = (),
        config: CascadeConfig | None = None,
        calibration: Calibration | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.calibration = calibration or {}
        self.histories, self.config = histories, config or CascadeConfig()
        self.vectors, self.past, self.coarse, self.fine = vectors, past, coarse, fine
        self.sources = tuple(sources)
        self.count = count
        self._popular = most_popular(count)
        self._ids = ("", *histories.items.ids)
        self._excluded = ExcludedCodes(self._codes)
        self._pace = Pace(clock or SystemClock(), self.config.safety)
        self._parts = (*(one for one, _ in self._sources()), coarse, *([fine] if fine else []))
        self._kept = KeptByUser[Candidates](self.config.kept)
        self._owed: dict[str, Request] = {}

    def recommend(self, request: Request) -> Candidates:
        """The answer to one request."""
        return self.recommend_many([request])[0]

    def recommend_many(
        self,
        requests: Sequence[Request],
        deadline: Deadline | None = None,
        *,
        meter: Meter | None = None,
    ) -> list[Candidates]:
        """The answers, in the order of the requests: `config.coarse` items each, or as many as
        the request has places, none that it excludes, and only those it allows.

        deadline: see the module. meter: takes what each stage costs. With a meter, or where the
        deadline has passed, what was kept is not used.
        """
        if not requests:
            return []
        batch = self.histories.batch(requests)
        hurried = deadline is not None and deadline.passed()
        keeps = self.config.kept and not meter and not hurried
        read = read_by(self._parts, batch) if keeps else None
        if read is None:
            return self._computed(batch, deadline, meter)
        last = "coarse" if self.fine is None else "fine"
        said = last, self.config
        answers = self._kept.of(
            batch.user.tolist(),
            [
                None if request.candidates is not None else (*said, key, places, request.exclude)
                for request, key, places in zip(
                    requests, batch.keys(read), self._places(requests).tolist(), strict=True
                )
            ],
            lambda rows: self._computed(batch.some(rows), deadline, meter),
            lambda answer: answer.stage == last,
        )
        for request, answer in zip(requests, answers, strict=True):
            if answer.stage != last and request.candidates is None and len(self._owed) < _OWED:
                self._owed[request.user_id] = request
        return answers

    def catch_up(self, free: Callable[[], bool]) -> None:
        """Answer for those who got less than all that serves can say, as time was short, so that
        it is there when they come back. free: asked before each few; not where it says no.

        Called from the thread that asks for answers."""
        while self._owed and free():
            few = [self._owed.popitem()[1] for _ in range(min(_FEW, len(self._owed)))]
            self.recommend_many(few)

    def _computed(
        self, batch: RequestBatch, deadline: Deadline | None, meter: Meter | None
    ) -> list[Candidates]:
        """The answers, of which nothing was kept."""
        requests = batch.requests
        if not self._pace.fits("coarse", len(requests), deadline):
            return [self._most_popular(request) for request in requests]
        with self._pace.measured("coarse", len(batch)):
            found = self.retrieve(batch, meter=meter)
            with _metered(meter, "coarse"):
                score = self.coarse.score(batch, found)
                items, score = best_of(found, score, self._places(requests))
            if meter:
                meter.work("coarse", len(batch), len(found.codes))
        answers: list[Candidates] = []
        step = self.config.together
        for start in range(0, len(requests), step):
            chosen = range(start, min(start + step, len(requests)))
            if self.fine is None or not self._pace.fits("fine", len(chosen), deadline):
                part, shown = batch.some(chosen), items.some(chosen)
                first = int(items.offsets[start])
                best = score[first : first + len(shown.codes)]
                answers += self._answers(part, shown, best, self.coarse, "coarse")
            else:
                answers += self._finely(self.fine, batch.some(chosen), items.some(chosen), meter)
        return answers

    def retrieve(self, batch: RequestBatch, *, meter: Meter | None = None) -> Shortlist:
        """The candidates of each user from the sources, less what the request does not allow; a
        request that names its candidates gets those."""
        with _metered(meter, "retrieve"):
            open_ = [n for n, r in enumerate(batch.requests) if r.candidates is None]
            asked = batch if len(open_) == len(batch) else batch.some(open_)
            found = [np.zeros(0, np.int64)] * len(batch)
            for n, codes in zip(open_, self._found(asked), strict=True):
                found[n] = codes
            lists = [
                self._named(request, codes)
                for request, codes in zip(batch.requests, found, strict=True)
            ]
            short = Shortlist.of(lists)
        if meter:
            meter.work("retrieve", len(batch), len(short.codes))
        return short

    def similar(self, item_id: str, k: int = 10) -> list[Neighbour] | None:
        """The k items nearest to an item by the retriever's item vectors, nearest first; None
        where the catalogue lacks it."""
        (code,) = self._codes([item_id])
        if not code:
            return None
        found, score = self.vectors.similar(code, k)
        pairs = zip(found.tolist(), score.tolist(), strict=True)
        return [Neighbour(self._ids[other], cosine) for other, cosine in pairs]

    def warm_up(self, people: int = 16) -> None:
        """Answer for some users, in calls of several sizes, so that the first request with a
        deadline knows the pace."""
        users = self.histories.users() or [" "]
        step = max(1, len(users) // people)
        now = self._pace.clock.now()
        for start, size in enumerate((people, people, 1, 2, 4, 8, 1)):
            # Other users each time: what is kept of a user makes the second answer cheaper.
            chosen = (users[start::step] or users)[:size]
            self.recommend_many([Request(f"warm-up-{u}", u, now) for u in chosen])

    @property
    def item_vectors(self) -> NDArray[np.float32] | None:
        """[N + 1, W] of the items under their codes, for comparing items with each other; None
        where no model has any."""
        found: NDArray[np.float32] | None = getattr(self.vectors, "item_vectors", None)
        return found

    def _sources(self) -> Sequence[tuple[CandidateSource, int]]:
        """The sources, each with how many items it finds."""
        if self.sources:
            return self.sources
        if self.past is None or not self.config.past:
            return ((self.vectors, self.config.retrieve),)
        return (self.vectors, self.config.retrieve), (self.past, self.config.past)

    def _found(self, batch: RequestBatch) -> list[Ints]:
        """What the sources find that each request of the catalogue may be shown, rising."""
        if not len(batch):
            return []
        pairs = zip(batch.requests, batch.barred(), strict=True)
        barred = [self._barred(request, had) for request, had in pairs]
        lists = found_by(self._sources(), batch, barred)
        return [np.unique(np.concatenate(per)) for per in zip(*lists, strict=True)]

    def _barred(self, request: Request, had: Ints) -> Ints:
        """Codes that must not be shown. had: int64 [L], off the user's list."""
        barred = self._excluded.of(request.exclude)
        return np.union1d(barred, had) if self.config.unseen else barred

    def _named(self, request: Request, codes: Ints) -> Ints:
        """The candidates that the request names, in place of the codes found."""
        if request.candidates is None:
            return codes
        codes = np.unique(self._codes(request.candidates))
        codes = codes[codes > 0]
        if request.exclude:
            codes = codes[~np.isin(codes, self._excluded.of(request.exclude))]
        return codes

    def _finely(
        self, fine: Scorer, batch: RequestBatch, items: Shortlist, meter: Meter | None
    ) -> list[Candidates]:
        with self._pace.measured("fine", len(batch)), _metered(meter, "fine"):
            score = fine.score(batch, items)
            best, score = best_of(items, score, np.diff(items.offsets))
            answers = self._answers(batch, best, score, fine, "fine")
        if meter:
            meter.work("fine", len(batch), len(items.codes))
        return answers

    def _answers(
        self, batch: RequestBatch, items: Shortlist, score: Floats, scorer: Scorer, stage: str
    ) -> list[Candidates]:
        """The answers of one stage; items and score [C]: best first for each request."""
        return [
            self._complete(request, items.codes[a:b], score[a:b], scorer.probability, stage)
            for request, (a, b) in zip(batch.requests, items.bounds(), strict=True)
        ]

    def _most_popular(self, request: Request) -> Candidates:
        """Items by their training events; no model is asked."""
        places = int(self._places([request])[0])
        if request.candidates is None:
            had = self.histories.batch([request]).barred()[0]
            barred = self._barred(request, had)
            popular = self._popular[: places + len(barred)]
            popular = popular[~np.isin(popular, barred)]
        else:
            popular = self._codes(request.candidates)
            popular = popular[np.argsort(-self.count[popular], kind="stable")]
            popular = popular[popular > 0]
        codes = [c for c in popular.tolist() if self._ids[c] not in request.exclude][:places]
        chosen = np.array(codes, np.int64)
        share = self.count[chosen] / max(int(self.count.sum()), 1)
        return self._complete(request, chosen, share, False, "popularity")

    def _complete(
        self, request: Request, codes: Ints, score: Floats, probability: bool, stage: str
    ) -> Candidates:
        """The answer; items that the request names and the catalogue lacks come last, at the
        lowest score there is."""
        ids = [self._ids[code] for code in codes.tolist()]
        if request.candidates is not None:
            known = zip(request.candidates, self._codes(request.candidates).tolist(), strict=True)
            lost = [i for i, code in known if not code and i not in request.exclude]
            ids = ids + lost
            score = np.append(score, np.full(len(lost), score[-1] if len(score) else 0.0))
        return calibrated(tuple(ids), score, stage, self.calibration, probability=probability)

    def _codes(self, item_ids: Sequence[str]) -> Ints:
        return self.histories.items.rows(pa.array(item_ids, pa.string()))

    def _places(self, requests: Sequence[Request]) -> Ints:
        """Items that the coarse stage lets through, a request: [U]."""
        return np.array([max(self.config.coarse, request.k) for request in requests])


def found_by(
    sources: Sequence[tuple[CandidateSource, int]], batch: RequestBatch, barred: Sequence[Ints]
) -> list[list[Ints]]:
    """What each source finds for each request: at most as many items as it is to, none that is
    barred.

    barred: codes that the U requests must not be shown. A source is asked for so many more, and
    what it finds is cut where that is more than it is to find: it comes best first then.
    """
    spare = max((len(codes) for codes in barred), default=0)
    found = []
    for source, k in sources:
        lists = source.find(batch, k + spare).lists()
        if spare:
            lists = [
                codes[~np.isin(codes, out)][:k] for codes, out in zip(lists, barred, strict=True)
            ]
        found.append(lists)
    return found


def _metered(meter: Meter | None, stage: str) -> AbstractContextManager[None]:
    return nullcontext() if meter is None else meter.stage(stage)

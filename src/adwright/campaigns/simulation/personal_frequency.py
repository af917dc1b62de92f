"""A recommender that needs no training: what the person took most often, then what all take.

    own items     (c + 1/2) / (v + 3)     c takings of the item in v visits of the person
    other items   f n_i / V               n_i takings in all V visits, f the share of takings
                                          that are of items new to the person

These are smoothed frequencies, so policies that want probabilities may use them. Simple rules
like this one are strong on groceries; a simulation can run with it before anything is trained.
A request sees what came before its own time, so the same request is answered the same later.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.data.popularity import PairCounts
from adwright.delivery.decision import Candidates, Deadline, Request

__all__ = ["PersonalFrequency"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class PersonalFrequency:
    """Answers with at most `most` items, or as many as the request has places.

    events: an EventLog. items: ids of all items that may be shown. kinds: events that count.
    """

    def __init__(
        self,
        events: pl.DataFrame,
        items: Sequence[str],
        *,
        most: int = 50,
        kinds: Sequence[str] = ("purchase",),
    ) -> None:
        self._most, self._kinds = most, frozenset(kinds)
        self._item = {item_id: code for code, item_id in enumerate(items)}
        self._ids = list(items)
        self._user: dict[str, int] = {}
        self._lock = threading.Lock()
        self._added: list[tuple[int, int, int]] = []
        rows = events.filter(
            pl.col("kind").is_in(kinds), pl.col("item_id").is_in(pl.Series(items).implode())
        )
        users = rows["user_id"].unique().sort()
        self._user = {user: code for code, user in enumerate(users)}
        triple = (
            rows["user_id"].cast(pl.Enum(users)).to_physical().cast(pl.Int64).to_numpy(),
            rows["item_id"].cast(pl.Enum(items)).to_physical().cast(pl.Int64).to_numpy(),
            rows["time"].dt.epoch("s").to_numpy(),
        )
        self._layers = [self._layer(*triple)]
        visits = max(1, rows.select("user_id", "time").n_unique())
        own, new = rows.select("user_id", "item_id").n_unique(), max(1, rows.height)
        count = np.bincount(triple[1], minlength=len(items))
        self._share = own / new * count / visits
        self._popular = np.argsort(-self._share, kind="stable")

    @property
    def weight(self) -> Floats:
        """[items] what all take, for a fallback: the chance of an item new to a person."""
        return self._share

    def recommend(self, request: Request) -> Candidates:
        """The answer to one request."""
        user = self._user.get(request.user_id, -1)
        at = np.int64(request.time.timestamp())
        own, score = self._own(user, at) if user >= 0 else _NOTHING
        spare = max(self._most, request.k) + len(request.exclude) + len(own)
        others = self._popular[:spare] if request.candidates is None else self._popular
        others = others[~np.isin(others, own)]
        codes = np.concatenate([own, others])
        return self._answer(request, codes, np.concatenate([score, self._share[others]]), "fine")

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None = None
    ) -> list[Candidates]:
        """The answers, in order; what all take where the deadline has passed."""
        return [
            self._answer(request, self._popular, self._share[self._popular], "popularity")
            if deadline is not None and deadline.passed()
            else self.recommend(request)
            for request in requests
        ]

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take note of events that were stored, in the columns of EVENT_SCHEMA."""
        with self._lock:
            rows = [
                (
                    self._user.setdefault(event["user_id"], len(self._user)),
                    self._item[event["item_id"]],
                    int(event["time"].timestamp()),
                )
                for event in events
                if event["kind"] in self._kinds and event["item_id"] in self._item
            ]
            if rows:
                self._added += rows
                user, item, time = np.array(self._added, np.int64).T
                self._layers = [self._layers[0], self._layer(user, item, time)]

    def _own(self, user: int, at: np.int64) -> tuple[Ints, Floats]:
        layers = self._layers
        items, who = [], np.array([user])
        for tally, _ in layers:
            first, end = tally.things_of(who)
            items.append(tally.things[int(first[0]) : int(end[0])])
        own = np.unique(np.concatenate(items))
        users, times = np.full(len(own), user), np.full(len(own), at)
        count = sum(tally.before(users, own, times)[0] for tally, _ in layers)
        visits = sum(int(came.before(who, who * 0, times[:1])[0].sum()) for _, came in layers)
        had = np.asarray(count) > 0
        return own[had], (np.asarray(count)[had] + 0.5) / (visits + 3)

    def _answer(self, request: Request, codes: Ints, score: Floats, stage: str) -> Candidates:
        allowed = np.ones(len(codes), np.bool_)
        if request.exclude:
            allowed &= ~np.isin(codes, self._codes(request.exclude))
        if request.candidates is not None:
            allowed &= np.isin(codes, self._codes(request.candidates))
        codes, score = codes[allowed], score[allowed]
        order = np.lexsort((codes, -score))[: max(self._most, request.k)]
        ids = tuple(self._ids[code] for code in codes[order].tolist())
        return Candidates(ids, score[order], True, stage)

    def _codes(self, item_ids: Sequence[str] | frozenset[str]) -> list[int]:
        return [self._item[item_id] for item_id in item_ids if item_id in self._item]

    def _layer(self, user: Ints, item: Ints, time: Ints) -> tuple[PairCounts, PairCounts]:
        """Tallies of items and of visits."""
        moments = np.unique(np.stack([user, time]), axis=1) if len(user) else np.zeros((2, 0))
        came = moments.astype(np.int64)
        return (
            PairCounts(user, item, time, things=max(1, len(self._ids))),
            PairCounts(came[0], np.zeros_like(came[0]), came[1], things=1),
        )


_NOTHING: tuple[Ints, Floats] = (np.zeros(0, np.int64), np.zeros(0))

"""The item-item rule, served: ready seconds after a log was read.

An artifact of kind "item-item" (`training.retrieval.item_item_artifact`) with the histories of its
users in it. What users do while it serves is history from the next request on.

    recommend   by the neighbours of the user's latest items; after what these reach, and for users
                without an event, the most popular items
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact
from adwright.data.features import ItemTable
from adwright.data.sequences.pasts import Pasts
from adwright.delivery.calibrated import calibrated
from adwright.delivery.deadline import Deadline
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.excluded import ExcludedCodes
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.neighbour_source import request_pasts
from adwright.models.retrieval.item_item import ItemItem
from adwright.training.retrieval.item_item import ItemItemArtifact

__all__ = [
    "ItemItemRecommender",
    "item_table",
    "load_item_item",
    "with_histories",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_PART = "histories"
_SPARE = 20  # candidates beyond the places, for policies that skip some


class ItemItemRecommender:
    """A Recommender by item-item, over histories that grow.

    repeats: whether what a user had may be recommended again: the histories say, or else the rule.
    Raises ConfigError where the histories are of another catalogue.
    """

    def __init__(self, artifact: ItemItemArtifact, histories: Histories) -> None:
        histories.require_catalogue(artifact.ids, "item-item rule")
        self.model: ItemItem = artifact.model
        self.histories = histories
        self.repeats = not histories.leave_out(repeats=artifact.repeats)
        self.calibration = artifact.calibration
        self._ids = ("", *artifact.ids)
        self._excluded = ExcludedCodes(self._codes)
        self._share = self.model.count / max(int(self.model.count.sum()), 1)

    def recommend(self, request: Request) -> Candidates:
        """The best k + 20 that the request allows."""
        return self.recommend_many([request])[0]

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None = None
    ) -> list[Candidates]:
        """As `recommend`, for each. Past the deadline the most popular items are answered, in stage
        "popularity"."""
        if not requests:
            return []
        if deadline is not None and deadline.passed():
            return [self._popular(request) for request in requests]
        pasts = request_pasts(self.histories.batch(requests))
        most = max(r.k + _SPARE + len(self._excluded.of(r.exclude)) for r in requests)
        most = min(most, self.model.items)
        codes, score = self.model.best(pasts, most, unseen=not self.repeats)
        answers = []
        for n, request in enumerate(requests):
            past = pasts.some(n, n + 1)
            if request.candidates is None:
                found = codes[n][codes[n] > 0]
                answers.append(self._answer(request, past, found, score[n][: len(found)]))
            else:
                answers.append(self._among(request, past))
        return answers

    def similar(self, item_id: str, k: int) -> list[tuple[str, float]] | None:
        """At most k neighbours of an item with their scores, nearest first; None for an item that
        is not known."""
        (code,) = self._codes([item_id]).tolist()
        if not code:
            return None
        codes, score = self.model.similar(code, k)
        return [(self._ids[c], s) for c, s in zip(codes.tolist(), score.tolist(), strict=True)]

    def _among(self, request: Request, past: Pasts) -> Candidates:
        """The order of the candidates that the request names, own ones too; unknown ones last."""
        asked = self._codes(request.candidates or ())
        known = np.unique(asked[asked > 0])
        found = self.model.pair_scores(past, np.zeros(len(known), np.int64), known)
        score = np.where(found > 0, found, self._share[known] - 1)
        order = np.lexsort((known, -score))
        ids = [self._ids[code] for code in known[order].tolist()]
        lost = [i for i, c in zip(request.candidates or (), asked.tolist(), strict=True) if not c]
        values = np.concatenate((score[order], np.full(len(lost), -1.0)))
        kept = [n for n, item_id in enumerate(ids + lost) if item_id not in request.exclude]
        chosen = tuple((ids + lost)[n] for n in kept)
        return calibrated(chosen, values[kept], "fine", self.calibration)

    def _answer(self, request: Request, past: Pasts, codes: Ints, score: Floats) -> Candidates:
        """The items that neighbours reach, then popular ones, up to k + 20."""
        barred = self._excluded.of(request.exclude)
        if not self.repeats:
            barred = np.concatenate((barred, past.barred.item))
        kept = ~np.isin(codes, barred)
        codes, score = codes[kept], score[kept].astype(np.float64)
        places = request.k + _SPARE
        lacking = places - len(codes)
        if lacking > 0:
            # Those that stand already, or may not, are at most so many of the first.
            more = self.model.popular[: lacking + len(codes) + len(barred)]
            more = more[~np.isin(more, codes) & ~np.isin(more, barred)][:lacking]
            codes = np.concatenate((codes, more))
            score = np.concatenate((score, self._share[more] - 1))
        return self._named(codes[:places], score[:places], "fine")

    def _popular(self, request: Request) -> Candidates:
        """The most popular items that the request allows; own ones too."""
        codes = self.model.popular
        if request.candidates is not None:
            codes = codes[np.isin(codes, self._codes(request.candidates))]
        barred = self._excluded.of(request.exclude)
        if not self.repeats and request.candidates is None:
            barred = np.concatenate((barred, *self.histories.batch([request]).barred()))
        codes = codes[: request.k + _SPARE + len(barred)]
        codes = codes[~np.isin(codes, barred)][: request.k + _SPARE]
        return self._named(codes, self._share[codes], "popularity")

    def _named(self, codes: Ints, score: Floats, stage: str) -> Candidates:
        ids = tuple(self._ids[code] for code in codes.tolist())
        return calibrated(ids, score, stage, self.calibration)

    def _codes(self, item_ids: Sequence[str]) -> Ints:
        return self.histories.items.rows(pa.array(item_ids, pa.string()))


def item_table(ids: Sequence[str]) -> ItemTable:
    """A catalogue of ids alone, for `Histories`."""
    return ItemTable(tuple(ids), {}, {}, np.zeros((len(ids) + 1, 0), np.float32))


def with_histories(artifact: ItemItemArtifact, histories: Histories) -> ItemItemArtifact:
    """The artifact with the histories in it. What they hold is personal."""
    with tempfile.TemporaryDirectory(prefix="adwright-item-item-") as scratch:
        root = Path(scratch) / _PART
        histories.save(root)
        files = {f"{_PART}/{path.name}": path.read_bytes() for path in sorted(root.iterdir())}
    return replace(artifact, files={**artifact.files, **files})


def load_item_item(source: Artifact) -> ItemItemRecommender:
    """The recommender of an artifact; without histories in it nobody is known at first.

    Raises what `ItemItemArtifact.load` and `Histories.load` raise.
    """
    artifact = ItemItemArtifact.load(source)
    items = item_table(artifact.ids)
    known = any(name.startswith(f"{_PART}/") for name in artifact.files)
    return ItemItemRecommender(
        artifact, Histories.load(source.part(_PART), items) if known else Histories(items)
    )

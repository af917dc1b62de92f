"""The fine stage: DIN or HSTU on the few items that are left, straight from arrays.

Features, history and codes are those of the ranker's training rows (the choice task): the spec
encodes them, `personal` counts them. The catalogue is embedded once, at the start; after that a
request costs one pass of the network over its candidates and no table.

A ranker of the choice task learned from drawn negatives; its draws turn the logits into the
odds of the catalogue, item by item (see `data.tasks.negatives`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature
from adwright.data.ranges import distinct
from adwright.data.tasks.negatives import Draws, popular_share
from adwright.delivery.stages.histories import Histories, RequestBatch
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import ProfileCodes
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import embed_catalogue, with_vectors

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class FineRanker:
    """A Scorer that asks a trained ranker.

    ranker: its catalogue must be that of `histories`. draws: of the choice task that it was
    trained on; None for a ranker whose own calibration holds for the catalogue.
    Raises ConfigError for another catalogue or a feature that a request cannot supply.
    """

    probability = True

    def __init__(self, ranker: Ranker, histories: Histories, draws: Draws | None = None) -> None:
        histories.require_catalogue(ranker.items.ids, "ranker")
        spec = ranker.spec
        if spec.multi_rows:
            raise ConfigError(
                "a request has no lists of values beside its history", where=spec.multi_rows[0].name
            )
        self.ranker, self.draws, self._histories = ranker, draws, histories
        said = [f for f in spec.coded_rows if f.kind != "bucketised"]
        self._said = ProfileCodes(said, histories)
        self._share = popular_share(_popularity(ranker)) if draws else np.zeros(0)
        vectors = embed_catalogue(ranker.model.item, len(ranker.items))
        self._model = with_vectors(ranker.model, vectors)

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Probabilities [C] that each item is taken."""
        inputs, had, distinct = self._inputs(batch, items)
        with torch.inference_mode():
            logits = self._model(inputs).double().numpy()
        if self.draws is None:
            return self.ranker.calibrated(logits)
        logits = logits + self.draws.log_expected(
            self._share[items.codes], items=len(self._share) - 1, had=had, distinct=distinct
        )
        return self.ranker.calibrator(1 / (1 + np.exp(-logits)))

    def inputs(self, batch: RequestBatch, items: Shortlist) -> Batch:
        """The rows that the network sees: one group per user, in the order of `items`."""
        return self._inputs(batch, items)[0]

    def _inputs(
        self, batch: RequestBatch, items: Shortlist
    ) -> tuple[Batch, NDArray[np.bool_], Ints]:
        """The inputs, whether each row's user had its item, and distinct items of the user
        (both [C])."""
        owner, spec = items.owner, self.ranker.spec
        counts = batch.counts(owner, items.codes)
        known = {
            "visible": batch.lengths[owner].astype(np.float64),
            "frequency": counts.frequency.astype(np.float64),
            "recent": counts.recent.astype(np.float64),
            "recency": counts.recency,
            # As a row of a log's task has it: what was taken so far, by anyone.
            "popularity": self._histories.count[items.codes].astype(np.float64),
        }
        said = self._said.codes(batch)[owner]
        categorical = {f.name: said[:, n] for n, f in enumerate(self._said.features)}
        for feature in spec.coded_rows:
            if feature.name not in categorical:
                column = _numbers(feature, known, batch, owner)
                categorical[feature.name] = feature.codes(pa.array(column, from_pandas=True))
        numeric = [f.numbers(pa.array(_numbers(f, known, batch, owner))) for f in spec.numeric_rows]
        place, offsets = batch.latest(self.ranker.max_history or len(batch.item))
        inputs = Batch(
            history=Jagged(torch.from_numpy(batch.item[place]), torch.from_numpy(offsets)),
            offsets=torch.from_numpy(items.offsets),
            item=torch.from_numpy(items.codes),
            begin=torch.zeros(len(owner), dtype=torch.int64),
            end=torch.from_numpy(np.diff(offsets)[owner]),
            categorical={f.name: torch.from_numpy(categorical[f.name]) for f in spec.coded_rows},
            multi={},
            numeric=torch.from_numpy(
                np.stack(numeric, 1) if numeric else np.zeros((len(owner), 0), np.float32)
            ),
            label=torch.zeros(len(owner)),
            row=torch.arange(len(owner)),
        )
        return inputs, counts.frequency > 0, _distinct(batch)[owner]


def _numbers(
    feature: Feature, known: dict[str, Floats], batch: RequestBatch, owner: Ints
) -> Floats:
    """The numbers of a row feature [C]; NaN where the request does not say."""
    if feature.name in known:
        return known[feature.name]
    said = [request.context.get(feature.name) for request in batch.requests]
    numbers = [float(x) if isinstance(x, int | float) else np.nan for x in said]
    return np.asarray(numbers, dtype=np.float64)[owner]


def _distinct(batch: RequestBatch) -> Ints:
    """Distinct items of each user's history [U]."""
    _, bounds = distinct(batch.item, batch.offsets, int(batch.item.max(initial=0)) + 1)
    return np.diff(bounds)


def _popularity(ranker: Ranker) -> Ints:
    if "popularity" not in ranker.catalogue.columns:
        raise ConfigError(
            "the ranker's catalogue lacks the popularity that its negatives were drawn by",
            where="popularity",
            hint="train it on a choice task",
        )
    return np.append(0, ranker.catalogue["popularity"].to_numpy())

"""Any model that recommends to everybody, without the items that are stopped in its log."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from adwright.data.sources.log import open_log
from adwright.data.stops import stopped
from adwright.delivery.recommend.models import Best, TopItems
from adwright.delivery.recommend.people import People

__all__ = ["ShownTop", "stopped_in_log"]

#: Places of one call, some 25 MB: many users are asked about in parts.
PLACES = 1 << 21


class ShownTop:
    """A model whose `hidden` items are left out. They may be unknown to it.

    Costs as much as `len(hidden)` more places for each user.
    """

    def __init__(self, top: TopItems, hidden: Collection[str]) -> None:
        self.items = top.items
        self._top = top
        codes = top.items.rows(pa.array(sorted(hidden), pa.string()))
        self._hidden = codes[codes > 0]

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user that are not hidden."""
        if not len(self._hidden):
            return self._top.best(people, k)
        asked = k + len(self._hidden)
        step = max(1, PLACES // asked)
        codes = np.full((len(people), k), -1, np.int64)
        scores = np.full((len(people), k), -np.inf, np.float32)
        for start in range(0, len(people), step):
            end = min(start + step, len(people))
            found = self._top.best(people.some(start, end), asked)
            gone = np.isin(found.codes, self._hidden)
            order = np.argsort(gone, axis=1, kind="stable")[:, :k]
            left = ~np.take_along_axis(gone, order, axis=1)
            for out, values in ((codes, found.codes), (scores, found.scores)):
                out[start:end][left] = np.take_along_axis(values, order, axis=1)[left]
        return Best(codes, scores)


def stopped_in_log(
    source: str | Path, at: datetime | None = None, *, offline: bool = False
) -> frozenset[str]:
    """The items that are stopped by the events of a log, or by those up to the moment `at`, in UTC.

    A folder of sequences or of a ranking task holds no such events. Raises as `open_log`.
    """
    path = Path(source)
    if (path / "sequences.txt").is_file() or (path / "task.json").is_file():
        return frozenset()
    log = open_log(source, offline=offline, tell=False)
    events = log.events.filter(pl.col("kind") == "stop").collect(engine="streaming")
    return stopped(events, log.catalogue.creatives, at).items

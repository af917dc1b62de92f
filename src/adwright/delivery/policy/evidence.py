"""Impressions and responses per item since training.

The scores of a model are as old as its training data. Between two trainings these counts keep
a bandit up to date: they are the only thing that it learns online.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError

__all__ = ["Evidence", "ItemCounts"]


class Evidence(Protocol):
    """Impressions and responses per item since training."""

    def counts(self, item_ids: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Impressions [C] and responses [C], with 0 <= responses <= impressions."""


class ItemCounts:
    """Counts in memory, fed with events in any order.

    Responses are counted up to the impressions of their item: a response without an impression
    (it came first, or was shown by someone else) waits until one arrives.
    """

    def __init__(self, *, response: str = "click", since: datetime | None = None) -> None:
        """response: the kind of event that counts as one, for example "click". since: the scores
        know what happened before; None counts every event."""
        self.response, self.since = response, since
        self._shown: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    def record(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events in the columns of the EventLog; kinds other than impression and the
        response are skipped. Not idempotent: pass each event once.

        Raises ValueInvalidError for an event without an item.
        """
        for row, event in enumerate(events):
            kind = event["kind"]
            if kind not in ("impression", self.response):
                continue
            if self.since is not None and event["time"] < self.since:
                continue
            item_id = event["item_id"]
            if not item_id:
                raise ValueInvalidError("item_id is empty", row=row, column="item_id")
            counts = self._shown if kind == "impression" else self._answered
            counts[item_id] = counts.get(item_id, 0) + 1

    def counts(self, item_ids: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Impressions [C] and responses [C] of these items; zeros for the unknown."""
        shown = np.array([self._shown.get(item, 0) for item in item_ids], np.float64)
        answered = np.array([self._answered.get(item, 0) for item in item_ids], np.float64)
        return shown, np.minimum(answered, shown)

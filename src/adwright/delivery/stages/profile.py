"""Codes of a request's user and context features: the same text as in training, put through the
same FeatureSpec.

A user feature is read off the user's profile, a context feature off the request's own
context, else off its time (`next_basket.moment`). What is not known is code 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.data.features import Feature
from adwright.data.tasks.next_basket import moment
from adwright.delivery.decision import Request
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.request_batch import RequestBatch

__all__ = ["ProfileCodes"]

Ints = NDArray[np.int64]


class ProfileCodes:
    """Codes of the `features` (categorical or hashed) of requests.

    Profiles are encoded here once, so a profile that comes later is not seen: build anew.
    """

    def __init__(self, features: Sequence[Feature], histories: Histories) -> None:
        self.features = tuple(features)
        profiles = histories.profiles.to_arrow()
        self._of_user = {
            f.name: np.append(0, f.codes(profiles[f.name]))
            for f in self.features
            if f.of == "user" and f.name in profiles.column_names
        }

    def codes(self, batch: RequestBatch) -> Ints:
        """int64 [U, F], one column per feature."""
        found = np.zeros((len(batch), len(self.features)), np.int64)
        moments = [moment(request.time) for request in batch.requests]
        for column, feature in enumerate(self.features):
            if feature.of == "user":
                found[:, column] = self._profile(feature, batch)
            else:
                values = [
                    _said(request, feature.name, at)
                    for request, at in zip(batch.requests, moments, strict=True)
                ]
                found[:, column] = feature.codes(pa.array(values, pa.string()))
        return found

    def _profile(self, feature: Feature, batch: RequestBatch) -> Ints:
        if feature.name == "user_id":
            users = [request.user_id for request in batch.requests]
            return feature.codes(pa.array(users, pa.string()))
        table = self._of_user.get(feature.name, np.zeros(1, np.int64))
        return table[np.where(batch.user < len(table), batch.user, 0)]


def _said(request: Request, name: str, at: dict[str, str]) -> str | None:
    value = request.context.get(name, at.get(name))
    return None if value is None else str(value)

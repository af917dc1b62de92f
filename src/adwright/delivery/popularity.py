"""The most popular items: what is answered when there is no time for anything better.

Also an artifact of its own (kind "popularity"), with which a service can start before any model
is trained.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from adwright.core.artifacts import Artifact, Fitted, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ValueInvalidError
from adwright.delivery.calibrated import Calibration, calibrated
from adwright.delivery.decision import Candidates, Deadline, Request
from adwright.models.calibration import ListCalibrator

KIND = "popularity"
_ITEMS = "items.json"
_SPARE = 20  # candidates beyond the places, for policies that skip some


class Popularity:
    """Orders by one fixed number per item, the same for every user.

    item_ids: N items, each once. weight: [N], finite, for example counts of purchases; ties go
    to the item that stands first. calibration: what the weights are worth. Costs O(k + excluded)
    per request.

    Raises ValueInvalidError for shapes that differ and weights that are not finite.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        weight: NDArray[np.float64],
        calibration: Calibration | None = None,
    ) -> None:
        self.calibration = calibration or {}
        weight = np.asarray(weight, dtype=np.float64)
        if weight.shape != (len(item_ids),) or len(set(item_ids)) != len(item_ids):
            raise ValueInvalidError(
                f"{len(set(item_ids))} different items of {len(item_ids)} and weights of shape "
                f"{weight.shape} do not match",
                hint="give each item once, with one weight",
            )
        if not np.isfinite(weight).all():
            raise ValueInvalidError("a weight is not finite", column="weight")
        order = np.argsort(-weight, kind="stable")
        self._item_ids = [item_ids[row] for row in order]
        self._weight = weight[order]
        self._rank = {item_id: row for row, item_id in enumerate(self._item_ids)}

    def __len__(self) -> int:
        return len(self._item_ids)

    @property
    def item_ids(self) -> Sequence[str]:
        """The items, the most popular first."""
        return self._item_ids

    @property
    def weight(self) -> NDArray[np.float64]:
        """[N], of the items in that order."""
        return self._weight

    def recommend(self, request: Request) -> Candidates:
        """The best k + 20 that the request allows, in stage "popularity"."""
        rows = list(itertools.islice(self._allowed(request), request.k + _SPARE))
        ids = tuple(self._item_ids[row] for row in rows)
        return calibrated(ids, self._weight[rows], "popularity", self.calibration)

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None
    ) -> list[Candidates]:
        """As `recommend`, for each; the deadline does not matter."""
        return [self.recommend(request) for request in requests]

    def _allowed(self, request: Request) -> Iterator[int]:
        if request.candidates is None:
            rows: Iterator[int] = iter(range(len(self._item_ids)))
        else:
            known = (self._rank.get(item_id) for item_id in request.candidates)
            rows = iter(sorted(row for row in known if row is not None))
        return (row for row in rows if self._item_ids[row] not in request.exclude)


def save_popularity(
    folder: str | Path,
    item_ids: Sequence[str],
    weight: NDArray[np.float64],
    *,
    calibration: Calibration | None = None,
    data_hash: str = "",
    seed: int = 0,
    fitted: Fitted | None = None,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> str:
    """Write the artifact; returns its id. data_hash, seed, fitted: of what the weights were
    counted from. Raises what `save_artifact` raises."""
    Popularity(item_ids, weight)
    tensors = {"weight": np.asarray(weight, dtype=np.float64)}
    files = {_ITEMS: json.dumps(list(item_ids))}
    return save_artifact(
        folder,
        kind=KIND,
        config={"calibration": {name: to_jsonable(one) for name, one in calibration.items()}}
        if calibration
        else {},
        tensors=tensors,
        files=files,
        data_hash=data_hash,
        seed=seed,
        fitted=fitted,
        overwrite=overwrite,
        clock=clock,
    )


def load_popularity(source: str | Path | Artifact) -> tuple[Popularity, str, int]:
    """The orderer, the artifact's id and its seed, of its folder or of the artifact. Raises what
    `load_artifact` raises."""
    artifact = load_artifact(source, kind=KIND)
    folder = artifact.folder
    if "weight" not in artifact.tensors:
        raise ArtifactError("the artifact holds no weights", where=str(folder))
    try:
        item_ids = TypeAdapter(list[str]).validate_json(artifact.text(_ITEMS), strict=True)
    except ValidationError as error:
        raise ArtifactError("the items are no list of texts", where=f"{folder}/{_ITEMS}") from error
    saved = artifact.config.get("calibration", {})
    calibration = {name: from_jsonable(ListCalibrator, one) for name, one in saved.items()}
    popular = Popularity(item_ids, artifact.tensors["weight"], calibration)
    return popular, artifact.id, artifact.seed

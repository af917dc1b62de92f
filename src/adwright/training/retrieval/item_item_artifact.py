"""A fitted item-item rule as an artifact of kind "item-item".

manifest.json         its settings, the data's hash, the seed
tensors.safetensors   neighbours, their scores, and how often each item was taken
items.json            what the item codes stand for
histories/            what users did until then (kind "histories"), where it is to be served
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adwright.core.artifacts import Artifact, Fitted, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ValueInvalidError
from adwright.models.calibration import ListCalibrator
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.neighbours import Neighbours
from adwright.training.model_artifacts import load_trained

__all__ = ["KIND", "ItemItemArtifact"]

KIND = "item-item"
_IDS = "items.json"
_ARRAYS = ("codes", "score", "count")


@dataclass(frozen=True, eq=False)
class ItemItemArtifact:
    """A fitted rule with what its codes stand for.

    ids: of the item codes 1 to N. repeats: whether what a user had may come again, which the log
    told. name, data_hash: of the data. seed: of the search. files: further files that are saved
    with it. fitted: on which events. calibration: what the scores of each stage in which it
    serves are worth. Raises ValueInvalidError where ids and counts are not of one catalogue.
    """

    model: ItemItem
    ids: tuple[str, ...]
    repeats: bool
    name: str = ""
    data_hash: str = ""
    seed: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    fitted: Fitted | None = None
    calibration: Mapping[str, ListCalibrator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.ids) != self.model.items or len(set(self.ids)) != len(self.ids):
            raise ValueInvalidError(
                f"the rule knows {self.model.items:,} items, and needs a different id of each",
                column="ids",
                value=f"{len(set(self.ids)):,} different ids of {len(self.ids):,}",
            )

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        table = self.model.neighbours
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "config": to_jsonable(self.model.config),
                "repeats": self.repeats,
                "name": self.name,
                "calibration": {name: to_jsonable(one) for name, one in self.calibration.items()},
            },
            tensors=dict(zip(_ARRAYS, (table.codes, table.score, self.model.count), strict=True)),
            files={**self.files, _IDS: json.dumps(self.ids)},
            data_hash=self.data_hash,
            seed=self.seed,
            fitted=self.fitted,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> ItemItemArtifact:
        """The rule of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="item-item rule")


def _built(artifact: Artifact) -> ItemItemArtifact:
    config = from_jsonable(ItemItemConfig, artifact.config["config"])
    codes, score, count = (artifact.tensors[name] for name in _ARRAYS)
    shape = (len(count), config.neighbours.neighbours)
    if codes.shape != shape or score.shape != shape or codes.max(initial=0) >= len(count):
        raise ValueInvalidError(
            "the neighbours are not those of the items", value=f"{codes.shape}, {shape}"
        )
    table = Neighbours(codes.astype(np.int32), score.astype(np.float32))
    return ItemItemArtifact(
        ItemItem(config, table, count.astype(np.int64)),
        tuple(str(one) for one in json.loads(artifact.text(_IDS))),
        bool(artifact.config["repeats"]),
        str(artifact.config["name"]),
        artifact.data_hash,
        artifact.seed,
        {name: data for name, data in artifact.files.items() if name != _IDS},
        artifact.fitted,
        {
            name: from_jsonable(ListCalibrator, values)
            for name, values in artifact.config.get("calibration", {}).items()
        },
    )

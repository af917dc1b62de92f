"""A trained survival network, ready to be asked: its artifact, kind "lifetime".

manifest.json         terms, causes, unit, the network's config, what it reads, records
tensors.safetensors   weights
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, require_count, to_jsonable
from adwright.core.errors import SchemaError
from adwright.creative.lifetime.hazards.curves import LifeCurves
from adwright.creative.lifetime.hazards.inputs import InputSpec, SpellInputs, Vectors
from adwright.creative.lifetime.hazards.likelihood import log_hazards
from adwright.creative.lifetime.hazards.network import SurvivalConfig, SurvivalNetwork
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.training.model_artifacts import load_trained, load_weights, weights_of

__all__ = ["KIND", "FittedLifetime", "predicted_curves"]

KIND = "lifetime"


@dataclass(frozen=True, eq=False)
class FittedLifetime:
    """A survival network with what it was trained for.

    causes: C names. unit: of ages, "week" or "day". config: of the training, plain values.
    valid_loss, epoch: of the kept weights, of what decided: the loss, or 1 - C; NaN and the last
    epoch without a validation. records: one mapping a validation. data_hash: of the training and
    validation spells. typical: share of the training units that has ended by each edge of the
    curve; None in artifacts that lack it.
    """

    network: SurvivalNetwork
    causes: tuple[str, ...]
    unit: str
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    valid_loss: float = float("nan")
    epoch: int = 0
    records: Sequence[dict[str, Any]] = field(default=(), repr=False)
    data_hash: str = ""
    seed: int = 0
    typical: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self.network.eval()

    def __repr__(self) -> str:
        """What it is, in a line; printing a network would list its layers."""
        weights = sum(weight.numel() for weight in self.network.parameters())
        causes = ", ".join(self.causes)
        return f"<FittedLifetime: {weights:,} parameters, {self.unit}s {self.terms}, of {causes}>"

    @property
    def terms(self) -> LifeTerms:
        """Edges of the heads."""
        return self.network.terms

    def predict(
        self, table: SpellTable, vectors: Vectors | None = None, *, batch: int = 8192
    ) -> LifeCurves:
        """The curves of N spells from their landmarks on; how they ended is not read.

        vectors: name -> float32 [N, D], NaN where missing. batch: units at once. Columns that the
        table lacks are missing, with a warning. Raises SchemaError for ages in another unit.
        """
        require_count("batch", batch)
        if table.unit != self.unit:
            raise SchemaError(
                "the spells count their ages in another unit than the model",
                column="unit",
                value=table.unit,
                hint=f"make a table in {self.unit}s",
            )
        inputs = self.network.spec.encode(table, vectors)
        found = predicted_curves(self.network, inputs, table.entry, self.causes, batch=batch)
        return replace(found, typical=self.typical)

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the artifact, whole or not at all; returns its id. Raises as `save_artifact`."""
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "network": to_jsonable(self.network.config),
                "terms": to_jsonable(self.terms),
                "causes": list(self.causes),
                "unit": self.unit,
                "fit": self.config,
                "valid_loss": None if np.isnan(self.valid_loss) else self.valid_loss,
                "epoch": self.epoch,
                "typical": self.typical and list(self.typical),
            },
            tensors=weights_of(self.network),
            files={"records.json": json.dumps(list(self.records), indent=1)},
            feature_spec=to_jsonable(self.network.spec),
            data_hash=self.data_hash,
            seed=self.seed,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> FittedLifetime:
        """The model of an artifact, or of its folder; raises as `load_trained`."""
        return load_trained(source, _built, kind=KIND, name="lifetime model")


def predicted_curves(
    network: SurvivalNetwork,
    inputs: SpellInputs,
    entry: NDArray[np.float32],
    causes: tuple[str, ...],
    *,
    batch: int = 8192,
) -> LifeCurves:
    """The curves of N encoded units from their entry [N] on, by a network in evaluation mode."""
    units, several = len(inputs), len(causes) > 1
    bins = [len(edges) - 1 for edges in network.terms.heads]
    steps = tuple(np.empty((units, j), np.float32) for j in bins)
    shares = tuple(np.empty((units, j, len(causes)), np.float32) for j in bins if several)
    with torch.inference_mode():
        for start in range(0, units, batch):
            part = slice(start, start + batch)
            for head, logits in enumerate(network(inputs.between(part))):
                step, share = log_hazards(logits)
                steps[head][part] = step.numpy()
                if several:
                    shares[head][part] = share.numpy()
    return LifeCurves(network.terms, causes, entry, steps, shares if several else None)


def _built(artifact: Artifact) -> FittedLifetime:
    values = artifact.config
    network = SurvivalNetwork(
        from_jsonable(SurvivalConfig, values["network"]),
        from_jsonable(InputSpec, artifact.feature_spec or {}),
        from_jsonable(LifeTerms, values["terms"]),
        len(values["causes"]),
    )
    load_weights(network, artifact.tensors)
    loss = values["valid_loss"]
    return FittedLifetime(
        network,
        causes=tuple(values["causes"]),
        unit=values["unit"],
        config=values["fit"],
        valid_loss=float("nan") if loss is None else float(loss),
        epoch=int(values["epoch"]),
        records=tuple(json.loads(artifact.text("records.json"))),
        data_hash=artifact.data_hash,
        seed=artifact.seed,
        typical=None if values.get("typical") is None else tuple(values["typical"]),
    )

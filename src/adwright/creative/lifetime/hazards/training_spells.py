"""What a training reads: spells encoded, their targets, and what they say on the whole."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adwright.core.errors import DataError
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.hazards.curves import LifeCurves
from adwright.creative.lifetime.hazards.inputs import InputSpec, SpellInputs, Vectors
from adwright.creative.lifetime.hazards.likelihood import BinTargets, log_hazards, marginal_logits
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.spell_table import SpellTable

__all__ = ["TrainingSpells", "hash_of", "typical_ends"]

_logger = logging.getLogger("adwright")


class TrainingSpells:
    """Spells as training reads them: encoded inputs, targets of each head, weights [N]."""

    def __init__(
        self, table: SpellTable, spec: InputSpec, terms: LifeTerms, vectors: Vectors | None
    ) -> None:
        self.table = table
        self.inputs: SpellInputs = spec.encode(table, vectors)
        self.targets = tuple(
            BinTargets.of(edges, table.entry, table.time, table.cause) for edges in terms.heads
        )
        silent = torch.stack([t.stop.eq(t.first) for t in self.targets]).all(0)
        if bool(silent.all()):
            raise DataError(
                "no spell was at risk in any whole bin",
                value=f"{len(table):,} spells, edges {terms}",
                hint="choose edges within the ages that the spells reach",
            )
        if bool(silent.any()):
            _logger.warning(
                "%s of %s spells teach nothing: they saw no whole bin (edges %s)",
                f"{int(silent.sum()):,}",
                f"{len(table):,}",
                terms,
            )

    def __len__(self) -> int:
        return len(self.table)

    def marginal_logits(self, terms: LifeTerms, causes: int) -> list[Tensor]:
        """Logits [J, C] of each head's hazards on the whole."""
        return [
            marginal_logits(target, len(edges) - 1, causes)
            for target, edges in zip(self.targets, terms.heads, strict=True)
        ]


def typical_ends(
    marginal: list[Tensor], terms: LifeTerms, causes: tuple[str, ...]
) -> tuple[float, ...]:
    """The share of all units that has ended by each edge of the curve."""
    steps = tuple(log_hazards(logits[None])[0].numpy() for logits in marginal)
    shares = tuple(np.ones((*step.shape, len(causes)), np.float32) for step in steps)
    curve = LifeCurves(terms, causes, np.zeros(1, np.float32), steps, shares)
    return tuple((1 - curve.survival[0].astype(np.float64)).tolist())


def hash_of(table: SpellTable, vectors: Vectors | None) -> str:
    """Of all that training reads."""
    found: dict[str, Any] = {}
    for each in fields(table):
        value = getattr(table, each.name)
        found[each.name] = _digest(value) if isinstance(value, np.ndarray) else value
    found["vectors"] = {name: _digest(x) for name, x in (vectors or {}).items()}
    return content_hash(found)


def _digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()

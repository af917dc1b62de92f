"""Briefs out of Complete Journey."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from adwright.creative.seed.texts import AdBrief
from adwright.data.sources.complete_journey import CompleteJourney


def journey_briefs(
    path: Path | None = None, *, limit: int = 0, seed: int = 0, offline: bool = False
) -> tuple[AdBrief, ...]:
    """A brief for each type of product that Complete Journey describes; no ad comes with them.

    Its brands say National or Private, so that the product is all that is told. limit: so many
    types, drawn by `seed`; 0 for all. Raises as `CompleteJourney.open`.
    """
    products = CompleteJourney.open(path, offline=offline).products()
    wanted = ("product_type", "product_category", "department")
    types = (
        products.select(pl.col(name).fill_null("").str.strip_chars() for name in wanted)
        .filter(pl.col("product_type") != "")
        .group_by("product_type")
        .agg(pl.all().sort().first())
        .sort("product_type")
        .collect()
    )
    if limit:
        types = types.sample(min(limit, types.height), seed=seed).sort("product_type")
    return tuple(_journey_brief(*row) for row in types.iter_rows())


def _journey_brief(kind: str, category: str, department: str) -> AdBrief:
    facts = _apart((("Category", category), ("Department", department)), kind)
    named = kind.capitalize()
    return AdBrief(f"journey-{kind}", subject=named, facts=facts, group=kind)


def _apart(pairs: Iterable[tuple[str, str]], kind: str) -> tuple[str, ...]:
    """The pairs that say more than the type does."""
    return tuple(
        f"{name}: {value.capitalize()}" for name, value in pairs if value and value != kind
    )

"""The descriptions that a writing job made, as a shop would take them: one text a product.

    found = written_texts("out", slot="description")
    found.texts["p1"], found.rejected, found.queries

A text that a person edited stands in the place of the draft's, and a rejected one is none. What the
writer was told of queries is told, too: those prove nothing when descriptions are judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from adwright.authoring.writer.drafts import Drafts
from adwright.core.errors import DataError

#: Fields of a request that say what customers search for.
_ASKED = ("query", "keywords")


@dataclass(frozen=True)
class WrittenTexts:
    """texts: product id to its text. approved, edited, unreviewed: how many of them are that;
    rejected: texts that are left out. queries: what the job told the writer of searches, the same
    for all products. columns: of the job's table, whose values it was told."""

    texts: Mapping[str, str]
    approved: int
    edited: int
    unreviewed: int
    rejected: int
    queries: tuple[str, ...]
    columns: tuple[str, ...]


def written_texts(
    folder: str | Path, *, slot: str = "description", variant: int = 0
) -> WrittenTexts:
    """The texts of a slot in a job's folder.

    Raises DataError where there is none; what `Drafts.open` raises for another folder.
    """
    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        texts: dict[str, str] = {}
        number: Counter[str] = Counter()
        for key, state in drafts.states().items():
            if key[1:] != (slot, variant):
                continue
            number[state.status] += 1
            if state.status != "rejected":
                texts[key[0]] = drafts.text(key)
        jobs = [found for digest in drafts.jobs() if (found := drafts.job(digest))]
        slots = sorted({key[1] for key in drafts.states()})
    if not texts:
        raise DataError(
            f"there is no text of the slot {slot!r}, variant {variant}",
            file=str(folder),
            hint=f"the folder has {', '.join(slots) or 'no texts'}",
        )
    return WrittenTexts(
        texts,
        number["approved"],
        number["edited"],
        number["unreviewed"],
        number["rejected"],
        tuple(dict.fromkeys(_pairs(jobs, "values"))),
        tuple(dict.fromkeys(_pairs(jobs, "value_columns"))),
    )


def seen_in_columns(frame: pl.DataFrame, columns: Iterable[str]) -> tuple[str, ...]:
    """What the writer was told by columns of its table, as far as this table has them."""
    found: dict[str, None] = {}
    for column in columns:
        if column in frame.columns:
            values = frame[column].cast(pl.String, strict=False).drop_nulls()
            found |= dict.fromkeys(values.unique(maintain_order=True).to_list())
    return tuple(found)


def _pairs(jobs: Iterable[Mapping[str, Any]], name: str) -> Iterable[str]:
    """The second of each pair in a setting of the jobs whose first tells of searches."""
    for job in jobs:
        settings = job.get("settings", job)
        for pair in settings.get(name) or ():
            field, value = pair
            if field in _ASKED and value:
                yield str(value)

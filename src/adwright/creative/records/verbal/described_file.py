"""Records of ads as a file that every verb reads back: ids, sentences and fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from adwright.core.errors import DataError
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.records.verbal.records_table import records_table
from adwright.creative.records.verbal.verbalise import verbalised
from adwright.data.columns import from_arrow
from adwright.data.sources.tables import write_table

__all__ = ["save_described"]

#: Columns of a record that would be taken for parts of an ad beside its sentences.
_FIELD = "field_"


def save_described(path: Path, ids: Sequence[str], records: Sequence[AdRecord]) -> None:
    """Write a Parquet file of N ads, whole or not at all: creative_id, text (the
    ad in sentences), and each field of its record as field_NAME.

    Raises DataError for another number of ids; ResourceError where the disk is full.
    """
    if len(ids) != len(records):
        raise DataError(f"{len(ids)} ids of {len(records)} records", hint="pass one a record")
    fields = from_arrow(records_table(records))
    named = fields.rename({name: _FIELD + name for name in fields.columns})
    told = pl.DataFrame(
        {
            "creative_id": pl.Series(ids, dtype=pl.String),
            "text": pl.Series([verbalised(record) for record in records], dtype=pl.String),
        }
    )
    write_table(path, told.hstack(named))

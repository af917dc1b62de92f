"""FeatureSpec: how columns become codes, fitted once on the training rows and saved.

The same `encode` runs when a training file is streamed and when a request arrives, so a
feature cannot mean one thing offline and another online. A spec is frozen data: it owns no
weights and no device.

Code 0 of each categorical feature stands for a missing or unknown value. The codes of a
vocabulary begin at 1, most frequent value first (ties by value).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.hashing import hash_order
from adwright.data.schema import need_columns

# --------------------------------------------------------------------------------------------------
# Values to codes, fast for a few values of a request and for the columns of a file.

# Below so many values a dictionary of Python is quicker than hashing them all at once.
_FEW = 256


class Vocabulary:
    """Codes from 1 for known values, in the order given; 0 for all others.

    Columns are looked up by 64-bit hashes in one go and compared with the value found, so the
    codes are those of a dictionary, whatever the hashes.

    >>> Vocabulary(["b", "a"]).codes(pa.array(["a", None, "c", "b"])).tolist()
    [2, 0, 0, 1]
    """

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values

    def codes(self, column: pa.Array) -> NDArray[np.int64]:
        """A string array [N] to int64 codes [N]."""
        if len(column) < _FEW or self._hashed is None:
            known = self._known
            return np.fromiter((known.get(v, 0) for v in column.to_pylist()), np.int64, len(column))
        hashes, order, values = self._hashed
        asked = pl.Series(column).hash().to_numpy()
        found = order[np.searchsorted(hashes, asked).clip(max=len(hashes) - 1)]
        same = pc.fill_null(pc.equal(values.take(pa.array(found)), column), False)
        return np.where(np.asarray(same), found + 1, 0)

    @cached_property
    def _known(self) -> dict[str, int]:
        return {value: code for code, value in enumerate(self._values, start=1)}

    @cached_property
    def _hashed(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], pa.Array] | None:
        """(hashes ascending, their values' positions, values); None where two hashes are equal
        or nothing is known."""
        values = pa.array(self._values, pa.string())
        hashes = pl.Series(values).hash().to_numpy()
        order = np.argsort(hashes)
        hashes = hashes[order]
        if len(hashes) == 0 or (hashes[1:] == hashes[:-1]).any():
            return None
        return hashes, order, values


Kind = Literal["categorical", "hashed", "bucketised", "numeric", "multi", "sequence"]
Of = Literal["user", "item", "context"]
_BLOCK = 1 << 14
ABSENT = "a feature's column is missing from the table"

MultiCodes = tuple[NDArray[np.int64], NDArray[np.int64]]


@settings
class Feature:
    """One column and its transformation.

    name: the column. of: whose property it is (user, item, or the context of a request).
    kind, and what it is fitted to:
      categorical  vocabulary: the known values (those seen at least `min_count` times)
      hashed       buckets: a seeded stable hash of the value, modulo buckets
      bucketised   edges: 16-quantiles of the training values; code = 1 + edges not above x
      numeric      (x - mean) / scale, of sign(x) log(1 + |x|) where `log`; null, NaN and
                   infinite become 0, the mean
      multi        vocabulary, over the values of a list column
      sequence     the user's earlier items; shares the item features, fits nothing
    """

    name: str
    kind: Kind
    of: Of
    vocabulary: tuple[str, ...] = ()
    min_count: Count = 1
    buckets: int = 0
    edges: tuple[float, ...] = ()
    log: bool = False
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind == "hashed" and self.buckets < 1:
            raise ConfigError("a hashed feature needs buckets of at least 1", where=self.name)
        if self.log and self.kind != "numeric":
            raise ConfigError("only a numeric feature can be log-scaled", where=self.name)

    @property
    def cardinality(self) -> int:
        """Number of codes, the unknown one included; 0 for features without codes."""
        match self.kind:
            case "categorical" | "multi":
                return len(self.vocabulary) + 1
            case "hashed":
                return self.buckets + 1
            case "bucketised":
                return len(self.edges) + 2
            case "numeric" | "sequence":
                return 0

    @cached_property
    def _known(self) -> Vocabulary:
        return Vocabulary(self.vocabulary)

    def codes(self, column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Column of any length to int64 codes; 0 for null and unknown values."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.DictionaryArray):
            table = np.append(self.codes(column.dictionary), 0)
            indices = column.indices
            if indices.null_count:
                indices = pc.fill_null(indices.cast(pa.int64()), len(table) - 1)
            codes: NDArray[np.int64] = table.take(indices.to_numpy())
            return codes
        match self.kind:
            case "categorical" | "multi":
                return self._known.codes(column.cast(pa.string()))
            case "hashed":
                return _hashed(column, self.name, self.buckets)
            case "bucketised":
                floats = _floats(column)
                above = 1 + np.searchsorted(np.asarray(self.edges), floats, side="right")
                return np.where(np.isnan(floats), 0, above).astype(np.int64)
            case "numeric" | "sequence":
                raise ConfigError(f"a {self.kind} feature has no codes", where=self.name)

    def lists(self, column: pa.Array | pa.ChunkedArray) -> MultiCodes:
        """List column of T rows to (codes int64 [E], offsets int64 [T + 1]); unknown values
        are dropped, a null list is an empty one."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        codes = self.codes(pc.list_flatten(column))
        owner = np.repeat(np.arange(len(lengths)), lengths)[codes > 0]
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(np.bincount(owner, minlength=len(lengths)), out=offsets[1:])
        return codes[codes > 0], offsets

    def numbers(self, column: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
        """Numeric column to standardised float32; null, NaN and infinite become 0."""
        values = _floats(column)
        scaled = np.empty(len(values), np.float32)
        # In blocks that stay in the cache.
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            block = _signed_log(block) if self.log else block
            block = (block - self.mean) / self.scale
            block[~np.isfinite(block)] = 0
            scaled[start : start + _BLOCK] = block
        return scaled


@dataclass(frozen=True)
class ItemTable:
    """The catalogue in codes, one row per item; row 0 is the unknown item.

    ids: the item ids, row i + 1 for ids[i].
    categorical: name to int64 [V]. multi: name to (codes, offsets [V + 1]).
    numeric: float32 [V, F] in the order of the spec.
    """

    ids: tuple[str, ...]
    categorical: dict[str, NDArray[np.int64]]
    multi: dict[str, MultiCodes]
    numeric: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids) + 1

    def rows(self, column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Item ids to rows of this table; 0 for an item the catalogue lacks."""
        return self._rows.codes(column)

    @cached_property
    def _rows(self) -> Feature:
        return Feature("item_id", "categorical", "item", self.ids)


@dataclass(frozen=True)
class FeatureSpec:
    """All features of a task, in a fixed order."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError("a feature is declared twice", where=", ".join(twice))

    def of(self, *owners: Of, kinds: Sequence[Kind]) -> tuple[Feature, ...]:
        """Features of these owners and kinds, in order."""
        return tuple(f for f in self.features if f.of in owners and f.kind in kinds)

    @property
    def coded_rows(self) -> tuple[Feature, ...]:
        """User and context features that have one code per row."""
        return self.of("user", "context", kinds=("categorical", "hashed", "bucketised"))

    @property
    def numeric_rows(self) -> tuple[Feature, ...]:
        """User and context features that are numbers."""
        return self.of("user", "context", kinds=("numeric",))

    @property
    def multi_rows(self) -> tuple[Feature, ...]:
        """User and context features with a list per row."""
        return self.of("user", "context", kinds=("multi",))

    def encode_items(self, items: pl.DataFrame) -> ItemTable:
        """The catalogue's items in codes. Raises SchemaError for a missing column."""
        table = items.to_arrow()
        need_columns(table.column_names, [f.name for f in self.features if f.of == "item"], ABSENT)
        coded = self.of("item", kinds=("categorical", "hashed", "bucketised"))
        multi = {}
        for feature in self.of("item", kinds=("multi",)):
            codes, offsets = feature.lists(table[feature.name])
            multi[feature.name] = (codes, np.concatenate(([0], offsets)))
        numeric = [
            np.append(np.float32(0), f.numbers(table[f.name]))
            for f in self.of("item", kinds=("numeric",))
        ]
        return ItemTable(
            ids=tuple(items["item_id"].cast(pl.String).to_list()),
            categorical={f.name: np.append(0, f.codes(table[f.name])) for f in coded},
            multi=multi,
            numeric=np.stack(numeric, 1)
            if numeric
            else np.zeros((items.height + 1, 0), np.float32),
        )


def fit_spec(features: Sequence[Feature], rows: pl.LazyFrame, items: pl.LazyFrame) -> FeatureSpec:
    """Fit vocabularies, edges and scales.

    rows: the training impressions, never validation or test rows. items: the catalogue; item
    features are fitted on the items' own columns. The exception is `item_id`: an item has an
    embedding of its own only where training rows show it, the rest share code 0 and are
    known by their other features.
    Raises SchemaError for a declared column that the tables lack or that is of a type which
    does not fit its kind.
    """
    row_columns, item_columns = rows.collect_schema(), items.collect_schema()
    fitted = []
    for feature in features:
        if feature.kind == "sequence":
            fitted.append(feature)
            continue
        on_rows = feature.of != "item" or feature.name == "item_id"
        columns = row_columns if on_rows else item_columns
        need_columns(columns.names(), [feature.name], ABSENT)
        check_feature_types(columns, [feature])
        source = (rows if on_rows else items).select(feature.name)
        fitted.append(_fit(feature, source))
    return FeatureSpec(tuple(fitted))


def check_feature_types(
    schema: Mapping[str, pl.DataType], features: Sequence[Feature], *, file: str = ""
) -> None:
    """Raise SchemaError for the first feature whose column in `schema` is of a type that it
    cannot be read from; columns that are not there are passed over."""
    for feature in features:
        dtype = schema.get(feature.name, pl.Null())
        match feature.kind:
            case "numeric" | "bucketised":
                fits, wanted = dtype.is_numeric() or dtype == pl.Boolean, "numbers"
            case "multi":
                fits, wanted = isinstance(dtype, pl.List), "lists"
            case _:
                fits, wanted = not dtype.is_nested(), "single values"
        if not fits and dtype != pl.Null:
            raise SchemaError(
                f"{feature.name} must hold {wanted}, not {dtype}",
                file=file,
                column=feature.name,
                hint="convert the column, or declare the feature as another kind",
            )


def _fit(feature: Feature, source: pl.LazyFrame) -> Feature:
    name = feature.name
    match feature.kind:
        case "categorical" | "multi":
            values = source.explode(name) if feature.kind == "multi" else source
            counts = (
                values.drop_nulls()
                .group_by(pl.col(name).cast(pl.String))
                .len()
                .filter(pl.col("len") >= feature.min_count)
                .sort(["len", name], descending=[True, False])
                .collect(engine="streaming")
            )
            return replace(feature, vocabulary=tuple(counts[name].to_list()))
        case "bucketised":
            known = _known_numbers(source, name)
            edges = np.unique(np.quantile(known, np.linspace(0, 1, 17)[1:-1])) if len(known) else ()
            return replace(feature, edges=tuple(float(edge) for edge in edges))
        case "numeric":
            known = _known_numbers(source, name)
            known = _signed_log(known) if feature.log else known
            if len(known) == 0:
                return replace(feature, mean=0.0, scale=1.0)
            if known.min() == known.max():
                # Rounding would make a tiny scale of it, and a giant of the first other value.
                return replace(feature, mean=float(known[0]), scale=1.0)
            return replace(feature, mean=float(known.mean()), scale=float(known.std(ddof=1)))
        case "hashed" | "sequence":
            return feature


def _known_numbers(source: pl.LazyFrame, name: str) -> NDArray[np.float64]:
    """The finite values of a column, in order: numpy adds them up the same way every time,
    which threads of a streamed sum do not."""
    column = source.collect(engine="streaming")[name].cast(pl.Float64)
    values: NDArray[np.float64] = column.filter(column.is_finite()).to_numpy()
    return values


def _signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.abs(values)
    np.log1p(logs, out=logs)
    return np.copysign(logs, values, out=logs)


def _floats(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers as float64, null as NaN."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    floats: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    return floats


def _hashed(column: pa.Array, name: str, buckets: int) -> NDArray[np.int64]:
    values = pl.Series(name, column).cast(pl.String)
    hashes = hash_order(values.to_frame(), [name], seed=0).to_numpy()
    codes = (hashes % np.uint64(buckets)).astype(np.int64) + 1
    return np.where(values.is_null().to_numpy(), 0, codes)

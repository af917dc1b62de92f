"""Words and pairs of words of ads as sparse rows, and ridge regression on them, in numpy alone.

    space = NgramSpace.fit(records)
    rows = space.rows(records)                        # SparseRows [N, V]
    weights = ridge(rows, target, strength=2.0)       # float64 [V]

Each field of an ad has entries of its own: a word in the title is not the word in the text. An
entry counts 1 + ln(count) times its inverse document frequency, ln((1 + N) / (1 + n)) + 1, and the
entries of a field have length 1 (Salton and Buckley 1988, in the form that scikit-learn made usual:
`TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=least)` of each field computes the
same); the fields stand side by side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import DataError, ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord
from adwright.metrics.arrays import check_positive_integer, check_same_length

__all__ = ["FIELDS", "NgramSpace", "SparseRows", "ridge", "words_of"]

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
_WORD = re.compile(r"\w\w+")
#: The parts of an ad that have words of their own.
FIELDS: dict[str, Callable[[AdRecord], str]] = {
    "title": lambda record: record.title,
    "words": lambda record: record.words,
    "shown": lambda record: "\n".join(line for one in record.scenes for line in one.words),
    "seen": lambda record: "\n".join(" ".join((one.caption, *one.tags)) for one in record.scenes),
    "speech": lambda record: record.speech,
    "brand": lambda record: record.brand,
}


@dataclass(frozen=True, eq=False)
class SparseRows:
    """N rows of V columns, entry by entry: row, column int64 [E]; value float64 [E]."""

    row: Whole
    column: Whole
    value: Floats
    shape: tuple[int, int]

    def times(self, weights: Floats) -> Floats:
        """rows @ weights: float64 [N] of float64 [V]."""
        return _sums(self.row, self.value * weights[self.column], self.shape[0])

    def transposed_times(self, values: Floats) -> Floats:
        """rows.T @ values: float64 [V] of float64 [N]."""
        return _sums(self.column, self.value * values[self.row], self.shape[1])

    def take(self, rows: NDArray[np.int64]) -> SparseRows:
        """Those of these `rows`, each once, in this order."""
        place = np.full(self.shape[0], -1, np.int64)
        place[rows] = np.arange(len(rows))
        there = place[self.row] >= 0
        shape = (len(rows), self.shape[1])
        return SparseRows(place[self.row[there]], self.column[there], self.value[there], shape)

    def dense(self) -> Floats:
        """float64 [N, V]."""
        full = np.zeros(self.shape)
        np.add.at(full, (self.row, self.column), self.value)
        return full


def words_of(text: str) -> list[str]:
    """The words of two letters or more, in lower case, then each with the one after it.

    >>> words_of("Fresh bread, a treat")
    ['fresh', 'bread', 'treat', 'fresh bread', 'bread treat']
    """
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


@dataclass(frozen=True, eq=False)
class NgramSpace:
    """The entries that training knows. entries: V names, "field: words", those of a field together
    and in order. idf: float64 [V]."""

    entries: tuple[str, ...]
    idf: Floats

    @classmethod
    def fit(cls, records: Sequence[AdRecord], *, least: int = 2) -> NgramSpace:
        """All words and pairs that `least` records have. Raises DataError where there is none."""
        check_positive_integer(least, "least")
        entries: list[str] = []
        idf: list[Floats] = []
        for field, part in FIELDS.items():
            counts: dict[str, int] = {}
            for record in records:
                for word in set(words_of(part(record))):
                    counts[word] = counts.get(word, 0) + 1
            kept = sorted(word for word, count in counts.items() if count >= least)
            entries += [f"{field}: {word}" for word in kept]
            number = np.array([counts[word] for word in kept], np.float64)
            idf.append(np.log((1 + len(records)) / (1 + number)) + 1)
        if not entries:
            raise DataError(
                f"no two words are shared by {least} of {len(records)} ads",
                hint="see whether the columns of the text are the right ones",
            )
        return cls(tuple(entries), np.concatenate(idf))

    def rows(self, records: Sequence[AdRecord]) -> SparseRows:
        """Each record as a row; what training did not know is nothing."""
        known = {entry: n for n, entry in enumerate(self.entries)}
        row: list[int] = []
        column: list[int] = []
        block: list[int] = []
        value: list[float] = []
        for number, (field, part) in enumerate(FIELDS.items()):
            for n, record in enumerate(records):
                text = part(record)
                if not text:
                    continue
                counts: dict[int, int] = {}
                for word in words_of(text):
                    at = known.get(f"{field}: {word}")
                    if at is not None:
                        counts[at] = counts.get(at, 0) + 1
                row += [n] * len(counts)
                block += [n * len(FIELDS) + number] * len(counts)
                column += counts
                value += counts.values()
        columns = np.array(column, np.int64)
        weight = (1 + np.log(np.array(value, np.float64))) * self.idf[columns]
        owner = np.array(block, np.int64)
        size = np.sqrt(_sums(owner, weight**2, len(records) * len(FIELDS)))
        shape = (len(records), len(self.entries))
        return SparseRows(np.array(row, np.int64), columns, weight / size[owner], shape)


def ridge(
    rows: SparseRows,
    target: Floats,
    *,
    strength: float,
    weight: Floats | None = None,
    start: Floats | None = None,
    tolerance: float = 1e-5,
    steps: int = 500,
) -> Floats:
    """w [V] that minimises sum_n c_n (x_n w - y_n)^2 + strength |w|^2, by conjugate gradients.

    target: y, float64 [N], centred by the caller. weight: c, float64 [N], 1 by default. start: a
    solution nearby. tolerance: of the residual of the normal equations (X'CX + sI) w = X'Cy over
    its right side. Raises ValueInvalidError for a strength that is not above 0.
    """
    if not strength > 0:
        raise ValueInvalidError("ridge needs a strength above 0", column="strength", value=strength)
    check_same_length(rows.shape[0], {"target": target})
    c = np.ones(rows.shape[0]) if weight is None else weight
    check_same_length(rows.shape[0], {"weight": c})

    def product(w: Floats) -> Floats:
        return rows.transposed_times(c * rows.times(w)) + strength * w

    right = rows.transposed_times(c * target)
    bound = (tolerance * float(np.linalg.norm(right))) ** 2
    found = np.zeros(rows.shape[1]) if start is None else start.copy()
    rest = right - product(found)
    direction, size = rest.copy(), float(rest @ rest)
    for _ in range(steps):
        if size <= bound:
            break
        turned = product(direction)
        step = size / float(direction @ turned)
        found += step * direction
        rest -= step * turned
        before, size = size, float(rest @ rest)
        direction = rest + size / before * direction
    return found


def _sums(owner: Whole, values: Floats, owners: int) -> Floats:
    return np.asarray(np.bincount(owner, values, owners), np.float64)

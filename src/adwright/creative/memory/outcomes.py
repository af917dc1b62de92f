"""How well ads were remembered: a user's table of ads with its scores, whatever their scale.

    table = read_recall(Path("slogans.csv"))        # hits and false alarms are found: d'
    table.scores[0], table.brands[0], table.said     # 0 to 1; what was guessed, a sentence each
    read_recall(path, scores=ScoreColumns("recalled", of="recall_attempts"))

A score is a share (0 to 1), a percentage, an answer of two digits (00 to 99), d', or follows from
counts: recalled of so many, or a recognition test with hits of old and false alarms of new. Then

    d' = z(H) - z(F),    H = (hits + 1/2) / (old + 1),    F = (false alarms + 1/2) / (new + 1)

with the log-linear correction (Hautus, Behavior Research Methods 1995), which keeps it finite. As a
score between 0 and 1 that is Phi(d' / sqrt 2), the share right where one of two must be chosen
(Green and Swets 1966).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdColumns, AdTable, read_ads
from adwright.data.schema import Check, run_checks
from adwright.data.sources.csvfile import parse_columns
from adwright.data.sources.frames import Tabular
from adwright.data.table_door import find_column, listed, usual_columns

Floats = NDArray[np.float64]
#: What was measured: a share of people, or d'.
Measure = Literal["share", "d_prime"]
_NORMAL = NormalDist()
_USUAL = ("score", "memorability", "recall", "recall_score", "accuracy", "d_prime", "hit_rate")
_COUNTS = ("hits", "old", "false_alarms", "new")
#: From so large a difference on, a file's d' is another one than ours.
_SAME = 0.01


@settings
class ScoreColumns:
    """Which columns hold how well an ad was remembered. Empty: guess by usual names.

    score: a number an ad. scale: of it; empty to tell by its values. of: of how many tries it is a
    count, which makes a share. The counts of a recognition test (hits, old, false_alarms, new) are
    found by these names.

    Raises ConfigError for a number of tries without a score.
    """

    score: str = ""
    scale: Literal["", "share", "percent", "digits", "d_prime"] = ""
    of: str = ""

    def __post_init__(self) -> None:
        if self.of and not self.score:
            raise ConfigError(
                "a number of tries needs the count of successes",
                where=f"ScoreColumns.of = {self.of}",
                hint="name the count as score",
            )


@settings(eq=False)
class RecallTable:
    """N ads with how well they were remembered.

    ids, records, brands: of each ad; a brand as it is written, "" for none. scores: float64 [N], 0
    to 1. targets: float64 [N], what a model learns: the score, or d'. counts: int64 [N], people or
    tries behind each; None where unknown. measure: of the targets. said: what was guessed or left
    out, a sentence each. name: of the file.
    """

    ids: tuple[str, ...]
    records: tuple[AdRecord, ...]
    scores: Floats
    targets: Floats
    counts: NDArray[np.int64] | None = None
    measure: Measure = "share"
    said: tuple[str, ...] = ()
    name: str = ""

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def brands(self) -> tuple[str, ...]:
        """The brand of each ad as it is written."""
        return tuple(record.brand for record in self.records)

    @property
    def group_names(self) -> tuple[str, ...]:
        """What is held out together: the brand of each ad, in which case and blanks do not count;
        an ad without a brand is by itself."""
        return tuple(
            f"brand {record.brand.strip().casefold()}" if record.brand.strip() else f"ad {one}"
            for one, record in zip(self.ids, self.records, strict=True)
        )

    @property
    def groups(self) -> NDArray[np.int64]:
        """int64 [N], `group_names` as numbers."""
        _, codes = np.unique(np.array(self.group_names), return_inverse=True)
        return codes.astype(np.int64)

    @property
    def weights(self) -> Floats:
        """float64 [N] of mean 1: by the people behind each score, at most 4 to 1 either way, since
        ads differ by more than the noise of counting (our choice)."""
        if self.counts is None:
            return np.ones(len(self))
        usual = max(float(np.median(self.counts)), 1.0)
        clipped = np.clip(self.counts / usual, 0.25, 4.0)
        found: Floats = clipped / clipped.mean()
        return found

    def some(self, rows: Sequence[int] | NDArray[np.int64]) -> RecallTable:
        """These ads, in this order."""
        at = [int(row) for row in rows]
        return RecallTable(
            tuple(self.ids[row] for row in at),
            tuple(self.records[row] for row in at),
            self.scores[at],
            self.targets[at],
            None if self.counts is None else self.counts[at],
            self.measure,
            self.said,
            self.name,
        )


def d_prime(hits: ArrayLike, old: ArrayLike, false_alarms: ArrayLike, new: ArrayLike) -> Floats:
    """d' [N] of counts [N], with the log-linear correction; the formula stands in the module's
    head."""
    seen = (np.asarray(hits, float) + 0.5) / (np.asarray(old, float) + 1)
    heard = (np.asarray(false_alarms, float) + 0.5) / (np.asarray(new, float) + 1)
    return _each(_NORMAL.inv_cdf, seen) - _each(_NORMAL.inv_cdf, heard)


def scores_of_d_prime(values: ArrayLike) -> Floats:
    """Phi(d' / sqrt 2) of d' [N]: float64 [N], 0 to 1."""
    return _each(_NORMAL.cdf, np.asarray(values, float) / np.sqrt(2))


def read_recall(
    source: Tabular | AdTable, columns: AdColumns | None = None, scores: ScoreColumns | None = None
) -> RecallTable:
    """The ads of a table with how well they were remembered. source, columns: as `read_ads` takes
    them. An ad whose score is empty is left out, which `said` tells.

    Raises as `read_ads`; SchemaError where no column of scores is found, or one is not there;
    ValueInvalidError, naming the row, for a score that is no number or out of its range, and for
    counts that are no whole numbers or more than their total.
    """
    ads = source if isinstance(source, AdTable) else read_ads(source, columns)
    told = ScoreColumns() if scores is None else scores
    names = _names(ads, told)
    frame = _numbers(ads, tuple(filter(None, names.values())))
    if "hits" in names:
        return _of_counts(ads, names, frame)
    return _of_scores(ads, names, frame, told)


def _names(ads: AdTable, told: ScoreColumns) -> dict[str, str]:
    """Which column is which, those that are not told guessed."""
    have = ads.frame.columns
    names = {name: getattr(told, name) for name in ("score", "of")}
    for name, theirs in names.items():
        names[name] = theirs and find_column(theirs, have, name, file=ads.name)
    if not names["score"]:
        counts = [usual_columns((name,), have) for name in _COUNTS]
        if all(counts):
            names |= {name: found[0] for name, found in zip(_COUNTS, counts, strict=True)}
        else:
            names["score"] = next(iter(usual_columns(_USUAL, have)), "")
    if not (names["score"] or "hits" in names):
        raise SchemaError(
            "the table has no column that says how well an ad was remembered",
            file=ads.name,
            column="score",
            hint=f"name it: ScoreColumns(score=...); beside the ads it has {listed(have)}",
        )
    return names


def _numbers(ads: AdTable, names: tuple[str, ...]) -> pl.DataFrame:
    """Those columns as float64, NaN and blanks as null."""
    lazy = ads.frame.lazy().select(names)
    texts = {name: pl.Float64() for name in names if ads.frame.schema[name] == pl.String}
    if texts:
        blanks = [pl.col(name).str.strip_chars().replace("", None) for name in texts]
        lazy = parse_columns(lazy.with_columns(blanks), (), texts, ads.locate)
    wrong = [
        name for name in names if name not in texts and not ads.frame.schema[name].is_numeric()
    ]
    if wrong:
        raise SchemaError(
            f"a score is a number, not {ads.frame.schema[wrong[0]]}",
            file=ads.name,
            column=wrong[0],
            hint="cast it, or name another column",
        )
    return lazy.select(pl.col(name).cast(pl.Float64).fill_nan(None) for name in names).collect()


def _of_counts(ads: AdTable, names: Mapping[str, str], frame: pl.DataFrame) -> RecallTable:
    hits, old, alarms, new = (names[name] for name in _COUNTS)
    _check_counts(ads, frame, hits, old)
    _check_counts(ads, frame, alarms, new)
    kept, said = _kept(ads, frame)
    columns = [frame[name].to_numpy()[kept] for name in (hits, old, alarms, new)]
    found = d_prime(*columns)
    said = [f"d' follows from the counts {hits}, {old}, {alarms} and {new}", *said]
    said += _against(ads, found, kept)
    people = (columns[1] + columns[3]).astype(np.int64)
    return _made(ads, kept, scores_of_d_prime(found), found, people, "d_prime", said)


def _of_scores(
    ads: AdTable, names: Mapping[str, str], frame: pl.DataFrame, told: ScoreColumns
) -> RecallTable:
    score, tries = names["score"], names["of"]
    said = [] if told.score else [f"column {score} is taken as how well an ad was remembered"]
    if tries:
        _check_counts(ads, frame, score, tries)
        kept, lost = _kept(ads, frame)
        total = frame[tries].to_numpy()[kept]
        shares = frame[score].to_numpy()[kept] / total
        people = total.astype(np.int64)
        return _made(ads, kept, shares, shares, people, "share", said + lost)
    scale = told.scale or _scale(score, frame[score])
    if not told.scale:
        said.append(f"its values are read as {_SCALES[scale][0]}")
    _, low, high, shares_of = _SCALES[scale]
    bad = (pl.col(score) < low) | (pl.col(score) > high)
    hint = "correct it, or name its scale: share, percent, digits or d_prime"
    what = f"a score read as {_SCALES[scale][0]} lies between {low:g} and {high:g}"
    run_checks(frame.lazy(), [Check(score, bad, what, hint)], ads.locate)
    kept, lost = _kept(ads, frame)
    values = frame[score].to_numpy()[kept]
    found = shares_of(values)
    measure: Measure = "d_prime" if scale == "d_prime" else "share"
    return _made(
        ads, kept, found, values if scale == "d_prime" else found, None, measure, said + lost
    )


def _scale(name: str, cells: pl.Series) -> str:
    """By name and values; 99 as the largest of whole numbers is two digits."""
    values = cells.drop_nulls()
    largest = float(values.max() or 0)  # type: ignore[arg-type]
    if largest <= 1 and float(values.min() or 0) >= 0:  # type: ignore[arg-type]
        return "share"
    if name.lower() in ("d_prime", "dprime", "d'"):
        return "d_prime"
    return "digits" if largest == 99 and bool((values == values.round()).all()) else "percent"


#: Of each scale: in words, its ends, and what makes a score of it.
_SCALES: Mapping[str, tuple[str, float, float, Callable[[Floats], Floats]]] = {
    "share": ("shares", 0, 1, lambda values: values),
    "percent": ("percentages", 0, 100, lambda values: values / 100),
    "digits": ("two digits, 00 to 99", 0, 99, lambda values: (values + 0.5) / 100),
    "d_prime": ("d'", -10, 10, scores_of_d_prime),
}


def _check_counts(ads: AdTable, frame: pl.DataFrame, part: str, total: str) -> None:
    checks = [
        Check(
            name,
            (pl.col(name) < 0) | (pl.col(name) != pl.col(name).round()),
            "a count is a whole number of 0 or more",
            "correct it, or leave the ad out",
        )
        for name in (part, total)
    ]
    more = Check(
        part,
        (pl.col(part) > pl.col(total)) | (pl.col(total) == 0),
        f"there are at most as many as {total}, which is at least 1",
        "correct one of both",
    )
    run_checks(frame.lazy(), [*checks, more], ads.locate)


def _kept(ads: AdTable, frame: pl.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    """Rows with all numbers. Raises DataError where none has."""
    there = ~np.any([frame[name].is_null().to_numpy() for name in frame.columns], axis=0)
    kept = np.flatnonzero(there)
    if not len(kept):
        raise DataError(
            "no ad has a score", file=ads.name, column=frame.columns[0], hint="name another column"
        )
    lost = frame.height - len(kept)
    return kept, [f"{lost:,} ads without a score are left out"] if lost else []


def _against(ads: AdTable, found: Floats, kept: NDArray[np.int64]) -> list[str]:
    """Whether the file's own d' says the same."""
    own = next((name for name in ads.frame.columns if name.lower() in ("d_prime", "dprime")), "")
    if not own or not ads.frame.schema[own].is_numeric():
        return []
    theirs = ads.frame[own].cast(pl.Float64).to_numpy()[kept]
    apart = np.abs(theirs - found)
    other = int((apart > _SAME).sum())
    if not other:
        return [f"column {own} agrees with it"]
    return [f"column {own} differs from it in {other:,} rows, by up to {np.nanmax(apart):.2f}"]


def _made(
    ads: AdTable,
    kept: NDArray[np.int64],
    scores: Floats,
    targets: Floats,
    counts: NDArray[np.int64] | None,
    measure: Measure,
    said: list[str],
) -> RecallTable:
    return RecallTable(
        tuple(ads.ids[row] for row in kept),
        tuple(ads.records[row] for row in kept),
        np.asarray(scores, np.float64),
        np.asarray(targets, np.float64),
        counts,
        measure,
        (*ads.said, *said),
        ads.name,
    )


def _each(function: Callable[[float], float], values: Floats) -> Floats:
    return np.array([function(float(value)) for value in np.ravel(values)]).reshape(values.shape)

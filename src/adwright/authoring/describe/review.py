"""Judged by people: which of two texts is better, how good is each, and do the raters agree?

    found = review_pairs(read_pair_judgements("judgements.jsonl"))
    found.wins["draft"]                            # share of comparisons won, a tie counts one half

The interval of a win rate draws pairs, each with all its raters: what other products would have
shown. That raters are few is told by alpha, not by the interval. Raters are to see the texts
without their sources, on sides drawn anew for each: `adwright author review` shows them so.

Letters: P pairs, R raters.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.authoring.writer.drafts import Drafts
from adwright.core.config import settings
from adwright.core.errors import DataError, FileUnreadableError, ValueInvalidError
from adwright.core.journal import Journal, line_of, read_rows
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.text.agreement import Agreement, Scale, krippendorff_alpha

Choice = Literal["left", "right", "tie"]
Floats = npt.NDArray[np.float64]
#: What each text is given 1 (poor) to 5 (excellent) for, with what it means.
CRITERIA: Mapping[str, str] = {
    "factuality": "Everything it says is true of the product",
    "fluency": "It reads like good writing",
    "persuasiveness": "It makes one want the product",
    "policy": "Nothing in it could offend or mislead",
}
RUBRIC = tuple(CRITERIA)


@settings
class PairJudgement:
    """What a rater says of a pair. left, right: where the text on that side is from. left_scores,
    right_scores: pairs of a name in RUBRIC and a number from 1 to 5.

    Raises ConfigError for another choice, ValueInvalidError for another name or number.
    """

    pair: str
    rater: str
    left: str
    right: str
    choice: Choice
    left_scores: tuple[tuple[str, float], ...] = ()
    right_scores: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, score in (*self.left_scores, *self.right_scores):
            if name not in RUBRIC or not 1 <= score <= 5:
                raise ValueInvalidError(
                    "a score is a number from 1 to 5 for something in the rubric",
                    column=name,
                    value=score,
                    hint=f"the rubric is {', '.join(RUBRIC)}",
                )

    @property
    def winner(self) -> str:
        """Where the better text is from; "" for a tie."""
        return {"left": self.left, "right": self.right, "tie": ""}[self.choice]


@dataclass(frozen=True)
class RubricResult:
    """Of one name of the rubric. means: source to its mean score, 1 to 5. lead: second source less
    the first, paired over pairs. ordinal, interval: alpha of the scores by both scales."""

    name: str
    means: Mapping[str, Interval]
    lead: Interval
    ordinal: Agreement | None
    interval: Agreement | None


@dataclass(frozen=True)
class PairReview:
    """sources: the two, in alphabetical order. wins: source to its share of comparisons won. ties:
    share of ties. left: share of choices that fell on the left text, of those that were no tie,
    None without any; far from one half it tells of raters who do not read both. choice: alpha of
    the choices, nominal; None where no pair has two raters. rubric: of what was scored."""

    sources: tuple[str, str]
    pairs: int
    raters: int
    judgements: int
    wins: Mapping[str, Interval]
    ties: float
    left: Interval | None
    choice: Agreement | None
    rubric: tuple[RubricResult, ...]


def review_pairs(
    judgements: Iterable[PairJudgement],
    *,
    seed: int = 0,
    draws: int = 1000,
    confidence: float = 0.95,
) -> PairReview:
    """The figures of a review.

    A rater who judged a pair twice counts once, as the later one says. Raises DataError where there
    is no judgement, or more than two sources; ValueInvalidError where a pair compares a source with
    itself.
    """
    rows = list({(one.pair, one.rater): one for one in judgements}.values())
    sources = sorted({source for one in rows for source in (one.left, one.right)})
    if len(sources) != 2:
        raise DataError(
            f"a review compares two sources, not {len(sources)}",
            column="left",
            value=sources,
            hint="keep the judgements of two of them" if sources else "collect judgements first",
        )
    table = _ReviewTable(rows, sources[1])
    options = _Options(seed, draws, confidence)
    ones = np.ones(len(rows))
    won = np.array([{"": 0.5, sources[1]: 1.0}.get(one.winner, 0.0) for one in rows])
    decided = np.array([one.choice != "tie" for one in rows], np.float64)
    left = np.array([one.choice == "left" for one in rows], np.float64)
    return PairReview(
        sources=(sources[0], sources[1]),
        pairs=table.pairs,
        raters=table.raters,
        judgements=len(rows),
        wins={
            sources[0]: options.ratio(table.by_pair(1 - won), table.by_pair(ones)),
            sources[1]: options.ratio(table.by_pair(won), table.by_pair(ones)),
        },
        ties=float(1 - decided.mean()),
        left=options.ratio(table.by_pair(left), table.by_pair(decided)) if decided.any() else None,
        choice=options.alpha(table.ratings(won), "nominal"),
        rubric=tuple(
            found for name in RUBRIC if (found := _rubric(name, rows, sources, table, options))
        ),
    )


@dataclass(frozen=True)
class _Options:
    seed: int
    draws: int
    confidence: float

    def ratio(self, top: Floats, bottom: Floats) -> Interval:
        rng = np.random.default_rng(self.seed)
        return bootstrap_ratio(top, bottom, rng, self.draws, confidence=self.confidence)

    def difference(self, first: Floats, second: Floats, bottom: Floats) -> Interval:
        rng = np.random.default_rng(self.seed)
        return bootstrap_difference(
            first, second, bottom, rng, self.draws, confidence=self.confidence
        )

    def alpha(self, ratings: Floats, scale: Scale) -> Agreement | None:
        if not ((~np.isnan(ratings)).sum(0) >= 2).any():
            return None
        rng = np.random.default_rng(self.seed)
        return krippendorff_alpha(
            ratings, scale=scale, rng=rng, draws=self.draws, confidence=self.confidence
        )


class _ReviewTable:
    """Which pair and which rater each row is of."""

    def __init__(self, rows: Sequence[PairJudgement], second: str) -> None:
        pairs = {pair: at for at, pair in enumerate(dict.fromkeys(one.pair for one in rows))}
        raters = {name: at for at, name in enumerate(dict.fromkeys(one.rater for one in rows))}
        self.pair = np.array([pairs[one.pair] for one in rows], np.int64)
        self.rater = np.array([raters[one.rater] for one in rows], np.int64)
        self.pairs, self.raters = len(pairs), len(raters)
        self.turned = np.array([one.left == second for one in rows], np.bool_)
        for one in rows:
            if one.left == one.right:
                raise ValueInvalidError(
                    "a pair compares a source with itself", column="pair", value=one.pair
                )

    def by_pair(self, values: Floats) -> Floats:
        """Sums [P] of values of rows; NaN counts for nothing."""
        return np.bincount(self.pair, np.nan_to_num(values), self.pairs).astype(np.float64)

    def ratings(self, values: Floats) -> Floats:
        """Values of rows as a table [R, P], NaN where there is none."""
        found = np.full((self.raters, self.pairs), np.nan)
        found[self.rater, self.pair] = values
        return found


def _rubric(
    name: str,
    rows: Sequence[PairJudgement],
    sources: Sequence[str],
    table: _ReviewTable,
    options: _Options,
) -> RubricResult | None:
    """None where no row scores both texts."""
    left = np.array([dict(one.left_scores).get(name, np.nan) for one in rows])
    right = np.array([dict(one.right_scores).get(name, np.nan) for one in rows])
    whole = ~np.isnan(left) & ~np.isnan(right)
    if not whole.any():
        return None
    left, right = np.where(whole, left, np.nan), np.where(whole, right, np.nan)
    second = np.where(table.turned, left, right)
    first = np.where(table.turned, right, left)
    number = table.by_pair(whole.astype(np.float64))
    sums = table.by_pair(first), table.by_pair(second)
    # A text is a unit: each pair gives two.
    ratings = np.concatenate([table.ratings(first), table.ratings(second)], axis=1)
    return RubricResult(
        name,
        {source: options.ratio(total, number) for source, total in zip(sources, sums, strict=True)},
        options.difference(sums[1], sums[0], number),
        ordinal=options.alpha(ratings, "ordinal"),
        interval=options.alpha(ratings, "interval"),
    )


# --------------------------------------------------------------------------------------------------
# What raters say of pairs, in a file that only grows, one JSON object a line.
#
#     {"pair":"4f0c...","rater":"ann","left":"draft","right":"shop","choice":"left",
#      "rubric":{"factuality":{"left":5,"right":4}},"product":"p1","slot":"headline","time":"..."}
#
# left and right are the sources of the texts on that side, which may differ from rater to rater;
# choice is a side or "tie"; scores are 1 to 5. The rubric, and what follows it, may be left out;
# further keys are passed over. Where a rater has judged a pair twice, the later line holds.
# `adwright author review` writes it, and `adwright author evaluate` reads it: who wins, and whether
# raters agree.

_TEXTS = ("pair", "rater", "left", "right", "choice")


def read_pair_judgements(path: str | Path) -> tuple[PairJudgement, ...]:
    """The judgements of a file, in its order.

    Raises FileUnreadableError that names the line: where it is no judgement, or the file cannot be
    read.
    """
    if not Path(path).exists():
        raise FileUnreadableError(
            "the judgements cannot be read: there is no such file",
            file=str(path),
            hint="check the path",
        )
    return tuple(read_rows(path, _judgement, hint="take that line out, or correct it"))


class JudgementFile:
    """The judgements of a file, which is made where it is missing; other processes may write to it.

    Raises ResourceError where it cannot be opened, FileUnreadableError for a line that is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = Journal(path, hint="was it changed by hand? Take that line out")
        self._latest: dict[tuple[str, str], PairJudgement] = {}
        try:
            self.refresh()
        except BaseException:
            self._file.close()
            raise

    def refresh(self) -> None:
        """Read what others have written since."""
        self._file.read(self._take)

    def add(
        self, judgement: PairJudgement, *, product: str = "", slot: str = "", time: str = ""
    ) -> None:
        """Write a judgement; it is on the disk when this returns. product, slot: that the texts are
        for. time: ISO 8601, in UTC."""
        right = dict(judgement.right_scores)
        row: dict[str, Any] = {name: getattr(judgement, name) for name in _TEXTS}
        row["rubric"] = {
            name: {"left": score, "right": right[name]}
            for name, score in judgement.left_scores
            if name in right
        }
        row |= {"product": product, "slot": slot, "time": time}
        with self._file.writing(self._take):
            self._file.append([line_of(row)], self._take, flush="now")

    def of(self, pair: str, rater: str) -> PairJudgement | None:
        """What a rater said last of a pair."""
        return self._latest.get((pair, rater))

    def close(self) -> None:
        """Close the file; any number of times."""
        self._file.close()

    def _take(self, offset: int, line: bytes) -> None:
        one = _judgement(json.loads(line))
        self._latest[one.pair, one.rater] = one


def _judgement(values: Mapping[str, Any]) -> PairJudgement:
    texts = [values[name] for name in _TEXTS]
    if not all(isinstance(one, str) and one for one in texts):
        raise ValueError(f"{', '.join(_TEXTS)} are texts")
    rubric = values.get("rubric") or {}
    if not isinstance(rubric, Mapping):
        raise ValueError("the rubric is an object")
    scores_of = [
        tuple((str(name), float(scores[side])) for name, scores in rubric.items())
        for side in ("left", "right")
    ]
    pair, rater, left, right, choice = texts
    return PairJudgement(pair, rater, left, right, choice, *scores_of)


# --------------------------------------------------------------------------------------------------
# The descriptions that a writing job made, as a shop would take them: one text a product.
#
#     found = written_texts("out", slot="description")
#     found.texts["p1"], found.rejected, found.queries
#
# A text that a person edited stands in the place of the draft's, and a rejected one is none. What
# the
# writer was told of queries is told, too: those prove nothing when descriptions are judged.

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

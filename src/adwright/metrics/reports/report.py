"""A Report: measured values with intervals, and everything needed to read them.

A number without its split, ties, candidates and sampling cannot be compared with another, so
they travel together: a Report goes into the artifact of a model as report.json.

Letters: N rows, U users, R draws.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.errors import ArtifactError, ValueInvalidError
from adwright.metrics.arrays import (
    Array,
    as_codes,
    as_labels,
    as_probabilities,
    check_same_length,
)
from adwright.metrics.bootstrap import Interval, auc_draws, draw_counts, interval_of, user_blocks
from adwright.metrics.calibration import mass_bins
from adwright.metrics.classification import auc, group_auc_parts, log_loss_per_row
from adwright.metrics.reports.page import html_table

_FORMAT = 1
_BLOCKS = 4096  # more users than this are resampled in random blocks
_BINS = 20  # of the calibration error


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How the numbers came about, one short sentence or phrase each.

    split: which rows were tested and which were trained on. candidates: what was ranked.
    ties: how equal scores count. seen_items: whether items had before may be ranked.
    sampling: what was left out and how that is undone. k: cut-offs of ranking measures.
    """

    split: str
    candidates: str = "the impressions as logged"
    ties: str = "a tie counts one half"
    seen_items: str = "not removed"
    sampling: str = "none: every row is used"
    k: tuple[int, ...] = ()

    def text(self) -> str:
        """The protocol as lines of `name: value`."""
        lines = [f"{field.name}: {getattr(self, field.name)}" for field in fields(self)[:-1]]
        if self.k:
            lines.append(f"k: {', '.join(str(k) for k in self.k)}")
        return "\n".join(lines).replace("seen_items", "seen items")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Measures of one model on one data set.

    metrics: name -> value with interval. data_hash: of the test data. seed: of the run that
    is reported. users, rows: how many were measured. draws, confidence: of the bootstrap.
    """

    metrics: Mapping[str, Interval]
    protocol: EvaluationProtocol
    data_hash: str
    seed: int
    users: int
    rows: int
    draws: int
    confidence: float = 0.95

    def brief(self) -> str:
        """The first two measures in a few words: "auc 0.7123, gauc 0.6871"."""
        return ", ".join(f"{name} {one.value:.4f}" for name, one in [*self.metrics.items()][:2])

    def __repr__(self) -> str:
        return f"<Report {self.brief()}: {self.rows:,} rows of {self.users:,} users>"

    def _repr_html_(self) -> str:
        """In a notebook: the measures as a table."""
        header = ("measure", "value", f"{self.confidence:.0%} interval")
        rows = [
            (name, f"{one.value:.4f}", f"{one.low:.4f} to {one.high:.4f}")
            for name, one in self.metrics.items()
        ]
        about = f"{self.rows:,} rows of {self.users:,} users. {self.protocol.split}"
        return html_table(header, rows, about=about)

    def to_json(self) -> str:
        """JSON text; `from_json` gives back an equal Report."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The Report of a JSON text; ArtifactError when the text is not one."""
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise ValueError("another format number")
            values["metrics"] = {
                name: Interval(**numbers) for name, numbers in values["metrics"].items()
            }
            protocol = values["protocol"]
            values["protocol"] = EvaluationProtocol(**{**protocol, "k": tuple(protocol["k"])})
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the text is not a report: {type(error).__name__}: {error}",
                hint="write it with Report.to_json of this version",
            ) from error

    def table(self) -> str:
        """Plain text: a line per measure with its interval, then the protocol."""
        width = max([len("measure"), *(len(name) for name in self.metrics)])
        title = f"{self.confidence:.0%} interval"
        lines = [f"{'measure':<{width}}  {'value':>7}   {title}"]
        lines += [
            f"{name:<{width}}  {metric.value:>7.4f}  {metric.low:>7.4f} .. {metric.high:.4f}"
            for name, metric in self.metrics.items()
        ]
        lines += [
            "",
            f"users: {self.users:,}   rows: {self.rows:,}   seed: {self.seed}"
            f"   bootstrap over users, not over seeds, {self.draws:,} draws",
            self.protocol.text(),
            f"data: {self.data_hash}",
        ]
        return "\n".join(lines)


def evaluate_response(
    labels: npt.ArrayLike,
    probs: npt.ArrayLike,
    users: Any,
    *,
    protocol: EvaluationProtocol,
    data_hash: str,
    seed: int,
    rng: np.random.Generator,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Report:
    """Measure a model of response: auc, gauc, log_loss, normalised_entropy, ece.

    labels: [N] 0 or 1. probs: [N] in 0..1. users: [N] ids, integers or texts, as an array,
    list, polars or Arrow column. rng: of the draws.

    Intervals come from a bootstrap over users, one set of draws for all sums; beyond 4,096
    users random blocks of users are drawn. ece has 20 bins of equal mass, fixed over the
    draws; resampling adds its own noise to an absolute value, so the interval takes the
    lower of the percentile and the reflected bound, and errs on the wide side.

    Raises DataError when only one class is present or no user has both.
    """
    y = as_labels(labels)
    p = as_probabilities(probs)
    check_same_length(len(y), {"probs": p})
    codes, people = _user_codes(users, len(y))
    blocks, count = user_blocks(codes, len(y), rng, _BLOCKS)
    sums = _sums(y, p, codes, blocks, count)
    totals = np.concatenate([c @ sums for c in draw_counts(count, draws, rng)])
    whole, drawn = _measures(sums.sum(0, keepdims=True)), _measures(totals)

    areas = auc_draws(y, p, blocks, rng, draws)
    metrics = {"auc": interval_of(auc(y, p), areas, confidence=confidence)}
    for name, value in whole.items():
        metrics[name] = interval_of(float(value[0]), drawn[name], confidence=confidence)
    ece = metrics["ece"]
    low = max(0.0, min(ece.low, 2 * ece.value - ece.high))
    metrics["ece"] = Interval(ece.value, low, max(ece.value, ece.high))
    return Report(
        metrics=metrics,
        protocol=protocol,
        data_hash=data_hash,
        seed=seed,
        users=people,
        rows=len(y),
        draws=draws,
        confidence=confidence,
    )


def compare_response(
    labels: npt.ArrayLike,
    probs_a: npt.ArrayLike,
    probs_b: npt.ArrayLike,
    users: Any,
    *,
    rng: np.random.Generator,
    draws: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Paired differences A - B of auc, gauc, log_loss and normalised_entropy, same rows.

    Arguments as `evaluate_response`. Each draw takes the same users for both models. For
    auc and gauc a low end above 0 says that A is better; for the other two a high end below.
    """
    y = as_labels(labels)
    both = [as_probabilities(probs_a), as_probabilities(probs_b)]
    check_same_length(len(y), {"probs_a": both[0], "probs_b": both[1]})
    codes, _ = _user_codes(users, len(y))
    blocks, count = user_blocks(codes, len(y), rng, _BLOCKS)
    sums = [_sums(y, p, codes, blocks, count) for p in both]
    width = sums[0].shape[1]
    stacked = np.concatenate(sums, axis=1)
    totals = np.concatenate([c @ stacked for c in draw_counts(count, draws, rng)])
    whole = [_measures(part.sum(0, keepdims=True)) for part in sums]
    drawn = [_measures(totals[:, :width]), _measures(totals[:, width:])]

    state = int(rng.integers(2**63))  # two generators in one state draw the same users
    areas = [auc_draws(y, p, blocks, np.random.default_rng(state), draws) for p in both]
    difference = auc(y, both[0]) - auc(y, both[1])
    found = {"auc": interval_of(difference, areas[0] - areas[1], confidence=confidence)}
    for name in ("gauc", "log_loss", "normalised_entropy"):
        value = float(whole[0][name][0] - whole[1][name][0])
        found[name] = interval_of(value, drawn[0][name] - drawn[1][name], confidence=confidence)
    return found


def _user_codes(users: Any, rows: int) -> tuple[npt.NDArray[np.int64], int]:
    """Codes 0..U-1 of users [N] and U; texts are coded by polars, ten times faster."""
    column = users if isinstance(users, pl.Series) else pl.Series(users)
    if column.null_count():
        row = column.is_null().arg_max()
        raise ValueInvalidError(
            "the user of a row is missing",
            row=row,
            column="users",
            hint="drop such rows or give them an id of their own",
        )
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        texts = column.cast(pl.String)
        known = texts.unique().sort()
        found = texts.cast(pl.Enum(known)).to_physical().to_numpy().astype(np.int64)
        check_same_length(rows, {"users": found})
        return found, len(known)
    small = as_codes(column.to_numpy(), rows).codes
    present = np.bincount(small) > 0
    return (np.cumsum(present) - 1)[small], int(present.sum())


def _sums(y: Array, p: Array, users: Array, blocks: Array, count: int) -> npt.NDArray[np.float64]:
    """Sums [blocks, 5 + bins]: rows, responses, loss, n AUC, n, then excess by bin."""
    parts = group_auc_parts(y, p, users)
    block_of = np.zeros(int(users.max()) + 1, np.int64)
    block_of[users] = blocks
    owner = block_of[parts.groups]
    excess = p.astype(np.float64) - y
    cells = np.bincount(blocks * _BINS + mass_bins(p, None, _BINS), excess, minlength=count * _BINS)
    columns = [
        np.bincount(blocks, minlength=count).astype(np.float64),
        np.bincount(blocks, y, minlength=count),
        np.bincount(blocks, log_loss_per_row(y, p), minlength=count),
        np.bincount(owner, parts.impressions * parts.auc, minlength=count),
        np.bincount(owner, parts.impressions, minlength=count),
    ]
    return np.concatenate((np.stack(columns, axis=1), cells.reshape(count, _BINS)), axis=1)


def _measures(totals: Array) -> dict[str, Array]:
    """The measures [R] of totals [R, 5 + bins]; not finite where a draw leaves one undefined."""
    weight, responses, loss, ranked, impressions = totals[:, :5].T
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = responses / weight
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        return {
            "gauc": ranked / impressions,
            "log_loss": loss / weight,
            "normalised_entropy": loss / weight / entropy,
            "ece": np.abs(totals[:, 5:]).sum(1) / weight,
        }

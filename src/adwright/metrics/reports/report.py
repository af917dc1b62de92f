"""A Report: measured values with intervals, and everything needed to read them.

A number without its split, ties, candidates and sampling cannot be compared with another, so
they travel together: a Report goes into the artifact of a model as report.json.

Letters: N rows, U users, R draws.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.metrics.arrays import Array, as_codes, as_labels, as_probabilities, check_same_length
from adwright.metrics.bootstrap import (
    Interval,
    auc_draws,
    bootstrap_difference,
    bootstrap_ratio,
    draw_counts,
    interval_of,
    user_blocks,
)
from adwright.metrics.classification import auc, group_auc_parts, log_loss_per_row, mass_bins
from adwright.metrics.ranking import Ranks, hit_rate_per_user, ndcg_per_user, recall_per_user

# --------------------------------------------------------------------------------------------------
# What every HTML page of a report shares: the templates' environment, and charts that stand side
# by side.
#
# A page is a single file without scripts or outside references, and extends `base.html`. Text is
# escaped by jinja2; charts are SVG drawn by `adwright.metrics.reports.charts`.
#
# How results look in a notebook: a caption, a small table, and a line of small print.


def page_environment(*packages: str) -> Environment:
    """Templates of these packages, and `base.html`, which their pages extend.

    An undefined name in a template is an error. packages: dotted names of packages with a folder
    `templates`.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, __package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline_svg(svg: str, name: str) -> str:
    """The SVG with `name` in front of its ids, since several stand on one page."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", about: str = ""
) -> str:
    """An HTML table without styles of its own; every text is escaped."""
    parts = [f"<p><strong>{escape(title)}</strong></p>"] if title else []
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if about:
        parts.append(f"<p><small>{escape(about)}</small></p>")
    return "".join(parts)


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


# --------------------------------------------------------------------------------------------------
# Models side by side on the same rows or questions: every measure with its interval, and the
# paired lead of one model over each of the others.
#
# A paired interval says more than two intervals that overlap: each draw of the bootstrap takes the
# same users, with all their rows, for both models. It is of the models as they were trained; what
# other seeds would have made of them is in `adwright.metrics.bootstrap`.
#
# The first line of a comparison: is the model ahead of the simple rules, and if not, what to do.
#
# Of the others the one matters that is furthest ahead, or nearest behind. Whether a lead counts is
# told by its paired interval: where that holds 0, the two are not told apart.

#: An AUC from which on something is known that nobody knows before a response.
TOO_GOOD = 0.99


def verdict(
    subject: str,
    leads: Mapping[str, Interval],
    measure: str,
    *,
    losses: Mapping[str, Interval] | None = None,
) -> str:
    """One or two sentences; empty where there is nothing to compare with.

    subject: the model. leads: name of another -> how far the subject is ahead of it by `measure`,
    of which more is better. losses: name of another -> log loss of the subject minus that of the
    other, where the models give probabilities.
    """
    if not leads:
        return ""
    other = min(leads, key=lambda name: leads[name].value)
    lead = leads[other]
    behind = Interval(-lead.value, -lead.high, -lead.low)
    name = in_words(other)
    if behind.low > 0:
        first = name[0].upper() + name[1:]
        said = f"{first} is ahead of {subject} by {behind.text()} {measure}: {advice(other)}."
    elif lead.low > 0:
        others = f"all {len(leads)} others; of {name}, the best," if len(leads) > 1 else name
        said = f"{subject} is ahead of {others} by {lead.text()} {measure}."
    else:
        said = f"{subject} and {name} are not told apart: {subject} is ahead by "
        said += f"{lead.text('+.4f')} {measure}. Where they are alike, {advice(other)}."
    worse = {name: loss for name, loss in (losses or {}).items() if loss.low > 0}
    if worse:
        best = max(worse, key=lambda name: worse[name].value)
        said += (
            f" The probabilities of {subject} are worse than those of {in_words(best)}, by "
            f"{worse[best].text()} log loss: keep more of the negatives (--negative-rate), or "
            "calibrate on later rows."
        )
    return said


def too_good(auc: float) -> str:
    """The sentence about an AUC that no honest model reaches; empty for any other.

    >>> too_good(0.8)
    ''
    """
    if auc < TOO_GOOD:
        return ""
    return (
        f"An AUC of {auc:.4f} is too good to be true: look for a feature that is known only after "
        "the response (the warnings of adwright data import --task name some)."
    )


def in_words(name: str) -> str:
    """What the row of a table is, within a sentence.

    >>> in_words("Base"), in_words("frequency"), in_words("HSTU")
    ('the base model', 'personal frequency', 'HSTU')
    """
    match name.lower():
        case "base":
            return "the base model"
        case "frequency":
            return "personal frequency"
        case "logistic":
            return "the logistic model of the counts"
        case "din+base":
            return "the mean of DIN and the base model"
        case (
            "popularity"
            | "personal frequency"
            | "item-item"
            | "last items again"
            | "popularity lately"
            | "popularity by category"
        ):
            return name.lower()
        case _:
            return name


def advice(other: str) -> str:
    """What to do where a model or rule of this name is ahead."""
    match other.lower():
        case "item-item":
            return "use item-item (adwright train item-item)"
        case "personal frequency" | "frequency" | "last items again":
            return "use item-item, which can put what a user had first (adwright train item-item)"
        case "popularity" | "popularity lately" | "popularity by category":
            return (
                "serve popularity, and look whether the log has too few events a user, or the "
                "training too few epochs"
            )
        case "base":
            return 'use the base model (interest = "sum" under [model] in the run file)'
        case "din":
            return "use DIN alone (mix = false in the run file)"
        case "logistic":
            return (
                "counts alone do better: keep more of the negatives (--negative-rate), train "
                "longer, or look for features that say more than counts"
            )
        case _:
            return f"use {other}"


_CUTS = (10, 50)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Models that predict responses, compared with one of them.

    subject: the model that the others are compared with.
    reports: name of a model -> its Report, in the order of the table.
    differences: name of another -> measure -> subject minus other, paired.
    """

    #: Measures of the table, with their names for a reader; the lead is told in LEAD.
    MEASURES: ClassVar[Mapping[str, str]] = {
        "auc": "AUC",
        "gauc": "group AUC",
        "log_loss": "log loss",
        "ece": "calibration error",
    }
    LEAD: ClassVar[str] = "gauc"
    #: What chance alone reaches in it.
    CHANCE: ClassVar[float] = 0.5

    subject: str
    reports: Mapping[str, Report]
    differences: Mapping[str, Mapping[str, Interval]]

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        lead = self.MEASURES[self.LEAD]
        return ("model", *self.MEASURES.values(), f"{self.subject} ahead by ({lead})")

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text: model, the MEASURES, the subject's lead over the model."""
        found = []
        for name, report in self.reports.items():
            cells = [report.metrics[measure].text() for measure in self.MEASURES]
            lead = self.differences.get(name)
            found.append((name, *cells, lead[self.LEAD].text("+.4f") if lead else ""))
        return found

    def verdict(self) -> str:
        """The sentence that every report begins with: who is ahead, by how much, and what to do;
        empty where nothing was compared."""
        of = {name: found[self.LEAD] for name, found in self.differences.items()}
        losses = {
            name: found["log_loss"]
            for name, found in self.differences.items()
            if "log_loss" in found
        }
        said = verdict(self.subject, of, self.MEASURES[self.LEAD], losses=losses)
        auc = self.reports[self.subject].metrics.get("auc")
        return f"{said} {too_good(auc.value)}".strip() if auc is not None else said

    def table(self) -> str:
        """Plain text: the verdict, then one line per model."""
        lines = [self.header(), *self.rows()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        told = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join(([self.verdict(), ""] if self.differences else []) + told)

    def __repr__(self) -> str:
        lead = self.MEASURES[self.LEAD]
        values = (f"{n} {r.metrics[self.LEAD].value:.4f}" for n, r in self.reports.items())
        return f"<{type(self).__name__} by {lead}: {', '.join(values)}>"

    def _repr_html_(self) -> str:
        """In a notebook: the table."""
        about = "in brackets: intervals over users, of these trainings"
        return html_table(self.header(), self.rows(), about=about)

    def to_json(self) -> str:
        """JSON text; `from_json` gives back an equal comparison."""
        values = {
            "format": _FORMAT,
            "verdict": self.verdict(),
            "subject": self.subject,
            "reports": {name: json.loads(one.to_json()) for name, one in self.reports.items()},
            "differences": {
                name: {measure: asdict(interval) for measure, interval in found.items()}
                for name, found in self.differences.items()
            },
        }
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The comparison of a JSON text; ArtifactError when the text is not one."""
        try:
            values = json.loads(text)
            if values["format"] != _FORMAT:
                raise ValueError("another format number")
            return cls(
                str(values["subject"]),
                {n: Report.from_json(json.dumps(r)) for n, r in values["reports"].items()},
                {
                    name: {measure: Interval(**ends) for measure, ends in found.items()}
                    for name, found in values["differences"].items()
                },
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the text is not a comparison: {type(error).__name__}: {error}",
                hint=f"write it with {cls.__name__}.to_json of this version",
            ) from error


class RankingComparison(Comparison):
    """Models that rank items, compared with one of them; a question is a visit, or a user's last
    event."""

    MEASURES: ClassVar[Mapping[str, str]] = {m: m for m in ("ndcg@10", "hr@10", "recall@50")}
    LEAD: ClassVar[str] = "ndcg@10"
    CHANCE: ClassVar[float] = 0.0


def compare(
    labels: NDArray[np.int8],
    probabilities: Mapping[str, Floats],
    users: NDArray[np.int64],
    *,
    subject: str,
    protocol: EvaluationProtocol,
    data_hash: str,
    seed: int,
    draws: int = 500,
    against: Sequence[str] | None = None,
) -> Comparison:
    """Measure each model and the lead of `subject`.

    labels: [N] 0 or 1. probabilities: name -> [N] in 0..1. users: [N] codes. draws: of the
    bootstrap over users. against: models to compare with, by default all others.
    Raises ConfigError where `subject` is not among the models, DataError as
    `evaluate_response`.
    """
    _check_subject(subject, probabilities)
    # Every model is measured on the same draws: a generator of its own in the same state.
    reports = {
        name: evaluate_response(
            labels,
            found,
            users,
            protocol=protocol,
            data_hash=data_hash,
            seed=seed,
            rng=np.random.default_rng(seed),
            draws=draws,
        )
        for name, found in probabilities.items()
    }
    others = [n for n in probabilities if n != subject] if against is None else against
    differences = {
        name: compare_response(
            labels,
            probabilities[subject],
            probabilities[name],
            users,
            rng=np.random.default_rng(seed),
            draws=draws,
        )
        for name in others
    }
    return Comparison(subject, reports, differences)


def compare_rankings(
    ranks: Mapping[str, Ranks],
    user: NDArray[np.int64],
    *,
    subject: str,
    protocol: EvaluationProtocol,
    data_hash: str,
    seed: int,
    draws: int = 500,
) -> RankingComparison:
    """Measure each model and the lead of `subject`.

    ranks: name -> ranks of Q questions, of the same targets for each. user: int64 [Q], whose
    question it is. Questions without a target count for nothing. draws: of the bootstrap over
    users, the same for every model.
    Raises ConfigError where `subject` is not among the models.
    """
    _check_subject(subject, ranks)
    asked = np.diff(ranks[subject].offsets) > 0
    users, owner = np.unique(user[asked], return_inverse=True)
    number = np.bincount(owner).astype(np.float64)
    sums = {
        name: {
            m: np.bincount(owner, v[asked]).astype(np.float64) for m, v in _measured(one).items()
        }
        for name, one in ranks.items()
    }
    reports = {
        name: Report(
            metrics={
                measure: bootstrap_ratio(values, number, np.random.default_rng(seed), draws)
                for measure, values in found.items()
            },
            protocol=protocol,
            data_hash=data_hash,
            seed=seed,
            users=len(users),
            rows=int(asked.sum()),
            draws=draws,
        )
        for name, found in sums.items()
    }
    mine = sums[subject]
    differences = {
        name: {
            measure: bootstrap_difference(
                mine[measure], found[measure], number, np.random.default_rng(seed), draws
            )
            for measure in RankingComparison.MEASURES
        }
        for name, found in sums.items()
        if name != subject
    }
    return RankingComparison(subject, reports, differences)


def _measured(ranks: Ranks) -> dict[str, Floats]:
    """Measures [Q] of the questions."""
    found: dict[str, Floats] = {}
    for k in _CUTS:
        found[f"ndcg@{k}"] = ndcg_per_user(ranks, k)
        found[f"hr@{k}"] = hit_rate_per_user(ranks, k)
        found[f"recall@{k}"] = recall_per_user(ranks, k)
    return found


def _check_subject(subject: str, models: Iterable[str]) -> None:
    if subject not in models:
        raise ConfigError(
            "the model to compare is not among those measured",
            where=subject,
            hint=f"choose among {', '.join(models)}",
        )

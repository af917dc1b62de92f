"""Models side by side on the same rows or questions: every measure with its interval, and the
paired lead of one model over each of the others.

A paired interval says more than two intervals that overlap: each draw of the bootstrap takes the
same users, with all their rows, for both models. It is of the models as they were trained; what
other seeds would have made of them is in `adwright.metrics.two_level`.

The first line of a comparison: is the model ahead of the simple rules, and if not, what to do.

Of the others the one matters that is furthest ahead, or nearest behind. Whether a lead counts is
told by its paired interval: where that holds 0, the two are not told apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ArtifactError, ConfigError
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.ranking import Ranks, hit_rate_per_user, ndcg_per_user, recall_per_user
from adwright.metrics.reports.page import html_table
from adwright.metrics.reports.report import (
    EvaluationProtocol,
    Report,
    compare_response,
    evaluate_response,
)

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
_FORMAT = 1

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

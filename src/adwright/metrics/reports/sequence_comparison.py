"""Rankings side by side on the same questions: every measure with its interval, and the paired
lead of one model.

A question is a visit, or a person's last event; people are resampled, with all their questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.metrics.bootstrap import Interval, bootstrap_difference, bootstrap_ratio
from adwright.metrics.ranking import hit_rate_per_user, ndcg_per_user, recall_per_user
from adwright.metrics.ranks import Ranks
from adwright.metrics.reports.comparison_file import Parts, read_parts, written
from adwright.metrics.reports.report import EvaluationProtocol, Report

__all__ = ["LEAD", "MEASURES", "RankingComparison", "compare_rankings"]

#: Measures of the table; the lead is told in the first.
LEAD = "ndcg@10"
MEASURES = (LEAD, "hr@10", "recall@50")
_CUTS = (10, 50)
_FORMAT = 1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankingComparison:
    """reports: name of a model -> its Report, in the order of the table.

    subject: the model that the others are compared with.
    differences: name of another -> measure -> subject minus other, paired.
    """

    subject: str
    reports: Mapping[str, Report]
    differences: Mapping[str, Mapping[str, Interval]]

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        return ("model", *MEASURES, f"{self.subject} ahead by ({LEAD})")

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text."""
        found = []
        for name, report in self.reports.items():
            cells = [_text(report.metrics[measure]) for measure in MEASURES]
            lead = self.differences.get(name)
            found.append((name, *cells, _signed(lead[LEAD]) if lead else ""))
        return found

    def to_json(self) -> str:
        """JSON text; `from_json` gives back an equal comparison."""
        parts = Parts(self.subject, self.reports, self.differences)
        return written(parts, number=_FORMAT)

    @classmethod
    def from_json(cls, text: str) -> RankingComparison:
        """The comparison of a JSON text; ArtifactError when the text is not one."""
        return cls(*read_parts(text, number=_FORMAT, writer="RankingComparison"))


def compare_rankings(
    ranks: Mapping[str, Ranks],
    person: NDArray[np.int64],
    *,
    subject: str,
    protocol: EvaluationProtocol,
    data_hash: str,
    seed: int,
    draws: int = 500,
) -> RankingComparison:
    """Measure each model and the lead of `subject`.

    ranks: name -> ranks of Q questions, of the same targets for each. person: int64 [Q], whose
    question it is. Questions without a target count for nothing. draws: of the bootstrap over
    people, the same for every model.
    Raises ConfigError where `subject` is not among the models.
    """
    if subject not in ranks:
        raise ConfigError(
            "the model to compare is not among those measured",
            where=subject,
            hint=f"choose among {', '.join(ranks)}",
        )
    asked = np.diff(ranks[subject].offsets) > 0
    people, owner = np.unique(person[asked], return_inverse=True)
    number = np.bincount(owner).astype(np.float64)

    def interval(values: Floats) -> Interval:
        return bootstrap_ratio(values, number, np.random.default_rng(seed), draws)

    def ahead(mine: Floats, other: Floats) -> Interval:
        return bootstrap_difference(mine, other, number, np.random.default_rng(seed), draws)

    sums = {
        name: {
            m: np.bincount(owner, v[asked]).astype(np.float64) for m, v in _measured(one).items()
        }
        for name, one in ranks.items()
    }
    reports = {
        name: Report(
            metrics={measure: interval(values) for measure, values in found.items()},
            protocol=protocol,
            data_hash=data_hash,
            seed=seed,
            users=len(people),
            rows=int(asked.sum()),
            draws=draws,
        )
        for name, found in sums.items()
    }
    differences = {
        name: {measure: ahead(sums[subject][measure], found[measure]) for measure in MEASURES}
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


def _text(metric: Interval) -> str:
    return f"{metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"


def _signed(metric: Interval) -> str:
    return f"{metric.value:+.4f} ({metric.low:+.4f} to {metric.high:+.4f})"

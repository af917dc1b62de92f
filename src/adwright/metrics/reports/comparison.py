"""Models side by side on the same test rows: every measure with its interval, and the paired
differences between the model and each of the others.

A number beside a baseline says more than a number, and a paired interval says more than two
intervals that overlap: each draw of the bootstrap takes the same people for both models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.comparison_file import Parts, read_parts, written
from adwright.metrics.reports.report import (
    EvaluationProtocol,
    Report,
    compare_response,
    evaluate_response,
)

__all__ = ["MEASURES", "Comparison", "compare"]

#: Measures of the table, with their names for a reader.
MEASURES: Mapping[str, str] = {
    "auc": "AUC",
    "gauc": "group AUC",
    "log_loss": "log loss",
    "ece": "calibration error",
}

_FORMAT = 1


@dataclass(frozen=True)
class Comparison:
    """reports: name of a model -> its Report, in the order of the table.

    subject: the model that the others are compared with.
    differences: name of another -> measure -> subject minus other, paired.
    """

    subject: str
    reports: Mapping[str, Report]
    differences: Mapping[str, Mapping[str, Interval]]

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text: model, the MEASURES, group AUC of the subject minus the model's."""
        found = []
        for name, report in self.reports.items():
            cells = [_text(report.metrics[measure]) for measure in MEASURES]
            lead = self.differences.get(name)
            found.append((name, *cells, _signed(lead["gauc"]) if lead else ""))
        return found

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        return ("model", *MEASURES.values(), f"{self.subject} ahead by (group AUC)")

    def table(self) -> str:
        """Plain text, a line a model."""
        lines = [self.header(), *self.rows()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def to_json(self) -> str:
        """JSON text; `from_json` gives back an equal Comparison."""
        parts = Parts(self.subject, self.reports, self.differences)
        return written(parts, number=_FORMAT)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """The Comparison of a JSON text; ArtifactError when the text is not one."""
        return cls(*read_parts(text, number=_FORMAT, writer="Comparison"))


def compare(
    labels: NDArray[np.int8],
    probabilities: Mapping[str, NDArray[np.float64]],
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
    if subject not in probabilities:
        raise ConfigError(
            "the model to compare is not among those measured",
            where=subject,
            hint=f"choose among {', '.join(probabilities)}",
        )
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


def _text(metric: Interval) -> str:
    return f"{metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"


def _signed(metric: Interval) -> str:
    return f"{metric.value:+.4f} ({metric.low:+.4f} to {metric.high:+.4f})"

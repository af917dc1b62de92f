"""How a comparison of models lies in a file: reports and leads as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

from adwright.core.errors import ArtifactError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.report import Report

__all__ = ["Parts", "read_parts", "written"]


class Parts(NamedTuple):
    """subject: the model that is compared. reports: of each model. differences: model to
    measure to the subject's lead."""

    subject: str
    reports: Mapping[str, Report]
    differences: Mapping[str, Mapping[str, Interval]]


def written(parts: Parts, *, number: int) -> str:
    """JSON text; number: of the format. `read_parts` gives back the same."""
    values = {
        "format": number,
        "subject": parts.subject,
        "reports": {name: json.loads(one.to_json()) for name, one in parts.reports.items()},
        "differences": {
            name: {measure: asdict(interval) for measure, interval in found.items()}
            for name, found in parts.differences.items()
        },
    }
    return json.dumps(values, indent=1) + "\n"


def read_parts(text: str, *, number: int, writer: str) -> Parts:
    """What `written` wrote; writer: who writes such texts, for the message of the ArtifactError
    that is raised where it is something else."""
    try:
        values = json.loads(text)
        if values["format"] != number:
            raise ValueError("another format number")
        return Parts(
            str(values["subject"]),
            {n: Report.from_json(json.dumps(r)) for n, r in values["reports"].items()},
            {
                name: {measure: Interval(**numbers) for measure, numbers in found.items()}
                for name, found in values["differences"].items()
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"the text is not a comparison: {type(error).__name__}: {error}",
            hint=f"write it with {writer}.to_json of this version",
        ) from error

"""Comparisons in a file."""

from __future__ import annotations

import json

import pytest

from adwright.core.errors import ArtifactError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.comparison_file import Parts, read_parts, written

PARTS = Parts("a", {}, {"b": {"ndcg": Interval(0.1, 0.05, 0.15)}})


def test_what_was_written_is_read() -> None:
    assert read_parts(written(PARTS, number=1), number=1, writer="X") == PARTS


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"format": 2}), written(PARTS, number=2)]
)
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"X\.to_json"):
        read_parts(text, number=1, writer="X")

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from adwright.audit.certificate.certificate import (
    FORMAT,
    BoundedScores,
    RankCertificate,
    make_certificate,
    read_certificate,
)
from adwright.core.errors import ConfigError, ValueInvalidError

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
SCORES = BoundedScores(np.array([1.0, 1.1, 3.0]), np.array([0.1, 7.0, -0.2]), 0.25)


def made(colluders: int = 2) -> RankCertificate:
    return make_certificate(
        "kettles", "I want a kettle.", ("A", "B", "C"), SCORES, ranker="rules", made=WHEN,
        colluders=colluders, digest="d" * 64,
    )  # fmt: skip


def test_it_holds_scores_and_bounds() -> None:
    one = made()
    assert (one.rank, one.best, one.worst) == ((3, 2, 1), (3, 2, 1), (3, 2, 1))
    assert one.best_together == (2, 2, 1)
    assert made(colluders=1).best_together == one.best
    payload = one.payload()
    assert payload["format"] == FORMAT
    assert payload["products"][1]["text"] == 7.0


def test_it_speaks_plainly() -> None:
    said = made().in_words()
    assert "3 products of kettles, ranked by rules" in said
    assert "at most 0.25" in said
    empty = make_certificate(
        "none", "?", (), BoundedScores(np.zeros(0), np.zeros(0), 1.0), ranker="r", made=WHEN
    )
    assert "0 products" in empty.in_words()


def test_it_comes_back_from_json() -> None:
    again = read_certificate(json.loads(json.dumps(made().payload())))
    assert again == made()


@pytest.mark.parametrize("key", ["rank", "best", "worst", "best_together", "worst_together"])
def test_a_bound_that_does_not_follow_is_named(key: str) -> None:
    payload = made().payload()
    payload["products"][1][key] += 1
    with pytest.raises(ValueInvalidError, match=f"row 1, column {key}"):
        read_certificate(payload)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="no certificate of this format"):
        read_certificate({"format": "other"})
    payload = made().payload()
    del payload["products"][0]["facts"]
    with pytest.raises(ValueInvalidError, match="lacks something"):
        read_certificate(payload)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="2 names and 3 scores"):
        make_certificate("c", "r", ("A", "B"), SCORES, ranker="r", made=WHEN)
    with pytest.raises(ValueInvalidError, match="two products have one name"):
        make_certificate("c", "r", ("A", "B", "A"), SCORES, ranker="r", made=WHEN)
    with pytest.raises(ConfigError, match="no zone"):
        make_certificate(
            "c", "r", ("A", "B", "C"), SCORES, ranker="r", made=WHEN.replace(tzinfo=None)
        )

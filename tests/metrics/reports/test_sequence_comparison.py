"""Rankings side by side: the table, the intervals, the paired lead."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.metrics.ranks import Ranks
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.metrics.reports.sequence_comparison import (
    LEAD,
    MEASURES,
    RankingComparison,
    compare_rankings,
)

# Five questions of three people; the fourth has no target.
PERSON = np.array([4, 4, 7, 7, 9])
OFFSETS = np.array([0, 2, 3, 4, 4, 5])
PROTOCOL = EvaluationProtocol(split="by hand", k=(10, 50))


def ranks(*places: float) -> Ranks:
    return Ranks(np.array(places), OFFSETS, np.zeros(5, bool), "hash")


GOOD = ranks(1, 3, 2, 1, 60)
BAD = ranks(2, 40, 11, 1, 60)


def compared(draws: int = 50) -> RankingComparison:
    return compare_rankings(
        {"good": GOOD, "bad": BAD},
        PERSON,
        subject="good",
        protocol=PROTOCOL,
        data_hash="h",
        seed=3,
        draws=draws,
    )


def test_measures_are_means_over_questions_with_a_target() -> None:
    report = compared().reports["good"]
    first = (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    values = {name: metric.value for name, metric in report.metrics.items()}
    assert values["ndcg@10"] == pytest.approx((first + 1 / math.log2(3) + 1 + 0) / 4)
    assert values["hr@10"] == pytest.approx(3 / 4)
    assert values["recall@10"] == pytest.approx((1 + 1 + 1 + 0) / 4)
    worse = compared().reports["bad"].metrics
    assert worse["recall@10"].value == pytest.approx((1 / 2 + 0 + 1 + 0) / 4)
    assert worse["recall@50"].value == pytest.approx((1 + 1 + 1 + 0) / 4)
    assert (report.users, report.rows, report.draws, report.seed) == (3, 4, 50, 3)
    assert (report.data_hash, report.protocol) == ("h", PROTOCOL)


def test_people_are_resampled_for_both_alike() -> None:
    found = compared(400)
    lead = found.differences["bad"]
    assert set(lead) == set(MEASURES)
    for measure in MEASURES:
        good, bad = (found.reports[name].metrics[measure] for name in ("good", "bad"))
        assert good.low <= good.value <= good.high
        assert lead[measure].value == pytest.approx(good.value - bad.value)
    # The last person's question is lost on both: a draw of that person alone says 0.
    assert (lead[LEAD].low, found.reports["good"].metrics[LEAD].low) == (0, 0)
    assert compared(400) == found


def test_the_table() -> None:
    found = compared()
    assert found.header() == ("model", *MEASURES, "good ahead by (ndcg@10)")
    first, second = found.rows()
    assert (first[0], first[-1]) == ("good", "")
    assert second[0] == "bad"
    assert second[-1].startswith("+0.")


def test_it_comes_back_from_json() -> None:
    found = compared()
    assert RankingComparison.from_json(found.to_json()) == found
    for text in ("", "[]", '{"format": 2}', '{"format": 1}'):
        with pytest.raises(ArtifactError, match="not a comparison"):
            RankingComparison.from_json(text)


def test_an_unknown_subject_is_refused() -> None:
    with pytest.raises(ConfigError, match="not among"):
        compare_rankings(
            {"bad": BAD}, PERSON, subject="good", protocol=PROTOCOL, data_hash="h", seed=0
        )

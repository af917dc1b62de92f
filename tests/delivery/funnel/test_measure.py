"""The report on a split: what serves is what the cascade answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.delivery.cascade.trial import ranks_in
from adwright.delivery.funnel.choice import targets_of
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.measure import (
    FunnelLine,
    FunnelReport,
    measure_cascade,
    measure_funnel,
    measured_line,
    rule_ranks_of,
)
from adwright.delivery.stages.histories import visit_requests
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import ndcg_per_user
from adwright.training.retrieval.rules import rules_ranks
from tests.support.delivery.cascade_parts import deployment, histories, task
from tests.support.delivery.funnel_parts import SERVING, funnel, log, rules

VISITS = task().visits("test")


def measured(**changes: object) -> FunnelReport:
    made = replace(funnel(), **changes)  # type: ignore[arg-type]
    return measure_funnel(made, rules(), log(), task(), draws=20)


def test_the_served_line_is_what_the_cascade_answers() -> None:
    report = measured()
    cascade = funnel().cascade(histories())
    ids = {item: n for n, item in enumerate(cascade.histories.items.ids, start=1)}
    answers = cascade.recommend_many(visit_requests(task(), VISITS))
    lists = [np.array([ids[i] for i in answer.item_ids]) for answer in answers]
    gain = ndcg_per_user(ranks_in(lists, targets_of(task(), VISITS, unseen=False)), 10)
    assert report.served.ndcg is not None
    assert report.served.ndcg.value == pytest.approx(gain.mean())
    assert report.served.ms is not None
    assert report.visits == len(VISITS)


def test_a_part_that_is_above_what_serves_is_named_in_the_first_line() -> None:
    worst = measured(serving=replace(SERVING, coarse=ScoreMixture(("item-item",), (-1.0,))))
    parts = [line for line in worst.lines if line.kind == "part"]
    best = max(parts, key=lambda line: line.ndcg.value if line.ndcg else 0.0)
    assert best.ndcg is not None
    assert f"Its part {best.name} alone has {best.ndcg.value:.4f} on these visits" in worst.first
    for report in (measured(), worst):
        assert report.served.ndcg is not None
        above = any(one.ndcg and one.ndcg.value > report.served.ndcg.value for one in parts)
        assert ("Its part" in report.first) == above


def test_rules_sources_and_parts_have_their_lines() -> None:
    report = measured()
    kinds: dict[str, set[str]] = {}
    for line in report.lines:
        kinds.setdefault(line.kind, set()).add(line.name)
    assert {"Item-item", "Popularity", "Personal frequency", "Last items again"} <= kinds["rule"]
    assert {"item-item", "past", "linear", "two-tower", "sequence"} <= kinds["source"]
    assert {"linear", "sequence", "two-tower", "hcn"} == kinds["part"]
    whole = rules_ranks(rules(), log(), log().test, unseen=False)
    for name, ranks in whole.items():
        line = report.line(name)
        assert line.ndcg is not None
        assert line.ndcg.value == pytest.approx(ndcg_per_user(ranks, 10).mean())
    best = max(whole, key=lambda name: ndcg_per_user(whole[name], 10).mean())
    assert report.best_rule == best
    shortlist = report.line("all sources that serve")
    assert shortlist.recall.value >= report.line("past", "source").recall.value


def test_the_first_line_says_what_serves() -> None:
    assert measured().first.startswith("A mixture of item-item, frequency, two-tower serves.")
    alone = replace(SERVING, coarse=ScoreMixture.of("item-item"))
    assert measured(serving=alone).first.startswith("Item-item alone serves: on validation")
    model = replace(SERVING, coarse=ScoreMixture.of("two-tower"))
    assert measured(serving=model).first.startswith("The model two-tower alone serves.")
    fine = replace(SERVING, fine=ScoreMixture.of("fine"))
    report = measured(serving=fine)
    assert "then the fine stage" in report.first
    assert report.line("before the fine stage").kind == "order"


def test_a_cascade_of_fixed_stages_is_measured_too() -> None:
    cascade = deployment().cascade(histories())
    report = measure_cascade(cascade, rules(), log(), task(), draws=20)
    kinds = [line.kind for line in report.lines if line.kind != "rule"]
    assert kinds == ["shortlist", "order", "served"]
    assert report.line("all sources").recall.value == 1.0  # five hundred of twelve items


@pytest.mark.parametrize("split", ["valid", "test"])
def test_rules_are_asked_for_the_visits_alone(split: str) -> None:
    visits = task().visits(split)[[1, 4]]  # type: ignore[arg-type]
    some = rule_ranks_of(rules(), log(), task(), split, visits)  # type: ignore[arg-type]
    asked = log().valid if split == "valid" else log().test
    every = rules_ranks(rules(), log(), asked, unseen=False)
    for name, ranks in some.items():
        assert ranks.users == 2
        whole = every[name]
        wanted = [whole.ranks[whole.offsets[n] : whole.offsets[n + 1]] for n in (1, 4)]
        assert ranks.ranks.tolist() == np.concatenate(wanted).tolist()


def test_fewer_visits_of_another_split() -> None:
    report = measure_funnel(
        funnel(), rules(), log(), task(), split="valid", most=4, draws=20, notes=("so",)
    )
    assert (report.visits, report.split, report.notes) == (4, "valid", ("so",))


USER = np.array([0, 0, 1, 2, 2, 2])
GAIN = np.array([0.5, 0.1, 0.0, 1.0, 0.2, 0.4])
RULE = np.array([0.4, 0.1, 0.1, 0.7, 0.2, 0.1])


def report() -> FunnelReport:
    rule = measured_line("Item-item", "rule", USER, items=50, recall=RULE, gain=RULE, rule=RULE)
    found = measured_line("past", "source", USER, items=7.5, recall=RULE)
    served = measured_line(
        "served", "served", USER, items=50, recall=GAIN, gain=GAIN, rule=RULE, ms=3.25
    )
    return FunnelReport(
        "It serves.", "test", "Item-item", (rule, found, served), 6, 3, "p", "h", 0, 500, ("a",)
    )


def test_values_are_means_over_visits_and_differences_are_paired() -> None:
    served = report().served
    assert served.ndcg is not None
    assert served.ahead is not None
    assert served.ndcg.value == pytest.approx(GAIN.mean())
    assert served.recall.value == pytest.approx(GAIN.mean())
    assert served.ahead.value == pytest.approx((GAIN - RULE).mean())
    assert served.ahead.low <= served.ahead.value <= served.ahead.high
    same = report().line("Item-item")
    assert same.ahead == Interval(0.0, 0.0, 0.0)
    assert report().line("past", "source").ndcg is None
    with pytest.raises(KeyError):
        report().line("past", "rule")


def test_a_report_is_read_again() -> None:
    found = report()
    assert FunnelReport.from_json(found.to_json()) == found
    for wrong in ("{", json.dumps({"format": 99}), json.dumps({"format": 1, "lines": 3})):
        with pytest.raises(ArtifactError, match="not a report"):
            FunnelReport.from_json(wrong)


def test_the_table_names_the_best_rule() -> None:
    found = report()
    assert found.header()[-2] == "ahead of Item-item"
    rows = found.rows()
    assert [row[:3] for row in rows] == [
        ("Item-item", "rule", "50"),
        ("past", "source", "8"),
        ("served", "served", "50"),
    ]
    assert rows[1][4:] == ("", "", "")
    assert rows[2][-1] == "3.2"
    assert len(found.rows(found.lines[:1])) == 1


def test_a_line_of_no_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="kind"):
        FunnelLine("x", "other", 1.0, Interval(0, 0, 0))  # type: ignore[arg-type]

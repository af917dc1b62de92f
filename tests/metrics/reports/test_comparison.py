"""Models side by side: the tables, the intervals, the paired leads."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from jinja2 import UndefinedError

from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.classification import auc, group_auc, reliability_table
from adwright.metrics.ranking import Ranks
from adwright.metrics.reports import charts
from adwright.metrics.reports.report import (
    Comparison,
    EvaluationProtocol,
    RankingComparison,
    advice,
    compare,
    compare_rankings,
    html_table,
    in_words,
    inline_svg,
    page_environment,
    verdict,
)

N = 4000
RNG = np.random.default_rng(0)
USERS = np.sort(RNG.integers(0, 60, N))
TRUTH = RNG.beta(1, 6, N)
LABELS = (RNG.random(N) < TRUTH).astype(np.int8)
MODELS = {
    "noisy": np.clip(TRUTH + RNG.normal(0, 0.2, N), 0.001, 0.999),
    "true": TRUTH,
    "flat": np.full(N, LABELS.mean()),
}


def comparison(**more: object) -> Comparison:
    options: dict[str, object] = {"subject": "true", "draws": 60, "seed": 1, **more}
    return compare(
        LABELS,
        MODELS,
        USERS,
        protocol=EvaluationProtocol(split="made up"),
        data_hash="d",
        **options,  # type: ignore[arg-type]
    )


def test_values_are_those_of_the_metrics() -> None:
    found = comparison()
    for name, probabilities in MODELS.items():
        assert found.reports[name].metrics["auc"].value == pytest.approx(auc(LABELS, probabilities))
        gauc = group_auc(LABELS, probabilities, USERS)
        assert found.reports[name].metrics["gauc"].value == pytest.approx(gauc)


def test_differences_are_paired_and_signed() -> None:
    found = comparison()
    assert list(found.differences) == ["noisy", "flat"]
    lead = found.differences["noisy"]["gauc"]
    values = {name: report.metrics["gauc"].value for name, report in found.reports.items()}
    assert lead.value == pytest.approx(values["true"] - values["noisy"])
    assert lead.low > 0
    # Paired draws leave less doubt than the two intervals side by side.
    assert lead.width < found.reports["true"].metrics["gauc"].width * 2
    assert found.differences["noisy"]["log_loss"].high < 0


def test_the_table_has_a_line_a_model() -> None:
    found = comparison()
    first, nothing, *lines = found.table().splitlines()
    assert (first, nothing) == (found.verdict(), "")
    assert first.startswith("true is ahead of all 2 others; of noisy, the best, by ")
    assert [line.split()[0] for line in lines] == ["model", "noisy", "true", "flat"]
    assert all(name in lines[0] for name in Comparison.MEASURES.values())
    assert "+0." in lines[1]
    assert [line.count("+") for line in lines] == [0, 3, 0, 3]


def test_the_verdict_stands_first_and_may_be_lacking() -> None:
    found = comparison(subject="noisy")
    told = json.loads(found.to_json())
    assert told["verdict"] == found.verdict()
    assert told["verdict"].startswith("True is ahead of noisy by ")
    assert "The probabilities of noisy are worse than those of " in told["verdict"]
    del told["verdict"]
    assert Comparison.from_json(json.dumps(told)) == found
    assert not comparison(against=[]).verdict()


def test_what_is_too_good_to_be_true_is_told() -> None:
    label = np.array([0, 1] * 50, np.int8)
    found = compare(
        label,
        {"known": label * 0.8 + 0.1, "flat": np.full(100, 0.5)},
        np.arange(100) // 4,
        subject="known",
        protocol=EvaluationProtocol(split="all"),
        data_hash="",
        seed=0,
        draws=10,
    )
    assert "An AUC of 1.0000 is too good to be true" in found.verdict()
    assert "too good" not in comparison().verdict()


def test_json_round_trip_and_refusal() -> None:
    found = comparison()
    assert Comparison.from_json(found.to_json()) == found
    for text in ("", "[]", "{}", '{"format": 9}', found.to_json().replace('"low"', '"lower"')):
        with pytest.raises(ArtifactError, match=r"not a (comparison|report)"):
            Comparison.from_json(text)


LEAD = RankingComparison.LEAD
# Five questions of three users; the fourth has no target.
OF_USER = np.array([4, 4, 7, 7, 9])
OFFSETS = np.array([0, 2, 3, 4, 4, 5])
PROTOCOL = EvaluationProtocol(split="by hand", k=(10, 50))


def ranks(*places: float) -> Ranks:
    return Ranks(np.array(places), OFFSETS, np.zeros(5, bool))


GOOD = ranks(1, 3, 2, 1, 60)
BAD = ranks(2, 40, 11, 1, 60)


def compared(draws: int = 50) -> RankingComparison:
    return compare_rankings(
        {"good": GOOD, "bad": BAD},
        OF_USER,
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
    assert set(lead) == set(RankingComparison.MEASURES)
    for measure in RankingComparison.MEASURES:
        good, bad = (found.reports[name].metrics[measure] for name in ("good", "bad"))
        assert good.low <= good.value <= good.high
        assert lead[measure].value == pytest.approx(good.value - bad.value)
    # The last person's question is lost on both: a draw of that person alone says 0.
    assert (lead[LEAD].low, found.reports["good"].metrics[LEAD].low) == (0, 0)
    assert compared(400) == found


def test_the_table_of_rankings() -> None:
    found = compared()
    assert found.header() == ("model", *RankingComparison.MEASURES, "good ahead by (ndcg@10)")
    first, second = found.rows()
    assert (first[0], first[-1]) == ("good", "")
    assert second[0] == "bad"
    assert second[-1].startswith("+0.")


def test_a_ranking_comes_back_from_json_as_its_own_class() -> None:
    found = compared()
    again = RankingComparison.from_json(found.to_json())
    assert again == found
    assert again.rows() == found.rows()
    # The same numbers as a comparison of responses are another thing, with other columns.
    assert Comparison.from_json(found.to_json()) != found
    text = found.to_json().replace('"format": 1', '"format": 2', 1)
    for wrong in ("", "[]", '{"format": 1}', text):
        with pytest.raises(ArtifactError, match=r"RankingComparison\.to_json"):
            RankingComparison.from_json(wrong)


def test_a_model_alone_has_no_lead() -> None:
    found = compare_rankings(
        {"good": GOOD}, OF_USER, subject="good", protocol=PROTOCOL, data_hash="h", seed=0, draws=9
    )
    assert found.differences == {}
    assert [row[-1] for row in found.rows()] == [""]


def test_an_unknown_subject_of_a_ranking_is_refused() -> None:
    with pytest.raises(ConfigError, match="not among"):
        compare_rankings(
            {"bad": BAD}, OF_USER, subject="good", protocol=PROTOCOL, data_hash="h", seed=0
        )


AHEAD, LEVEL, BEHIND = (
    Interval(0.02, 0.01, 0.03),
    Interval(-0.001, -0.004, 0.002),
    Interval(-0.05, -0.07, -0.03),
)


def test_a_rule_ahead_is_named_with_its_lead_and_what_to_do() -> None:
    told = verdict("SASRec", {"Popularity": AHEAD, "Item-item": BEHIND}, "ndcg@10")
    assert told == (
        "Item-item is ahead of SASRec by 0.0500 (0.0300 to 0.0700) ndcg@10: use item-item "
        "(adwright train item-item)."
    )


def test_the_one_furthest_ahead_is_told() -> None:
    far = Interval(-0.2, -0.3, -0.1)
    told = verdict("DIN", {"Base": BEHIND, "item-item": far, "popularity": AHEAD}, "group AUC")
    assert told.startswith("Item-item is ahead of DIN by 0.2000 (0.1000 to 0.3000) group AUC")


def test_where_nobody_is_ahead() -> None:
    told = verdict("DIN", {"Base": LEVEL, "popularity": AHEAD}, "group AUC")
    assert told.startswith(
        "DIN and the base model are not told apart: DIN is ahead by -0.0010 (-0.0040"
    )
    assert 'interest = "sum"' in told


def test_a_model_ahead_says_of_whom() -> None:
    told = verdict("HSTU", {"Popularity": Interval(0.5, 0.4, 0.6), "Item-item": AHEAD}, "ndcg@10")
    assert told == (
        "HSTU is ahead of all 2 others; of item-item, the best, by 0.0200 (0.0100 to 0.0300) "
        "ndcg@10."
    )
    assert "HSTU is ahead of item-item by" in verdict("HSTU", {"Item-item": AHEAD}, "ndcg@10")


def test_bad_probabilities_are_told_beside_a_good_order() -> None:
    losses = {"popularity": Interval(0.19, 0.18, 0.2), "Base": Interval(-0.1, -0.2, -0.05)}
    told = verdict("DIN", {"popularity": AHEAD, "Base": AHEAD}, "group AUC", losses=losses)
    assert told.startswith("DIN is ahead of all 2 others")
    assert "worse than those of popularity, by 0.1900 (0.1800 to 0.2000) log loss" in told
    fine = {"popularity": Interval(-0.1, -0.2, -0.05)}
    assert "log loss" not in verdict("DIN", {"popularity": AHEAD}, "group AUC", losses=fine)


def test_rows_of_a_table_are_said_in_words() -> None:
    behind = {"logistic": BEHIND, "Base": AHEAD, "popularity": AHEAD}
    assert verdict("DIN+Base", behind, "group AUC").startswith(
        "The logistic model of the counts is ahead of DIN+Base by 0.0500"
    )
    level = {"frequency": LEVEL, "Base": AHEAD}
    assert verdict("DIN", level, "group AUC").startswith(
        "DIN and personal frequency are not told apart"
    )
    losses = {"Base": Interval(0.1, 0.05, 0.2)}
    told = verdict("DIN", {"Base": AHEAD}, "group AUC", losses=losses)
    assert "worse than those of the base model, by" in told
    assert in_words("DIN+Base") == "the mean of DIN and the base model"


@pytest.mark.parametrize(
    ("other", "about"),
    [
        ("Item-item", "adwright train item-item"),
        ("Personal frequency", "adwright train item-item"),
        ("Last items again", "adwright train item-item"),
        ("frequency", "adwright train item-item"),
        ("Popularity by category", "serve popularity"),
        ("Popularity lately", "serve popularity"),
        ("popularity", "serve popularity"),
        ("logistic", "--negative-rate"),
        ("Base", "base model"),
        ("DIN", "DIN alone"),
        ("HSTU", "use HSTU"),
    ],
)
def test_the_advice_fits_the_rule(other: str, about: str) -> None:
    assert about in advice(other)


CURVES = [
    {"step": step, "series": series, "value": 1 / (1 + step) + offset}
    for series, offset in (("train", 0.0), ("validation", 0.1))
    for step in range(5)
]


def texts(chart: Any) -> list[str]:
    """The words in the picture; parsing also proves that it is well-formed XML."""
    tree = ElementTree.fromstring(charts.to_svg(chart))
    return [node.text or "" for node in tree.iter("{http://www.w3.org/2000/svg}text")]


def marks(chart: Any, kind: str) -> int:
    """How many marks of a kind (rect, circle ...) the picture has, by its ARIA roles."""
    tree = ElementTree.fromstring(charts.to_svg(chart))
    roles = (node.get("aria-roledescription") for node in tree.iter())
    return sum(role == kind for role in roles)


def reliability(rates: float = -2.0) -> Any:
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-rng.normal(rates, 1, 3000)))
    return reliability_table(rng.random(3000) < p, p, bins=10)


def test_a_reliability_diagram_has_a_point_a_bin_and_labelled_axes() -> None:
    chart = charts.reliability_diagram(reliability(), title="Held-out weeks")
    found = texts(chart)
    assert {"Held-out weeks", "Mean predicted probability", "Observed response rate"} <= {*found}
    assert any("10 bins of 3,000 rows" in text for text in found)
    assert any(text.endswith("%") for text in found)
    assert marks(chart, "circle") == 10


def test_a_reliability_diagram_turns_logarithmic_for_small_rates() -> None:
    wide = reliability_table([0, 0, 0, 1, 0, 1], [0.0, 0.001, 0.002, 0.01, 0.2, 0.9], bins=6)
    kinds = [
        charts.reliability_diagram(wide, log=log).to_dict()["layer"][0]["encoding"]["x"]["scale"][
            "type"
        ]
        for log in (None, False, True)
    ]
    assert kinds == ["log", "linear", "log"]
    # A prediction and rates of exactly zero have no logarithm and stand at the edge.
    assert marks(charts.reliability_diagram(wide), "circle") == 6


def test_learning_curves_name_each_series() -> None:
    chart = charts.learning_curves(CURVES, y_title="Log loss (nats)", title="DIN")
    assert {"train", "validation", "Step", "Log loss (nats)", "DIN"} <= {*texts(chart)}
    assert marks(chart, "line mark") == 2
    by_epoch = [{"epoch": row["step"], **row} for row in CURVES]
    assert "Epoch" in texts(charts.learning_curves(by_epoch, x="epoch"))
    assert "Rows read" in texts(charts.learning_curves(CURVES, x_title="Rows read"))


def test_values_that_are_not_finite_are_left_out() -> None:
    broken = [*CURVES, {"step": 5, "series": "train", "value": float("nan")}]
    assert charts.to_svg(charts.learning_curves(broken)) == charts.to_svg(
        charts.learning_curves(CURVES)
    )
    with pytest.raises(DataError, match="no finite value"):
        charts.learning_curves(broken[-1:])


def test_an_attention_map_has_a_cell_a_pair_and_centres_signed_weights() -> None:
    weights = np.arange(6).reshape(3, 2) / 10
    plain = charts.attention_map(["a", "b", "b"], ["x", "y"], weights)
    assert {"a", "b", "x", "y", "Candidate", "Weight"} <= {*texts(plain)}
    assert marks(plain, "rect mark") == 6
    signed = charts.attention_map(["a", "b", "b"], ["x", "y"], weights - 0.1)
    domains = [
        chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"]
        for chart in (plain, signed)
    ]
    assert domains == [[0, 0.5], [-0.4, 0.4]]
    assert marks(charts.attention_map(["a"], ["x"], [[0.0]]), "rect mark") == 1


def test_an_interval_chart_leaves_room_for_long_names_in_a_wider_font() -> None:
    name = "Popularity by category"
    drawn = charts.to_svg(
        charts.interval_chart({name: Interval(1.0, 0.0, 2.0)}, title="", x_title="Gain")
    )
    outer = re.search(r"translate\((\d+),", drawn)
    assert outer is not None
    assert int(outer[1]) >= 7.5 * len(name)


def test_an_interval_chart_keeps_the_order_and_draws_a_reference() -> None:
    values = {"DIN": Interval(0.02, 0.01, 0.03), "base": Interval(-0.01, -0.02, 0.0)}
    arguments: dict[str, Any] = {"title": "Gain", "x_title": "Group AUC difference"}
    plain = charts.interval_chart(values, **arguments)
    found = texts(plain)
    assert [text for text in found if text in values] == ["DIN", "base"]
    assert {"Gain", "Group AUC difference", "bars: 95% interval"} <= {*found}
    assert marks(plain, "circle") == 2
    with_line = charts.interval_chart(values, reference=0, confidence=0.9, **arguments)
    assert "bars: 90% interval" in texts(with_line)
    assert marks(with_line, "rule mark") == marks(plain, "rule mark") + 1


def test_a_trade_off_joins_what_nothing_beats() -> None:
    points = [(1.0, 5.0), (2.0, 2.0), (3.0, 3.0), (2.0, 4.0), (9.0, 1.0)]
    assert charts.unbeaten(points) == [True, True, False, False, True]
    assert charts.unbeaten([(1.0, 1.0), (1.0, 1.0)]) == [True, True]
    rows = [
        {"name": f"m{at}", "x": x, "y": y, "series": "peft" if at else "ours"}
        for at, (x, y) in enumerate(points)
    ]
    chart = charts.trade_off(rows, x_title="memory, MB", y_title="loss, nats", title="T")
    assert {"memory, MB", "loss, nats", "T", "ours", "peft", "m0", "m4"} <= {*texts(chart)}
    assert marks(chart, "circle") >= len(rows)


@pytest.mark.parametrize(
    "name", ['a "quoted" \\ name', "it's", "</text><script>", "ü & é", "x" * 99]
)
def test_names_from_outside_are_text_and_nothing_else(name: str) -> None:
    shown = name if len(name) <= 32 else name[:31] + "…"
    chart = charts.attention_map([name], ["x"], [[1]], title=name)
    assert shown in texts(chart)
    assert "<script" not in charts.to_svg(chart)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: charts.learning_curves([]), "nothing to draw"),
        (lambda: charts.learning_curves([{"step": 1, "value": 2}]), r"key 'series'.*row 0"),
        (lambda: charts.attention_map(["a"], ["x"], [1]), r"expected weights \[1, 1\]"),
        (lambda: charts.interval_chart({}, title="", x_title=""), "nothing to draw"),
        (lambda: charts.trade_off([], x_title="", y_title=""), "nothing to draw"),
        (
            lambda: charts.trade_off(
                [{"name": "a", "x": 0, "y": 1, "series": "b"}], x_title="", y_title=""
            ),
            "above 0",
        ),
    ],
)
def test_what_cannot_be_drawn_says_why(draw: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw()


def test_importing_the_module_does_not_pay_for_altair(root: Path) -> None:
    code = "import sys; import adwright.metrics.reports.charts; sys.exit('altair' in sys.modules)"
    environment = {"PYTHONPATH": str(root / "src")}
    assert run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_small_rates_have_labels_that_differ() -> None:
    """Two decimals of a percent would be 0% for each of them."""
    rng = np.random.default_rng(0)
    prediction = 10 ** rng.uniform(-5.5, -3.5, 20_000)
    label = rng.random(20_000) < prediction
    chart = charts.reliability_diagram(reliability_table(label, prediction))
    labels = [text for text in texts(chart) if text.endswith("%")]
    across, down = labels[: len(labels) // 2], labels[len(labels) // 2 :]
    assert len(across) > 2
    assert len(set(across)) == len(across)
    assert len(set(down)) == len(down)


def test_a_table_is_escaped() -> None:
    html = html_table(("a", "<b>"), [("1", "x & y")], title="T<", about="small")
    assert html == (
        "<p><strong>T&lt;</strong></p>"
        "<table><thead><tr><th>a</th><th>&lt;b&gt;</th></tr></thead>"
        "<tbody><tr><td>1</td><td>x &amp; y</td></tr></tbody></table>"
        "<p><small>small</small></p>"
    )
    assert html_table(("a",), []).startswith("<table>")


def test_reports_and_comparisons_are_short_and_have_a_table() -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(200) < 0.4).astype(np.int8)
    models = {"DIN": rng.random(200), "rule": rng.random(200)}
    found = compare(
        label,
        models,
        np.arange(200) % 10,
        subject="DIN",
        protocol=EvaluationProtocol(split="test rows"),
        data_hash="",
        seed=0,
        draws=20,
    )
    report = found.reports["DIN"]
    auc, gauc = (report.metrics[name].value for name in ("auc", "gauc"))
    assert repr(report) == f"<Report auc {auc:.4f}, gauc {gauc:.4f}: 200 rows of 10 users>"
    html = report._repr_html_()
    assert f"<td>{auc:.4f}</td>" in html
    assert "200 rows of 10 users. test rows" in html
    other = found.reports["rule"].metrics["gauc"].value
    assert repr(found) == f"<Comparison by group AUC: DIN {gauc:.4f}, rule {other:.4f}>"
    assert found.rows()[1][1] in found._repr_html_()


def test_a_page_extends_the_base_and_escapes_text() -> None:
    page = page_environment().from_string(
        '{% extends "base.html" %}{% block title %}T{% endblock %}'
        "{% block body %}<p>{{ name }}</p>{% endblock %}"
    )
    text = page.render(name="<b>&")
    assert "<title>T</title>" in text
    assert "<p>&lt;b&gt;&amp;</p>" in text
    with pytest.raises(UndefinedError, match="name"):
        page.render()


def test_a_chart_keeps_its_own_references() -> None:
    svg = '<g id="a"><use href="#a"/><path clip-path="url(#a)" width="1"/></g>'
    assert inline_svg(svg, "c1") == (
        '<g id="c1-a"><use href="#c1-a"/><path clip-path="url(#c1-a)" width="1"/></g>'
    )

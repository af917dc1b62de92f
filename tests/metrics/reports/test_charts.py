"""Charts render without a browser and show what they were given."""

from __future__ import annotations

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

from adwright.core.errors import DataError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.classification import reliability_table
from adwright.metrics.reports import charts
from adwright.metrics.reports.report import (
    EvaluationProtocol,
    compare,
    html_table,
    inline_svg,
    page_environment,
)

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

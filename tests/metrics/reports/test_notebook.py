"""Results in a notebook."""

from __future__ import annotations

import numpy as np

from adwright.metrics.reports.comparison import compare
from adwright.metrics.reports.page import html_table
from adwright.metrics.reports.report import EvaluationProtocol


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

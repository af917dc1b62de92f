"""Draw docs/_static/report.svg: what a build of a cascade measured, from its report.json.

    adwright train cascade LOG --out runs/cascade
    python docs/_report.py runs/cascade/report.json

The picture that is committed is of Beauty (its folder with sequences.txt), by the defaults of the
command on two cores.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from adwright.delivery.funnel.measure import FunnelReport
from adwright.metrics.reports.charts import interval_chart, to_svg

PICTURE = Path(__file__).resolve().parent / "_static" / "report.svg"


def drawn(report: FunnelReport) -> str:
    """SVG: NDCG@10 of each rule, each model alone, and what serves, with intervals."""
    lines = {
        f"{one.name} (alone)" if one.kind == "part" else one.name: one.ndcg
        for one in report.lines
        if one.kind in ("rule", "part", "served") and one.ndcg is not None
    }
    chart = interval_chart(lines, title="", x_title="NDCG@10")
    said = [*textwrap.wrap(report.first, 84)]
    about = f"{report.visits:,} visits of the {report.split} split; bars: 95% interval over users"
    return to_svg(
        chart.properties(
            title={"text": said, "subtitle": about, "anchor": "start", "fontSize": 13},
            background="white",
            padding=14,
        )
    )


def main(arguments: list[str]) -> int:
    """Draw the report that is named; the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("name a report.json\n")
        return 2
    report = FunnelReport.from_json(Path(arguments[0]).read_text("utf-8"))
    PICTURE.write_text(drawn(report), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

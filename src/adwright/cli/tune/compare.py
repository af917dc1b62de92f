"""adwright tune compare: several runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.shared import show_table
from adwright.cli.tune.options import as_loss
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuningReport

__all__ = ["compare"]


def compare(
    runs: list[Path],
    *,
    picture: Path | None = None,
) -> None:
    """Show several runs side by side, the lowest loss on held-out answers first.

    Losses are nats per token of the held-out answers, those of the base beside them.

    Options:
        runs: Folders that `adwright tune run` wrote.
        picture: Write an SVG of held-out loss against peak memory here; replaces it.
    """
    reports = [(folder, _report(folder)) for folder in runs]
    if len({report.data_hash for _, report in reports}) > 1:
        typer.echo("These runs saw different texts: their losses cannot be compared.", err=True)
    reports.sort(key=lambda pair: (pair[1].valid_nll is None, pair[1].valid_nll or 0.0))
    names = [folder.name for folder, _ in reports]
    whole = len(set(names)) < len(names)
    show_table(
        ("run", "method", "trainable", "held", "base", "tokens/s", "CPU-s", "peak GB"),
        [
            (
                str(folder) if whole else folder.name,
                report.named,
                f"{report.trainable:,}",
                as_loss(report.valid_nll),
                as_loss(report.base_nll),
                f"{report.tokens_per_cpu_second:,.0f}",
                f"{report.cpu_seconds:,.0f}",
                f"{report.peak_bytes / 1e9:.2f}",
            )
            for folder, report in reports
        ],
        unbroken=True,
    )
    if picture is not None:
        _draw(reports, picture)


def _draw(reports: list[tuple[Path, TuningReport]], picture: Path) -> None:
    """Draw loss against memory, for the runs with held-out texts."""
    from adwright.core.atomic import atomic_write_text
    from adwright.metrics.reports.charts import to_svg, trade_off

    rows = [
        {
            "name": folder.name,
            "x": report.peak_bytes / 1e9,
            "y": report.valid_nll,
            "series": report.named,
        }
        for folder, report in reports
        if report.valid_nll is not None
    ]
    chart = trade_off(rows, x_title="peak memory, GB", y_title="held loss, nats per token")
    atomic_write_text(picture, to_svg(chart))


def _report(folder: Path) -> TuningReport:
    from adwright.core.config import from_jsonable
    from adwright.training.tuning.run import TuningReport

    try:
        values = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "this folder holds no finished tuning",
            where=str(folder),
            hint="name what `adwright tune run` wrote with --out",
        ) from error
    return from_jsonable(TuningReport, values)

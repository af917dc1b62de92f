"""The picture of a run: losses above, the goal of the validations below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text

__all__ = ["draw_curves"]

_LOSSES = ("valid_loss", "valid_nll")


def draw_curves(path: Path, records: Sequence[Mapping[str, Any]], goal: str) -> None:
    """Draw the lines of metrics.jsonl as an SVG; nothing where there are none.

    goal: key of the value that decides, drawn apart unless it is a loss. A line may hold
    `train_curve`, [(step, loss)] since the one before, and `valid_loss`.
    """
    import altair as alt

    from adwright.metrics.reports.charts import learning_curves, to_svg

    panels: dict[str, list[dict[str, Any]]] = {"Loss": [], goal: []}
    for line in records:
        step = next(line[name] for name in ("steps", "step", "batches") if name in line)
        job = f"{line['job']}: " if "job" in line else ""
        for at, loss in line.get("train_curve") or [(step, line["train_loss"])]:
            panels["Loss"].append({"step": at, "series": f"{job}training", "value": loss})
        for name in {*_LOSSES, goal} & line.keys():
            panel = goal if name == goal and name not in _LOSSES else "Loss"
            point = {"step": step, "series": f"{job}validation", "value": line[name]}
            panels[panel].append(point)
    charts: list[Any] = [
        learning_curves(rows, title=title, x_title="Steps", y_title=title)
        for title, rows in panels.items()
        if rows
    ]
    if charts:
        picture = alt.vconcat(*charts).resolve_scale(color="independent")
        atomic_write_text(path, to_svg(picture))

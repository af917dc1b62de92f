"""The page of a list: what to stop and to refresh, why, and how long each kind goes on.

A single HTML file without scripts or outside references; text is escaped by jinja2, charts are SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.creative.lifetime.lives import LifeRecord
from adwright.creative.lifetime.replay import Replay
from adwright.creative.lifetime.stop_list import RetirementList, vectors_of
from adwright.creative.lifetime.stop_rule import outlook_of
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.creative.lifetime.survival_network import Vectors
from adwright.metrics.reports.charts import learning_curves, to_svg
from adwright.metrics.reports.page import inline_svg, page_environment

_ACTIONS = ("stop", "refresh", "keep")
_ROWS = 50


def curves_by_action(
    model: FittedLifetime,
    lives: LifeRecord,
    found: RetirementList,
    vectors: Vectors | None = None,
) -> list[dict[str, Any]]:
    """The mean of the predicted curves of the units of each action, from now to the horizon of the
    list: rows of a chart, the share ("value") of an action ("series") that still runs "after" so
    many periods. vectors: as of `retirement_list`."""
    ran = lives.running(found.facts.period)
    curves = model.predict(ran.table, vectors_of(vectors, ran.life))
    survival = outlook_of(curves, found.facts.horizon, ages=found.facts.horizon).survival
    ids = lives.log.ids["unit_id"][ran.life].cast(pl.String)
    by_unit = found.units.select(pl.col("unit_id").cast(pl.String), "action")
    action = pl.DataFrame({"unit_id": ids}).join(by_unit, on="unit_id", maintain_order="left")
    points: list[dict[str, Any]] = []
    for name in _ACTIONS:
        rows = (action["action"] == name).to_numpy()
        if rows.any() and survival is not None:
            shares = np.append(1.0, survival[rows, : found.facts.horizon].mean(0))
            points += [
                {"after": at, "series": name, "value": share}
                for at, share in enumerate(shares.tolist())
            ]
    return points


def write_list_page(
    path: str | Path,
    found: RetirementList,
    *,
    curves: Sequence[Mapping[str, Any]] = (),
    replay: Replay | None = None,
    facts: Mapping[str, str] | None = None,
    rows: int = _ROWS,
) -> None:
    """Write the page, whole or not at all. rows: of each action at most. facts: further lines on
    how it was made. Raises ResourceError where the disk is full."""
    about = found.facts
    # Lines that are indented are units.
    sentences = [line for line in found.text(rows=0).splitlines() if line[:1].strip()]
    chart = ""
    if curves:
        lines = learning_curves(
            list(curves),
            x="after",
            title="Predicted lives by action",
            x_title=f"{about.unit.capitalize()}s from now",
            y_title="Share that still runs",
        )
        chart = inline_svg(to_svg(lines), "curves")
    values = {
        "title": f"What to stop at the close of {about.named}",
        "sentences": sentences,
        "unit": about.unit,
        "curves": chart,
        "parts_of_list": _tables(found, rows),
        "replay": None if replay is None else _replayed(replay),
        "facts": {
            "list": found.id[:16],
            "model": about.model_id[:16],
            "record": about.record_hash[:16],
            **(facts or {}),
        },
    }
    environment = page_environment(__package__ or "")
    atomic_write_text(path, environment.get_template("stops.html").render(values))


def _replayed(found: Replay) -> dict[str, object]:
    """The part of the page about a replay."""
    rows = [
        {"saved": saved, "series": name, "value": kept}
        for name, curve in found.curves.items()
        for saved, kept in curve
    ]
    chart = learning_curves(
        rows,
        x="saved",
        title="Value kept against cost saved",
        x_title=f"Share of the {found.cost_name} saved",
        y_title=f"Share of the {found.value_name} kept",
    )
    lines = found.text().splitlines()
    return {
        "chart": inline_svg(to_svg(chart), "replay"),
        "sentences": [*lines[:2], *(line for line in lines if line.startswith("At "))],
        "header": ("rule", "saved", "kept", "stopped wrongly", "mean age"),
        "rows": [row.cells() for row in found.table],
    }


def _tables(found: RetirementList, rows: int) -> list[dict[str, Any]]:
    tables = []
    for name, title, about in (
        ("stop", "To stop", "By what stopping saves, less what goes with it."),
        ("refresh", "To refresh", "They pay still, and half of such units end soon."),
    ):
        units = found.units.filter(pl.col("action") == name)
        if not units.is_empty():
            shown = [_row(unit, found.facts.unit) for unit in units.head(rows).to_dicts()]
            header = (
                *("ad", "cause", "age", "left", "value per cost"),
                *("saving", "loss", "what moved it", "past ones like it"),
            )
            left = max(units.height - rows, 0)
            table = {"title": title, "about": about, "header": header, "rows": shown, "left": left}
            tables.append(table)
    return tables


def _row(unit: Mapping[str, object], period: str) -> tuple[str, ...]:
    name, key = unit["name"], str(unit["unit_id"])
    reasons = [unit["why"] or [], unit["like"] or []]
    why, like = ("; ".join(map(str, each)) for each in reasons if isinstance(each, list))
    return (
        f"{name} ({key})" if name else key,
        str(unit["ending"] or unit["cause"] or ""),
        f"{unit['age']:g} {period}s",
        str(unit["left_said"]),
        f"{unit['value_per_cost']:.3g} of {unit['break_even']:.3g}",
        f"{unit['saving']:,.4g}",
        f"{unit['loss']:,.4g}",
        why,
        like,
    )

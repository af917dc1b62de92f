"""A list of what to stop, typed in."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from adwright.creative.lifetime.stop_list import ListFacts, RetirementList
from adwright.creative.lifetime.stop_rule import RetireConfig

Row = tuple[str, str | None, str | None, str]


def small_stop_list(rows: Sequence[Row], *, record_hash: str = "r") -> RetirementList:
    """rows: (unit_id, item_id, creative_id, action), by net saving."""
    facts = ListFacts(
        period=9,
        named="week 9",
        expects=False,
        unit="week",
        cost_name="spend",
        value_name="sales",
        config=RetireConfig(),
        ahead=3,
        horizon=12,
        break_even=0.4,
        overall=0.8,
        half_life=None,
        last_edge=12.0,
        value_left_out=0.0,
        model_id="m",
        record_hash=record_hash,
        made="2024-06-01T00:00:00+00:00",
    )
    count = range(len(rows))
    units = pl.DataFrame(
        [(*row[:3], f"ad {row[0]}", *row[3:]) for row in rows],
        schema=dict.fromkeys(("unit_id", "item_id", "creative_id", "name", "action"), pl.String),
        orient="row",
    ).with_columns(
        rule_action=pl.lit("keep"),
        cause=pl.lit("wear-out"),
        ending=pl.lit(None, pl.String),
        age=pl.lit(7.0),
        left=pl.Series([float("inf") if i % 2 else 2.0 for i in count], dtype=pl.Float64),
        left_said=pl.lit("2 (1 to 4) weeks"),
        value_per_cost=pl.lit(0.1),
        saving=pl.Series([10.5 - i for i in count], dtype=pl.Float64),
        loss=pl.lit(1.0),
        net=pl.Series([5.0 - i for i in count], dtype=pl.Float64),
        why=pl.lit([], pl.List(pl.String)),
        like=pl.lit([], pl.List(pl.String)),
    )
    return RetirementList(facts, units)

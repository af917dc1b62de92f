"""Charts as SVG text, drawn without a browser.

Every function returns an altair chart; `to_svg` renders one. Charts take plain
rows and arrays, so the console, the documentation and a notebook draw the same picture.
altair is imported on use: it takes half a second that the command line should not pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.classification import ReliabilityTable

if TYPE_CHECKING:
    import altair as alt


# Okabe and Ito (2008): distinct to colour-blind readers, too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY = "#8a8a8a"
#: Pixels that a letter of a name takes in a wide font, and that the longest name may take.
_LETTER, _LONGEST = 7.5, 340


def to_svg(chart: alt.TopLevelMixin) -> str:
    """The chart as SVG text."""
    import vl_convert

    return vl_convert.vegalite_to_svg(_spec(chart))


def reliability_diagram(
    table: ReliabilityTable, *, title: str = "Reliability", log: bool | None = None
) -> alt.TopLevelMixin:
    """Observed rate with its Wilson interval against mean prediction; the diagonal is truth.

    log: logarithmic axes; by default where predictions span more than a factor of 20, as
    click probabilities do. Bins without a response then stand at the lower edge.
    """
    import altair as alt

    mean = table.mean_prediction
    positive = mean[mean > 0]
    if log is None:
        log = len(positive) > 1 and bool(positive.max() > 20 * positive.min())
    edge = float(positive.min()) / 2 if log and len(positive) else 0.0
    top = float(max(table.high.max(), mean.max())) * (1.3 if log else 1.05)
    rows = [
        {
            "prediction": max(float(mean[i]), edge),
            "rate": max(float(table.observed_rate[i]), edge),
            "low": max(float(table.low[i]), edge),
            "high": max(float(table.high[i]), edge),
            "rows": int(table.count[i]),
        }
        for i in range(len(mean))
    ]
    kind: Any = "log" if log else "linear"
    scale = alt.Scale(type=kind, domain=[edge, top], nice=False)
    # Significant digits: of a click rate, two decimals of a percent may all be 0.
    axis = alt.Axis(format=".3~p", tickCount=6, grid=not log, labelFlush=False)
    x = alt.X("prediction:Q", title="Mean predicted probability", scale=scale, axis=axis)
    y_title = "Observed response rate"
    y = alt.Y("rate:Q", title=y_title, scale=scale, axis=axis)
    ends = [{"prediction": edge, "rate": edge}, {"prediction": top, "rate": top}]
    diagonal = _chart(ends).mark_line(strokeDash=[5, 4], color=_GREY).encode(x=x, y=y)
    base = _chart(rows)
    bars = base.mark_rule(strokeWidth=1.5, color=_COLOURS[0]).encode(
        x=x, y=alt.Y("low:Q", scale=scale, axis=axis, title=y_title), y2="high:Q"
    )
    points = base.mark_circle(size=55, color=_COLOURS[0], opacity=1).encode(
        x=x, y=y, tooltip=["prediction:Q", "rate:Q", "rows:Q"]
    )
    subtitle = f"{len(rows)} bins of {int(table.count.sum()):,} rows; bars: Wilson interval"
    return alt.layer(diagonal, bars, points).properties(
        width=480, height=480, title=alt.Title(title, subtitle=subtitle)
    )


def learning_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    x: str = "step",
    title: str = "Learning curves",
    x_title: str | None = None,
    y_title: str = "Loss",
) -> alt.TopLevelMixin:
    """A line a series, from rows with the keys `x`, "series" and "value".

    x: name of the key of the horizontal axis, "step" or "epoch". A series of one row is
    drawn as a point. Rows whose value is not finite are left out: a diverged run breaks off.
    """
    import altair as alt

    _check_keys(rows, (x, "series", "value"))
    kept = [
        {x: row[x], "series": str(row["series"]), "value": float(row["value"])}
        for row in rows
        if np.isfinite(row["value"])
    ]
    if not kept:
        raise DataError("there is no finite value to draw", column="value")
    names = list(dict.fromkeys(row["series"] for row in kept))
    whole = all(float(row[x]).is_integer() for row in kept)
    axis = alt.Axis(
        format=",d" if whole else "", tickMinStep=1 if whole else 0, tickCount=6, grid=False
    )
    line = (
        _chart(kept)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=25) if len(kept) <= 200 else False)
        .encode(
            x=alt.X(f"{x}:Q", title=x_title or x.capitalize(), axis=axis),
            y=alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=False)),
            color=_by_series(names),
        )
    )
    return alt.layer(line).properties(width=640, height=320, title=title)


def attention_map(
    items: Sequence[str],
    targets: Sequence[str],
    weights: npt.ArrayLike,
    *,
    title: str = "Activation of the history by candidate",
) -> alt.TopLevelMixin:
    """Heat map of weights [H, T]: items of a history down, candidates across, order kept."""
    import altair as alt

    values = np.asarray(weights, np.float64)
    if values.shape != (len(items), len(targets)):
        raise DataError(
            f"expected weights [{len(items)}, {len(targets)}] and found shape {values.shape}",
            column="weights",
        )
    rows = [
        {"row": i, "column": j, "weight": float(values[i, j])}
        for i in range(len(items))
        for j in range(len(targets))
    ]
    down = {str(i): _short(name) for i, name in enumerate(items)}
    across = {str(j): _short(name) for j, name in enumerate(targets)}
    signed = bool((values < 0).any())
    reach = float(np.abs(values).max(initial=0.0)) or 1.0
    # White must mean zero, so a signed map is centred there.
    scale = (
        alt.Scale(scheme="blueorange", domain=[-reach, reach], reverse=True)
        if signed
        else alt.Scale(scheme="blues", domain=[0, reach])
    )
    cells = (
        _chart(rows)
        .mark_rect()
        .encode(
            x=alt.X(
                "column:O",
                title="Candidate",
                axis=alt.Axis(labelExpr=f"{_json(across)}[datum.value]", labelAngle=-40),
            ),
            y=alt.Y(
                "row:O",
                title="History, oldest first",
                axis=alt.Axis(labelExpr=f"{_json(down)}[datum.value]", labelLimit=240),
            ),
            color=alt.Color("weight:Q", title="Weight", scale=scale),
        )
    )
    return alt.layer(cells).properties(width=alt.Step(34), height=alt.Step(20), title=title)


def interval_chart(
    values: Mapping[str, Interval],
    *,
    title: str,
    x_title: str,
    reference: float | None = None,
    confidence: float = 0.95,
) -> alt.TopLevelMixin:
    """A point with its interval for each name, in the order given.

    x_title: the measure with its unit. reference: a vertical line, such as 0 for
    differences. The axis need not start at zero: points, not lengths, carry the value.
    """
    import altair as alt

    if not values:
        raise DataError("there is nothing to draw", hint="give at least one interval")
    rows = [
        {"name": name, "value": one.value, "low": one.low, "high": one.high}
        for name, one in values.items()
    ]
    # The reader's font may be wider than the one that the names were measured in here.
    room = min(max(map(len, values)) * _LETTER, _LONGEST)
    names = alt.Axis(labelLimit=_LONGEST, minExtent=room, grid=True)
    y = alt.Y("name:N", sort=list(values), title=None, axis=names)
    scale = alt.Scale(zero=False, padding=12)
    base = _chart(rows)
    bars = base.mark_rule(strokeWidth=2, color=_COLOURS[0]).encode(
        x=alt.X("low:Q", title=x_title, scale=scale), x2="high:Q", y=y
    )
    points = base.mark_circle(size=70, color=_COLOURS[0], opacity=1).encode(
        x=alt.X("value:Q", title=x_title, scale=scale), y=y
    )
    layers: list[alt.Chart] = [bars, points]
    if reference is not None:
        line = _chart([{"value": reference}]).mark_rule(strokeDash=[5, 4], color=_GREY)
        layers.insert(0, line.encode(x=alt.X("value:Q", title=x_title, scale=scale)))
    return alt.layer(*layers).properties(
        width=560,
        height=alt.Step(30),
        title=alt.Title(title, subtitle=f"bars: {confidence:.0%} interval"),
    )


def unbeaten(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other one beats: lower in one measure and not higher in the other."""
    return [
        not any(
            a <= x and b <= y and (a, b) != (x, y)
            for at, (a, b) in enumerate(points)
            if at != number
        )
        for number, (x, y) in enumerate(points)
    ]


def trade_off(
    rows: Sequence[Mapping[str, Any]], *, x_title: str, y_title: str, title: str = ""
) -> alt.TopLevelMixin:
    """A named point for each row, for two measures of which less is better, on log axes.

    rows: each with name, x, y above 0, and series. Points that no other beats in both are strong,
    and a line joins them.
    """
    import altair as alt

    _check_keys(rows, ("name", "x", "y", "series"))
    for number, row in enumerate(rows):
        if not (row["x"] > 0 and row["y"] > 0):
            raise DataError("a value on a log axis is above 0", row=number, value=str(row))
    best = unbeaten([(row["x"], row["y"]) for row in rows])
    drawn = [
        {**row, "name": _short(str(row["name"])), "strength": 1.0 if strong else 0.4}
        for row, strong in zip(rows, best, strict=True)
    ]
    scale = alt.Scale(type="log", nice=False, padding=24)
    x, y = alt.X("x:Q", title=x_title, scale=scale), alt.Y("y:Q", title=y_title, scale=scale)
    strength = alt.Opacity("strength:Q", scale=None)
    front = _chart([row for row in drawn if row["strength"] == 1.0])
    line = front.mark_line(strokeDash=[5, 4], color=_GREY).encode(x=x, y=y)
    series = list(dict.fromkeys(str(row["series"]) for row in rows))
    base = _chart(drawn).encode(x=x, y=y, opacity=strength)
    points = base.mark_circle(size=70).encode(color=_by_series(series))
    names = base.mark_text(align="left", dx=7, fontSize=10).encode(text="name:N")
    return alt.layer(line, points, names).properties(width=640, height=400, title=title)


def _chart(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    import altair as alt

    # Inline values pass through as they are: no data frame, no limit on rows.
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _spec(chart: alt.TopLevelMixin) -> str:
    styled: Any = chart
    styled = styled.configure_view(stroke=None).configure_axis(
        labelFontSize=12, titleFontSize=13, titleFontWeight="normal", gridColor="#e6e6e6"
    )
    styled = styled.configure_title(anchor="start", fontSize=16, subtitleColor="#555555", offset=12)
    styled = styled.configure_legend(labelFontSize=12, titleFontSize=12)
    text: str = styled.properties(background="white", padding=12).to_json(validate=False)
    return text


def _by_series(names: Sequence[str]) -> alt.Color:
    import altair as alt

    colours = [_COLOURS[i % len(_COLOURS)] for i in range(len(names))]
    scale = alt.Scale(domain=list(names), range=colours)
    legend = alt.Legend(title=None, orient="top") if len(names) > 1 else None
    return alt.Color("series:N", scale=scale, legend=legend)


def _json(labels: Mapping[str, str]) -> str:
    import json

    return json.dumps(labels)


def _short(text: str, length: int = 32) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _check_keys(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    if not rows:
        raise DataError("there is nothing to draw", hint="give at least one row")
    for number, row in enumerate(rows):
        for key in keys:
            if key not in row:
                raise DataError(
                    f"a row lacks the key {key!r}", row=number, hint=f"found {sorted(row)}"
                )

"""Edits that were found, to be looked at: a contact sheet as PNG, and a page as HTML.

    write_contact_sheet("sheet.png", found)
    write_edits_page("edits.html", {"ad 1": found[0]}, title="Edits", front=front)

The page is a single file without scripts or outside references; text is escaped by jinja2. Beside
every number that changes stands `ESTIMATE`, on the sheet too.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.errors import DataError, MissingExtraError
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.pareto import EditFront
from adwright.creative.editor.search.picture_judge import Pixels
from adwright.creative.editor.search.result import FoundEdit, JudgedChange
from adwright.metrics.reports.charts import to_svg
from adwright.metrics.reports.page import inline_svg, page_environment

if TYPE_CHECKING:
    import altair as alt
    from PIL.Image import Image

__all__ = ["contact_sheet", "edits_page", "front_chart", "write_contact_sheet", "write_edits_page"]

_SIDE, _MARGIN, _LINE = 320, 8, 16
_DETAILS = 50
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def write_contact_sheet(
    path: str | Path, edits: Sequence[FoundEdit], names: Sequence[str] = ()
) -> None:
    """Write `contact_sheet` as a PNG, whole or not at all."""
    out = io.BytesIO()
    _image(contact_sheet(edits, names)).save(out, "PNG")
    atomic_write_bytes(path, out.getvalue())


def contact_sheet(edits: Sequence[FoundEdit], names: Sequence[str] = ()) -> Pixels:
    """uint8 [H, W, 3]: a row an edit, before and after side by side, what the judges say below.

    names: of the ads, one each, or none. Raises DataError where there is no edit, or another number
    of names.
    """
    if not edits or (names and len(names) != len(edits)):
        raise DataError("there is no edit to show, or a name is missing", hint="give at least one")
    rows = [_sheet_row(*one) for one in zip(edits, names or [""] * len(edits), strict=True)]
    return np.concatenate(rows)


def write_edits_page(
    path: str | Path,
    edits: Mapping[str, FoundEdit],
    *,
    title: str,
    sentences: Sequence[str] = (),
    front: Sequence[EditFront] = (),
) -> None:
    """Write `edits_page`, whole or not at all."""
    atomic_write_text(path, edits_page(edits, title=title, sentences=sentences, front=front))


def edits_page(
    edits: Mapping[str, FoundEdit],
    *,
    title: str,
    sentences: Sequence[str] = (),
    front: Sequence[EditFront] = (),
) -> str:
    """The page: of each edit, by its ad's name, both pictures and what the judges say.

    sentences: said at its top. front: drawn at its end, one chart of all. Raises DataError where
    there is no edit, and as `front_chart`.
    """
    if not edits:
        raise DataError("there is no edit to show", hint="give at least one")
    shown = [_shown(name, edit) for name, edit in list(edits.items())[:_DETAILS]]
    values = {
        "title": title,
        "estimate": ESTIMATE,
        "sentences": sentences,
        "edits": shown,
        "left": len(edits) - _DETAILS,
        "charts": [inline_svg(to_svg(front_chart(front)), "front")] if front else [],
    }
    return page_environment(__package__ or "").get_template("edits.html").render(values)


def front_chart(fronts: Sequence[EditFront]) -> alt.TopLevelMixin:
    """Fronts of one search and others, for their first two judges; a cross is no edit.

    Raises DataError for no front, and for fronts of other judges.
    """
    import altair as alt

    if not fronts or len({front.names for front in fronts}) > 1:
        raise DataError("there is no front, or they are of other judges", hint="pass some")
    x, y = fronts[0].names[:2]
    rows = [
        {"x": float(value[0]), "y": float(value[1]), "series": front.method}
        for front in fronts
        for value in front.values
    ]
    ways = list(dict.fromkeys(front.method for front in fronts))
    scale = alt.Scale(domain=ways, range=[_COLOURS[at % len(_COLOURS)] for at in range(len(ways))])
    free = alt.Scale(zero=False, padding=12)
    across, up = alt.X("x:Q", title=x, scale=free), alt.Y("y:Q", title=y, scale=free)
    points = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(size=60, opacity=0.8)
        .encode(x=across, y=up, color=alt.Color("series:N", title=None, scale=scale))
    )
    start = [{"x": float(fronts[0].unedited[0]), "y": float(fronts[0].unedited[1])}]
    cross = (
        alt.Chart(alt.InlineData(values=start))
        .mark_point(shape="cross", size=90, color="#000000")
        .encode(x=across, y=up)
    )
    title = alt.Title("Edits that no other beats", subtitle=f"cross: no edit; {ESTIMATE}")
    return alt.layer(points, cross).properties(width=480, height=360, title=title)


def _shown(name: str, edit: FoundEdit) -> dict[str, object]:
    judges = [_cells(edit.first, "searched")]
    if edit.second is not None:
        judges.append(_cells(edit.second, "second opinion, not searched"))
    else:
        judges.append(("second opinion", "", "", "", "none was asked: one model's word", ESTIMATE))
    spent = "" if np.isnan(edit.cpu_seconds) else f", {edit.cpu_seconds:.2f} CPU-seconds"
    return {
        "name": name,
        "before": _address(edit.original),
        "after": _address(edit.done.picture),
        "advice": edit.advice,
        "judges": judges,
        "settings": [(one, f"{value:+.3g}") for one, value in edit.settings()],
        "skipped": [f"{one.kind.replace('_', ' ')}: {one.why}" for one in edit.done.skipped],
        "search": f"{edit.method}, {edit.calls} pictures in {edit.batches} batches{spent}",
        "penalties": [(one.replace("_", " "), f"{v:.3g}") for one, v in edit.penalties.items()],
    }


def _cells(one: JudgedChange, role: str) -> tuple[str, ...]:
    interval = "unknown: no ensemble"
    if one.low is not None and one.high is not None:
        interval = f"{one.low:+.3g} to {one.high:+.3g} ({one.coverage:.0%})"
    change = f"{one.change:+.3g}" + (f" ({one.relative:+.1%})" if one.before else "")
    return (
        f"{one.judge.replace('_', ' ')}, {role}",
        f"{one.before:.4g}",
        f"{one.after:.4g}",
        change,
        interval,
        ESTIMATE,
    )


def _sheet_row(edit: FoundEdit, name: str) -> Pixels:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingExtraError("sheets of pictures", "creative") from error
    second = "none was asked" if edit.second is None else edit.second.said()
    lines = [edit.first.said(), f"second opinion: {second}", edit.advice]
    lines = [name, *lines] if name else lines
    wide, high = 2 * _SIDE + 3 * _MARGIN, _SIDE + 2 * _MARGIN
    font = ImageFont.load_default(11)
    texts = [part for line in lines for part in textwrap.wrap(line, wide // 6)]
    sheet = Image.new("RGB", (wide, high + _LINE * len(texts) + _MARGIN), "white")
    for at, picture in enumerate((edit.original, edit.done.picture)):
        small = _image(picture)
        scale = _SIDE / max(small.size)
        size = tuple(max(1, round(scale * side)) for side in small.size)
        sheet.paste(small.resize((size[0], size[1])), (_MARGIN + at * (_SIDE + _MARGIN), _MARGIN))
    pen = ImageDraw.Draw(sheet)
    for at, text in enumerate(texts):
        pen.text((_MARGIN, high + at * _LINE), text, fill=(28, 28, 28), font=font)
    return np.asarray(sheet, np.uint8)


def _image(picture: Pixels) -> Image:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("sheets of pictures", "creative") from error
    return Image.fromarray(picture)


def _address(picture: Pixels) -> str:
    """A small PNG of a picture as a data address."""
    small = _image(picture)
    small.thumbnail((2 * _SIDE, 2 * _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"

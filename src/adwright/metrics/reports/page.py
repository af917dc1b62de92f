"""What every HTML page of a report shares: the templates' environment, and charts that stand side
by side.

A page is a single file without scripts or outside references, and extends `base.html`. Text is
escaped by jinja2; charts are SVG drawn by `adwright.metrics.reports.charts`.

How results look in a notebook: a caption, a small table, and a line of small print.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment(*packages: str) -> Environment:
    """Templates of these packages, and `base.html`, which their pages extend.

    An undefined name in a template is an error. packages: dotted names of packages with a folder
    `templates`.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, __package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline_svg(svg: str, name: str) -> str:
    """The SVG with `name` in front of its ids, since several stand on one page."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", about: str = ""
) -> str:
    """An HTML table without styles of its own; every text is escaped."""
    parts = [f"<p><strong>{escape(title)}</strong></p>"] if title else []
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if about:
        parts.append(f"<p><small>{escape(about)}</small></p>")
    return "".join(parts)

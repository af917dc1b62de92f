"""How results look in a notebook: a caption, a small table, and a line of small print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


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

"""A run as one HTML page: what was asked, done, sent and seen, in a file without scripts.

    write_run_page(Path("run/report.html"), report, script, title="Raise the discount")

Pictures are put into the page; text is escaped. What came from the app is shown, never interpreted.
"""

from __future__ import annotations

import base64
from pathlib import Path

from adwright.agent.document.elements import Element
from adwright.agent.language.printer import print_script
from adwright.agent.language.tree import Script
from adwright.agent.run.runner import RunReport
from adwright.core.atomic import atomic_write_text

__all__ = ["run_page", "write_run_page"]

_MOST_PICTURE_BYTES = 4 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


def write_run_page(
    path: str | Path, report: RunReport, script: Script, *, title: str, folder: Path | None = None
) -> None:
    """Write the page of a run. folder: where its pictures lie; None shows none.

    Raises ResourceError where the file cannot be written.
    """
    atomic_write_text(path, run_page(report, script, title=title, folder=folder))


def run_page(report: RunReport, script: Script, *, title: str, folder: Path | None = None) -> str:
    """The page as text; pictures that are missing, too large or no PNG are left out."""
    from adwright.metrics.reports.page import page_environment

    healing = "".join(
        f"${one.after.name}: {_ways(one.before)} -> {_ways(one.after)}\n" for one in report.healed
    )
    names = {one.picture for one in report.steps if one.picture}
    pictures = {name: data for name in names if (data := _picture(folder, name))}
    environment = page_environment("adwright.agent.run")
    return environment.get_template("run_page.html").render(
        title=title,
        report=report,
        script=print_script(script),
        healing=healing,
        pictures=pictures,
    )


def _ways(element: Element) -> str:
    return ", ".join(f"{one.kind} {one.value}" for one in element.locators)


def _picture(folder: Path | None, name: str) -> str:
    if folder is None or Path(name).name != name:
        return ""
    path = folder / name
    if not path.is_file() or path.stat().st_size > _MOST_PICTURE_BYTES:
        return ""
    data = path.read_bytes()
    if not data.startswith(_PNG):
        return ""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"

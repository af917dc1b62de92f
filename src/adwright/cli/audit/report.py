"""adwright audit report: read a report again, as a table, a page, and for a gate."""

from __future__ import annotations

from pathlib import Path

import typer

from adwright.cli.audit.run import end_by
from adwright.cli.audit.tables import show_report
from adwright.cli.shared import allowed_to_replace
from adwright.core.errors import ArtifactError

_NAME = "report.json"


def report(
    folder: Path,
    *,
    out: Path | None = None,
    fail_above: float | None = None,
    surely: bool = False,
    force: bool = False,
) -> None:
    """Show what an audit found, and judge it by a bound.

    With --fail-above it exits with 1 where a tier is above it, which fails a job of continuous
    integration.

        adwright audit report runs/audit --fail-above 20

    Options:
        folder: Folder of an audit, or its report.json.
        out: Write the page anew, with the gate's verdict.
        fail_above: Exit with 1 where the net advantage of a tier is above so many percentage
            points.
        surely: Only where the whole interval is above --fail-above.
    """
    from adwright.audit.report.audit_report import AuditReport, GateBounds, judge
    from adwright.audit.report.page import audit_page
    from adwright.core.atomic import atomic_write_text

    bounds = None if fail_above is None else GateBounds(fail_above, surely)
    found = AuditReport.from_json(_text(folder / _NAME if folder.is_dir() else folder))
    verdict = None if bounds is None else judge(found, bounds)
    show_report(found)
    if out is not None:
        allowed_to_replace(out, force=force)
        atomic_write_text(out, audit_page(found, verdict=verdict))
        typer.echo(f"Saved {out}")
    end_by(verdict)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            "there is no report that can be read",
            where=str(path),
            hint="name the folder that `adwright audit run` wrote",
        ) from error

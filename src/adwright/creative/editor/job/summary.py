"""What a job leaves to be looked at: a table in JSON, a contact sheet, a page.

    write_summary(folder, outcomes, names)

Edited ads come first. The sheet shows the first 24 of them, the page the first 50 ads: all are in
edits.json. Pictures are read back from their files, small, so that a thousand ads fit into memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import AdwrightError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.plan import EditedPicture, EditPlan, SkippedEdit
from adwright.creative.editor.job.folder import JobFolder
from adwright.creative.editor.job.outcome import AdOutcome, AdStatus
from adwright.creative.editor.job.shrunk import shrunk
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.edits_page import write_contact_sheet, write_edits_page
from adwright.creative.editor.search.pareto import EditFront
from adwright.creative.editor.search.picture_judge import Pixels
from adwright.creative.editor.search.result import FoundEdit
from adwright.creative.records.encoders.images import opened_image

__all__ = ["JobSummary", "counted", "write_summary"]

_SHEET, _PAGE, _FRONTS, _SIDE = 24, 50, 4, 640
_WORDS: Mapping[AdStatus, str] = {
    "edited": "edited",
    "unchanged": "stay as they are: no edit beats none by the lower bound",
    "refused": "refused by the guard",
    "failed": "could not be read",
}


@dataclass(frozen=True)
class JobSummary:
    """table, page: files. sheet: None where no ad was edited."""

    table: Path
    page: Path | None
    sheet: Path | None


def counted(outcomes: Sequence[AdOutcome]) -> list[str]:
    """How many ads came to what, in words."""
    counts = Counter(one.status for one in outcomes)
    return [f"{counts[status]:,} {words}" for status, words in _WORDS.items() if counts[status]]


def write_summary(
    folder: JobFolder, outcomes: Sequence[AdOutcome], notes: Sequence[str] = ()
) -> JobSummary:
    """Write the table, the sheet and the page. notes: said at the top of the page."""
    table = folder.path / "edits.json"
    told = {
        "note": ESTIMATE,
        "counts": dict(Counter(one.status for one in outcomes)),
        "ads": [one.as_row() for one in outcomes],
    }
    atomic_write_text(table, json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    order = sorted(outcomes, key=lambda one: one.status != "edited")
    shown: dict[str, FoundEdit] = {}
    for one in order:
        if len(shown) < _PAGE and one.first is not None:
            found = _found(folder, one)
            if found is not None:
                shown[one.ad] = found
    page = sheet = None
    if shown:
        page = folder.path / "report.html"
        left = len([one for one in outcomes if one.first is not None]) - len(shown)
        sentences = [*counted(outcomes), *notes, "Originals are untouched: to go back, use them."]
        if left > 0:
            sentences.append(f"{left:,} more ads are in edits.json.")
        fronts = [front for one in order if (front := _front(one)) is not None]
        names = {front.names for front in fronts[:_FRONTS]}
        write_edits_page(
            page,
            shown,
            title="Edited ads",
            sentences=sentences,
            front=fronts[:_FRONTS] if len(names) == 1 else (),
        )
        edited = [one.ad for one in order if one.status == "edited" and one.ad in shown][:_SHEET]
        if edited:
            sheet = folder.path / "sheet.png"
            write_contact_sheet(sheet, [shown[name] for name in edited], edited)
    return JobSummary(table, page, sheet)


def _found(folder: JobFolder, outcome: AdOutcome) -> FoundEdit | None:
    """What was found, read back; None where a file of it is gone."""
    if outcome.first is None:
        return None
    try:
        original = _small(Path(outcome.source))
        after = _small(folder.path / outcome.output) if outcome.output else original
    except (OSError, AdwrightError):
        return None
    skipped = tuple(
        SkippedEdit(-1, *(part.strip() for part in one.split(":", 1))) for one in outcome.skipped
    )
    return FoundEdit(
        plan=EditPlan.of_json(outcome.plan, source=outcome.ad),
        method=outcome.method,
        original=original,
        done=EditedPicture(after, EditContext(), skipped),
        first=outcome.first,
        second=outcome.second,
        penalties=outcome.penalties,
        score_gain=outcome.score_gain,
        calls=outcome.calls,
        batches=outcome.batches,
        cpu_seconds=outcome.cpu_seconds,
        reason=" ".join((outcome.reason, *(f"{note}." for note in outcome.notes))),
    )


def _small(path: Path) -> Pixels:
    picture = np.asarray(opened_image(path.read_bytes(), str(path)), np.uint8)
    return shrunk(picture, EditContext(), side=_SIDE).picture


def _front(outcome: AdOutcome) -> EditFront | None:
    kept = outcome.front
    if kept is None:
        return None
    values = np.array(kept.values, np.float64)
    nothing = np.zeros((len(values), 0))
    return EditFront(outcome.ad, kept.names, nothing, values, np.array(kept.unedited), kept.calls)

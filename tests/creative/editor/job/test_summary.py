from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from PIL import Image

from adwright.creative.editor.job.folder import JobFolder
from adwright.creative.editor.job.one_ad import AdToEdit, JobTools, edit_ad
from adwright.creative.editor.job.outcome import AdOutcome, KeptFront
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.job.summary import counted, write_summary
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.records.verbal.record import AdRecord

JOB = EditJob(calls=30, coverage=0.5)


def outcomes(shop: Path, tools: JobTools, folder: JobFolder) -> list[AdOutcome]:
    made = []
    for name, title in (("1.png", "Vote for Ada"), ("0.png", "Window <b>"), ("bad.png", "Bad")):
        ad = AdToEdit(name, shop / name, AdRecord(kind="image", title=title))
        done = edit_ad(ad, tools, JOB)
        made.append(folder.keep(done.outcome, done.data))
    return made


def test_all_is_told_and_the_edited_come_first(shop: Path, tools: JobTools, tmp_path: Path) -> None:
    folder = JobFolder.opened(tmp_path / "out", {}, form="PNG")
    found = outcomes(shop, tools, folder)
    front = KeptFront(("clicks", "recall"), ((1.0, 2.0), (2.0, 1.0)), (0.5, 0.5), 60)
    found[1] = replace(found[1], front=front)
    assert counted(found) == ["1 edited", "1 refused by the guard", "1 could not be read"]
    made = write_summary(folder, found, ["A rule."])
    told = json.loads(made.table.read_text("utf-8"))
    assert told["note"] == ESTIMATE
    assert [one["status"] for one in told["ads"]] == ["refused", "edited", "failed"]
    assert made.page is not None
    page = made.page.read_text("utf-8")
    assert "A rule." in page
    assert ESTIMATE in page
    assert found[1].reason in page
    assert "<svg" in page
    assert made.sheet is not None
    with Image.open(made.sheet) as sheet:
        assert sheet.width > 640


def test_where_nothing_was_edited_there_is_no_sheet(
    shop: Path, tools: JobTools, tmp_path: Path
) -> None:
    folder = JobFolder.opened(tmp_path / "out", {}, form="PNG")
    failed = AdOutcome("a", str(shop / "bad.png"), "", "failed", "It cannot be read.")
    made = write_summary(folder, [failed])
    assert (made.page, made.sheet) == (None, None)
    ad = AdToEdit("0.png", shop / "0.png", AdRecord(kind="image", title="Window"))
    left = edit_ad(ad, tools, replace(JOB, coverage=0.9999))
    kept = folder.keep(left.outcome, left.data)
    made = write_summary(folder, [kept])
    assert made.page is not None
    assert "stays as it is" in made.page.read_text("utf-8")
    assert made.sheet is None
    gone = replace(kept, source=str(shop / "gone.png"))
    assert write_summary(folder, [gone]).page is None

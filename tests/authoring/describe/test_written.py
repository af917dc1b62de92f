"""The texts of a writing job, as a shop would take them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from adwright.authoring.describe.review import seen_in_columns, written_texts
from adwright.authoring.writer.drafts import Decision, Draft, Drafts
from adwright.core.errors import AdwrightError, DataError


def job(folder: Path) -> Path:
    """A folder with four descriptions, of which people have looked at three."""
    with closing(Drafts.open(folder)) as drafts:
        drafts.write([Draft(f"p{at}", "description", 0, f"text {at}") for at in range(4)])
        drafts.write([Draft("p0", "description", 1, "other"), Draft("p0", "headline", 0, "head")])
        drafts.decide(Decision("p1", "description", 0, "edit", "by a person"))
        drafts.decide(Decision("p2", "description", 0, "reject", reasons=("no",)))
        drafts.decide(Decision("p3", "description", 0, "approve"))
        settings = {"values": [["query", "gift"], ["occasion", "Christmas"]]}
        drafts.note_job("a", {"settings": settings | {"value_columns": [["keywords", "asked"]]}})
    return folder


def test_people_decide_what_a_text_is(tmp_path: Path) -> None:
    found = written_texts(job(tmp_path))
    assert found.texts == {"p0": "text 0", "p1": "by a person", "p3": "text 3"}
    counts = (found.approved, found.edited, found.unreviewed, found.rejected)
    assert counts == (1, 1, 1, 1)


def test_slot_and_variant_choose(tmp_path: Path) -> None:
    folder = job(tmp_path)
    assert written_texts(folder, variant=1).texts == {"p0": "other"}
    assert written_texts(folder, slot="headline").texts == {"p0": "head"}
    with pytest.raises(DataError, match="no text of the slot 'title'") as raised:
        written_texts(folder, slot="title")
    assert "description, headline" in raised.value.hint


def test_what_the_writer_was_told_of_searches(tmp_path: Path) -> None:
    found = written_texts(job(tmp_path))
    assert found.queries == ("gift",)
    assert found.columns == ("asked",)
    table = pl.DataFrame({"asked": ["tea", None, "tea", "cup"], "other": ["x"] * 4})
    assert seen_in_columns(table, found.columns) == ("tea", "cup")
    assert seen_in_columns(table, ["gone"]) == ()


def test_a_folder_of_no_job(tmp_path: Path) -> None:
    with pytest.raises(AdwrightError):
        written_texts(tmp_path / "gone")

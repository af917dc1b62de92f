from __future__ import annotations

from contextlib import closing
from pathlib import Path

from adwright.authoring.writer.drafts import JOURNAL, Drafts
from tests.support.commands import call

KEY = ("p1", "headline", 0)


def text(job: Path) -> str:
    with closing(Drafts.open(job)) as drafts:
        return drafts.text(KEY)


def test_an_edit_stands_until_it_is_taken_back(job: Path) -> None:
    said = call("author", "edit", job, "p1", "headline", "My tea", "--reviewer", "ann")
    assert said == "- Fresh tea\n+ My tea\n"
    assert text(job) == "My tea"
    assert "p1, headline, variant 0: unreviewed again" in call("author", "undo", job)
    assert text(job) == "Fresh tea"
    call("author", "edit", job, "p1", "headline", "My tea")
    call("author", "edit", job, "p2", "headline", "My cup")
    assert "p1, headline" in call("author", "undo", job, "p1", "headline")
    assert "no decision to take back" in call("author", "undo", job, "p1", "headline", code=2)


def test_what_is_not_there_is_told(job: Path, tmp_path: Path) -> None:
    assert "no draft of product 'p9'" in call("author", "edit", job, "p9", "headline", "x", code=2)
    said = call("author", "edit", job, "p1", "headline", "x", "--variant", 3, code=2)
    assert "variant 3" in said
    assert "an edit needs a text" in call("author", "edit", job, "p1", "headline", " ", code=2)
    assert "name both" in call("author", "undo", job, "p1", code=2)
    assert "no export to take back" in call("author", "undo", job, "--export", code=2)
    call("author", "edit", tmp_path / "none", "p1", "headline", "x", code=2)
    assert not (tmp_path / "none" / JOURNAL).exists()

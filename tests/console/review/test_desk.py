from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.writer.drafts import Drafts
from adwright.console.review.desk import Moved, ReviewDesk
from adwright.console.review.filters import QueueFilter
from adwright.console.review.queue import ReviewQueue
from adwright.console.shell.forms import Form
from adwright.web.errors import ApiError
from tests.support.review_page import WordChecks, drafts_of, write

TEA = ("tea-1", "headline", 0)


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with drafts_of(tmp_path) as found:
        yield found


@pytest.fixture
def desk(drafts: Drafts) -> ReviewDesk:
    return ReviewDesk(ReviewQueue(drafts), WordChecks())


def form(desk: ReviewDesk, *reasons: str, **fields: str) -> Form:
    given = {"seen": (str(desk.view(0).seen),), "reason": reasons}
    return Form(given | {name: (value,) for name, value in fields.items()})


def test_each_decision_is_kept_with_its_reviewer(desk: ReviewDesk, drafts: Drafts) -> None:
    desk.act(0, "approve", form(desk), "ann")
    decision = drafts.decision(TEA)
    assert decision is not None
    assert (decision.kind, decision.reviewer) == ("approve", "ann")
    desk.act(0, "edit", form(desk, text="Assam tea"), "bob")
    assert drafts.text(TEA) == desk.view(0).text == "Assam tea"
    assert desk.view(0).findings == ()
    desk.act(0, "reject", form(desk, "policy", "not_true", "made up", note=" dull "), "ann")
    decision = drafts.decision(TEA)
    assert decision is not None
    assert decision.reasons == ("policy", "not_true", "dull")


def test_a_decision_is_taken_back(desk: ReviewDesk, drafts: Drafts) -> None:
    desk.act(0, "approve", form(desk), "ann")
    desk.act(0, "undo", form(desk), "ann")
    assert drafts.states()[TEA].status == "unreviewed"
    with pytest.raises(ApiError, match="no decision"):
        desk.act(0, "undo", form(desk), "ann")


@pytest.mark.parametrize(
    ("action", "fields", "what"),
    [
        ("burn", {}, "approved, edited or rejected"),
        ("edit", {"text": " \n"}, "needs a text"),
        ("edit", {"text": "x" * 20_001}, "too long"),
        ("reject", {}, "needs a reason"),
        ("reject", {"note": "x" * 501}, "too long"),
        ("approve", {"seen": "x"}, "what was seen"),
        ("approve", {"seen": ""}, "what was seen"),
    ],
)
def test_what_cannot_be_done_is_refused(
    desk: ReviewDesk, drafts: Drafts, action: str, fields: dict[str, str], what: str
) -> None:
    with pytest.raises(ApiError, match=what) as error:
        desk.act(0, action, form(desk, **fields), "ann")
    assert error.value.status == 422
    assert drafts.states()[TEA].status == "unreviewed"


def test_a_second_decision_is_told_of_the_first(
    desk: ReviewDesk, drafts: Drafts, tmp_path: Path
) -> None:
    old = form(desk, text="Mine")
    with closing(Drafts.open(tmp_path)) as others:
        theirs = ReviewDesk(ReviewQueue(others), WordChecks())
        theirs.act(0, "reject", form(theirs, "voice"), "bob")
    for action in ("approve", "edit", "undo"):
        with pytest.raises(Moved) as moved:
            desk.act(0, action, old, "ann")
        decision = moved.value.view.decision
        assert decision is not None
        assert (decision.reviewer, moved.value.view.status) == ("bob", "rejected")
    assert drafts.states()[TEA].status == "rejected"


def test_a_draft_that_was_written_anew_is_looked_at_again(desk: ReviewDesk, drafts: Drafts) -> None:
    old = form(desk, text="kept words")
    drafts.write([drafts.draft(TEA)], again=True)
    with pytest.raises(Moved) as moved:
        desk.act(0, "edit", old, "ann")
    assert moved.value.text == "kept words"
    assert moved.value.view.decision is None


def test_what_was_done_can_be_taken_back(desk: ReviewDesk) -> None:
    assert not desk.done(0, "Approved").decided
    desk.act(0, "approve", form(desk), "ann")
    done = desk.done(0, "Approved")
    assert (done.words, done.key, done.decided) == ("Approved", TEA, True)
    assert done.seen == desk.view(0).seen


def test_a_text_that_is_being_edited_is_checked(desk: ReviewDesk) -> None:
    assert desk.checked(0, "free tea").errors == 1
    view = desk.view(0, "free tea")
    assert [one.text for one in view.pieces if one.found] == ["free"]
    assert view.room[0].used == 8


def test_the_list_grows_with_the_journal(desk: ReviewDesk, drafts: Drafts) -> None:
    place, rows, counts, slots = desk.listed(QueueFilter(findings="errors"), 1, 10)
    assert (place.found, len(rows), counts.total, len(slots)) == (1, 1, 4, 2)
    write(drafts, "vase", "The best vase", "path")
    place, rows, counts, slots = desk.listed(QueueFilter(findings="errors"), 1, 10)
    assert [row.key[0] for row in rows] == ["tea-1", "vase"]
    assert (counts.total, slots) == (5, ["description", "headline", "path"])
    assert desk.counts() == counts

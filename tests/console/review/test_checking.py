from __future__ import annotations

from adwright.authoring.writer.drafts import Draft
from adwright.console.review.checking import Checked, RoomTaken
from tests.support.review_page import WordChecks


def test_a_limit_holds_between_its_ends() -> None:
    assert RoomTaken("Characters", 30, 30).holds
    assert not RoomTaken("Characters", 31, 30).holds
    assert not RoomTaken("Headlines", 2, 15, 3).holds


def test_errors_are_counted() -> None:
    found = WordChecks().check(Draft("p", "s", 0, "x"), "Best free tea, 80 bags")
    assert (found.errors, len(found.findings)) == (2, 3)
    assert Checked().errors == 0

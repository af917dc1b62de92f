from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.writer.drafts import Drafts, ReviewDecision, RowFailure
from adwright.console.review.filters import QueueFilter
from adwright.console.review.queue import QueuePage, ReviewQueue
from adwright.web.errors import ApiError
from tests.support.review_page import drafts_of, write

ALL = QueueFilter(status="all")


def test_pages_hold_what_a_filter_takes(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        queue = ReviewQueue(drafts)
        with queue.turn():
            assert queue.page(ALL, 1, 3) == QueuePage((0, 1, 2), 1, 2, 4)
            assert queue.page(ALL, 2, 3) == QueuePage((3,), 2, 2, 4)
            assert queue.page(ALL, 99, 3).page == 2
            assert queue.page(ALL, -1, 3).page == 1
            assert queue.page(QueueFilter(slot="none"), 1, 3) == QueuePage((), 1, 1, 0)
            assert queue.slots() == ["description", "headline"]


def test_counts_follow_decisions(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        queue = ReviewQueue(drafts)
        with queue.turn():
            before = queue.counts()
        assert (before.total, before.reviewed, before.errors) == (4, 0, 1)
        drafts.decide(ReviewDecision("tea-1", "headline", 0, "reject", reasons=("policy",)))
        drafts.decide(ReviewDecision("lamp", "headline", 0, "edit", "A lamp"))
        drafts.decide(ReviewDecision("mug/2", "headline", 0, "approve"))
        with queue.turn():
            after = queue.counts()
        assert (after.unreviewed, after.approved, after.edited, after.rejected) == (1, 1, 1, 1)
        assert (after.errors, after.failed, after.reviewed) == (0, 0, 3)


def test_what_could_not_be_written_is_counted(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drafts.fail([RowFailure("vase", "headline", 0, "no answer")])
        queue = ReviewQueue(drafts)
        with queue.turn():
            assert queue.counts().failed == 1
            assert queue.counts(failed=False).failed == 0
            assert queue.counts().total == 4


def test_the_next_one_is_found_both_ways_and_from_the_beginning(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        queue = ReviewQueue(drafts)
        headlines = QueueFilter(slot="headline")
        with queue.turn():
            assert queue.beside(headlines, 0) == 2
            assert queue.beside(headlines, 2, back=True) == 0
            assert queue.beside(headlines, 3) is None
            assert queue.beside(headlines, 0, back=True) is None
            assert queue.following(headlines, 3) == 0
            assert queue.following(QueueFilter(slot="description"), 1) is None


def test_numbers_stay_while_the_journal_grows_and_after_it_is_opened_anew(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts, closing(Drafts.open(tmp_path)) as other:
        queue = ReviewQueue(drafts)
        with queue.turn():
            assert queue.number(("lamp", "headline", 0)) == 3
        write(other, "vase", "A vase")
        with queue.turn():
            assert queue.number(("vase", "headline", 0)) == 4
            assert queue.state(3).key == ("lamp", "headline", 0)
    with closing(Drafts.open(tmp_path)) as again:
        queue = ReviewQueue(again)
        with queue.turn():
            assert [queue.state(n).key[0] for n in range(5)][3:] == ["lamp", "vase"]


@pytest.mark.parametrize("number", [-1, 4, 10**8])
def test_a_number_that_there_is_none_of_is_refused(tmp_path: Path, number: int) -> None:
    with drafts_of(tmp_path) as drafts:
        queue = ReviewQueue(drafts)
        with queue.turn(), pytest.raises(ApiError, match="no draft"):
            queue.state(number)

"""The queue of drafts: filters, checks, what changed, and what a reviewer decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import Product
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import Draft, Drafts, Provenance, ReviewDecision, RowFailure
from adwright.console.review import (
    Checked,
    DraftView,
    JobChecks,
    MarkedPiece,
    Moved,
    QueueFilter,
    QueuePage,
    ReviewDesk,
    ReviewQueue,
    RoomTaken,
    changed_spans,
    facts_of,
    origin_of,
    pieces_of,
    read_filter,
    shop_text,
    told_of,
    view_of,
)
from adwright.console.shell import Form
from adwright.core.config import to_jsonable
from adwright.web.errors import ApiError
from tests.support.review_page import WordChecks, drafts_of, write


def test_a_limit_holds_between_its_ends() -> None:
    assert RoomTaken("Characters", 30, 30).holds
    assert not RoomTaken("Characters", 31, 30).holds
    assert not RoomTaken("Headlines", 2, 15, 3).holds


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
    assert desk.view(0).checked.findings == ()
    with pytest.raises(ApiError, match="needs no approval"):
        desk.act(0, "approve", form(desk), "bob")
    assert drafts.text(TEA) == "Assam tea"
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


def test_a_draft_that_was_written_anew_is_looked_at_again(desk: ReviewDesk, drafts: Drafts) -> None:
    old = form(desk, text="kept words")
    drafts.write([drafts.draft(TEA)], again=True)
    with pytest.raises(Moved) as moved:
        desk.act(0, "edit", old, "ann")
    assert moved.value.text == "kept words"
    assert moved.value.view.decision is None


@pytest.fixture
def filters_drafts(tmp_path: Path) -> Drafts:
    with drafts_of(tmp_path) as found:
        found.decide(ReviewDecision("lamp", "headline", 0, "approve"))
        yield found


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, ["tea-1 headline", "tea-1 description", "mug/2 headline"]),
        ({"status": "approved"}, ["lamp headline"]),
        ({"status": "rejected"}, []),
        ({"findings": "errors"}, ["tea-1 headline"]),
        ({"findings": "some"}, ["tea-1 headline", "mug/2 headline"]),
        ({"findings": "none"}, ["tea-1 description"]),
        ({"slot": "description"}, ["tea-1 description"]),
        ({"product": "MUG"}, ["mug/2 headline"]),
        ({"status": "all", "product": "lam"}, ["lamp headline"]),
    ],
)
def test_each_filter_takes_what_it_says(
    filters_drafts: Drafts, given_: dict[str, str], expected: list[str]
) -> None:
    shown = read_filter(given_)
    taken = [state.key for state in filters_drafts.states().values() if shown.takes(state)]
    assert [f"{product} {slot}" for product, slot, _ in taken] == expected


def test_a_choice_that_is_none_is_refused() -> None:
    with pytest.raises(ApiError, match="status cannot be that"):
        read_filter({"status": "<b>"})
    assert read_filter({"slot": "x" * 500}).slot == "x" * 200


@given(st.sampled_from(["all", "unreviewed"]), st.text(max_size=20), st.text(max_size=20))
def test_an_address_brings_back_its_filter(status: str, slot: str, product: str) -> None:
    shown = read_filter({"status": status, "slot": slot, "product": product})
    query = dict(parse_qsl(shown.query({"page": 2})[1:], keep_blank_values=True))
    assert query.pop("page") == "2"
    assert read_filter(query) == shown


STORED = (Finding("grounding.number", 0, 2, "error", "80 is in no fact"),)


@pytest.fixture
def job_checks_drafts(tmp_path: Path) -> Iterator[Drafts]:
    with closing(Drafts.open(tmp_path)) as found:
        found.note_products([(Product("t1", "Mill Lane Assam tea, 40 bags"), "h")])
        for job, slots in (("j1", ("headline", "title", "description")), ("j2", ("headline",))):
            config = WriteConfig(slots, platform="google-rsa" if job == "j2" else "")
            found.note_job(job, {"settings": to_jsonable(config)})
        found.note_job("bad", {"settings": {"slots": "?"}})
        found.note_job("none", {})
        yield found


def draft(slot: str = "headline", job: str = "j1", product: str = "t1") -> Draft:
    values = (("query", "tea"),) if slot == "title" else ()
    return Draft(product, slot, 0, "80 bags", "", STORED, Provenance(job=job), values)


@pytest.mark.parametrize("slot", ["headline", "title", "description"])
def test_a_claim_that_no_fact_bears_out_is_found(job_checks_drafts: Drafts, slot: str) -> None:
    checks = JobChecks(job_checks_drafts)
    found = checks.check(draft(slot), "Assam tea, 90 bags")
    text = "Assam tea, 90 bags"
    assert any("90" in text[one.start : one.end] for one in found.findings)
    assert found.note == ""
    own = checks.check(draft(slot), "Assam tea, 40 bags")
    assert not [one for one in own.findings if one.rule.startswith("grounding")]


def test_the_brand_of_another_product_is_found(job_checks_drafts: Drafts) -> None:
    checks = JobChecks(job_checks_drafts)
    assert (
        checks.check(draft(), "Quxly tea").findings == checks.check(draft(), "Assam tea").findings
    )
    job_checks_drafts.note_products([(Product("t2", "Green tea", brand="quxly"), "h")])
    job_checks_drafts.write([Draft("t2", "headline", 0, "Green tea")])
    (found,) = checks.check(draft(), "quxly tea").findings
    assert (found.rule, found.start, found.end) == ("grounding/brand", 0, 5)


def test_the_room_of_a_slot_is_counted(job_checks_drafts: Drafts) -> None:
    checks = JobChecks(job_checks_drafts)
    (room,) = checks.check(draft(job="j2"), "x" * 31).room
    assert (room.used, room.most, room.holds) == (31, 30, False)
    assert checks.check(draft("description"), "A tea.").room[0].most == 600


@pytest.mark.parametrize(
    ("job", "product", "slot", "why"),
    [
        ("other", "t1", "headline", "settings of its job"),
        ("", "t1", "headline", "settings of its job"),
        ("bad", "t1", "headline", "cannot be read"),
        ("none", "t1", "headline", "are not there"),
        ("j1", "other", "headline", "does not have the product"),
        ("j1", "t1", "path", "no such slot"),
    ],
)
def test_what_cannot_be_checked_is_said(
    job_checks_drafts: Drafts, job: str, product: str, slot: str, why: str
) -> None:
    one = draft(slot, job, product)
    found = JobChecks(job_checks_drafts).check(one, one.text)
    assert why in found.note
    assert found.findings == STORED
    assert JobChecks(job_checks_drafts).check(one, "another text").findings == ()


SPANS = st.lists(st.tuples(st.integers(-3, 25), st.integers(-3, 25)), max_size=6)


def test_changes_and_findings_lie_in_each_other() -> None:
    assert pieces_of("Best tea", ((0, 4),), [(0, 4)]) == (
        MarkedPiece("Best", changed=True, found=(1,), closes=(1,)),
        MarkedPiece(" tea"),
    )
    assert pieces_of("abcdef", ((1, 3),), [(2, 5), (2, 4)]) == (
        MarkedPiece("a"),
        MarkedPiece("b", changed=True),
        MarkedPiece("c", changed=True, found=(1, 2)),
        MarkedPiece("d", found=(1, 2), closes=(2,)),
        MarkedPiece("e", found=(1,), closes=(1,)),
        MarkedPiece("f"),
    )


def test_places_beyond_the_text_and_empty_ones_are_not_marked() -> None:
    assert pieces_of("ab", (), [(5, 9), (1, 1), (-4, 0)]) == (MarkedPiece("ab"),)
    assert pieces_of("ab", (), [(1, 9)])[1] == MarkedPiece("b", found=(1,), closes=(1,))
    assert pieces_of("") == ()


@given(st.text(max_size=20), SPANS)
def test_pieces_joined_are_the_text(text: str, found: list[tuple[int, int]]) -> None:
    pieces = pieces_of(text, (), found)
    assert "".join(one.text for one in pieces) == text
    marked = [sign for one in pieces for sign in [one.found] * len(one.text)]
    for at, numbers in enumerate(marked):
        assert numbers == tuple(n for n, (a, b) in enumerate(found, 1) if a <= at < b)
    closed = [number for one in pieces for number in one.closes]
    assert len(closed) == len(set(closed))


def test_very_many_findings_are_bounded() -> None:
    pieces = pieces_of("x" * 1000, (), [(n, n + 1) for n in range(1000)])
    assert sum(bool(one.found) for one in pieces) == 200


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
            assert queue.state(3).key == ("lamp", "headline", 0)
        write(other, "vase", "A vase")
        with queue.turn():
            assert [queue.state(n).key[0] for n in (3, 4)] == ["lamp", "vase"]
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


VIEWS_TEA = Product("t", "Assam tea", description="Strong.")


def view(drafts: Drafts, key: tuple[str, str, int], checked: Checked | None = None) -> DraftView:
    draft = drafts.draft(key)
    found = WordChecks().check(draft, draft.text) if checked is None else checked
    state, product = drafts.states()[key], drafts.product(key[0])
    return view_of(0, state, draft, drafts.text(key), found, drafts.decision(key), product)


def test_a_slot_is_compared_with_its_field_in_the_shop() -> None:
    assert shop_text("headline", VIEWS_TEA) == shop_text("Title", VIEWS_TEA) == "Assam tea"
    assert (
        shop_text("description", VIEWS_TEA) == shop_text("meta_description", VIEWS_TEA) == "Strong."
    )
    assert shop_text("path", VIEWS_TEA) == shop_text("headline", None) == ""


def test_what_changed_and_what_was_found_is_in_the_pieces(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        tea = view(drafts, ("tea-1", "headline", 0))
        mug = view(drafts, ("mug/2", "headline", 0))
        lamp = view(drafts, ("lamp", "headline", 0))
    assert tea.base_name == "In the shop now"
    assert "".join(one.text for one in tea.base_pieces if one.changed) == "Mill Lane"
    assert [one.text for one in tea.pieces if one.found] == ["best", "80"]
    assert tea.raw_pieces == ()
    assert [one.text for one in mug.raw_pieces if one.changed] == ["steel"]
    assert (lamp.base_name, lamp.same) == ("As the model wrote it", True)
    assert (tea.seen, tea.status, tea.unseen) == (tea.seen, "unreviewed", False)


def test_characters_that_are_not_seen_are_told(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drafts.write([Draft("p", "headline", 0, "a\u202eb")])
        assert view(drafts, ("p", "headline", 0)).unseen


def test_what_changed_is_not_marked_in_texts_that_have_nothing_in_common(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drafts.note_products([(Product("p", "Green tea of Kagoshima"), "h")])
        drafts.write([Draft("p", "headline", 0, "A cup to begin the day with")])
        far = view(drafts, ("p", "headline", 0))
        near = view(drafts, ("tea-1", "headline", 0))
    assert far.apart
    assert not far.same
    assert not any(one.changed for one in (*far.pieces, *far.base_pieces))
    assert not near.apart


def test_megabytes_are_not_shown(tmp_path: Path) -> None:
    long = Product("p", "x" * 5_000_000, attributes=tuple((f"a{n}", "v") for n in range(500)))
    assert len(facts_of(long)) == 60
    assert len(facts_of(long)[0]) == 600
    assert facts_of(None) == []
    with drafts_of(tmp_path) as drafts:
        drafts.note_products([(long, "h")])
        drafts.write([Draft("p", "headline", 0, "short")])
        assert len(view(drafts, ("p", "headline", 0)).base) == 20_000


def test_what_the_model_was_told_beside_the_product() -> None:
    draft = Draft("p", "title", 0, "x", values=(("search_term", "green tea"), ("note", "x" * 700)))
    assert told_of(draft)[0] == ("search term", "green tea")
    assert len(told_of(draft)[1][1]) == 600
    assert told_of(Draft("p", "title", 0, "x")) == []


def test_a_row_is_short(desk: ReviewDesk, drafts: Drafts) -> None:
    for product, length in (("long", 200), ("short", 140)):
        write(drafts, product, "x" * length, "path")
    _, rows, _, _ = desk.listed(QueueFilter(slot="path"), 1, 10)
    assert [(number, text) for number, _, text in rows] == [(4, "x" * 139 + "…"), (5, "x" * 140)]


def test_the_origin_leaves_out_what_is_not_known() -> None:
    draft = Draft("p", "s", 0, "t", provenance=Provenance(model="m", prompt_tokens=5, attempts=2))
    assert origin_of(draft) == [("model", "m"), ("prompt tokens", "5"), ("attempts", "2")]


def test_words_that_differ_are_named() -> None:
    assert changed_spans("red tea, 80 bags", "green tea, 80 bags") == (((0, 3),), ((0, 5),))
    assert changed_spans("a b c", "a c") == (((2, 3),), ())
    assert changed_spans("a c", "a b c") == ((), ((2, 3),))
    assert changed_spans("", "new text") == ((), ((0, 8),))
    assert changed_spans("same", "same") == ((), ())


def test_signs_are_words_and_spaces_are_not() -> None:
    assert changed_spans("tea!", "tea?") == (((3, 4),), ((3, 4),))
    assert changed_spans("a  b\n", "a b") == ((), ())
    assert changed_spans("don't", "don’t") == (((0, 5),), ((0, 5),))


def test_scripts_without_spaces_differ_letter_by_letter() -> None:
    assert changed_spans("赤いお茶", "青いお茶") == (((0, 1),), ((0, 1),))


def test_long_texts_are_bounded() -> None:
    before = " ".join(str(number) for number in range(20_000))
    after = before.replace("9", "8")
    removed, added = changed_spans(before, after)
    assert removed
    assert added
    assert changed_spans(before, before + " more") == ((), ((len(before) + 1, len(before) + 5),))

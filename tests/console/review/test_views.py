from __future__ import annotations

from pathlib import Path

from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import Draft, Drafts, Provenance
from adwright.console.review.checking import Checked
from adwright.console.review.views import (
    DraftView,
    facts_of,
    origin_of,
    row_view,
    shop_text,
    told_of,
    view_of,
)
from tests.support.review_page import WordChecks, drafts_of

TEA = Product("t", "Assam tea", description="Strong.")


def view(drafts: Drafts, key: tuple[str, str, int], checked: Checked | None = None) -> DraftView:
    draft = drafts.draft(key)
    found = WordChecks().check(draft, draft.text) if checked is None else checked
    state, product = drafts.states()[key], drafts.product(key[0])
    return view_of(0, state, draft, drafts.text(key), found, drafts.decision(key), product)


def test_a_slot_is_compared_with_its_field_in_the_shop() -> None:
    assert shop_text("headline", TEA) == shop_text("Title", TEA) == "Assam tea"
    assert shop_text("description", TEA) == shop_text("meta_description", TEA) == "Strong."
    assert shop_text("path", TEA) == shop_text("headline", None) == ""


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


def test_a_row_is_short(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        state = drafts.states()["tea-1", "headline", 0]
    row = row_view(7, state, "x" * 200)
    assert (row.number, len(row.text), row.text[-1]) == (7, 140, "…")
    assert (row.errors, row.warnings) == (1, 1)
    assert row_view(7, state, "x" * 140).text == "x" * 140


def test_the_origin_leaves_out_what_is_not_known() -> None:
    draft = Draft("p", "s", 0, "t", provenance=Provenance(model="m", prompt_tokens=5, attempts=2))
    assert origin_of(draft) == [("model", "m"), ("prompt tokens", "5"), ("attempts", "2")]

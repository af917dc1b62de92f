"""The life of ads in the store: what comes in, what may become of it, and what is live."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest

from adwright.campaigns.store.creatives import Score
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.errors import ValueInvalidError
from adwright.data.creatives import MOVES, Creative, CreativeState, creatives_table
from tests.support.store.events import START, event

BREAD = Creative(
    headline="Fresh bread",
    body="Baked at six.",
    brand="Mill Lane",
    item_id="bread",
    landing="https://mill.example/bread",
    maker="model:m1",
    checks_passed=("authoring",),
    image_hash="a" * 64,
)
ROLLS = Creative(headline="Rolls", item_id="rolls", maker="person:ann")
LIFE: tuple[CreativeState, ...] = ("in review", "approved", "live")


def moved(store: Store, tenant: str, one: Creative, *states: CreativeState) -> None:
    for state in states:
        store.move_creatives(tenant, [one.creative_id], state, author="ann")


def state_of(store: Store, tenant: str, one: Creative) -> str:
    (found,) = store.creatives_full(tenant, ids=[one.creative_id])
    return found.state


def test_what_is_written_is_read_with_all_its_parts(store: Store, tenant: str) -> None:
    edited = BREAD.edited("shorter", {"body": "At six."}, maker="person:ben")
    given = [BREAD, edited, ROLLS]
    assert store.write_creatives(tenant, given, author="ann") == Recorded(3, 0)
    found = store.creatives_full(tenant)
    expected = sorted(given, key=lambda one: one.creative_id)
    assert found == [replace(one, state="draft") for one in expected]
    assert [one.label for one in found if one.item_id == "bread"].count("AI") == 2
    assert creatives_table(found).num_rows == 3
    texts = dict(store.creatives(tenant).select("creative_id", "text").iter_rows())
    assert texts == {one.creative_id: one.text for one in given}
    assert [(one.state, one.author) for one in store.creative_moves(tenant)] == [
        ("draft", "ann")
    ] * 3
    done = store.actions(tenant, what="creative")
    assert {one.subject for one in done} == {one.creative_id for one in given}
    assert {one.detail for one in done} == {"draft by ann"}


def test_the_same_once_more_is_no_mistake_and_moves_nothing(store: Store, tenant: str) -> None:
    assert store.write_creatives(tenant, [BREAD, BREAD], author="ann") == Recorded(1, 1)
    moved(store, tenant, BREAD, "in review")
    again = replace(BREAD, state="live")
    assert store.write_creatives(tenant, [again, ROLLS], author="ben") == Recorded(1, 1)
    assert state_of(store, tenant, BREAD) == "in review"
    assert store.write_creatives(tenant, [], author="ben") == Recorded(0, 0)


def test_what_is_submitted_is_in_review(store: Store, tenant: str) -> None:
    store.write_creatives(tenant, [BREAD], author="ann", submit=True)
    assert state_of(store, tenant, BREAD) == "in review"
    assert len(store.creative_moves(tenant, BREAD.creative_id)) == 1


def test_a_creative_of_a_catalogue_gets_its_parts_once(store: Store, tenant: str) -> None:
    plain = {"creative_id": "c1", "item_id": "bread", "text": "Fresh bread"}
    store.put_creative(tenant, plain)
    assert state_of(store, tenant, Creative(creative_id="c1")) == ""
    whole = Creative(creative_id="c1", item_id="bread", headline="Fresh bread", landing="https://a")
    assert store.write_creatives(tenant, [whole], author="ann") == Recorded(0, 1)
    assert store.creatives_full(tenant) == [whole]
    store.put_creative(tenant, plain)
    with pytest.raises(ValueInvalidError, match="another creative of this id"):
        store.write_creatives(tenant, [replace(whole, landing="https://b")], author="ann")


def test_an_ad_takes_the_item_of_its_parent(store: Store, tenant: str) -> None:
    store.put_campaign(tenant, {"campaign_id": "spring", "start": START})
    first = replace(BREAD, campaign_id="spring")
    store.write_creatives(tenant, [first], author="ann")
    child = replace(first, item_id="", campaign_id="").edited("short", {"body": "Six."})
    grandchild = child.edited("shorter", {"body": "6."})
    store.write_creatives(tenant, [grandchild, child], author="ann")
    for one in (child, grandchild):
        (found,) = store.creatives_full(tenant, ids=[one.creative_id])
        assert (found.item_id, found.campaign_id, found.body) == ("bread", "spring", one.body)
    assert store.write_creatives(tenant, [child], author="ann") == Recorded(0, 1)


@pytest.mark.parametrize(
    ("creatives", "author", "column"),
    [
        ([BREAD, replace(ROLLS, item_id="")], "ann", "item_id"),
        ([BREAD, replace(BREAD, item_id="", parent="gone", creative_id="x")], "ann", "item_id"),
        ([BREAD, replace(ROLLS, campaign_id="gone")], "ann", "campaign_id"),
        ([BREAD, replace(BREAD, body="other")], "ann", "creative_id"),
        ([BREAD, replace(ROLLS, body="a\0")], "ann", "text"),
        ([BREAD, replace(ROLLS, landing="javascript:alert(1)")], "ann", "landing"),
        ([BREAD, replace(ROLLS, landing="https://a\nb")], "ann", "landing"),
        ([BREAD], " ", "author"),
        ([BREAD], "a\0", "author"),
    ],
)
def test_all_of_a_batch_or_nothing_is_kept(
    store: Store, tenant: str, creatives: list[Creative], author: str, column: str
) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        store.write_creatives(tenant, creatives, author=author)
    assert caught.value.column == column
    assert caught.value.hint
    assert store.creatives_full(tenant) == []
    assert store.creative_moves(tenant) == []


def test_an_edit_of_what_a_model_made_has_its_label(store: Store, tenant: str) -> None:
    made = replace(BREAD, maker="model:m1", creative_id="m")
    by_hand = made.edited("shorter", {"body": "a"}, maker="person:ann")
    again = by_hand.edited("longer", {"body": "ab"}, maker="person:bo")
    plain = replace(BREAD, maker="person:ann", creative_id="p")
    assert [one.label for one in (made, by_hand, again, plain)] == ["AI", "AI", "AI", ""]
    # Whoever enters them may not know, and may come before what they were made from.
    for one in (replace(again, inherited=""), replace(by_hand, inherited=""), made, plain):
        store.write_creatives(tenant, [one], author="ann")
    found = {one.creative_id: one.label for one in store.creatives_full(tenant)}
    assert found == {one.creative_id: one.label for one in (made, by_hand, again, plain)}
    (alone,) = store.creatives_full(tenant, ids=[again.creative_id])
    assert alone.label == "AI"
    assert store.write_creatives(tenant, [again, by_hand], author="ann").duplicates == 2
    # What says it itself needs no parent.
    far = replace(again, parent="elsewhere", creative_id="far")
    store.write_creatives(tenant, [far], author="ann")
    assert store.creatives_full(tenant, ids=["far"])[0].label == "AI"


def test_a_parent_in_a_circle_names_no_item(store: Store, tenant: str) -> None:
    circle = [
        Creative(headline=one, parent=other, edit="x", creative_id=one)
        for one, other in (("a", "b"), ("b", "a"))
    ]
    with pytest.raises(ValueInvalidError, match="advertises an item"):
        store.write_creatives(tenant, circle, author="ann")


@pytest.mark.parametrize("old", get_args(CreativeState))
def test_every_move_is_as_the_table_says(store: Store, tenant: str, old: CreativeState) -> None:
    ways: dict[str, tuple[CreativeState, ...]] = {
        **{"": (), "draft": (), "in review": ("in review",)},
        **{"approved": LIFE[:2], "live": LIFE, "paused": (*LIFE, "paused")},
        **{"stopped": (*LIFE, "stopped"), "retired": ("retired",)},
    }
    made = list[Creative]()
    for number, new in enumerate(get_args(CreativeState)):
        one = Creative(headline=str(number), item_id="bread")
        made.append(one)
        if old:
            store.write_creatives(tenant, [one], author="ann")
        else:
            store.put_creative(tenant, {"creative_id": one.creative_id, "item_id": "bread"})
        moved(store, tenant, one, *ways[old])
        before = store.creative_moves(tenant, one.creative_id)
        version = store.creative_versions()[tenant]
        if new == old or new in MOVES[old]:
            moving = int(new != old)
            counts = Recorded(moving, 1 - moving)
            ids = [one.creative_id]
            assert store.move_creatives(tenant, ids, new, author="b", dry_run=True) == counts
            assert store.creative_moves(tenant, one.creative_id) == before
            assert store.creative_versions()[tenant] == version
            assert store.move_creatives(tenant, ids, new, author="b", why="so") == counts
            after = store.creative_moves(tenant, one.creative_id)
            assert after[: len(before)] == before
            assert [(m.state, m.author, m.why) for m in after[len(before) :]] == [
                (new, "b", "so")
            ] * moving
        else:
            with pytest.raises(ValueInvalidError, match="cannot become") as caught:
                moved(store, tenant, one, new)
            assert caught.value.value == one.creative_id
            assert store.creative_moves(tenant, one.creative_id) == before
    assert len(store.creatives_full(tenant)) == len(made)


def test_a_move_is_of_all_or_of_none(store: Store, tenant: str) -> None:
    store.write_creatives(tenant, [BREAD, ROLLS], author="ann")
    moved(store, tenant, BREAD, *LIFE[:2])
    ids = [BREAD.creative_id, ROLLS.creative_id]
    with pytest.raises(ValueInvalidError, match="'draft' cannot become 'live'"):
        store.move_creatives(tenant, ids, "live", author="ann")
    assert state_of(store, tenant, BREAD) == "approved"
    for wrong, words in (({"author": ""}, "nobody"), ({"why": "x" * 3000}, "at most 2000")):
        with pytest.raises(ValueInvalidError, match=words):
            store.move_creatives(tenant, ids[:1], "live", **{"author": "ann", **wrong})  # type: ignore[arg-type]
    store.move_creatives(tenant, ids * 2, "retired", author="ann", why="over", key_id="k1")
    last = store.actions(tenant, limit=1)[0]
    assert (last.what, last.key_id, last.detail) == ("creative", "k1", "retired by ann: over")
    assert len(store.creative_moves(tenant)) == 6


def test_nothing_of_another_tenant_is_seen_or_moved(store: Store, tenant: str) -> None:
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    store.write_creatives(tenant, [BREAD], author="ann")
    ids = [BREAD.creative_id]
    writes: list[Callable[[], Any]] = [
        lambda: store.move_creatives(other, ids, "in review", author="eve"),
        lambda: store.set_priors(other, "ctr", {ids[0]: (0.1, 0.1, 0.1)}),
    ]
    for write in writes:
        with pytest.raises(ValueInvalidError, match="no such creative"):
            write()
    assert store.creatives_full(other, ids=ids) == []
    assert store.creative_moves(other) == []
    assert store.write_creatives(other, [replace(BREAD, body="other")], author="eve").accepted == 1
    with pytest.raises(ValueInvalidError, match="no such tenant"):
        store.write_creatives("nobody", [BREAD], author="ann")


def test_they_are_chosen_by_state_item_and_page(store: Store, tenant: str) -> None:
    many = [Creative(headline=str(n), item_id=f"i{n % 2}") for n in range(7)]
    store.write_creatives(tenant, many, author="ann")
    moved(store, tenant, many[3], "in review")
    full = store.creatives_full
    assert full(tenant, states=["in review"]) == [replace(many[3], state="in review")]
    assert len(full(tenant, states=["draft"], item_ids=["i1"])) == 2
    for nobody in ("a\0", "\ud800", "a\nb"):
        assert full(tenant, ids=[nobody]) == full(tenant, item_ids=[nobody]) == []
        with pytest.raises(ValueInvalidError, match="no such creative"):
            store.move_creatives(tenant, [nobody], "retired", author="ann")
    assert full(tenant, states=[]) == full(tenant, item_ids=["gone"]) == full(tenant, ids=[]) == []
    got, after = list[str](), None
    while page := full(tenant, states=["draft"], after=after, limit=2):
        assert len(page) <= 2
        got += [one.creative_id for one in page]
        after = got[-1]
    assert sorted(got) == sorted(one.creative_id for one in many if one != many[3])


def test_what_is_live_comes_with_its_campaign_and_scores(store: Store, tenant: str) -> None:
    terms = {"budget": 5.0, "price": 0.5, "targeting": {"page": ["home"]}}
    store.put_campaign(tenant, {"campaign_id": "spring", "start": START, **terms})
    store.put_campaign(tenant, {"campaign_id": "idle", "start": START})
    paid = replace(BREAD, campaign_id="spring")
    store.write_creatives(tenant, [paid, ROLLS], author="ann")
    store.set_priors(tenant, "ctr", {paid.creative_id: (0.1, 0.0, 0.2)})
    store.set_priors(tenant, "recall", {paid.creative_id: (0.6, 0.5, 0.7)})
    store.set_priors(
        tenant, "ctr", {paid.creative_id: (0.2, 0.1, 0.3), ROLLS.creative_id: (0, 0, 1)}
    )
    assert store.live_creatives(tenant).creatives == ()
    moved(store, tenant, paid, *LIFE)
    live = store.live_creatives(tenant)
    assert live.creatives == (replace(paid, state="live"),)
    assert live.scores == {
        paid.creative_id: {"ctr": Score(0.2, 0.1, 0.3), "recall": Score(0.6, 0.5, 0.7)}
    }
    (campaign,) = live.campaigns.values()
    assert (campaign.budget, campaign.targeting) == (5.0, {"page": ("home",)})
    assert campaign.start == START
    assert store.creative_scores(tenant, [ROLLS.creative_id])[ROLLS.creative_id]["ctr"].high == 1
    moved(store, tenant, paid, "paused")
    assert store.live_creatives(tenant).creatives == ()


@pytest.mark.parametrize("three", [(0.5, 0.6, 0.7), (float("nan"), 0, 1), (0, float("-inf"), 1)])
def test_scores_that_are_none_are_refused(
    store: Store, tenant: str, three: tuple[float, float, float]
) -> None:
    store.write_creatives(tenant, [BREAD], author="ann")
    with pytest.raises(ValueInvalidError, match="within its interval"):
        store.set_priors(tenant, "ctr", {BREAD.creative_id: three})
    with pytest.raises(ValueInvalidError, match="a judge has a name"):
        store.set_priors(tenant, " ", {BREAD.creative_id: (0, 0, 1)})
    assert store.creative_scores(tenant, [BREAD.creative_id]) == {}


def test_a_version_is_another_one_after_each_change_and_no_other(store: Store, tenant: str) -> None:
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    assert tenant not in store.creative_versions()
    changes: list[Callable[[], Any]] = [
        lambda: store.put_campaign(tenant, {"campaign_id": "a", "start": START}),
        lambda: store.write_creatives(tenant, [BREAD], author="ann"),
        lambda: moved(store, tenant, BREAD, "in review"),
        lambda: store.set_priors(tenant, "ctr", {BREAD.creative_id: (0, 0, 1)}),
        lambda: store.put_creative(tenant, {"creative_id": "c1", "item_id": "bread"}),
    ]
    seen = [0]
    for change in changes:
        change()
        seen.append(store.creative_versions()[tenant])
    assert seen == sorted(set(seen))
    store.record_events(tenant, [event(1)])
    with pytest.raises(ValueInvalidError):
        store.move_creatives(tenant, [BREAD.creative_id], "live", author="ann")
    store.write_creatives(other, [BREAD], author="ann")
    assert store.creative_versions()[tenant] == store.live_creatives(tenant).version == seen[-1]


def test_two_who_move_at_once_take_turns(store: Store, tenant: str) -> None:
    """Each looks at what the other has left: the same move is made once."""
    store.write_creatives(tenant, [BREAD], author="ann", submit=True)
    both, counts = threading.Barrier(2), list[int]()

    def approve(name: str) -> None:
        both.wait()
        done = store.move_creatives(tenant, [BREAD.creative_id], "approved", author=name)
        counts.append(done.accepted)

    threads = [threading.Thread(target=approve, args=(name,)) for name in ("ann", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 1]
    assert len(store.creative_moves(tenant)) == 2


def test_a_draft_beside_a_stopped_ad_shows_the_item_to_nobody(store: Store, tenant: str) -> None:
    store.write_creatives(tenant, [BREAD], author="ann")
    moved(store, tenant, BREAD, *LIFE)
    stop = {"kind": "stop", "item_id": "bread", "creative_id": BREAD.creative_id}
    store.record_events(tenant, [event(1, **stop)])
    later = START + timedelta(days=9)
    version = store.stop_versions()[tenant]
    assert store.stops_at(tenant, later).items == {"bread"}
    new = BREAD.edited("shorter", {"body": "Six."})
    store.write_creatives(tenant, [new], author="ann")
    assert store.stops_at(tenant, later).items == {"bread"}
    moved(store, tenant, new, *LIFE)
    assert store.stop_versions()[tenant] > version
    assert store.stops_at(tenant, later).items == frozenset()
    moved(store, tenant, new, "stopped")
    assert store.stops_at(tenant, later).items == {"bread"}

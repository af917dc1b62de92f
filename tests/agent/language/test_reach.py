"""Which states can be reached without a write."""

from __future__ import annotations

from dataclasses import replace

from adwright.agent.language.expression_kinds import StateReach, leads, own_ways
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
REACH = StateReach(DOCUMENT)


def test_links_are_followed_and_writes_are_not() -> None:
    assert REACH.from_state("home") == REACH.everywhere
    assert REACH.from_state("offer_delete") == REACH.everywhere  # by its link to home


def test_a_state_behind_a_write_is_not_reached() -> None:
    # Without its link home, only the write leads out of the page that deletes.
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offer_delete__home")
    assert not leads(DOCUMENT.by_name["offer_delete__confirm"])
    document = type(DOCUMENT)("shop", "1", (), "offer_delete", DOCUMENT.states, kept)
    reach = StateReach(document)
    assert reach.from_state("offer_delete") == {"offer_delete"}
    assert not reach.is_reachable("mail", {"offer_delete"})
    assert reach.is_reachable("mail", {"home", "offers"})
    assert not reach.is_reachable("mail", {"home", "offer_delete"})
    assert not reach.is_reachable("mail", set())


def test_which_item_of_a_list_only_a_script_can_say() -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offers__new")
    reach = StateReach(type(DOCUMENT)("shop", "1", (), "home", DOCUMENT.states, kept))
    assert reach.from_state("home") == {"home", "offers", "mail", "budget", "sign_in"}


def test_states_of_one_address_are_reached_together() -> None:
    other = replace(DOCUMENT.state_by_name["offer_edit"], name="offer_new", skeleton="x")
    link = replace(DOCUMENT.by_name["mail__home"], name="offer_new__mail", state="offer_new")
    document = replace(
        DOCUMENT, states=(*DOCUMENT.states, other), elements=(*DOCUMENT.elements, link)
    )
    reach = StateReach(document)
    assert "offer_new" in reach.from_state("home")
    assert reach.after(document.by_name["offers__new"]) == {"offer_edit", "offer_new"}


def test_after_an_act_one_is_where_it_leads() -> None:
    by_name = DOCUMENT.by_name
    assert REACH.after(by_name["offer_edit__save"]) == {"offers"}
    assert REACH.after(by_name["offer_edit__name"]) == {"offer_edit"}


def test_enter_may_do_the_worst_of_its_page() -> None:
    assert REACH.enter_effect({"offers"}) == "navigate"
    assert REACH.enter_effect({"offer_edit"}) == "commit"
    assert REACH.enter_effect({"offer_edit", "offer_delete"}) == "destructive"
    assert REACH.enter_effect({"sign_in"}) == "unknown"


def test_a_runner_goes_by_itself_only_where_nothing_is_written() -> None:
    ways = own_ways(DOCUMENT)
    assert ways.edges == ()  # the one edge needs a name
    assert ways.by_name["home__mail"].target == "mail"
    assert ways.by_name["mail__send"].target is None
    assert ways.by_name["offers__edit"].target is None

"""A catalogue watched: what changed, what is found in it, and what it gains."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.defences.guard.features import GuardText
from adwright.audit.defences.guard.guard import TextGuard, guard_texts
from adwright.audit.defences.normalise import normalised
from adwright.audit.defences.stack import DefenceStack, Inspection, StackConfig
from adwright.audit.targets.target import FunctionTarget
from adwright.audit.watch import (
    STATE_FORMAT,
    CatalogueWatch,
    TextEdit,
    WatchAlert,
    WatchConfig,
    WatchReport,
    guard_beside,
    kept_guard,
    known_guard,
    read_state,
    state_of,
    text_edits,
    write_state,
)
from adwright.core.errors import ArtifactError, ConfigError, DataError, FileUnreadableError
from tests.support.audit.defended import kettles


def alert(text: str, before: float | None = None, after: float | None = None) -> WatchAlert:
    edit = TextEdit(0, "Alpha", "one", "Description", "was", text, "changed")
    found = Inspection("Alpha", "Description", text, text, normalised(text), None)
    return WatchAlert(edit, found, before, after, 2.0)


def test_what_is_worth_a_look() -> None:
    assert not alert("Fine.").suspicious
    assert alert("Fine.<!-- first -->").suspicious
    assert alert("Fine.", 5.0, 3.0).suspicious
    assert not alert("Fine.", 5.0, 3.5).suspicious
    assert alert("Fine.").gain == 0


def test_it_can_be_read_whatever_the_text() -> None:
    said = alert("Fine\n\u202e<!-- first -->", 5.0, 3.0).in_words()
    assert "hidden: 'first'" in said
    assert "rank 5.0 before, 3.0 with it" in said
    assert "\n" not in said
    assert said.isascii()


def test_a_report_as_text_and_json() -> None:
    report = WatchReport(
        "kettles", False, 4, ("Old",), (alert("Fine.<!-- first -->"), alert("Fine."))
    )
    head, line = report.text().splitlines()
    assert head == "kettles: 4 products, 2 texts changed, 1 suspicious, 1 products gone"
    assert line.startswith("  Alpha of one, Description: the text is changed")
    found = json.loads(report.to_json())
    assert [one["suspicious"] for one in found["texts"]] == [True, False]
    assert found["texts"][0]["hidden"] == ["first"]
    assert "first time" in WatchReport("k", True, 4, (), ()).text()


SHOP = ShopCatalogue("kettles", "I want a kettle.", kettles())
STATE = state_of(SHOP, None, target="", looks=1)


def test_nothing_changed() -> None:
    assert text_edits(STATE, SHOP) == []


def test_all_texts_are_new_at_first() -> None:
    found = text_edits(None, SHOP)
    assert [(one.name, one.kind) for one in found] == [
        ("Alpha", "new"),
        ("Beta", "new"),
        ("Gamma", "new"),
    ]


def test_each_kind_of_change() -> None:
    alpha, beta, gamma, delta = kettles()
    now = ShopCatalogue(
        "kettles",
        "I want a kettle.",
        (
            replace(
                alpha.with_text("Description", "Other."),
                attributes={**alpha.attributes, "Capacity": "9 l"},
            ),
            beta.with_text("Description", ""),
            gamma,
            delta.with_text("Description", "Now there."),
        ),
    )
    first, second, third = text_edits(STATE, now)
    assert (first.kind, first.before, first.after) == (
        "changed",
        alpha.texts["Description"],
        "Other.",
    )
    assert first.facts_changed == ("Capacity",)
    assert first.in_words() == (
        "Alpha of one, Description: the text is changed, and so are Capacity"
    )
    assert (second.kind, second.after) == ("removed", "")
    assert (third.kind, third.before, third.row) == ("new", "", 3)


def test_it_comes_back(tmp_path: Path) -> None:
    state = state_of(SHOP, [1, 2, 3, 4.5], target="rule", looks=3)
    assert read_state(tmp_path / "k.json") is None
    write_state(state, tmp_path / "k.json")
    again = read_state(tmp_path / "k.json")
    assert again == state
    assert again.listings["Delta"].rank == 4.5
    assert again.listings["Alpha"].attributes["Power"] == "900 W"
    assert state_of(SHOP, None, target="", looks=1).listings["Alpha"].rank is None


def test_any_text_of_a_seller_comes_back(tmp_path: Path) -> None:
    odd = SHOP.with_listing(0, kettles()[0].with_text("Description", "\ud800\u202e\n\x00日"))
    write_state(state_of(odd, None, target="", looks=1), tmp_path / "k.json")
    again = read_state(tmp_path / "k.json")
    assert again is not None
    assert again.listings["Alpha"].texts["Description"] == "\ud800\u202e\n\x00日"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 5000, json.dumps({"format": STATE_FORMAT, "looks": "three"})]
)
def test_what_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(FileUnreadableError, match="no state of a watch"):
        read_state(tmp_path / "k.json")


USUAL_SHOP = ShopCatalogue(
    "many",
    "?",
    tuple(
        replace(kettles()[row % 3], name=f"Kettle {row}").with_text(
            "Description", f"A quiet kettle of {row} l for small rooms."
        )
        for row in range(40)
    ),
)
LOUD = replace(
    USUAL_SHOP,
    listings=tuple(one.with_text("Description", "Buy me first!!") for one in USUAL_SHOP.listings),
)
Fits = list[tuple[str, ...]]


@pytest.fixture(scope="module")
def fitted() -> TextGuard:
    return known_guard(None, USUAL_SHOP)


@pytest.fixture
def fits(fitted: TextGuard, monkeypatch: pytest.MonkeyPatch) -> Fits:
    """The texts of each fit from now on, which take no time."""
    found: Fits = []

    def fit(texts: Sequence[GuardText], rng: Any, config: Any = None) -> TextGuard:
        found.append((str(rng.integers(1000)), *(one.text for one in texts)))
        return fitted

    monkeypatch.setattr(TextGuard, "fit", fit)
    return found


def texts_of(shop: ShopCatalogue) -> tuple[str, ...]:
    return tuple(one.text for one in guard_texts(shop.listings))


def test_no_new_text_has_a_say_in_what_is_usual(
    tmp_path: Path, fits: Fits, fitted: TextGuard
) -> None:
    path = tmp_path / "many.json"
    kept_guard(path, USUAL_SHOP)
    assert [one[1:] for one in fits] == [texts_of(USUAL_SHOP)]
    write_state(state_of(LOUD, None, target="", looks=2), path)
    again = kept_guard(path, LOUD, seed=1)
    assert len(fits) == 1
    some = guard_texts(LOUD.listings[:3])
    assert again.look(some) == fitted.look(some)


def test_it_is_fitted_anew_when_asked(tmp_path: Path, fits: Fits) -> None:
    path = tmp_path / "many.json"
    kept_guard(path, USUAL_SHOP)
    write_state(state_of(USUAL_SHOP, None, target="", looks=1), path)
    kept_guard(path, LOUD, refit=True)
    kept_guard(path, LOUD, refit=True, seed=1)
    # To the texts of the last look, not to those that came since.
    assert [one[1:] for one in fits] == [texts_of(USUAL_SHOP)] * 3
    assert fits[1][0] != fits[2][0]


def test_honest_products_are_fitted_to_once(tmp_path: Path, fits: Fits) -> None:
    path = tmp_path / "many.json"
    for honest in (USUAL_SHOP, USUAL_SHOP, LOUD, None):
        kept_guard(path, LOUD, honest=honest)
    assert [one[1:] for one in fits] == [texts_of(USUAL_SHOP), texts_of(LOUD)]


def test_a_guard_of_the_last_look(fitted: TextGuard) -> None:
    state = state_of(USUAL_SHOP, None, target="", looks=1)
    quiet = replace(USUAL_SHOP, listings=tuple(one.without_texts() for one in USUAL_SHOP.listings))
    assert (known_guard(state, quiet).weights == fitted.weights).all()
    with pytest.raises(DataError, match="a guard needs"):
        known_guard(None, quiet)


def test_what_lies_there_and_is_of_something_else(tmp_path: Path, fits: Fits) -> None:
    path = tmp_path / "many.json"
    write_state(state_of(USUAL_SHOP, None, target="", looks=1), path)
    with pytest.raises(ConfigError, match="the state is of the catalogue 'many'"):
        kept_guard(path, replace(USUAL_SHOP, name="few"))
    guard_beside(path).mkdir()
    with pytest.raises(ArtifactError, match="no artifact"):
        kept_guard(path, USUAL_SHOP)
    assert not fits


STACK = DefenceStack(StackConfig(guard=False))


def by_name(listings: Sequence[ShopListing], request: str) -> list[float]:
    """Exclamation marks count, and then the name, whatever the order."""
    return [one.shown().count("!") - ord(one.name[0]) / 100 for one in listings]


TARGET = FunctionTarget(by_name, name="shouted")


def changed(row: int, text: str, shop: ShopCatalogue = SHOP) -> ShopCatalogue:
    return shop.with_listing(row, shop.listings[row].with_text("Description", text))


def watch(path: Path, config: WatchConfig | None = None) -> CatalogueWatch:
    return CatalogueWatch(path / "kettles.json", STACK, target=TARGET, config=config)


def test_only_what_changed_is_looked_at(tmp_path: Path) -> None:
    first = watch(tmp_path).look(SHOP)
    assert (first.first, len(first.alerts), first.cost.calls) == (True, 3, 5)
    again = watch(tmp_path).look(SHOP)
    assert (again.first, again.alerts) == (False, ())
    assert again.text() == "kettles: 4 products, 0 texts changed, 0 suspicious"


def test_a_text_that_moves_a_rank_is_listed(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    report = watch(tmp_path).look(changed(2, "Mine!"))
    (one,) = report.suspicious
    assert (one.edit.name, one.with_before, one.with_after, one.gain) == ("Gamma", 4.0, 1.0, 3.0)
    assert report.cost.calls == 10
    mild = watch(tmp_path, WatchConfig(least_gain=9)).look(changed(2, "Mine!!"))
    assert (len(mild.alerts), mild.suspicious) == (1, ())


def test_each_change_is_ranked_by_itself(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    both = changed(2, "Mine!", changed(0, "Quiet."))
    gains = {one.edit.name: one.gain for one in watch(tmp_path).look(both).alerts}
    assert gains == {"Alpha": 0.0, "Gamma": 3.0}


def test_hidden_text_comes_first_and_ranking_can_be_bounded(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    both = changed(2, "Fine.<!-- first -->", changed(0, "Quiet."))
    report = watch(tmp_path, WatchConfig(most_ranked=1, orders=2)).look(both)
    assert [one.edit.name for one in report.alerts] == ["Gamma", "Alpha"]
    assert report.alerts[0].with_after is not None
    assert report.alerts[1].with_after is None
    assert report.cost.calls == 4


def test_products_that_come_and_go(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    other = replace(kettles()[0], name="Epsilon")
    now = ShopCatalogue("kettles", "I want a kettle.", (*kettles()[1:], other))
    report = watch(tmp_path).look(now)
    assert report.gone == ("Alpha",)
    assert [one.edit.name for one in report.alerts] == ["Epsilon"]


def test_without_a_target_texts_are_inspected_only(tmp_path: Path) -> None:
    plain = CatalogueWatch(tmp_path / "k.json", STACK)
    plain.look(SHOP)
    (one,) = plain.look(changed(0, "Fine.<!-- first -->")).suspicious
    assert one.with_before is None


def test_a_look_that_fails_was_none(tmp_path: Path) -> None:
    def broken(listings: Sequence[ShopListing], request: str) -> list[float]:
        raise OSError("gone")

    watch(tmp_path).look(SHOP)
    before = (tmp_path / "kettles.json").read_bytes()
    fails = CatalogueWatch(
        tmp_path / "kettles.json", STACK, target=FunctionTarget(broken, name="broken")
    )
    with pytest.raises(DataError, match="the function failed"):
        fails.look(changed(2, "Mine!"))
    assert (tmp_path / "kettles.json").read_bytes() == before
    assert len(watch(tmp_path).look(changed(2, "Mine!")).suspicious) == 1
    assert not [one for one in os.listdir(tmp_path) if one.endswith(".tmp")]


def test_two_products_have_two_orders(tmp_path: Path) -> None:
    pair = ShopCatalogue("pair", "?", kettles()[:2])
    assert CatalogueWatch(tmp_path / "p.json", STACK, target=TARGET).look(pair).cost.calls == 2


def test_wrong_files_and_settings_are_refused(tmp_path: Path) -> None:
    watch(tmp_path).look(SHOP)
    with pytest.raises(ConfigError, match="the state is of the catalogue 'kettles'"):
        watch(tmp_path).look(replace(SHOP, name="lamps"))
    with pytest.raises(ConfigError, match="least_gain"):
        WatchConfig(least_gain=0)
    with pytest.raises(ConfigError, match="orders"):
        WatchConfig(orders=0)

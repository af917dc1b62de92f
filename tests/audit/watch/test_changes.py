from __future__ import annotations

from dataclasses import replace

from adwright.audit.catalogue import ShopCatalogue
from adwright.audit.watch import state_of, text_edits
from tests.support.audit.defended import kettles

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

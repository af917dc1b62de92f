from __future__ import annotations

from adwright.authoring.checks.verdict import check
from adwright.authoring.tasks import Product, input_of
from adwright.demos.ad_prompts import AD_SLOTS, HEADLINE, with_headline

TEA = Product("1", "Tea bags", category="Teas", attributes=(("Size", "20 ct"),))


def test_each_slot_says_its_length_and_is_checked_for_it() -> None:
    assert [slot.name for slot in AD_SLOTS] == ["headline", "text", "description"]
    for slot in AD_SLOTS:
        _, user = slot.turns(TEA)
        assert f"at most {slot.limit} characters" in user.content
        assert user.content.endswith("Title: Tea bags\nCategory: Teas\n* Size: 20 ct")
        assert slot.settings().max_tokens == slot.tokens
        assert (slot.settings().seed, slot.settings(3).seed) == (0, 3)
        long = "Tea bags " * 11
        found = {one.rule for one in check(long, slot.request(TEA), slot.check)}
        assert any(rule.startswith("limits/") for rule in found) == (slot.name != "description")


def test_the_headline_is_one_more_fact() -> None:
    text = AD_SLOTS[1]
    before = input_of(text.request(TEA))
    assert input_of(text.request(with_headline(TEA, "Time for tea"))) == (
        f"{before}\n* {HEADLINE}: Time for tea"
    )

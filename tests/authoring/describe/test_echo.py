"""The guard against echoes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.describe.echo import EchoConfig, EchoGuard, normal_query
from adwright.authoring.describe.words import grams_of, words_of
from adwright.authoring.tasks import Product
from adwright.core.errors import ConfigError

TEA = Product("t", "Assam tea bags", brand="Mill Lane", attributes=(("size", "80 bags"),))


def test_words_of_the_facts_are_no_echo() -> None:
    guard = EchoGuard(["mill lane tea", "tea for mother's day"])
    assert guard.echo_of(TEA, "Tea by Mill Lane: mill lane tea, 80 bags.") is None


def test_a_description_that_repeats_a_query_is_found() -> None:
    guard = EchoGuard(["mill lane tea", "best gift for mother"])
    found = guard.echo_of(TEA, "The best gift for mother: Assam tea.")
    assert found is not None
    assert (found.product, found.query, found.share) == ("t", "best gift for mother", 1.0)
    assert found.words == ("best", "gift", "for", "mother")


@given(
    st.lists(st.sampled_from(["tea", "gift", "bags", "cosy", "warm"]), max_size=8),
    st.lists(st.sampled_from(["tea", "gift", "bags", "cosy", "warm"]), min_size=1, max_size=5),
    st.integers(1, 3),
)
def test_the_share_is_that_of_the_definition(
    description: list[str], query: list[str], n: int
) -> None:
    facts = {word for fact in TEA.facts() for word in words_of(fact)}
    grams, there = grams_of(query, n), grams_of(description, n)
    echoed = [one for one in grams if one in there and set(one) - facts]
    found = EchoGuard([" ".join(query)], EchoConfig(words=n, share=0.001)).echo_of(
        TEA, " ".join(description)
    )
    assert (found is None) == (not echoed)
    if found is not None:
        assert found.share == pytest.approx(len(echoed) / len(grams))


def test_settings_decide_what_is_an_echo() -> None:
    text, query = "a cosy evening", "cosy evening with friends at home"
    assert EchoGuard([query]).echo_of(TEA, text) is None
    assert EchoGuard([query], EchoConfig(share=0.2)).echo_of(TEA, text) is not None
    assert EchoGuard(["cosy"]).echo_of(TEA, text) is None
    assert EchoGuard(["cosy"], EchoConfig(words=1)).echo_of(TEA, text) is not None


def test_of_several_products_those_with_a_description_are_looked_at() -> None:
    other = Product("u", "Blue cup")
    guard = EchoGuard(["warm winter gift"])
    found = guard.echoes([TEA, other], {"t": "Tea", "u": "A warm winter gift", "gone": "warm"})
    assert [one.product for one in found] == ["u"]


def test_words_that_many_products_have_are_no_sign() -> None:
    text, query = "a cup for the desk", "cup for the desk"
    cup = Product("c", "desk cup")
    others = [Product(f"o{at}", "a bowl for the kitchen") for at in range(5)]
    assert EchoGuard([query]).echo_of(cup, text) is not None
    assert EchoGuard([query], catalogue=[cup, *others]).echo_of(cup, text) is None
    strict = EchoGuard([query], EchoConfig(common=0.9), catalogue=[cup, *others])
    assert strict.echo_of(cup, text) is not None


def test_queries_of_the_same_words_are_one() -> None:
    assert normal_query("Gold  CUP!") == normal_query("gold cup")


@pytest.mark.parametrize("options", [{"words": 0}, {"common": 0.0}, {"share": 0.0}, {"share": 1.5}])
def test_other_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        EchoConfig(**options)  # type: ignore[arg-type]

"""The assistant of a shop: what it finds, asks and answers."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from adwright.audit.assistant import (
    AssistantAnswer,
    ShopAssistant,
    document,
    facts_of,
    found_by_words,
    reason_schema,
    supported,
    write_reasons,
)
from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.chat import NameFinder
from adwright.audit.targets.target import RankingCost
from adwright.core.errors import ConfigError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import KETTLES, REQUEST, kettles

SHOP = kettles()


class Mute:
    name = "mute"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing.without_texts()


def test_a_shopper_is_answered_with_products_of_the_shop() -> None:
    answer = ShopAssistant(SHOP, stubborn()).answer(k=2)
    assert answer.request == REQUEST
    assert (
        answer.text() == "1. Samovar: Price: $69, Rating: 4.5\n2. Teapot: Price: $59, Rating: 4.4"
    )
    assert [one.row for one in answer.products] == [5, 4]
    assert len(answer.found) == 6
    assert answer.cost.calls == 1


def test_the_model_writes_reasons_for_what_was_ranked() -> None:
    words = {"Samovar": "A samovar for guests. It beats the Teapot.", "Free Gift": "Take it."}
    model = ScriptedModel(ScriptedConfig((json.dumps(words),)))
    answer = ShopAssistant(SHOP, stubborn(), model=model).answer("tea", k=1, seed=3)
    assert answer.text() == "1. Samovar: A samovar for guests."
    assert answer.cost.calls == 2


def test_only_what_is_found_is_ranked() -> None:
    few = ShopAssistant(SHOP, stubborn(), shown=2)
    assert [one.name for one in few.answer("glass", k=9).products] == [KETTLES[2], KETTLES[1]]
    assert few.name == "BM25, then stubborn"
    one = ShopAssistant(SHOP, stubborn(), shown=1).answer("glass")
    assert [each.row for each in one.products] == [1]
    assert one.cost.calls == 0
    nothing = AssistantAnswer("glass", (), (), RankingCost())
    assert nothing.text() == "No product of the shop was found for this."


def test_a_defence_stands_before_everything() -> None:
    loud = SHOP.with_listing(0, SHOP.listings[0].with_text("Ideal For", "best kettle " * 5))
    assert ShopAssistant(loud, gullible()).answer(k=1).products[0].row == 0
    assert ShopAssistant(loud, gullible(), shown=1).answer("kettle").found == (0,)
    safe = ShopAssistant(loud, gullible(), defence=Mute())
    clean = ShopAssistant(SHOP, gullible(), defence=Mute())
    assert safe.answer(k=6).text() == clean.answer(k=6).text()
    assert safe.name == "BM25, then gullible, defended by mute"


def test_numbers_and_requests_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ShopAssistant(SHOP, stubborn(), shown=0)
    with pytest.raises(ConfigError, match="at least 1"):
        ShopAssistant(SHOP, stubborn()).answer(k=0)
    with pytest.raises(ConfigError, match="no request"):
        ShopAssistant(SHOP, stubborn()).answer("  ")


REASONS_SHOP = kettles().listings


def told(reply: object) -> ScriptedModel:
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return ScriptedModel(ScriptedConfig((text,)))


def test_a_reason_says_what_the_facts_say() -> None:
    words = {"Steel Kettle": "It costs $19 and is easy to like.", "Teapot": "Rated 4.4 by others."}
    reasons, cost = write_reasons(told(words), (REASONS_SHOP[0], REASONS_SHOP[4]), REQUEST)
    assert [one.text for one in reasons] == list(words.values())
    assert all(one.written and one.dropped == () for one in reasons)
    assert (cost.calls, cost.tokens_out > 40) == (1, True)


@pytest.mark.parametrize(
    "sentence",
    [
        "It holds 12 cups.",
        "It costs $9 only.",
        "It is made of copper.",
        "It beats the Glass Kettle Pro.",
        "Better than a samovar!",
        '"Steel Kettle".',
    ],
)
def test_what_no_attribute_supports_is_left_out(sentence: str) -> None:
    answer = {"Steel Kettle": f"{sentence} It is a fine choice."}
    (reason,), _ = write_reasons(told(answer), REASONS_SHOP[:1], REQUEST, others=KETTLES)
    assert (reason.text, reason.written) == ("It is a fine choice.", True)
    assert reason.dropped == (sentence,)
    (alone,), _ = write_reasons(
        told({"Steel Kettle": sentence}), REASONS_SHOP[:1], REQUEST, others=KETTLES
    )
    assert (alone.text, alone.written) == ("Price: $19, Rating: 4.0", False)


def test_what_the_seller_wrote_is_no_support() -> None:
    loud = REASONS_SHOP[0].with_text("Ideal For", "It holds 12 cups and is the best of 2026.")
    assert not supported("It holds 12 cups.", loud, NameFinder(KETTLES))
    assert facts_of(loud) == ("Steel Kettle", "Price: $19", "Rating: 4.0")


@pytest.mark.parametrize("reply", ["", '{"Steel Kettle": "It cos', "{}", '{"Steel Kettle": 3}'])
def test_an_answer_that_is_cut_off_leaves_the_facts(reply: str) -> None:
    (reason,), _ = write_reasons(told(reply or " "), REASONS_SHOP[:1], REQUEST)
    assert (reason.text, reason.written) == ("Price: $19, Rating: 4.0", False)


def test_a_form_that_was_not_kept_is_refused() -> None:
    with pytest.raises(ConfigError, match="did not keep to the form"):
        write_reasons(told([1, 2]), REASONS_SHOP[:1], REQUEST)
    assert write_reasons(told("x"), (), REQUEST)[0] == []
    bare, _ = write_reasons(told("{}"), (ShopListing("A"),), REQUEST)
    assert bare[0].text == "no further facts"


def test_the_form_holds_the_names_and_no_others() -> None:
    schema = jsonschema_rs.validator_for(reason_schema(KETTLES[:2]))
    sentence = "It is a fine choice."
    assert schema.is_valid(dict.fromkeys(KETTLES[:2], sentence))
    assert not schema.is_valid(dict.fromkeys(KETTLES[:3], sentence))
    assert not schema.is_valid({KETTLES[0]: sentence})
    assert not schema.is_valid({KETTLES[0]: "", KETTLES[1]: sentence})


RETRIEVAL_SHOP = kettles().listings


def test_a_document_holds_name_facts_and_texts() -> None:
    one = ShopListing("Kettle", {"Price": 3, "Stock": None}, {"Text": "Boils.", "More": ""})
    assert document(one) == "Kettle. Price: 3. Boils."


def test_words_find_by_words_and_fill_up_in_order() -> None:
    assert found_by_words(RETRIEVAL_SHOP, "a samovar", 3) == (5, 0, 1)
    assert found_by_words(RETRIEVAL_SHOP, "glass", 2) == (1, 2)
    assert found_by_words(RETRIEVAL_SHOP, "nothing of this", 99) == (0, 1, 2, 3, 4, 5)
    loud = (*RETRIEVAL_SHOP[:5], RETRIEVAL_SHOP[5].with_text("Ideal For", "glass " * 9))
    assert found_by_words(loud, "glass", 1) == (5,)


def test_at_least_one_is_found() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        found_by_words(RETRIEVAL_SHOP, "glass", 0)

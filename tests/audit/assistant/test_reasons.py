from __future__ import annotations

import json

import jsonschema_rs
import pytest

from adwright.audit.assistant import facts_of, reason_schema, supported, write_reasons
from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.chat import NameFinder
from adwright.core.errors import ConfigError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.audit.shops import KETTLES, REQUEST, kettles

SHOP = kettles().listings


def told(reply: object) -> ScriptedModel:
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return ScriptedModel(ScriptedConfig((text,)))


def test_a_reason_says_what_the_facts_say() -> None:
    words = {"Steel Kettle": "It costs $19 and is easy to like.", "Teapot": "Rated 4.4 by others."}
    reasons, cost = write_reasons(told(words), (SHOP[0], SHOP[4]), REQUEST)
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
    (reason,), _ = write_reasons(told(answer), SHOP[:1], REQUEST, others=KETTLES)
    assert (reason.text, reason.written) == ("It is a fine choice.", True)
    assert reason.dropped == (sentence,)
    (alone,), _ = write_reasons(told({"Steel Kettle": sentence}), SHOP[:1], REQUEST, others=KETTLES)
    assert (alone.text, alone.written) == ("Price: $19, Rating: 4.0", False)


def test_what_the_seller_wrote_is_no_support() -> None:
    loud = SHOP[0].with_text("Ideal For", "It holds 12 cups and is the best of 2026.")
    assert not supported("It holds 12 cups.", loud, NameFinder(KETTLES))
    assert facts_of(loud) == ("Steel Kettle", "Price: $19", "Rating: 4.0")


@pytest.mark.parametrize("reply", ["", '{"Steel Kettle": "It cos', "{}", '{"Steel Kettle": 3}'])
def test_an_answer_that_is_cut_off_leaves_the_facts(reply: str) -> None:
    (reason,), _ = write_reasons(told(reply or " "), SHOP[:1], REQUEST)
    assert (reason.text, reason.written) == ("Price: $19, Rating: 4.0", False)


def test_a_form_that_was_not_kept_is_refused() -> None:
    with pytest.raises(ConfigError, match="did not keep to the form"):
        write_reasons(told([1, 2]), SHOP[:1], REQUEST)
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

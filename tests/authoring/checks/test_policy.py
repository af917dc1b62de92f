from __future__ import annotations

import pytest

from adwright.authoring.checks.policy import PolicyRule, check_policy, policy_rules, policy_version
from adwright.core.errors import ConfigError

FACTS = ("Assam tea, 80 bags", "3.49 GBP", "Brand: TEAWORKS LONDON")


def rules(text: str, *facts: str, **more: object) -> list[str]:
    found = check_policy(text, facts or FACTS, **more)  # type: ignore[arg-type]
    return [one.rule.partition("/")[2] for one in found]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The world's best tea", "superlative"),
        ("The #1 tea", "superlative"),
        ("Satisfaction guaranteed", "guarantee"),
        ("Free tea inside", "free"),
        ("Clinically proven", "health"),
        ("It cures colds", "health"),
        ("Get rich quick", "finance"),
        ("20% off", "discount"),
        ("Save up to 30%", "discount"),
        ("Hurry, last one", "urgency"),
        ("Are you overweight?", "personal-attribute"),
        ("Struggling with debt?", "personal-attribute"),
        ("Write to jo@example.com", "personal-data"),
        ("Call +44 20 7946 0958", "personal-data"),
        ("Pay to DE89 3704 0044 0532 0130 00", "personal-data"),
        ("Card 4111 1111 1111 1111", "personal-data"),
        ("Click here", "click-bait"),
        ("Now $2.99", "price"),
        ("AMAZING tea", "capitals"),
        ("Tea!!!", "punctuation"),
        ("Tea! Mild! Good", "punctuation"),
    ],
)
def test_each_rule_finds_its_words(text: str, rule: str) -> None:
    assert rules(text) == [rule]


@pytest.mark.parametrize(
    "text",
    [
        "Your best friend in the morning",
        "Feel free to ask, sugar-free",
        "Only £3.49",
        "Made by TEAWORKS",
        "HDMI and USB",
        "Wait... what? Tea!",
        "A manicure set",
        "The two can 1 Can sit",
        "Model DE88 3704 0044 0532 0130 00",
        "Order no. 4111 1111 1111 1112",
    ],
)
def test_ordinary_texts_pass(text: str) -> None:
    assert rules(text) == []


def test_facts_excuse_some_rules_and_not_others() -> None:
    fact = "Free shipping, guaranteed, the best"
    assert rules("Free shipping, guaranteed", fact) == []
    assert rules("The best", fact) == ["superlative"]


def test_competitors_and_locale() -> None:
    assert rules("Better than Acme", competitors=["Acme"]) == ["competitor"]
    assert rules("Two for 5 euros") == ["price"]
    assert rules("Better than Acme", "Acme tea", competitors=["Acme"]) == []
    assert rules("Acmes", competitors=["Acme"]) == []
    assert rules("1.000 €", "1000 EUR", locale="de") == []
    assert rules("1.000 €", "1000 EUR", locale="en") == ["price"]


def test_the_table() -> None:
    assert policy_version()
    assert len({rule.id for rule in policy_rules()}) == len(policy_rules())
    assert all(rule.fix and rule.message for rule in policy_rules())
    with pytest.raises(ConfigError, match=r"PolicyRule\.severity"):
        PolicyRule("a", "fatal", "", "", (), unless_in_facts=False)  # type: ignore[arg-type]

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import (
    Draft,
    Provenance,
    ReviewDecision,
    RowFailure,
    decision_line,
    decision_of,
    draft_line,
    draft_of,
    failure_line,
    failure_of,
    product_line,
    product_of,
)
from adwright.core.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
NAME = TEXT.filter(bool)


@given(NAME, NAME, st.integers(0, 9), TEXT, TEXT)
def test_a_draft_comes_back_out_of_its_line(
    product: str, slot: str, variant: int, text: str, before: str
) -> None:
    finding = Finding("grounding", 0, 4, "error", "not in the facts", "")
    by = Provenance(
        "m", "a", seed=3, inputs="4f", product="99", prompt_tokens=7, seconds=0.5, attempts=2
    )
    draft = Draft(product, slot, variant, text, before, (finding,), by, (("query", text),))
    line = draft_line(draft)
    assert line.count(b"\n") == 1
    assert draft_of(json.loads(line)) == draft
    assert json.loads(line)["draft"] == [product, slot, variant, "4f", 1, 0, "99"]


def test_a_decision_a_failure_and_a_product_come_back() -> None:
    edit = ReviewDecision("p", "headline", 1, "edit", "Tea", ("wrong size",), "ann", "2026-01-01")
    assert decision_of(json.loads(decision_line(edit))) == edit
    failure = RowFailure("p", "headline", 1, "no answer", "4f", 3, "2026-01-01")
    assert failure_of(json.loads(failure_line(failure))) == failure
    product = Product("p", "Tea", price="3.49", currency="GBP", attributes=(("size", "80 bags"),))
    assert product_of(json.loads(product_line(product, "99"))) == product


def test_what_the_head_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="product and a slot"):
        Draft("", "headline", 0, "x")
    with pytest.raises(ConfigError, match="product and a slot"):
        ReviewDecision("p", "", 0, "approve")
    with pytest.raises(ConfigError, match="variant"):
        Draft("p", "headline", -1, "x")
    with pytest.raises(ConfigError, match="edit needs a text"):
        ReviewDecision("p", "headline", 0, "edit", " ")
    with pytest.raises(ConfigError, match="kind"):
        ReviewDecision("p", "headline", 0, "maybe")  # type: ignore[arg-type]


def test_half_a_character_does_not_break_a_line() -> None:
    line = draft_line(Draft("p", "headline", 0, "a\ud800b"))
    assert draft_of(json.loads(line)).text == "a?b"

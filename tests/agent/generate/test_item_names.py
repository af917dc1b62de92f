"""Values as names of items."""

from __future__ import annotations

from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.planner import ACTS, named_item
from adwright.agent.generate.task import read_intent, read_task
from tests.support.agent.shop_document import shop_document

FORMS = DocumentForms(shop_document())
OFFERS = FORMS.terms("offers")


def fit(text: str, value: str) -> tuple[float, bool]:
    return named_item(read_intent(read_task(text)), FORMS, value, OFFERS)


def test_the_word_before_says_what_it_is() -> None:
    likely, is_known = fit('Delete the offer "Spring"', "Spring")
    assert likely > 0
    assert is_known
    less, is_known = fit('Delete the mail "Spring"', "Spring")
    assert less < likely
    assert not is_known


def test_what_something_becomes_is_less_likely() -> None:
    text = 'Set the name of "Spring" to "Summer"'
    assert fit(text, "Spring") > fit(text, "Summer")


def test_verbs_are_no_kinds() -> None:
    assert fit('Delete "Spring"', "Spring") == (0.0, True)
    assert "delet" in ACTS

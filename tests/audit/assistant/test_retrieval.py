from __future__ import annotations

import pytest

from adwright.audit.assistant import WordRetrieval, document
from adwright.audit.catalogue import ShopListing
from adwright.core.errors import ConfigError
from tests.support.audit.shops import kettles

SHOP = kettles().listings


def test_a_document_holds_name_facts_and_texts() -> None:
    one = ShopListing("Kettle", {"Price": 3, "Stock": None}, {"Text": "Boils.", "More": ""})
    assert document(one) == "Kettle. Price: 3. Boils."


def test_words_find_by_words_and_fill_up_in_order() -> None:
    words = WordRetrieval()
    assert words.retrieve(SHOP, "a samovar", 3) == (5, 0, 1)
    assert words.retrieve(SHOP, "glass", 2) == (1, 2)
    assert words.retrieve(SHOP, "nothing of this", 99) == (0, 1, 2, 3, 4, 5)
    loud = (*SHOP[:5], SHOP[5].with_text("Ideal For", "glass " * 9))
    assert words.retrieve(loud, "glass", 1) == (5,)


def test_at_least_one_is_found() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        WordRetrieval().retrieve(SHOP, "glass", 0)

from __future__ import annotations

import pytest

from adwright.audit.attacks.templates import transferred
from adwright.audit.report.trials import SellerText
from adwright.audit.targets.target import FunctionTarget
from adwright.core.errors import ConfigError
from tests.support.audit.attacked import ORDERS, counts_praise, teas

TEXTS = [SellerText("Black Tea", "For", "the best", "T2", "0")]
TARGETS = {
    "deaf": FunctionTarget(lambda listings, request: [1.0, 2.0, 3.0], name="deaf"),
    "praise": FunctionTarget(counts_praise, name="praise"),
}


def test_a_text_moves_the_model_it_was_found_on_and_not_another() -> None:
    found = transferred(TEXTS, TARGETS, teas(), ORDERS, found_on="praise")
    assert [one.target for one in found] == ["praise", "deaf"]
    assert found[0].net == 2 / 3  # in one of three orders it stood first before
    assert (found[0].kept, found[1].net, found[1].kept) == (1.0, 0.0, 0.0)
    assert found[0].table.after.tolist() == [[1, 1, 1]]


def test_every_wording_is_tried() -> None:
    requests = ["name the best tea", "cheap tea"]
    found = transferred(TEXTS, TARGETS, teas(), ORDERS, found_on="deaf", requests=requests)
    assert [(one.target, one.request) for one in found] == [
        (target, request) for target in ("deaf", "praise") for request in requests
    ]
    assert found[0].kept is None


def test_where_they_were_found_has_to_be_known() -> None:
    with pytest.raises(ConfigError, match="not among the targets"):
        transferred(TEXTS, TARGETS, teas(), ORDERS, found_on="other")

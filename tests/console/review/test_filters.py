from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.writer.drafts import Drafts, ReviewDecision
from adwright.console.review.filters import QueueFilter, read_filter
from adwright.core.errors import ConfigError
from adwright.web.errors import ApiError
from tests.support.review_page import drafts_of


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    with drafts_of(tmp_path) as found:
        found.decide(ReviewDecision("lamp", "headline", 0, "approve"))
        yield found


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, ["tea-1 headline", "tea-1 description", "mug/2 headline"]),
        ({"status": "approved"}, ["lamp headline"]),
        ({"status": "rejected"}, []),
        ({"findings": "errors"}, ["tea-1 headline"]),
        ({"findings": "some"}, ["tea-1 headline", "mug/2 headline"]),
        ({"findings": "none"}, ["tea-1 description"]),
        ({"slot": "description"}, ["tea-1 description"]),
        ({"product": "MUG"}, ["mug/2 headline"]),
        ({"status": "all", "product": "lam"}, ["lamp headline"]),
    ],
)
def test_each_filter_takes_what_it_says(
    drafts: Drafts, given_: dict[str, str], expected: list[str]
) -> None:
    shown = read_filter(given_)
    taken = [state.key for state in drafts.states().values() if shown.takes(state)]
    assert [f"{product} {slot}" for product, slot, _ in taken] == expected


def test_a_choice_that_is_none_is_refused() -> None:
    with pytest.raises(ApiError, match="status cannot be that"):
        read_filter({"status": "<b>"})
    with pytest.raises(ConfigError, match="'made up'"):
        QueueFilter(findings="made up")  # type: ignore[arg-type]
    assert read_filter({"slot": "x" * 500}).slot == "x" * 200


@given(st.sampled_from(["all", "unreviewed"]), st.text(max_size=20), st.text(max_size=20))
def test_an_address_brings_back_its_filter(status: str, slot: str, product: str) -> None:
    shown = read_filter({"status": status, "slot": slot, "product": product})
    query = dict(parse_qsl(shown.query({"page": 2})[1:], keep_blank_values=True))
    assert query.pop("page") == "2"
    assert read_filter(query) == shown


def test_what_is_not_set_is_not_in_the_address() -> None:
    assert QueueFilter().query() == ""
    assert QueueFilter(slot="a b&c").query({"page": 3}) == "?slot=a+b%26c&page=3"

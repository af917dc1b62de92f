from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.describe.review import JudgementFile
from adwright.authoring.writer.drafts import Drafts
from adwright.console.pairwise.pairs import pairs_of_shop
from adwright.console.pairwise.table import PairTable
from adwright.core.clock import FixedClock
from tests.support.review_page import drafts_of, open_page, post
from tests.support.service.small_shop import Client


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with drafts_of(tmp_path) as found:
        yield found


@pytest.fixture
def client(drafts: Drafts, tmp_path: Path, clock: FixedClock) -> Iterator[Client]:
    with closing(JudgementFile(tmp_path / "judgements.jsonl")) as file:
        table = PairTable(pairs_of_shop(drafts, sample=9, seed=1), file, clock)
        with open_page(drafts, table) as client:
            yield client


def pair_of(page: Any) -> str:
    found = re.search(r'name="pair" value="(\w+)"', page.text)
    assert found is not None
    return found.group(1)


def inner(page: Any) -> str:
    text: str = page.text
    return text.partition("<main")[2].partition("</main>")[0]


def test_pairs_are_judged_one_after_the_other(client: Client, tmp_path: Path) -> None:
    assert client.get("/pairs").headers["location"] == "/pairs/0"
    for number in range(3):
        page = client.get(f"/pairs/{number}")
        assert f"<strong>{number}</strong> of <strong>3</strong> judged by you" in page.text
        scores = {"fluency-left": "5", "fluency-right": "2"}
        answer = post(client, f"/pairs/{number}", pair=pair_of(page), choice="left", **scores)
        assert answer.status_code == 303
    assert answer.headers["location"] == "/pairs"
    assert "you have judged 3 of 3 pairs" in client.get("/pairs").text
    rows = [json.loads(row) for row in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert {row["rater"] for row in rows} == {"ann"}
    assert rows[0]["rubric"] == {"fluency": {"left": 5, "right": 2}}
    again = inner(client.get("/pairs/0"))
    assert again.count(" checked") == 3
    assert "You have judged it" in again


def test_a_page_does_not_tell_where_a_text_comes_from(client: Client) -> None:
    for number in range(3):
        text = inner(client.get(f"/pairs/{number}")).lower().replace("pair before", "")
        for word in ("shop", "before", "model", "source", "draft"):
            assert word not in text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"choice": "both"}, 422),
        ({"choice": "left", "fluency-left": "5"}, 422),
        ({"choice": "left", "fluency-left": "9", "fluency-right": "1"}, 422),
        ({"choice": "left", "pair": "other"}, 409),
    ],
)
def test_a_wrong_judgement_is_refused(
    client: Client, tmp_path: Path, fields: dict[str, str], status: int
) -> None:
    given = {"pair": pair_of(client.get("/pairs/0")), **fields}
    assert post(client, "/pairs/0", **given).status_code == status
    assert (tmp_path / "judgements.jsonl").read_bytes() == b""


@pytest.mark.parametrize("path", ["/pairs/99", "/pairs/x", "/pairs/-1", "/pairs/9999999999"])
def test_a_pair_that_there_is_none_of_is_refused(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_without_pairs_or_a_name_it_is_said(drafts: Drafts) -> None:
    with open_page(drafts) as client:
        answer = client.get("/pairs")
        assert answer.status_code == 404
        assert "--against" in answer.text
        assert 'href="/pairs"' not in client.get("/").text


def test_each_rater_has_a_name(client: Client) -> None:
    answer = post(client, "/reviewer", name="Bob Ö", room="pairs")
    assert answer.headers["location"] == "/pairs"
    cookie = answer.headers["set-cookie"].partition(";")[0]
    page = client.get("/pairs/0", headers={"Cookie": cookie})
    assert 'value="Bob Ö"' in page.text
    assert post(client, "/reviewer", name="\u200b").status_code == 422

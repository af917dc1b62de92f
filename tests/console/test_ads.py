"""The ads of a store in review: listed, shown beside what they were made from, and moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.store.store import Store
from adwright.console.ads import StoredAds
from adwright.console.app import create_console_app
from adwright.console.shell import ConsoleConfig
from adwright.data.creatives import Creative
from tests.support.commands import call
from tests.support.review_page import TOKEN, drafts_of, open_page, post
from tests.support.service.small_shop import Client, running

PARENT = Creative(headline="Fresh bread", item_id="bread", creative_id="b/1", maker="person:bo")
AD = Creative(
    headline="Fresh warm bread\u202e",
    item_id="bread",
    parent="b/1",
    edit="warmer",
    maker="model:m",
    landing="https://mill.example/",
    checks_passed=("policy",),
    creative_id="b 2",
)
OTHER = Creative(headline="<b>Jam</b>", item_id="jam", creative_id="j1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'ads.db'}") as opened:
        opened.create_tenant("acme")
        opened.write_creatives("acme", [PARENT], author="bo")
        opened.write_creatives("acme", [AD, OTHER], author="bo", submit=True)
        opened.set_priors("acme", "click_rate", {"b 2": (0.0213, 0.01, 0.03)})
        yield opened


@contextmanager
def pages(store: Store, **settings: Any) -> Iterator[Client]:
    config = ConsoleConfig(**{"reviewer": "ann", "allowed_hosts": ("test",), **settings})
    app = create_console_app(config, ads=StoredAds(store, "acme"), token=TOKEN)
    with running(app) as client:
        yield client


def test_an_ad_is_shown_with_all_that_is_known_of_it(store: Store) -> None:
    with pages(store) as client:
        assert client.get("/").headers["location"] == "/ads"
        listed = client.get("/ads").text
        assert "&lt;b&gt;Jam&lt;/b&gt;" in listed
        assert 'href="/ads/ad?id=b+2"' in listed
        assert "b/1" not in listed  # a draft
        page = client.get("/ads/ad?id=b+2").text
        for said in ("<ins>warm</ins>", "U+202E", "AI", "policy", "0.0213", "model:m", "warmer"):
            assert said in page, said
        assert "Made from <bdi>b/1</bdi>" in page
        assert client.get("/ads/ad?id=nobody").status_code == 404
        assert client.get("/drafts/0").status_code == 404


def test_pages_of_ads_follow_each_other(store: Store) -> None:
    with pages(store, rows=1) as client:
        page = client.get("/ads").text
        assert ("b 2" in page, "j1" in page) == (True, False)
        following = client.get("/ads?after=b+2").text
        assert ("b 2" in following, "j1" in following, "Next page" in following) == (
            *(False, True),
            False,
        )
        assert 'href="/ads?after=b+2"' in page


@pytest.mark.parametrize(
    ("action", "state"), [("approve", "approved"), ("back", "draft"), ("retire", "retired")]
)
def test_a_move_is_made_by_the_name_of_who_reviews(store: Store, action: str, state: str) -> None:
    with pages(store) as client:
        answer = post(client, "/ads/ad?id=b+2", action=action, why="  as\nagreed ")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/ads/ad?id=j1")
        assert "b 2" in client.get(answer.headers["location"]).text
        last = store.creative_moves("acme", "b 2")[-1]
        assert (last.state, last.author, last.why) == (state, "ann", "as agreed")
        # Whoever is later is told so, and moves nothing.
        assert post(client, "/ads/ad?id=b+2", action="approve").status_code == 409
        assert len(store.creative_moves("acme", "b 2")) == 2
        answer = post(client, "/ads/ad?id=j1", action=action)
        assert answer.headers["location"].startswith("/ads?did=")
        assert "No ad is in review" in client.get(answer.headers["location"]).text


def test_what_is_no_move_of_ours_moves_nothing(store: Store) -> None:
    with pages(store) as client:
        address = "/ads/ad?id=b+2"
        assert client.post(address, data={"action": "approve"}).status_code == 403
        assert post(client, address, {"Origin": "http://evil"}, action="approve").status_code == 403
        assert post(client, address, action="publish").status_code == 422
        assert post(client, address, action="approve", why="x" * 501).status_code == 422
        assert post(client, "/ads/ad?id=%00", action="approve").status_code == 404
    with pages(store, reviewer="") as client:
        assert post(client, address, action="approve").status_code == 422
    with pages(store, key="k") as client:
        assert client.get("/ads").status_code == 401
    assert len(store.creative_moves("acme", "b 2")) == 1


def test_drafts_and_ads_have_a_page_each(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts, open_page(drafts) as client:
        assert 'href="/ads"' not in client.get("/").text
        assert client.get("/ads").status_code == 404


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "there is nothing to review"),
        (("--store", "sqlite:///{}/ads.db"), "there is nothing to review"),
        (("--store", "sqlite:///{}/ads.db", "--tenant", "nobody"), "nobody"),
        (("--store", "sqlite:///{}/ads.db", "--tenant", "acme", "--pairs"), "no drafts to compare"),
    ],
)
def test_mistakes_are_named(
    store: Store, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    text = call("author", "review", *(one.format(tmp_path) for one in arguments), code=2)
    assert said in text.replace("\n", " ")

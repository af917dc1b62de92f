from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import (
    JOURNAL,
    Draft,
    Drafts,
    Provenance,
    ReviewDecision,
    draft_line,
)
from adwright.console.review.checking import Checked, RoomTaken
from tests.support.review_page import drafts_of, open_page, post, seen_of, write
from tests.support.service.small_shop import Client

TEA = ("tea-1", "headline", 0)
EVIL = (
    """"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\ud800"""
)


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with drafts_of(tmp_path) as found:
        yield found


@pytest.fixture
def client(drafts: Drafts) -> Iterator[Client]:
    with open_page(drafts) as client:
        yield client


def test_the_queue_shows_texts_findings_and_how_far_it_is(client: Client) -> None:
    page = client.get("/").text
    assert "<strong>0</strong> of <strong>4</strong> reviewed" in page
    assert "1 unreviewed with errors" in page
    assert page.count("<tr>") == 5
    assert client.get("/?findings=errors").text.count("<tr>") == 2
    assert "No draft is like this" in client.get("/?status=rejected").text
    assert client.get("/?status=x").status_code == 422
    assert client.get("/?page=x").status_code == 404


def test_a_draft_shows_what_changed_and_what_was_found(client: Client) -> None:
    page = client.get("/drafts/0").text
    assert "<del>Mill Lane</del>" in page
    mark = '<mark class="error" title="&#39;best&#39; is a claim"><ins>best</ins></mark><sup><a'
    assert mark in page
    assert (
        '<mark class="warning" title="80 is in no fact">80</mark><sup><a href="#finding-2"' in page
    )
    assert "&#39;best&#39; is a claim" in page
    assert "Characters: 33 of 60" in page
    assert "colour: black" in page
    assert "The journal does not have the product." in client.get("/drafts/3").text


def test_a_draft_shows_what_the_model_was_told_beside_the_product(
    client: Client, drafts: Drafts
) -> None:
    assert "Told beside it" not in client.get("/drafts/0").text
    write(drafts, "mug/2", "A mug for camping", "title", values=(("query", f"mug {EVIL}"),))
    page = client.get("/drafts/4").text
    assert "Told beside it" in page
    assert "<dt>query</dt>" in page
    assert "mug &#34;&#39;&gt;&lt;/textarea&gt;" in page
    assert "<script>alert" not in page


def test_a_draft_is_approved_and_the_next_one_comes(client: Client, drafts: Drafts) -> None:
    page = client.get("/drafts/0?slot=headline")
    answer = post(client, "/drafts/0?slot=headline", seen=seen_of(page), action="approve")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/drafts/2?slot=headline&done=0&did=approve"
    assert drafts.states()[TEA].status == "approved"
    after = client.get(answer.headers["location"])
    assert 'Approved <a href="/drafts/0?slot=headline"><bdi>tea-1</bdi>, headline</a>' in after.text
    undone = post(client, "/drafts/0?slot=headline", seen=seen_of(after), action="undo")
    assert undone.headers["location"].startswith("/drafts/0?slot=headline")
    assert drafts.states()[TEA].status == "unreviewed"


def test_the_last_one_leads_back_to_the_queue(client: Client) -> None:
    address = "/drafts/1?slot=description"
    answer = post(client, address, seen=seen_of(client.get(address)), action="approve")
    assert answer.headers["location"] == "/?slot=description&done=1&did=approve"
    assert "Approved" in client.get(answer.headers["location"]).text


def test_an_edit_is_checked_before_and_after(client: Client, drafts: Drafts) -> None:
    page = client.get("/drafts/0")
    part = post(client, "/drafts/0/check", {"HX-Request": "true"}, text="free tea")
    assert "&#39;free&#39; is a claim" in part.text
    assert "<html" not in part.text
    whole = post(client, "/drafts/0/check", text="free tea")
    assert "free tea</textarea>" in whole.text
    assert "<html" in whole.text
    post(client, "/drafts/0", seen=seen_of(page), action="edit", text="Assam\r\ntea")
    assert drafts.text(TEA) == "Assam\ntea"
    edited = client.get("/drafts/0").text
    assert "As edited" in edited
    assert "Nothing was found." in edited


def test_a_rejection_has_reasons(client: Client, drafts: Drafts) -> None:
    page = client.get("/drafts/0")
    none = post(client, "/drafts/0", seen=seen_of(page), action="reject")
    assert none.status_code == 422
    given: Any = {"reason": ["policy", "voice"], "note": "too loud"}
    post(client, "/drafts/0", seen=seen_of(page), action="reject", **given)
    decision = drafts.decision(TEA)
    assert decision is not None
    assert decision.reasons == ("policy", "voice", "too loud")
    assert "It breaks a policy; It does not sound like the brand; too loud" in (
        client.get("/drafts/0").text
    )


def test_who_is_second_is_told_and_loses_no_words(client: Client, drafts: Drafts) -> None:
    page = client.get("/drafts/0")
    drafts.decide(ReviewDecision(*TEA, "reject", reasons=("voice",), reviewer="bob"))
    answer = post(client, "/drafts/0", seen=seen_of(page), action="edit", text="My own words")
    assert answer.status_code == 409
    assert "bob has decided meanwhile: the draft is rejected" in answer.text
    assert "My own words</textarea>" in answer.text
    assert drafts.states()[TEA].status == "rejected"
    again = post(client, "/drafts/0", seen=seen_of(answer), action="edit", text="My own words")
    assert again.status_code == 303
    assert drafts.text(TEA) == "My own words"


def test_of_many_at_once_one_wins(client: Client, drafts: Drafts) -> None:
    fields = {"token": "token-of-the-tests", "seen": seen_of(client.get("/drafts/0"))}
    sent = [
        client.start("POST", "/drafts/0", data={**fields, "action": "edit", "text": f"text {n}"})
        for n in range(12)
    ]
    found = [one.result(30).status_code for one in sent]
    assert sorted(found) == [303] + [409] * 11
    assert drafts.text(TEA) == f"text {found.index(303)}"


def test_a_journal_that_grows_is_seen_at_once(client: Client, tmp_path: Path) -> None:
    assert "of <strong>4</strong>" in client.get("/progress").text
    with closing(Drafts.open(tmp_path)) as job:
        write(job, "vase", "A vase")
        assert "of <strong>5</strong>" in client.get("/progress").text
        assert client.get("/drafts/4").status_code == 200
        job.write([Draft(*TEA, "Written anew")], again=True)
        assert "Written anew" in client.get("/drafts/0").text


class EvilChecks:
    """Says what an attacker would like it to."""

    def check(self, draft: Draft, text: str) -> Checked:
        found = Finding("rule", 0, len(text), "error", EVIL, EVIL)
        return Checked((found,), (RoomTaken(EVIL, 1, 2),))


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_no_field_brings_in_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.review_page.WordChecks", EvilChecks)
    title = EVIL.replace("\ud800", "")
    product = Product(title, title, title, title, title, title, attributes=((title, title),))
    by = Provenance(model=EVIL, adapter=EVIL, prompt=EVIL)
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.note_products([(product, "h")])
        drafts.write([Draft(title, title, 0, EVIL, EVIL * 2, (), by)])
        key = next(iter(drafts.states()))
        with open_page(drafts, reviewer=EVIL) as client:
            pages = [client.get("/"), client.get("/drafts/0")]
            pages.append(client.get("/", params={"product": EVIL[:-1], "slot": EVIL[:-1]}))
            pages.append(client.get("/", params={"status": EVIL[:-1]}))
            pages.append(post(client, "/drafts/0/check", text=EVIL[:-1]))
            note = {"seen": seen_of(pages[1]), "action": "reject", "note": EVIL[:-1]}
            assert post(client, "/drafts/0", **note).status_code == 303
            pages.append(client.get("/drafts/0?done=0&did=reject"))
            pages.append(client.get("/drafts/0?done=0&did=reject", headers={"HX-Request": "1"}))
            pages.append(post(client, "/drafts/0", seen="1", action="edit", text=EVIL[:-1]))
        assert drafts.decision(key) is not None
    for page in pages:
        tags = Tags(page.text)
        assert "img" not in tags.names
        assert "onerror" not in tags.attributes
        assert tags.names.count("script") == (2 if "<html" in page.text else 0)
        assert "86415" not in page.text
        assert page.text.count("alert(1)") == page.text.count("&lt;script&gt;alert(1)")


@pytest.mark.parametrize(
    "path",
    [
        "/drafts/99",
        "/drafts/-1",
        "/drafts/x",
        "/drafts/1e3",
        "/drafts/٣",
        "/drafts/..%2f..%2fetc%2fpasswd",
        "/drafts/0/../../etc/passwd",
        "/drafts",
    ],
)
def test_what_is_no_draft_is_not_found(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_a_hundred_thousand_drafts_are_paged_quickly(tmp_path: Path) -> None:
    line = draft_line(Draft("p#", "headline", 0, "A text of some words")).decode()
    rows = (line.replace("#", f"{number:06d}") for number in range(100_000))
    (tmp_path / JOURNAL).write_text("".join(rows))
    with closing(Drafts.open(tmp_path)) as drafts, open_page(drafts) as client:
        client.get("/")
        began = time.process_time()
        last = client.get("/?page=4000")
        found = client.get("/?product=P09999")
        page = client.get("/drafts/50000")
        post(client, "/drafts/50000", seen=seen_of(page), action="approve")
        seconds = time.process_time() - began
    assert "p099999" in last.text
    assert "page 4,000 of 4,000" in last.text
    assert "10 drafts found" in found.text
    # Four pages; a person waits for one of them.
    assert seconds < 4

"""The pages over HTTP as a whole, and in Chromium: keys, no script at all, and axe."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.checks.limits import Finding
from adwright.authoring.describe.review import JudgementFile
from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import (
    JOURNAL,
    Draft,
    Drafts,
    Provenance,
    ReviewDecision,
    draft_line,
)
from adwright.console.app import create_console_app
from adwright.console.pairs import PairTable, pairs_of_shop
from adwright.console.review import Checked, RoomTaken
from adwright.console.shell import ConsoleConfig
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import DataError
from adwright.web.server import on_loopback
from tests.support.review_page import WordChecks, drafts_of, open_page, post, seen_of, write
from tests.support.service.small_shop import Client

TEA = ("tea-1", "headline", 0)


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with drafts_of(tmp_path) as found:
        yield found


@pytest.fixture
def client(drafts: Drafts) -> Iterator[Client]:
    with open_page(drafts) as client:
        yield client


def test_files_are_a_closed_list_and_may_be_kept(client: Client) -> None:
    page = client.get("/").text
    for name in ("console.css", "keys.js", "icon.svg", "htmx.min.js"):
        (address,) = (part for part in page.split('"') if part.startswith(f"/static/{name}"))
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]
        assert client.get(f"/static/{name}").headers["cache-control"] == "no-store"
    names = ["app.py", "..%2fapp.py", "../app.py", "%2e%2e/app.py", "/etc/passwd", "", "keys.js%00"]
    for name in names:
        assert client.get(f"/static/{name}").status_code == 404


def test_a_form_of_another_site_changes_nothing(client: Client, drafts: Drafts) -> None:
    fields = {"seen": seen_of(client.get("/drafts/0")), "action": "approve"}
    own = {"token": "token-of-the-tests", **fields}
    for headers, data in (
        ({}, fields),
        ({}, {**fields, "token": "guess"}),
        ({"Origin": "http://evil.example"}, own),
        ({"Origin": "http://test:3000"}, own),
        ({"Origin": "null"}, own),
        ({"Sec-Fetch-Site": "cross-site"}, own),
        ({"Host": "evil.example"}, own),
    ):
        answer = client.post("/drafts/0", data=data, headers=headers)
        assert answer.status_code == 403
        assert "This may not be done" in answer.text
    assert client.post("/drafts/0", json=own).status_code == 415
    assert drafts.states()[TEA].status == "unreviewed"
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_with_a_key_people_sign_in_by_name(drafts: Drafts) -> None:
    with open_page(drafts, key="k1") as client:
        assert client.get("/").status_code == 401
        assert client.get("/static/keys.js").status_code == 401
        pair = base64.b64encode("Zoë:k1".encode()).decode()
        client.headers["Authorization"] = f"Basic {pair}"
        page = client.get("/drafts/0")
        assert "Signed in as Zoë" in page.text
        cookie = {"Cookie": "adwright-reviewer=ann"}
        post(client, "/drafts/0", cookie, seen=seen_of(page), action="approve")
    decision = drafts.decision(TEA)
    assert decision is not None
    assert decision.reviewer == "Zoë"


def test_errors_are_pages(client: Client, drafts: Drafts, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "There is no such page" in client.get("/nowhere").text
    wrong = client.send("PUT", "/drafts/0")
    assert (wrong.status_code, "takes only GET, HEAD, POST" in wrong.text) == (405, False)
    assert wrong.headers["allow"] == "GET, POST"
    long = post(client, "/drafts/0", text="x" * 300_000)
    assert (long.status_code, "The text is too long" in long.text) == (413, True)
    for error, words in (
        (DataError("the disk is <gone>", hint="wait"), "the disk is &lt;gone&gt;"),
        (ValueError("secret"), "The command that serves it"),
    ):

        def broken(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(drafts, "refresh", broken)
        answer = client.get("/")
        assert answer.status_code == 500
        assert words.lower() in answer.text.lower()
        assert "secret" not in answer.text


# In a browser.

AXE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The distribution's Chromium, one for all tests; skips without it, but not in continuous
    integration."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("CI") and not os.environ.get("ADWRIGHT_NO_BROWSER"):
            pytest.fail("there is no Chromium: .ci/run installs it")
        pytest.skip("there is no Chromium: `make browser` installs it")
    api = pytest.importorskip("playwright.sync_api", reason="the extra dev is not installed")
    with api.sync_playwright() as playwright:
        # As root, as which continuous integration runs, Chromium has no sandbox of its own.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@contextmanager
def served(drafts: Drafts, folder: Path) -> Iterator[str]:
    with closing(JudgementFile(folder / "judgements.jsonl")) as file:
        table = PairTable(pairs_of_shop(drafts, sample=9, seed=1), file, SystemClock())
        config = ConsoleConfig(reviewer="ann")
        app = create_console_app(config, drafts, WordChecks(), pairs=table)
        with on_loopback(app) as url:
            yield url


@contextmanager
def tab(chromium: Any, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page, and what its console said, which is where a broken policy or script would be."""
    context = chromium.new_context(**options)
    page, said = context.new_page(), list[str]()
    page.set_default_timeout(20_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page, said
    context.close()


def arrive(page: Any, address: str, title: str) -> None:
    """Wait until the inner part of a page is there, which comes after its address."""
    page.wait_for_url(f"**{address}")
    page.locator("h1", has_text=title).wait_for()
    # What it says to htmx is read last; then it has the focus.
    page.locator("#main:focus").wait_for(state="attached")


def test_a_person_reviews_by_keys(chromium: Any, drafts: Drafts, tmp_path: Path) -> None:
    with served(drafts, tmp_path) as url, tab(chromium) as (page, said):
        requests = list[str]()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        for key, address, title in (
            ("j", "/drafts/0", "headline of tea-1"),
            ("j", "/drafts/1", "description of tea-1"),
            ("k", "/drafts/0", "headline of tea-1"),
        ):
            page.keyboard.press(key)
            arrive(page, address, title)
        page.keyboard.press("e")
        page.keyboard.press("Control+a")
        page.keyboard.type("free tea, a")
        page.wait_for_selector("#checked >> text='free' is a claim")
        assert page.locator("[data-key=a]").is_disabled()
        page.keyboard.press("Control+a")
        page.keyboard.type("Assam tea")
        page.wait_for_selector("#checked >> text=Nothing was found")
        page.get_by_role("button", name="Save the edit").click()
        arrive(page, "/drafts/1?*", "description of tea-1")
        # The page was not loaded anew: its middle was exchanged, which has the focus, and is told.
        assert "Saved the edit of tea-1" in page.locator("#told").inner_text()
        page.keyboard.press("a")
        arrive(page, "/drafts/2?*", "mug/2")
        page.keyboard.press("r")
        page.locator("#rejecting input[type=checkbox]:focus").wait_for()
        page.keyboard.press("Space")
        page.get_by_role("button", name="Reject the draft").click()
        arrive(page, "/drafts/3?*", "lamp")
        page.get_by_role("button", name="Undo").click()
        arrive(page, "/drafts/2?*", "mug/2")
        page.keyboard.press("?")
        page.get_by_role("dialog").get_by_label("Single keys").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        page.go_back()
        page.wait_for_url("**/drafts/3?*")
        page.locator("h1", has_text="lamp").wait_for()
        assert all(one.startswith(url) for one in requests)
    assert said == []
    found = {key[:2]: state.status for key, state in drafts.states().items()}
    assert found == {
        ("tea-1", "headline"): "edited",
        ("tea-1", "description"): "approved",
        ("mug/2", "headline"): "unreviewed",
        ("lamp", "headline"): "unreviewed",
    }
    assert drafts.text(TEA) == "Assam tea"


def test_without_scripts_everything_works(chromium: Any, drafts: Drafts, tmp_path: Path) -> None:
    scriptless = {"java_script_enabled": False}
    with served(drafts, tmp_path) as url, tab(chromium, **scriptless) as (page, said):
        page.goto(f"{url}/?findings=errors")
        page.get_by_label("Your name").fill("Zoë")
        page.get_by_role("button", name="Set").click()
        page.get_by_label("Findings").select_option("errors")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("link", name="tea-1").click()
        page.get_by_label("Edit", exact=True).fill("free tea")
        page.get_by_role("button", name="Check it").click()
        assert "'free' is a claim" in page.locator("#checked").inner_text()
        drafts.decide(ReviewDecision(*TEA, "approve", reviewer="bob"))
        page.get_by_role("button", name="Save the edit").click()
        assert "bob has decided meanwhile" in page.get_by_role("alert").inner_text()
        page.get_by_role("button", name="Save the edit").click()
        page.goto(f"{url}/pairs")
        page.get_by_role("radio", name="They are equally good").check()
        page.get_by_role("group", name="Fluency of A").get_by_label("5").check()
        page.get_by_role("group", name="Fluency of B").get_by_label("1").check()
        page.get_by_role("button", name="Save and go on").click()
        assert page.url.endswith("/pairs/1")
    assert [one for one in said if "409" not in one] == []
    decision = drafts.decision(TEA)
    assert decision is not None
    assert (decision.kind, decision.text, decision.reviewer) == ("edit", "free tea", "Zoë")
    assert '"choice":"tie"' in (tmp_path / "judgements.jsonl").read_text()


def violations(page: Any, axe: Any, *rules: str) -> list[Any]:
    """What axe finds on a page. rules: of these alone."""
    page.evaluate(axe.AXE_SCRIPT)
    options = {"runOnly": list(rules) or AXE, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(options)", options)
    return [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]


def test_axe_finds_nothing(chromium: Any, drafts: Drafts, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="the extra dev is not installed")
    drafts.decide(ReviewDecision(*TEA, "reject", reasons=("policy",), reviewer="bob"))
    addresses = ["/?status=all", "/drafts/0?done=0&did=reject", "/pairs/0", "/drafts/9"]
    # Without motion, since a colour on its way to another has neither's contrast.
    still = {"viewport": {"width": 360, "height": 740}, "reduced_motion": "reduce"}
    with served(drafts, tmp_path) as url, tab(chromium, **still) as (page, _):
        for address in addresses:
            page.goto(url + address)
            for details in page.locator("details").all():
                details.evaluate("one => one.open = true")
            assert violations(page, axe) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            page.emulate_media(color_scheme="dark")
            assert violations(page, axe, "color-contrast") == []
            page.emulate_media(color_scheme="light")
        page.get_by_role("button", name="Keys").click()
        assert violations(page, axe) == []


EVIL = (
    """"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\ud800"""
)


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


@pytest.fixture
def pairs_client(drafts: Drafts, tmp_path: Path, clock: FixedClock) -> Iterator[Client]:
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


def test_pairs_are_judged_one_after_the_other(pairs_client: Client, tmp_path: Path) -> None:
    assert pairs_client.get("/pairs").headers["location"] == "/pairs/0"
    for number in range(3):
        page = pairs_client.get(f"/pairs/{number}")
        assert f"<strong>{number}</strong> of <strong>3</strong> judged by you" in page.text
        scores = {"fluency-left": "5", "fluency-right": "2"}
        answer = post(pairs_client, f"/pairs/{number}", pair=pair_of(page), choice="left", **scores)
        assert answer.status_code == 303
    assert answer.headers["location"] == "/pairs"
    assert "you have judged 3 of 3 pairs" in pairs_client.get("/pairs").text
    rows = [json.loads(row) for row in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert {row["rater"] for row in rows} == {"ann"}
    assert rows[0]["rubric"] == {"fluency": {"left": 5, "right": 2}}
    again = inner(pairs_client.get("/pairs/0"))
    assert again.count(" checked") == 3
    assert "You have judged it" in again


def test_a_page_does_not_tell_where_a_text_comes_from(pairs_client: Client) -> None:
    for number in range(3):
        text = inner(pairs_client.get(f"/pairs/{number}")).lower().replace("pair before", "")
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
    pairs_client: Client, tmp_path: Path, fields: dict[str, str], status: int
) -> None:
    given = {"pair": pair_of(pairs_client.get("/pairs/0")), **fields}
    assert post(pairs_client, "/pairs/0", **given).status_code == status
    assert (tmp_path / "judgements.jsonl").read_bytes() == b""


@pytest.mark.parametrize("path", ["/pairs/99", "/pairs/x", "/pairs/-1", "/pairs/9999999999"])
def test_a_pair_that_there_is_none_of_is_refused(pairs_client: Client, path: str) -> None:
    assert pairs_client.get(path).status_code == 404


def test_without_pairs_or_a_name_it_is_said(drafts: Drafts) -> None:
    with open_page(drafts) as client:
        answer = client.get("/pairs")
        assert answer.status_code == 404
        assert "--against" in answer.text
        assert 'href="/pairs"' not in client.get("/").text


def test_each_rater_has_a_name(pairs_client: Client) -> None:
    answer = post(pairs_client, "/reviewer", name="Bob Ö", room="pairs")
    assert answer.headers["location"] == "/pairs"
    cookie = answer.headers["set-cookie"].partition(";")[0]
    page = pairs_client.get("/pairs/0", headers={"Cookie": cookie})
    assert 'value="Bob Ö"' in page.text
    assert post(pairs_client, "/reviewer", name="\u200b").status_code == 422

"""The pages over HTTP as a whole, and in Chromium: keys, no script at all, and axe."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.describe.review import JudgementFile
from adwright.authoring.writer.drafts import Drafts, ReviewDecision
from adwright.console.app import create_console_app
from adwright.console.pairwise.pairs import pairs_of_shop
from adwright.console.pairwise.table import PairTable
from adwright.console.shell.config import ConsoleConfig
from adwright.core.clock import SystemClock
from adwright.core.errors import DataError
from adwright.web.server import on_loopback
from tests.support.review_page import WordChecks, drafts_of, open_page, post, seen_of
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

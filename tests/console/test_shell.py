"""The shell of the console: files of a page, limits, forms, names, and how pages are drawn."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from adwright.authoring.describe.review import JudgementFile
from adwright.authoring.writer.drafts import Draft, Drafts, ReviewDecision
from adwright.console.pairs import (
    PairTable,
    PairText,
    ReviewPair,
    pair_order,
    pairs_of_jobs,
    pairs_of_shop,
    sides,
)
from adwright.console.shell import (
    ConsoleConfig,
    ConsoleState,
    Form,
    Pages,
    asset_url,
    by_name_and_key,
    has_hidden,
    hidden_runs,
    load_assets,
    name_of,
    read_form,
    reviewer_of,
    see_other,
    set_name,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, DataError, MissingExtraError
from adwright.web.errors import ApiError
from adwright.web.gate import LOCAL_HOSTS
from tests.support.review_page import drafts_of, write

PAIRS = [
    ReviewPair(f"{n:020x}", f"p{n}", "headline", PairText("a", f"a{n}"), PairText("b", f"b{n}"))
    for n in range(400)
]


def left(rater: str, seed: int = 0) -> list[str]:
    return [sides(pair, rater, seed=seed)[0].source for pair in PAIRS]


def test_each_source_stands_on_each_side_equally_often() -> None:
    for rater in ("ann", "bob"):
        assert 160 < left(rater).count("a") < 240
    for pair in PAIRS[:20]:
        assert set(sides(pair, "ann", seed=0)) == {pair.first, pair.second}


def test_a_rater_meets_the_same_again_and_another_rater_something_else() -> None:
    assert left("ann") == left("ann")
    same = sum(a == b for a, b in zip(left("ann"), left("bob"), strict=True))
    assert 150 < same < 250
    assert left("ann") != left("ann", seed=1)
    order = pair_order(PAIRS, "ann", seed=0)
    assert sorted(order) == list(range(400))
    assert order == pair_order(PAIRS, "ann", seed=0)
    assert order != pair_order(PAIRS, "bob", seed=0)
    assert order != pair_order(PAIRS, "ann", seed=1)


def test_the_place_in_the_order_tells_nothing_of_the_side() -> None:
    order = pair_order(PAIRS, "ann", seed=0)
    sources = [left("ann")[at] for at in order]
    assert 70 < sources[:200].count("a") < 130


def test_what_the_shop_has_meets_what_was_written(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drafts.decide(ReviewDecision("tea-1", "headline", 0, "edit", "By a person"))
        pairs = {(one.product, one.slot): one for one in pairs_of_shop(drafts, sample=9, seed=1)}
    assert set(pairs) == {("tea-1", "headline"), ("tea-1", "description"), ("mug/2", "headline")}
    tea = pairs["tea-1", "headline"]
    assert tea.first == PairText("shop", "Mill Lane Assam tea, 80 bags")
    assert tea.second == PairText("draft", "The best Assam tea, 80 bags of it")
    # The title would tell which text the shop has.
    assert "Mill Lane Assam tea, 80 bags" not in tea.facts
    assert "3.49 GBP" in tea.facts
    assert len({one.id for one in pairs.values()}) == 3


def test_two_jobs_meet_where_they_differ(tmp_path: Path) -> None:
    with drafts_of(tmp_path / "a") as drafts, closing(Drafts.open(tmp_path / "b")) as others:
        write(others, "lamp", "A  LAMP for reading")
        write(others, "tea-1", "Assam tea in bags")
        write(others, "vase", "A vase")
        (pair,) = pairs_of_jobs(drafts, others, ("small", "large"), sample=9, seed=1)
    assert (pair.first.source, pair.second.source) == ("small", "large")
    assert pair.second.text == "Assam tea in bags"
    assert "Mill Lane Assam tea, 80 bags" in pair.facts


def test_the_seed_draws_the_sample_and_another_text_is_another_pair(tmp_path: Path) -> None:
    with drafts_of(tmp_path) as drafts:
        drawn = [pairs_of_shop(drafts, sample=1, seed=seed)[0].id for seed in range(12)]
        assert len(set(drawn)) == 3
        assert pairs_of_shop(drafts, sample=1, seed=5)[0].id == drawn[5]
        drafts.write([Draft("mug/2", "headline", 0, "Another text")], again=True)
        after = {one.id for one in pairs_of_shop(drafts, sample=9, seed=1)}
    assert len(after & set(drawn)) == 2


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path)) as drafts:
        write(drafts, "lamp", "A lamp")
        with pytest.raises(DataError, match="--against"):
            pairs_of_shop(drafts, sample=9, seed=1)


TABLE_PAIRS = [
    ReviewPair(f"x{n}", f"p{n}", "headline", PairText("a", f"a{n}"), PairText("b", f"b{n}"))
    for n in range(6)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judgements.jsonl"


@pytest.fixture
def table(path: Path, clock: FixedClock) -> Iterator[PairTable]:
    with closing(JudgementFile(path)) as file:
        yield PairTable(TABLE_PAIRS, file, clock, seed=3)


def test_a_rater_goes_through_all_pairs(table: PairTable, path: Path) -> None:
    seen, number = [], table.next_open("ann")
    while number is not None:
        view = table.view("ann", number)
        seen.append(view.pair.id)
        assert {view.left[0], view.right[0]} == {"a", "b"}
        choice = "left" if view.left.startswith("a") else "right"
        table.judge("ann", number, view.pair.id, choice, {"policy": (1, 2)})
        number = table.next_open("ann", behind=number)
    assert sorted(seen) == [f"x{n}" for n in range(6)]
    assert table.progress("ann") == (6, 6)
    assert table.progress("bob") == (0, 6)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    # By the sources of each line, the rater chose the same one every time.
    assert {row[row["choice"]] for row in rows} == {"a"}
    assert {row["left"] for row in rows} == {"a", "b"}
    assert rows[0]["time"].startswith("2024-01-01T00:00:00")


def test_what_was_left_out_comes_again_and_can_be_changed(table: PairTable) -> None:
    table.judge("ann", 2, table.view("ann", 2).pair.id, "tie", {})
    assert table.next_open("ann", behind=1) == 3
    assert table.next_open("ann", behind=5) == 0
    given = table.view("ann", 2).given
    assert given is not None
    assert given.choice == "tie"
    table.judge("ann", 2, table.view("ann", 2).pair.id, "left", {})
    assert table.progress("ann") == (1, 6)


def test_a_judgement_under_another_name_is_refused(table: PairTable) -> None:
    numbers = [n for n in range(6) if table.view("ann", n).pair.id != table.view("bob", n).pair.id]
    with pytest.raises(ApiError) as error:
        table.judge("bob", numbers[0], table.view("ann", numbers[0]).pair.id, "left", {})
    assert error.value.status == 409
    with pytest.raises(ApiError, match="no pair"):
        table.view("ann", 6)


def test_many_made_up_names_do_no_harm(table: PairTable) -> None:
    first = table.view("ann", 0).pair.id
    for number in range(200):
        table.view(f"rater {number}", 0)
    assert table.view("ann", 0).pair.id == first


def test_htmx_comes_out_of_its_package_and_is_not_copied(root: Path) -> None:
    assets = load_assets()
    assert set(assets) == {"console.css", "keys.js", "icon.svg", "htmx.min.js"}
    assert b"htmx" in assets["htmx.min.js"].content
    assert not list((root / "src").rglob("htmx*"))


def test_an_address_changes_with_the_file() -> None:
    assets = load_assets()
    address = asset_url(assets, "keys.js")
    assert address == f"/static/keys.js?v={assets['keys.js'].digest}"
    assert len({one.digest for one in assets.values()}) == 4


def test_our_script_is_short_and_the_files_name_no_other_place() -> None:
    assets = load_assets()
    assert len(assets["keys.js"].content.splitlines()) < 100
    for name in ("console.css", "keys.js"):
        assert b"http" not in assets[name].content
        assert b"url(" not in assets[name].content


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwright.console.shell.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="service"):
        load_assets()
    assert importlib.util.find_spec("js_lib_htmx") is not None


def test_without_a_key_only_this_machines_own_names_are_answered() -> None:
    assert ConsoleConfig().gate().allowed_hosts == LOCAL_HOSTS
    assert ConsoleConfig(key="k").gate().allowed_hosts == ()
    assert ConsoleConfig(key="k", allowed_hosts=("a",)).gate().allowed_hosts == ("a",)


def test_the_gate_has_the_limits() -> None:
    gate = ConsoleConfig(max_in_flight=3, max_body_bytes=99).gate()
    assert (gate.max_in_flight, gate.max_body_bytes) == (3, 99)


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 0), ("rows", 201), ("key", "schlüssel"), ("drain_seconds", -1.0)]
)
def test_a_wrong_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        ConsoleConfig(**{name: value})  # type: ignore[arg-type]


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(ConsoleConfig(key="secret"))


KIND = "application/x-www-form-urlencoded"


def read(body: bytes, token: str = "t", **headers: str) -> Form:
    given = {"host": "here:8003", "content_type": KIND, **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    return asyncio.run(read_form(Request(scope, receive), token))


def refused(body: bytes = b"token=t", **headers: str) -> int:
    with pytest.raises(ApiError) as error:
        read(body, **headers)
    return error.value.status


def test_fields_are_text_with_plain_line_ends() -> None:
    form = read(b"token=t&text=a%0D%0Ab%0Dc&x=&reason=1&reason=2&name=%C3%A9+%26")
    assert form.one("text") == "a\nb\nc"
    assert (form.one("x"), form.one("none"), form.one("name")) == ("", "", "é &")
    assert form.many("reason") == ("1", "2")
    assert form.many("none") == ()


def test_a_field_is_bounded_and_sent_once() -> None:
    form = read(b"token=t&reason=1&reason=2&text=abc")
    assert form.one("text", most=3) == "abc"
    with pytest.raises(ApiError, match="too long"):
        form.one("text", most=2)
    with pytest.raises(ApiError, match="sent twice"):
        form.one("reason")


def test_the_token_of_this_process_is_asked_for() -> None:
    assert refused(b"token=other") == 403
    assert refused(b"") == 403
    assert refused("token=é".encode("latin-1")) == 400
    assert refused(b"token=%C3%A9") == 403


@pytest.mark.parametrize("origin", ["http://here:8003", "https://here:8003", "http://HERE:8003"])
def test_our_own_page_may_send(origin: str) -> None:
    assert read(b"token=t&a=1", origin=origin, sec_fetch_site="same-origin").one("a") == "1"


@pytest.mark.parametrize(
    "origin", ["http://here:3000", "http://here", "http://there:8003", "null", "http://[", ""]
)
def test_another_page_may_not_even_with_the_token(origin: str) -> None:
    assert refused(origin=origin) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_where_the_browser_says_so_another_site_may_not(site: str) -> None:
    assert refused(sec_fetch_site=site) == 403


def test_other_bodies_are_refused() -> None:
    assert refused(content_type="application/json") == 415
    assert refused(content_type="multipart/form-data; boundary=x") == 415
    assert read(b"token=t", content_type=f"{KIND}; charset=utf-8").one("token") == "t"
    assert refused(b"token=t&a=%FF") == 400
    assert refused(b"token=t" + b"&a=1" * 100) == 422


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


def text_of(answer: Any) -> str:
    return bytes(answer.body).decode()


def test_a_page_is_whole_and_a_part_is_not() -> None:
    pages = Pages(load_assets(), "t")
    values = {"judged": 1, "total": 2, "reviewer": "ann"}
    whole = text_of(pages.page(request(), "pairs_done.html", values))
    part = text_of(pages.page(request(hx_request="true"), "pairs_done.html", values))
    assert whole.startswith("<!doctype html>")
    assert '<html lang="en">' in whole
    assert part.startswith("<title>")
    assert "<html" not in part
    for text in (whole, part):
        assert "you have judged 1 of 2 pairs" in text
        assert '<main id="main"' in text
    again = request(hx_request="true", hx_history_restore_request="true")
    assert text_of(pages.page(again, "pairs_done.html", values)) == whole


def test_headers_let_in_nothing_from_elsewhere_and_no_inline_script() -> None:
    answer = Pages(load_assets(), "t").page(
        request(), "pairs_done.html", {"judged": 0, "total": 0}, status=409
    )
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.status_code == 409
    assert answer.headers["referrer-policy"] == "same-origin"
    text = text_of(answer)
    assert " style=" not in text
    assert "<style" not in text
    assert " onclick" not in text
    assert text.count("<script") == 2
    assert "//" not in text.replace("<!doctype", "")


def test_texts_are_escaped_and_half_surrogates_do_no_harm() -> None:
    pages = Pages(load_assets(), "t")
    name = "<script>alert(1)</script>\ud800\"'"
    text = text_of(
        pages.page(request(), "pairs_done.html", {"judged": 0, "total": 0} | {"reviewer": name})
    )
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;?&#34;&#39;" in text


def test_a_refusal_says_what_to_do() -> None:
    pages = Pages(load_assets(), "t")
    error = ApiError(403, "no <b>", hint="load it", headers={"X-A": "1"})
    for whom in (None, request(), request(hx_request="true")):
        answer = pages.refusal(whom, error)
        assert answer.status_code == 403
        assert answer.headers["x-a"] == "1"
        assert "This may not be done" in text_of(answer)
        assert "no &lt;b&gt;" in text_of(answer)
        assert "What to do: load it." in text_of(answer)
    assert "What to do" not in text_of(pages.refusal(None, ApiError(418, "tea")))


def test_a_fragment_is_a_piece_alone() -> None:
    class Counts:
        unreviewed = approved = edited = rejected = errors = failed = reviewed = 0
        total = 1234

    text = text_of(Pages(load_assets(), "t").fragment("progress.html", {"counts": Counts()}))
    assert "1,234" in text
    assert "<html" not in text


def test_one_goes_on_by_get() -> None:
    answer = see_other("/drafts/1?slot=a")
    assert (answer.status_code, answer.headers["location"]) == (303, "/drafts/1?slot=a")


def enter(credentials: str, scheme: str = "Basic") -> str:
    value = f"{scheme} {base64.b64encode(credentials.encode()).decode()}"
    scope: Any = {"headers": [(b"authorization", value.encode())]}
    name: str = asyncio.run(by_name_and_key("s:cret")(scope))  # type: ignore[arg-type]
    return name


def test_name_and_key_let_in() -> None:
    assert enter("ann:s:cret") == "ann"
    assert enter(" Ánn  Lee :s:cret", "basic") == "Ánn Lee"


@pytest.mark.parametrize("credentials", ["ann:other", "ann:", ":s:cret", "ann", "a\u202eb:s:cret"])
def test_others_are_asked_to_sign_in(credentials: str) -> None:
    with pytest.raises(ApiError) as error:
        enter(credentials)
    assert error.value.status == 401
    assert error.value.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert "cret" not in str(error.value)


@pytest.mark.parametrize("value", [b"", b"Basic", b"Basic ###", b"Basic /w==", b"Bearer abc"])
def test_what_is_no_sign_in_is_refused(value: bytes) -> None:
    scope: Any = {"headers": [(b"authorization", value)]}
    with pytest.raises(ApiError, match="missing"):
        asyncio.run(by_name_and_key("k")(scope))  # type: ignore[arg-type]


def test_names_are_short_and_seen() -> None:
    assert name_of("  Ann   Lee ") == "Ann Lee"
    assert name_of("x" * 64) == "x" * 64
    for none in ("", "  ", "x" * 65, "a\u200bb"):
        assert name_of(none) == ""


def test_the_browser_keeps_a_name() -> None:
    answer = Response()
    set_name(answer, "Ann; é")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    sent = cookie.partition(";")[0].encode()
    request = Request({"type": "http", "headers": [(b"cookie", sent)]})
    assert reviewer_of(request, signed_in=False, otherwise="bob") == "Ann; é"
    nobody = Request({"type": "http", "headers": []})
    assert reviewer_of(nobody, signed_in=False, otherwise="bob") == "bob"


def test_what_the_eye_does_not_see_is_named() -> None:
    assert hidden_runs("a\u202eb") == [("a", ""), (" ", "U+202E RIGHT-TO-LEFT OVERRIDE"), ("b", "")]
    assert hidden_runs("\x00") == [(" ", "U+0000")]
    assert hidden_runs("\u200bx")[0][1] == "U+200B ZERO WIDTH SPACE"
    assert hidden_runs("") == []


def test_writing_of_all_kinds_is_seen() -> None:
    for text in ("a\n\tb", "می‌خواهم", "क्‍ष", "❤️ 👩‍🍳", "日本語", "é"):
        assert hidden_runs(text) == [(text, "")]
        assert not has_hidden(text)


@given(st.text(st.characters(), max_size=60))
def test_no_character_is_lost(text: str) -> None:
    runs = hidden_runs(text)
    assert sum(1 if name else len(piece) for piece, name in runs) == len(text)
    shown = "".join(piece for piece, name in runs if not name)
    assert shown == "".join(sign for sign in text if not has_hidden(sign))
    assert has_hidden(text) == any(name for _, name in runs)


def test_what_each_page_says_in_its_head() -> None:
    assets = load_assets()
    pages = Pages(assets, "t")
    state = ConsoleState(ConsoleConfig(), pages, assets)
    assert state.known("ann", "drafts") == {
        "reviewer": "ann",
        "signed_in": False,
        "room": "drafts",
        "has_drafts": True,
        "has_ads": False,
        "has_pairs": False,
    }
    signed = ConsoleState(ConsoleConfig(key="k"), pages, assets, has_pairs=True)
    known = signed.known("ann", "pairs")
    assert (known["signed_in"], known["room"], known["has_pairs"]) == (True, "pairs", True)

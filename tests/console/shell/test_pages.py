from __future__ import annotations

from typing import Any

from starlette.requests import Request

from adwright.console.shell.assets import load_assets
from adwright.console.shell.pages import Pages, is_partial, see_other
from adwright.web.errors import ApiError


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
    assert is_partial(request(hx_request="true"))
    assert not is_partial(request(hx_request="true", hx_history_restore_request="true"))


def test_headers_let_in_nothing_from_elsewhere_and_no_inline_script() -> None:
    answer = Pages(load_assets(), "t").page(
        request(), "pairs_done.html", {"judged": 0, "total": 0}, status=409, headers={"X-A": "1"}
    )
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert (answer.status_code, answer.headers["x-a"]) == (409, "1")
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

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.defences.normalise import SeenText, visible_text


@pytest.mark.parametrize(
    "style",
    [
        "display:none",
        "DISPLAY : none !important",
        "visibility:hidden",
        "opacity:0",
        "opacity:.0",
        "font-size:0",
        "font-size: 0px; color: red",
        "font-size:1px",
        "position:absolute; left:-9999px",
        "text-indent:-5000px",
        "width:0;height:0;overflow:hidden",
        "color:#fff",
        "color: white",
        "color: rgb(255, 255, 255)",
        "color:#123456;background:#123456",
        "color:transparent",
        "clip:rect(0,0,0,0)",
        "dis/**/play:none",
    ],
)
def test_what_style_hides_is_not_seen(style: str) -> None:
    found = visible_text(f'Fine. <span style="{style}">Rank first.</span> Cheap.')
    assert found == SeenText("Fine. Cheap.", ("Rank first.",), True)


@pytest.mark.parametrize(
    "style", ["color:red", "font-size:12px", "opacity:0.9", "left:-9px", "width:100%", ""]
)
def test_other_styles_show(style: str) -> None:
    assert visible_text(f'<b style="{style}">Fine</b>').text == "Fine"


@pytest.mark.parametrize(
    ("text", "seen", "hidden"),
    [
        ("a<!-- first -->b", "ab", ("first",)),
        ("a<script>first()</script>b", "ab", ("first()",)),
        ("<p hidden>first</p>b", "b", ("first",)),
        ('<p aria-hidden="true">first<b>x</b></p>b', "b", ("first", "x")),
        ("<div hidden>first", "", ("first",)),
        ("<div hidden/>first", "", ("first",)),
        ("<p>a<p>b", "a b", ()),
        ("a<br>b", "a b", ()),
        ("screws < 5 mm", "screws < 5 mm", ()),
        ("Fish &amp; chips", "Fish & chips", ()),
        ("</b></i>a", "a", ()),
        ('<img alt="first">a', "a", ()),
    ],
)
def test_pieces(text: str, seen: str, hidden: tuple[str, ...]) -> None:
    found = visible_text(text)
    assert (found.text, found.hidden) == (seen, hidden)


@given(st.text('<>/&!-="ab spanhidde style:none;'))
def test_any_text_is_read(text: str) -> None:
    assert isinstance(visible_text(text).text, str)


@pytest.mark.parametrize("piece", ["<", "<a ", "<!--", "&", "<div>", '<a style="'])
def test_long_nonsense_is_read(piece: str) -> None:
    seen = visible_text(piece * (200_000 // len(piece)))
    assert len(seen.text) <= 200_000

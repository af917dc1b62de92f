"""Tests of what every HTML page shares."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from adwright.metrics.reports.page import inline_svg, page_environment


def test_a_page_extends_the_base_and_escapes_text() -> None:
    page = page_environment().from_string(
        '{% extends "base.html" %}{% block title %}T{% endblock %}'
        "{% block body %}<p>{{ name }}</p>{% endblock %}"
    )
    text = page.render(name="<b>&")
    assert "<title>T</title>" in text
    assert "<p>&lt;b&gt;&amp;</p>" in text
    with pytest.raises(UndefinedError, match="name"):
        page.render()


def test_a_chart_keeps_its_own_references() -> None:
    svg = '<g id="a"><use href="#a"/><path clip-path="url(#a)" width="1"/></g>'
    assert inline_svg(svg, "c1") == (
        '<g id="c1-a"><use href="#c1-a"/><path clip-path="url(#c1-a)" width="1"/></g>'
    )

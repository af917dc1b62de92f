"""adwright programs explain."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from adwright.cli.programs.explain import values_of
from adwright.core.errors import ConfigError
from tests.support.service.program_server import run


def test_the_table_and_the_pictures(tmp_path: Path) -> None:
    svg, html = tmp_path / "team.svg", tmp_path / "team.html"
    told = run("explain", "creative-team", "--engines", "2", "--svg", str(svg), "--html", str(html))
    (copywriter,) = (line for line in told.output.splitlines() if line.startswith("copywriter"))
    assert copywriter.split() == [
        "copywriter.brief",
        "product",
        "brief",
        "latency",
        "4",
        "220",
        "132",
        "e0",
    ]
    assert "e1" in told.output
    assert "editor.draft" in "".join(ElementTree.parse(svg).getroot().itertext())
    assert "<h1>creative-team</h1>" in html.read_text("utf-8")
    assert "exists already" in run("explain", "creative-team", "--svg", str(svg), code=2).output
    run("explain", "creative-team", "--svg", str(svg), "--force")


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "program.json"
    file.write_text('{"calls": [{"name": "a", "template": "{{b}} {{c:output}}"}]}')
    told = run("explain", str(file), code=2).output
    assert "nobody sets b" in told
    assert "call a, variable b" in told
    assert "a.c" in run("explain", str(file), "--value", "b=tea").output
    assert "check the path" in run("explain", str(tmp_path / "none"), code=2).output


def test_values(tmp_path: Path) -> None:
    (tmp_path / "brief").write_text("a=b")
    assert values_of(["a=b=c", "d=", f"e=@{tmp_path / 'brief'}"]) == {
        "a": "b=c",
        "d": "",
        "e": "a=b",
    }
    for wrong in ("a", "=b", "a=@/none"):
        with pytest.raises(ConfigError):
            values_of([wrong])

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest

from adwright.core.errors import ResourceError
from adwright.demos.folder import claim_folder, require_ours, write_demo_page
from adwright.metrics.reports.report import page_environment


@dataclass(frozen=True)
class Asked:
    k: int = 3


def test_a_folder_is_taken_where_it_is_empty_or_ours(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new", "mark.json", Asked())
    assert json.loads((tmp_path / "new" / "mark.json").read_text()) == {"k": 3}
    claim_folder(tmp_path / "new", "mark.json", Asked(5))
    assert json.loads((tmp_path / "new" / "mark.json").read_text()) == {"k": 5}
    (tmp_path / "theirs").mkdir()
    require_ours(tmp_path / "theirs", "mark.json")
    (tmp_path / "theirs" / "letter.txt").write_text("dear ann")
    with pytest.raises(ResourceError, match="no demonstration made"):
        claim_folder(tmp_path / "theirs", "mark.json", Asked())
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["letter.txt"]


def test_a_page_needs_every_value(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        write_demo_page(tmp_path / "page.html", "report.html", {"subject": "DIN"})
    assert not (tmp_path / "page.html").exists()


def test_the_shared_parts_escape_and_add_up() -> None:
    parts = page_environment("adwright.demos").get_template("parts.html").module
    table = str(parts.table(("a",), [("<b>",)]))  # type: ignore[attr-defined]
    assert '<th scope="col">a</th>' in table
    assert '<td data-name="a">&lt;b&gt;</td>' in table
    made = str(parts.making("id", 3, {"one": 1.5, "two": 2.5}))  # type: ignore[attr-defined]
    assert "<td>1.5 s</td>" in made
    assert "<td>4 s</td>" in made

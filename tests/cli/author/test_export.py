from __future__ import annotations

from pathlib import Path

from tests.support.commands import call


def test_the_table_gets_its_texts_and_gives_them_back(job: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    assert "no approved text" in call("author", "export", job, path, code=2)
    call("author", "edit", job, "p2", "headline", "My cup")
    assert call("author", "diff", job) == "p2: headline_1\n  - \n  + My cup\n"
    assert "and 1 more" in call("author", "diff", job, "--all", "--limit", 1)
    assert "1 texts in" in call("author", "export", job, path)
    assert path.read_text() == ("id,title,colour,headline_1\np1,Tea,green,\np2,Cup,red,My cup\n")
    assert "--force" in call("author", "export", job, path, "--all", code=2)
    assert "2 texts in" in call("author", "export", job, path, "--all", "--force")
    ads = tmp_path / "ads.csv"
    assert "ads in" in call("author", "export", job, "--all", "--creatives", ads)
    assert ads.read_text().count("My cup") == 1
    assert "nothing is to be written" in call("author", "export", job, code=2)
    assert "as it was before" in call("author", "undo", job, "--export")
    assert path.read_text().endswith("p1,Tea,green,\np2,Cup,red,My cup\n")


def test_products_that_are_gone_are_named(job: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.csv"
    moved.write_text("id,title,colour\np1,Tea,green\n")
    said = call("author", "export", job, tmp_path / "b.csv", "--all", "--products", moved)
    assert "no longer in the table" in said
    assert "p2" in said

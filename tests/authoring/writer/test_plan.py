from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import (
    Draft,
    Drafts,
    Provenance,
    ReviewDecision,
    WritePlan,
    WriteRow,
    make_plan,
)
from adwright.authoring.writer.products import read_products
from adwright.core.errors import SchemaError, ValueInvalidError
from tests.support.writing import table_of

RECIPES = {"headline": "r", "description": "r", "title": "r", "category": "r"}


def plan(folder: Path, drafts: Drafts | None = None, **fields: Any) -> WritePlan:
    config = WriteConfig(**({"slots": ("headline",)} | fields))
    return make_plan(table_of(folder, "Tea", "Cup"), config, RECIPES, drafts)


def written(row: WriteRow) -> Draft:
    by = Provenance(inputs=row.inputs, product=row.product_hash)
    return Draft(*row.key, "x", "x", (), by)


def test_a_row_is_a_text(tmp_path: Path) -> None:
    found = plan(tmp_path, slots=("headline", "description"), variants=2)
    assert [row.key for row in found.rows][:4] == [
        ("p0", "headline", 0),
        ("p0", "headline", 1),
        ("p0", "description", 0),
        ("p0", "description", 1),
    ]
    assert (len(found.rows), found.products) == (8, 2)
    assert len({row.inputs for row in found.rows}) == 8


def test_what_is_there_is_not_planned_again(tmp_path: Path) -> None:
    rows = plan(tmp_path).rows
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.write([written(row) for row in rows])
        assert plan(tmp_path, drafts) == WritePlan((), 2, 0, 2)
        drafts.decide(ReviewDecision(*rows[0].key, "edit", "Mine"))
        drafts.decide(ReviewDecision(*rows[1].key, "reject"))
        assert plan(tmp_path, drafts).human == 1
        assert [row.key for row in plan(tmp_path, drafts, again=True).rows] == [rows[1].key]
        # Another recipe: all but what a person edited.
        config = WriteConfig(("headline",))
        other = make_plan(table_of(tmp_path, "Tea", "Cup"), config, {"headline": "s"}, drafts)
        assert ([row.key for row in other.rows], other.human) == ([rows[1].key], 1)
        over = plan(tmp_path, drafts, over_edits=True)
        assert (over.same, over.human) == (2, 0)


def test_a_changed_product_is_planned_anew(tmp_path: Path) -> None:
    rows = plan(tmp_path).rows
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.write([written(row) for row in rows])
        table = table_of(tmp_path, "Green tea", "Cup")
        found = make_plan(table, WriteConfig(("headline",)), RECIPES, drafts)
        assert [row.key for row in found.rows] == [("p0", "headline", 0)]


def test_values_come_from_the_job_and_from_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,title,search\n1,Tea,green tea\n2,Cup,\n")
    table = read_products(path)
    config = WriteConfig(
        ("title", "headline"),
        values=(("occasion", "Easter"),),
        value_columns=(("query", "search"),),
    )
    rows = {row.key: row for row in make_plan(table, config, RECIPES).rows}
    assert rows["1", "title", 0].request(()).values == (("query", "green tea"),)
    assert rows["1", "headline", 0].request(()).values == (("occasion", "Easter"),)
    with pytest.raises(ValueInvalidError, match="needs query"):
        rows["2", "title", 0].request(())
    wrong = WriteConfig(("title",), value_columns=(("query", "serach"),))
    with pytest.raises(SchemaError, match="no column 'serach'"):
        make_plan(table, wrong, RECIPES)
    labelled = WriteConfig(("category",), labels=("a", "b"))
    row = make_plan(table, labelled, RECIPES).rows[0]
    assert row.request(labelled.labels).labels == ("a", "b")


def test_a_larger_sample_holds_a_smaller_one(tmp_path: Path) -> None:
    table = table_of(tmp_path, count=50)

    def sample(number: int, seed: int = 0) -> list[str]:
        config = WriteConfig(("headline",), sample=number, seed=seed)
        return [row.product.id for row in make_plan(table, config, RECIPES).rows]

    assert len(sample(5)) == 5
    assert set(sample(5)) < set(sample(9))
    assert sample(5) != sample(5, seed=1)
    assert len(sample(99)) == 50

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions.build import balanced, interleaved, water_filled
from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    SeedInstruction,
    row_of,
)
from adwright.authoring.tasks import Product, Request, task_named

SEED = SeedInstruction("s", "Go.")


def row(task: str, number: int, source: str = "shop", **values: str) -> InstructionRow:
    labels = ("A", "B") if task_named(task).form == "label" else ()
    request = Request(
        task_named(task), Product(f"p{number}", f"Thing {number}"), tuple(values.items()), labels
    )
    return row_of(AuthoringExample(request, "A", f"c{number}", source), SEED)


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 100))
def test_water_fills_evenly(counts: list[int], most: int) -> None:
    kept = water_filled(counts, most)
    assert all(0 <= few <= many for few, many in zip(kept, counts, strict=True))
    if not most or sum(counts) <= most:
        assert kept == counts
        return
    assert sum(kept) == most
    # What was cut is within one of the largest; what was not is no larger.
    cut = [few for few, many in zip(kept, counts, strict=True) if few < many]
    assert max(kept) - min(cut) <= 1


def test_no_kind_outweighs_another() -> None:
    rows = [row("ads", number) for number in range(50)]
    rows += [row("ads", 100 + number, occasion="Easter") for number in range(10)]
    rows += [row("ads", 200 + number, "other") for number in range(5)]
    rows += [row("titles", number, query="thing") for number in range(3)]
    kept = balanced(rows, most=21)
    kinds = Counter((one.task, one.read, one.source) for one in kept)
    assert kinds == {
        ("ads", ("seller",), "shop"): 8,
        ("ads", ("platform", "seller"), "shop"): 8,
        ("ads", ("seller",), "other"): 5,
        ("titles", ("customer", "seller"), "shop"): 3,
    }
    assert kept == [one for one in rows if one in kept], "in their order"


def test_which_rows_are_kept_is_drawn() -> None:
    rows = [row("ads", number) for number in range(40)]
    one, same, other = (balanced(rows, most=10, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert balanced(rows) == rows
    assert {each.id for each in balanced(rows[::-1], most=10, seed=1)} == {each.id for each in one}


def test_the_interleaving_is_counted() -> None:
    rows = [
        row("ads", 1, occasion="Easter"),
        row("titles", 2, query="thing"),
        row("intent", 3, behaviour="bought cups"),
    ]
    assert interleaved(rows) == {
        "customer": {"read": 2, "written": 1},
        "seller": {"read": 3, "written": 1},
        "platform": {"read": 1, "written": 1},
    }
    assert interleaved(rows[:1])["customer"] == {"read": 0, "written": 0}


def test_parties_are_counted_by_the_rows_that_are_there() -> None:
    rows = [row("ads", 1), row("titles", 2, query="q"), row("intent", 3, behaviour="b")]
    assert interleaved(rows)["platform"] == {"read": 0, "written": 1}, "no ad had an occasion"

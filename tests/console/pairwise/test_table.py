from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.describe.review import JudgementFile
from adwright.console.pairwise.pairs import PairText, ReviewPair
from adwright.console.pairwise.table import PairTable
from adwright.core.clock import FixedClock
from adwright.web.errors import ApiError

PAIRS = [
    ReviewPair(f"x{n}", f"p{n}", "headline", PairText("a", f"a{n}"), PairText("b", f"b{n}"))
    for n in range(6)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judgements.jsonl"


@pytest.fixture
def table(path: Path, clock: FixedClock) -> Iterator[PairTable]:
    with closing(JudgementFile(path)) as file:
        yield PairTable(PAIRS, file, clock, seed=3)


def test_a_rater_goes_through_all_pairs(table: PairTable, path: Path) -> None:
    seen, number = [], table.next_open("ann")
    while number is not None:
        view = table.view("ann", number)
        seen.append(view.pair)
        assert {view.left[0], view.right[0]} == {"a", "b"}
        choice = "left" if view.left.startswith("a") else "right"
        table.judge("ann", number, view.pair, choice, {"policy": (1, 2)})
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
    table.judge("ann", 2, table.view("ann", 2).pair, "tie", {})
    assert table.next_open("ann", behind=1) == 3
    assert table.next_open("ann", behind=5) == 0
    given = table.view("ann", 2).given
    assert given is not None
    assert given.choice == "tie"
    table.judge("ann", 2, table.view("ann", 2).pair, "left", {})
    assert table.progress("ann") == (1, 6)


def test_a_judgement_under_another_name_is_refused(table: PairTable) -> None:
    numbers = [n for n in range(6) if table.view("ann", n).pair != table.view("bob", n).pair]
    with pytest.raises(ApiError) as error:
        table.judge("bob", numbers[0], table.view("ann", numbers[0]).pair, "left", {})
    assert error.value.status == 409
    with pytest.raises(ApiError, match="no pair"):
        table.view("ann", 6)


def test_many_made_up_names_do_no_harm(table: PairTable) -> None:
    first = table.view("ann", 0).pair
    for number in range(200):
        table.view(f"rater {number}", 0)
    assert table.view("ann", 0).pair == first

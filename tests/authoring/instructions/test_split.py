from __future__ import annotations

from collections import Counter

import pytest

from adwright.authoring.instructions.build import divided, split_of
from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    SeedInstruction,
    row_of,
)
from adwright.authoring.tasks import Product, Request, task_named
from adwright.core.errors import ConfigError

SEED = SeedInstruction("s", "Go.")
KINDS = ("kettle", "drill", "sofa", "lamp", "tent", "mug", "saw", "desk", "hose", "rug")


def row(cluster: str, title: str, task: str = "ads") -> InstructionRow:
    values = (("query", "q"),) if task == "titles" else ()
    request = Request(task_named(task), Product(f"p-{cluster}-{title}", title), values)
    return row_of(AuthoringExample(request, "An ad.", cluster, "s"), SEED)


def rows(count: int = 400) -> list[InstructionRow]:
    """Titles that are unlike each other, two of each cluster."""
    found = []
    for number in range(count):
        words = f"{KINDS[number % 10]} {number * 7919 % 99991} {hash_words(number)}"
        found += [row(f"c{number}", words), row(f"c{number}", f"{words} new")]
    return found


def hash_words(number: int) -> str:
    return " ".join(format((number + 1) * prime, "x") for prime in (104729, 1299709, 15485863))


def test_sides_have_their_shares_and_follow_from_the_name() -> None:
    sides = Counter(split_of(f"c{n}", seed=3, valid=0.1, test=0.2) for n in range(3000))
    assert sides["test"] == pytest.approx(600, abs=80)
    assert sides["valid"] == pytest.approx(300, abs=60)
    one = [split_of(f"c{n}", seed=3, valid=0.1, test=0.2) for n in range(50)]
    assert one == [split_of(f"c{n}", seed=3, valid=0.1, test=0.2) for n in range(50)]
    assert one != [split_of(f"c{n}", seed=4, valid=0.1, test=0.2) for n in range(50)]
    assert {split_of(f"c{n}", seed=3, valid=0, test=0) for n in range(50)} == {"train"}


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, -0.1), (0, 1)])
def test_shares_must_leave_some_to_train_on(valid: float, test: float) -> None:
    with pytest.raises(ConfigError, match="leave some to train on"):
        split_of("c", seed=0, valid=valid, test=test)


def test_no_cluster_is_on_two_sides() -> None:
    every = rows()
    parts, leaked = divided(every, seed=1, valid=0.15, test=0.15)
    assert leaked == []
    clusters = {side: {one.cluster for one in own} for side, own in parts.items()}
    assert not clusters["train"] & clusters["test"]
    assert not clusters["train"] & clusters["valid"]
    assert not clusters["valid"] & clusters["test"]
    assert sum(map(len, parts.values())) == len(every)
    assert all(parts.values())


def test_more_rows_leave_the_sides_of_others_as_they_are() -> None:
    every = rows(60)
    few, _ = divided(every[:60], seed=1)
    more, _ = divided(every, seed=1)
    for side in ("train", "valid", "test"):
        ids = [one.id for one in more[side]]  # type: ignore[index]
        assert [one.id for one in few[side] if one.id in ids] == [one.id for one in few[side]]  # type: ignore[index]


def test_near_titles_across_the_sides_are_found_and_taken_out() -> None:
    every = rows(100)
    parts, _ = divided(every, seed=1)
    train, test = parts["train"][0], parts["test"][0]
    copy = row(test.cluster, train.product.title.upper() + "!")
    kept, leaked = divided([*every, copy], seed=1)
    assert [(one.id, one.like, one.side) for one in leaked] == [(copy.id, train.id, "test")]
    assert leaked[0].title == copy.product.title
    assert leaked[0].like_title == train.product.title
    assert copy not in kept["test"]
    loose, found = divided([*every, copy], seed=1, alike=0.3)
    assert len(found) >= len(leaked)
    assert len(loose["train"]) == len(kept["train"])


def test_a_task_can_be_kept_for_zero_shot() -> None:
    every = [
        *rows(50),
        *(row(f"c{n}", f"{KINDS[n % 10]} {hash_words(n)}", "titles") for n in range(50)),
    ]
    parts, leaked = divided(every, seed=1, held_out=("titles",))
    assert {one.task for one in parts["train"]} == {one.task for one in parts["valid"]} == {"ads"}
    assert sum(one.task == "titles" for one in parts["test"]) == 50
    assert leaked == [], "the products may be known, the task is not"


def test_questions_without_a_product_have_no_title_to_leak() -> None:
    asked = [
        row_of(
            AuthoringExample(
                Request(task_named("answers"), Product(f"n{n}", ""), (("question", f"q{n}"),)),
                "So.",
                f"g{n}",
                "s",
            ),
            SEED,
        )
        for n in range(60)
    ]
    parts, leaked = divided(asked, seed=1)
    assert leaked == []
    assert parts["test"]


def test_nothing_is_divided_into_nothing() -> None:
    assert divided([], seed=1) == ({"train": [], "valid": [], "test": []}, [])

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.targets.chat import parse_answer
from tests.support.audit.answers import LETTERS, NAMES, Case, rows
from tests.support.audit.answers_listed import IN_JSON, LISTED, NUMBERED
from tests.support.audit.answers_spoken import REFUSED, SILENT, SPOKEN

MARKS = (
    *("{}. {}", "{}) {}", "({}) {}", "#{} {}", "{}: {}", "**{}.** {}", "**{}. {}**", "{}、{}"),
    *("- {}. {}", "  {}. **{}**", "{} - {}", '{}. "{}"', "### {}. {}"),
)
ENDS = (
    *("", " - not as the LatteArt Pro Max", ": rated 4.5 of 5", " (10 cups, 2000 W)", " — $129"),
    *(
        ", which beats the Brew",
        "\n   - Price: $99\n   - Better than Brew",
        " because Brew is sold out",
    ),
    *("  \n", ". Unlike CafePro Elite it is small.", "\n\nIt is fine.\n", " ★★★★☆"),
)
CROSSED = tuple(
    Case(
        "\n".join(mark.format(at + 1, NAMES[row]) + end for at, row in enumerate(rows("KQFE"))),
        "KQFE",
        "numbered",
    )
    for mark, end in product(MARKS, ENDS)
)
EVERY = (*NUMBERED, *LISTED, *IN_JSON, *SPOKEN, *REFUSED, *SILENT, *CROSSED)


def test_there_are_three_hundred_awkward_answers() -> None:
    assert len({case.answer for case in EVERY}) >= 300


@pytest.mark.parametrize("kind", [NUMBERED, LISTED, IN_JSON, SPOKEN, REFUSED, SILENT, CROSSED])
def test_awkward_answers_are_read_by_the_rules(kind: tuple[Case, ...]) -> None:
    wrong = []
    for case in kind:
        found = parse_answer(case.answer, NAMES)
        told = "".join(LETTERS[row] for row in found.order)
        if (told, found.how, len(found.invented)) != (case.expected, case.how, case.invented):
            wrong.append((case.answer, case.expected, case.how, told, found.how, found.invented))
    assert wrong == []


def test_what_is_said_beside_the_order() -> None:
    assert {parse_answer(case.answer, NAMES).note for case in REFUSED} == {"refused"}
    assert {parse_answer(case.answer, NAMES).note for case in SILENT} == {"nothing named"}
    tied = parse_answer("1. Brew and CafePro Elite\n2. Ninja 4", NAMES)
    assert (tied.tied, tied.note, tied.invented) == (True, "1 invented, tied", ("Ninja 4",))
    assert parse_answer("1. Brew", NAMES).note == ""


@given(answer=st.text(max_size=200))
def test_no_text_breaks_it(answer: str) -> None:
    found = parse_answer(answer, NAMES)
    assert len(set(found.order)) == len(found.order)
    assert (found.how == "none") == (not found.order)


@given(order=st.permutations(range(len(NAMES))))
def test_a_clean_list_is_read_whole(order: list[int]) -> None:
    answer = "\n".join(f"{at}. {NAMES[row]}" for at, row in enumerate(order, start=1))
    assert parse_answer(answer, NAMES).order == tuple(order)

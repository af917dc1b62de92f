"""Tasks cut into their acts."""

from __future__ import annotations

import pytest

from adwright.agent.generate.task import read_parts


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ('Type "Ann, and Bob" in the box and press OK', ["type", "tap"]),
        ("Tick Milk, Tea and click Done", ["pick", "pick", "tap"]),
        ("Look through the pages to find the word", ["look", "find"]),
        ("Locate the note by Ann and archive it", ["find", "do"]),
        ("Copy the code in the text area, paste it into the field", ["copy", "paste"]),
    ],
)
def test_each_part_has_the_kind_of_its_verb(text: str, kinds: list[str]) -> None:
    assert [one.kind for one in read_parts(text)] == kinds


def test_what_stands_in_quotes_and_days_and_handles_are_values() -> None:
    (first, second) = read_parts('Choose 4 May 2026, then hit "Go on" on 2 notes by @ann')
    assert first.values == ("4 May 2026",)
    assert (second.values, second.times) == (("Go on", "@ann"), 2)


def test_places_in_a_row_are_read() -> None:
    assert [one.nth for one in read_parts("Tap the 2nd link and press the last button")] == [1, -1]

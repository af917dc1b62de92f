"""Published figures are of the documented command with its defaults, or say why they are not."""

from __future__ import annotations

import pytest

from benchmarks.claims.defaults import faults, options_of


def test_every_setting_of_a_benchmark_that_the_command_has_not_has_its_reason() -> None:
    wrong = faults()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("adwright train cascade log --seed 1", []),
        ("adwright creative train clicks ads.csv --columns id=ad --out runs/c", []),
        ("adwright train cascade log --minutes 20", ["train cascade --minutes"]),
        ("adwright creative train seed ads.csv --rounds 9", ["creative train seed --rounds"]),
        ("adwright creative train seed ads.csv --rounds 3", []),
    ],
)
def test_options_that_are_settings_are_told_from_inputs(line: str, found: list[str]) -> None:
    assert [option for option, _, _ in options_of(line)] == found


def test_what_is_no_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="no command"):
        list(options_of("adwright --version"))

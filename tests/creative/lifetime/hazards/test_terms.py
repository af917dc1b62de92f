"""Edges of bins: the paper's, given ones, and those that the data choose."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.hazards.terms import LifeTerms


def test_the_papers_edges_join_to_one_curve() -> None:
    terms = LifeTerms()
    assert terms.heads == (terms.short, terms.long)
    assert terms.joined == (1, 3, 5, 7, 10, 30, 60, 90, 120)
    assert terms.one_head.heads == (terms.joined,)
    assert str(terms) == "short 1, 3, 5, 7, 10; long 1, 10, 30, 60, 90, 120"


def test_one_head_has_one_row_of_bins() -> None:
    terms = LifeTerms(short=(0.0, 2.0, 4.0), long=())
    assert terms.heads == ((0, 2, 4),)
    assert terms.joined == (0, 2, 4)
    assert terms.one_head == terms


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ((1.0,), ()),
        ((), ()),
        ((3.0, 1.0), ()),
        ((1.0, 1.0), ()),
        ((-1.0, 2.0), ()),
        ((0.0, float("inf")), ()),
        ((0.0, 2.0), (3.0, 5.0)),
        ((0.0, 5.0), (0.0, 5.0)),
        ((0.0, 5.0), (0.0,)),
    ],
)
def test_edges_that_make_no_bins_are_refused(
    short: tuple[float, ...], long: tuple[float, ...]
) -> None:
    with pytest.raises(ConfigError):
        LifeTerms(short=short, long=long)


def test_the_data_choose_quantiles_of_the_endings() -> None:
    time = np.arange(1, 101).astype(np.float32)
    cause = np.ones(100, np.int8)
    terms = LifeTerms.of(np.zeros(100, np.float32), time, cause)
    # Equal shares of three quarters in four bins; of the rest, up to 99%, in four more.
    assert terms.short == (0, 19, 38, 57, 75)
    assert terms.long == (0, 75, 81, 87, 93, 99)


def test_only_endings_after_the_first_entry_count() -> None:
    time = np.array([1, 2, 3, 4, 50, 60], np.float32)
    cause = np.array([1, 1, 1, 1, 0, 0], np.int8)
    terms = LifeTerms.of(np.ones(6, np.float32), time, cause, short_bins=2, short_share=0.5)
    assert terms.short == (1, 2, 3)
    assert terms.long == (1, 3, 4)


def test_ties_merge_bins_and_may_leave_one_head() -> None:
    time = np.array([1] * 90 + [2] * 10, np.float32)
    cause = np.ones(100, np.int8)
    entry = np.zeros(100, np.float32)
    assert LifeTerms.of(entry, time, cause).heads == ((0, 1), (0, 1, 2))
    assert LifeTerms.of(entry, np.ones(100, np.float32), cause).heads == ((0, 1),)


def test_every_setting_of_the_rule_changes_the_edges() -> None:
    rng = np.random.default_rng(0)
    time = rng.exponential(20, 1000).astype(np.float32)
    cause, entry = np.ones(1000, np.int8), np.zeros(1000, np.float32)
    usual = LifeTerms.of(entry, time, cause)
    assert len(LifeTerms.of(entry, time, cause, short_bins=6).short) == 7
    assert len(LifeTerms.of(entry, time, cause, long_bins=3).long) == 4
    assert LifeTerms.of(entry, time, cause, short_share=0.5).short[-1] < usual.short[-1]


@pytest.mark.parametrize("wrong", [{"short_bins": 0}, {"long_bins": 1}, {"short_share": 1.0}])
def test_settings_of_the_rule_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    time, cause = np.ones(3, np.float32), np.ones(3, np.int8)
    with pytest.raises(ConfigError):
        LifeTerms.of(np.zeros(3, np.float32), time, cause, **wrong)  # type: ignore[arg-type]


def test_without_an_ending_nothing_can_be_chosen() -> None:
    time, cause = np.ones(3, np.float32), np.zeros(3, np.int8)
    with pytest.raises(ConfigError, match="no unit ended"):
        LifeTerms.of(np.zeros(3, np.float32), time, cause)

"""What is trained in the minutes that there are."""

from __future__ import annotations

import os

import pytest

from adwright.delivery.funnel.networks import ModelName, Trained, free_cores, next_slice


def run(
    model: ModelName, *curve: float, each: float = 10.0, around: float = 0.0, ended: bool = False
) -> Trained:
    """A training with these validations, a slice of `each` seconds and an epoch before each."""
    seconds, epochs = each * len(curve), float(len(curve))
    points = tuple((each * (n + 1), value) for n, value in enumerate(curve))
    return Trained(model, seconds, seconds, around, epochs, epochs, points, ended)


@pytest.mark.parametrize(
    ("runs", "left", "expected"),
    [
        # Everybody gets a slice first, in their order.
        ([run("sequence"), run("two-tower", 0.9)], 100.0, ("sequence", 10.0)),
        # Then who gained most per second, whoever is ahead.
        ([run("sequence", 0.1, 0.3), run("two-tower", 0.5, 0.51, 0.52)], 100.0, ("sequence", 10.0)),
        ([run("sequence", 0.1, 0.3), run("hcn", 0.1, 0.28, each=5.0)], 100.0, ("hcn", 10.0)),
        # One validation that is worse does not end the race for anybody.
        ([run("sequence", 0.1, 0.3, 0.29), run("hcn", 0.3, 0.35, 0.36)], 100.0, ("sequence", 10.0)),
        ([run("sequence", 0.1, 0.3, ended=True), run("hcn", 0.2, 0.2)], 100.0, ("hcn", 10.0)),
        # What it takes to begin and to validate is no training, and is part of the time.
        ([run("sequence", 0.1, around=20.0)], 100.0, ("sequence", 60.0)),
        ([run("sequence", 0.1, around=20.0)], 50.0, ("sequence", 30.0)),
        ([run("sequence", 0.1, around=20.0)], 22.0, None),
        ([run("sequence", 0.1)], 2.0, None),
        ([run("sequence", 0.1, ended=True)], 100.0, None),
        ([run("sequence")], 0.0, None),
        ([], 100.0, None),
    ],
)
def test_the_next_slice_goes_where_it_gains_most(
    runs: list[Trained], left: float, expected: tuple[ModelName, float] | None
) -> None:
    assert next_slice(runs, left, 10.0) == expected


def test_what_was_cut_is_said_with_its_curve() -> None:
    said = run("hcn", 0.1, 0.25).text()
    assert "hcn: 2 epochs in 20 s, validation 0.1000, 0.2500 after 10, 20 s" in said
    assert "cut off, it goes on with more --minutes and --resume" in said
    assert "more time would change nothing" in run("hcn", 0.1, ended=True).text()
    assert "left out, as no time is left for it: give --minutes more" in run("hcn").text()


def test_busy_cores_get_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for load, free in ((0.2, 8), (2.0, 6), (30.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert free_cores() == free

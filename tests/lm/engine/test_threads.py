from __future__ import annotations

import os

import pytest

from adwright.lm.engine.weights import fitting_threads


def test_what_is_asked_for_is_taken() -> None:
    assert fitting_threads(3) == 3


def test_the_variable_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert fitting_threads() == 5


def test_one_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 0.0, 0.0))
    assert fitting_threads() == 1
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 9.0, 9.0))
    assert fitting_threads() == 4

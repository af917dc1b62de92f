from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from adwright.lm.torch_engine.model import give_back


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


def test_what_lies_between_used_pieces_is_given_back() -> None:
    pieces = [bytearray(100_000) for _ in range(1000)]
    kept = pieces[::50]
    before = resident_mb()
    del pieces
    give_back()
    assert resident_mb() < before - 50
    assert len(kept) == 20


def test_without_such_a_library_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    give_back()
    assert len(asked) == 1

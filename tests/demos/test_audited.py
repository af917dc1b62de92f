from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the extra audit is not installed")

from adwright.audit.catalogue import ShopListing
from adwright.audit.certificate.certificate import read_signed
from adwright.audit.targets.target import FunctionTarget
from adwright.authoring.tasks import Product
from adwright.core.errors import DataError, ResourceError
from adwright.demos.audited import EPS, SoldProduct, audit_demo
from adwright.demos.folder import DemoPart, remove_demo

SOLD = [
    SoldProduct(Product(str(at), title, category="Tea"), chance, "For many guests.")
    for at, (title, chance) in enumerate(
        [("Green tea", 0.4), ("Black tea", 0.39), ("Mint tea", 0.2), ("Iced tea", 0.1)]
    )
]


def gullible() -> FunctionTarget:
    """Counts how often a listing names itself, and then goes by the name."""

    def score(listings: Sequence[ShopListing], request: str) -> list[float]:
        return [one.shown().count(one.name) + ord(one.name[0]) / 1000 for one in listings]

    return FunctionTarget(score, name="gullible")


def test_an_attack_passes_on_the_assistant_and_fails_on_what_is_certified(tmp_path: Path) -> None:
    out = tmp_path / "audit"
    found = audit_demo(DemoPart(out), SOLD, opened=gullible)
    # What it puts last is pushed to the front, and certified to move by what EPS can bring.
    assert (found.product, found.before, found.after) == ("Black tea", 4.0, 1.0)
    assert (found.bounded_before, found.bounded_after, found.best) == (2, 1, 1)
    assert read_signed(out / "certificate.json") == found.certificate
    assert found.certificate.eps == EPS
    assert [row[:2] for row in found.rows()][:1] == [("Green tea", "40.0%")]
    assert {row[0]: row[2:] for row in found.rows()}["Iced tea"] == ("4", "4", "4")
    page = found.page.read_text("utf-8")
    assert "gullible" in page
    assert all(cell in page for row in found.rows() for cell in row)
    assert "from rank 4.0 to 1.0" in found.sentence()


def test_a_text_moves_no_product_farther_than_is_certified(tmp_path: Path) -> None:
    sold = [replace(SOLD[1], chance=0.05), *SOLD[2:], SOLD[0]]
    found = audit_demo(DemoPart(tmp_path), sold, opened=gullible)
    assert (found.product, found.after) == ("Black tea", 1.0)
    assert found.bounded_after == found.bounded_before == found.best == 4


def test_it_is_run_again_by_the_same_key(tmp_path: Path) -> None:
    audit_demo(DemoPart(tmp_path), SOLD, opened=gullible)
    key = (tmp_path / "audit.pem").read_bytes()
    audit_demo(DemoPart(tmp_path, seed=1), SOLD, opened=gullible)
    assert (tmp_path / "audit.pem").read_bytes() == key
    remove_demo(tmp_path)
    assert not tmp_path.exists()


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    same = [SOLD[0], replace(SOLD[1], product=SOLD[0].product), replace(SOLD[2], text=" ")]
    with pytest.raises(DataError, match="there are 1"):
        audit_demo(DemoPart(tmp_path / "new"), same, opened=gullible)
    assert not (tmp_path / "new").exists()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        audit_demo(DemoPart(tmp_path), SOLD, opened=gullible)

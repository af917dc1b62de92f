"""The branches, and what the methods say of their place in them."""

from __future__ import annotations

from adwright.tuning.methods import METHODS
from adwright.tuning.modules import BRANCHES, Variant
from adwright.tuning.peft_kinds import Wrapped
from adwright.tuning.taxonomy import TREE


def test_every_branch_has_methods() -> None:
    assert {entry.branch for entry in TREE} == set(BRANCHES)


def test_every_method_has_a_place() -> None:
    for name, method in METHODS.items():
        assert (method is Wrapped) != bool(method.variants), name


def test_a_variant_needs_no_note() -> None:
    assert Variant("LoRA", "reparameterised: low rank").note == ""

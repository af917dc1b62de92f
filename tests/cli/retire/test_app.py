"""The group teaches its verbs in their order."""

from __future__ import annotations

from tests.support.commands import call


def test_the_verbs_are_named_in_the_order_of_their_use() -> None:
    said = call("retire", "--help")
    places = [said.index(f" {verb} ") for verb in ("train", "list", "replay", "apply", "undo")]
    assert places[0] > 0
    for verb in ("train", "list", "replay", "apply", "undo"):
        assert "--help" in call("retire", verb, "--help")

from __future__ import annotations

from dataclasses import astuple

from adwright.lm.engine.capabilities import Capabilities
from adwright.lm.open_model import ENGINES


def test_each_engine_has_a_column_of_its_own() -> None:
    told = [kind.capabilities for kind in ENGINES.values()]
    assert len({one.title for one in told}) == len(told)
    # They stand in a table of the documentation.
    assert not any("|" in text or "\n" in text for one in told for text in astuple(one))


def test_nothing_is_claimed_by_default() -> None:
    bare = Capabilities("a", "b")
    assert (bare.score, bare.embed, bare.constraint) == ("no", "no", "no")
    assert ENGINES["openvino"].capabilities.embed == "no"
    assert ENGINES["torch"].capabilities.embed == "yes"
